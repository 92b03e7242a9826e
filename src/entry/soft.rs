// SPDX-License-Identifier: GPL-2.0

//! Soft entries: established ones that a service keeps past their timeout, as many as it may; who
//! has waited longest goes first.
//!
//! The sweep offers them anew each time it passes, so that whoever has been heard of meanwhile
//! takes nobody's place.

use super::table::Sought;
use kernel::{
    new_spinlock,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        SpinLock,
    },
};

/// An entry past its timeout.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overdue {
    /// When its timer ended, in jiffies.
    pub(crate) since: u64,
    /// Its flow, and where that is found.
    pub(super) sought: Sought,
}

/// The soft entries of a service.
#[pin_data]
pub(crate) struct Soft {
    limit: Atomic<u32>,
    /// The lock is the sweep's and the configuration's, never a packet's.
    #[pin]
    kept: SpinLock<Kept>,
}

/// Those that the sweep has passed.
struct Kept {
    pass: u64,
    entries: Heap,
}

/// Room for so many soft entries.
pub(crate) struct Room(Heap);

impl Room {
    /// No room.
    pub(crate) fn none() -> Self {
        Room(Heap(KVVec::new()))
    }

    /// Room for `limit` entries. Sleeps.
    pub(crate) fn new(limit: u32) -> Result<Self> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(Room(Heap(KVVec::with_capacity(limit, GFP_KERNEL_ACCOUNT)?)))
    }
}

impl Soft {
    /// No room.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Soft {
            limit: Atomic::new(0),
            kept <- new_spinlock!(Kept {
                pass: 0,
                entries: Room::none().0,
            }),
        })
    }

    /// How many there may be.
    #[inline]
    pub(crate) fn limit(&self) -> u32 {
        self.limit.load(Relaxed)
    }

    /// Changes how many there may be.
    pub(crate) fn set_limit(&self, limit: u32, room: Room) {
        let old = {
            let mut kept = self.kept.lock();
            // The next pass fills it again.
            kept.pass = 0;
            core::mem::replace(&mut kept.entries, room.0)
        };
        self.limit.store(limit, Relaxed);
        drop(old);
    }

    /// Keeps an entry that the sweep meets in its pass of this number, which is not 0. Returns the
    /// one that has to go for it, which may be itself.
    pub(crate) fn keep(&self, pass: u64, entry: Overdue) -> Option<Overdue> {
        let mut kept = self.kept.lock();
        if kept.pass != pass {
            kept.pass = pass;
            kept.entries.0.clear();
        }
        kept.entries.push(entry)
    }
}

/// A binary heap that does not grow: parents have waited longer than their children.
struct Heap(KVVec<Overdue>);

impl Heap {
    /// Adds an entry. Returns the one that has waited longest, if there is no room for all.
    fn push(&mut self, entry: Overdue) -> Option<Overdue> {
        match self.0.push_within_capacity(entry) {
            Ok(()) => {
                self.rise();
                None
            }
            Err(_) => match self.0.first_mut() {
                Some(first) if first.since < entry.since => {
                    let gone = core::mem::replace(first, entry);
                    self.sink();
                    Some(gone)
                }
                _ => Some(entry),
            },
        }
    }

    /// Moves the last entry up to its place.
    fn rise(&mut self) {
        let mut at = self.0.len().saturating_sub(1);
        while at > 0 {
            let parent = (at - 1) / 2;
            if self.since(parent) <= self.since(at) {
                break;
            }
            self.0.swap(parent, at);
            at = parent;
        }
    }

    /// Moves the first entry down to its place.
    fn sink(&mut self) {
        let mut at = 0;
        loop {
            let children = [2 * at + 1, 2 * at + 2].into_iter();
            let oldest = children
                .filter(|child| *child < self.0.len())
                .min_by_key(|child| self.since(*child));
            match oldest {
                Some(child) if self.since(child) < self.since(at) => {
                    self.0.swap(child, at);
                    at = child;
                }
                _ => break,
            }
        }
    }

    fn since(&self, at: usize) -> u64 {
        self.0.get(at).map_or(u64::MAX, |entry| entry.since)
    }
}

#[cfg(CONFIG_KUNIT)]
#[kunit_tests(ipvs_ipsec_soft)]
mod tests {
    use super::*;
    use crate::addr::{Addr, Flow, Transport};

    fn overdue(since: u64) -> Overdue {
        let address = Addr::V4([192, 0, 2, 1]);
        let flow = Flow {
            transport: Transport::Udp,
            client: address,
            client_port: 500,
            vip: address,
            vip_port: 500,
        };
        let sought = Sought { flow, hash: 0 };
        Overdue { since, sought }
    }

    fn soft(limit: u32) -> Result<Pin<KBox<Soft>>> {
        let soft = KBox::pin_init(Soft::new(), GFP_KERNEL)?;
        soft.set_limit(limit, Room::new(limit)?);
        Ok(soft)
    }

    #[test]
    fn who_has_waited_longest_goes_first() -> Result {
        let soft = soft(3)?;
        let keep = |since| soft.keep(1, overdue(since)).map(|gone| gone.since);
        assert_eq!([keep(50), keep(30), keep(40)], [None; 3]);
        assert_eq!(keep(60), Some(30));
        assert_eq!(keep(10), Some(10));
        assert_eq!(keep(45), Some(40));
        assert_eq!(keep(70), Some(45));
        assert_eq!(keep(70), Some(50));
        assert_eq!(keep(70), Some(60));
        Ok(())
    }

    #[test]
    fn whatever_the_order_the_latest_stay() -> Result {
        const COUNT: u64 = 1009;
        let soft = soft(100)?;
        let mut gone = 0;
        for n in 0..COUNT {
            let since = n * 7919 % COUNT;
            gone += u64::from(soft.keep(1, overdue(since)).is_some());
        }
        assert_eq!(gone, COUNT - 100);
        for n in 0..100 {
            // The heap gives them away one after the other.
            let next = soft.keep(1, overdue(u64::MAX));
            assert_eq!(next.map(|gone| gone.since), Some(COUNT - 100 + n));
        }
        Ok(())
    }

    #[test]
    fn each_pass_begins_anew() -> Result {
        let soft = soft(1)?;
        assert!(soft.keep(1, overdue(5)).is_none());
        assert!(soft.keep(2, overdue(4)).is_none());
        assert!(soft.keep(2, overdue(3)).is_some());
        soft.set_limit(2, Room::new(2)?);
        assert!(soft.keep(2, overdue(4)).is_none());
        assert!(soft.keep(2, overdue(3)).is_none());
        Ok(())
    }

    #[test]
    fn without_room_nobody_stays() -> Result {
        let soft = soft(0)?;
        assert!(soft.keep(1, overdue(5)).is_some());
        Ok(())
    }
}
