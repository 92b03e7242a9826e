// SPDX-License-Identifier: GPL-2.0

//! Sightings: which ESP SPIs were seen in UDP on which entries, so that an initiator whose address
//! or port changes is known again by its ESP (RFC 4555; RFC 7296 section 2.23).

use super::{
    hints::Hint,
    table::{Entries, EntryNode},
    Entry,
};
use crate::{
    addr::Addr,
    ike::{state::State, NATT_PORT},
    kapi::{once, rcu::Guard, time, work::breathe},
};
use kernel::sync::atomic::{Atomic, Full, Relaxed};

/// SPIs that an entry remembers.
const SLOTS: usize = 4;

/// Entries of an address that a new port of its may belong to. A connection with an SA for each
/// CPU (RFC 9611) has as many ports.
const SIBLINGS: usize = 256;

/// The SPIs that were seen on an entry. One that is initial sees none; there the place is for the SPI
/// with which the server has begun an IKE SA itself.
pub(super) struct Spis([Atomic<u32>; SLOTS]);

impl Spis {
    pub(super) fn none() -> Self {
        Spis([const { Atomic::new(0) }; SLOTS])
    }

    /// The server has begun an IKE SA with this SPI.
    pub(super) fn offer(&self, spi: u64) {
        let [high, low, ..] = &self.0;
        let [a, b, c, d, e, f, g, h] = spi.to_be_bytes();
        high.store(u32::from_be_bytes([a, b, c, d]), Relaxed);
        low.store(u32::from_be_bytes([e, f, g, h]), Relaxed);
    }

    /// The SPI with which the server has begun an IKE SA, 0 if it has not. Half of it may be another's,
    /// if it is just beginning one more.
    pub(super) fn offered(&self) -> u64 {
        let [high, low, ..] = &self.0;
        u64::from(once::read(high)) << 32 | u64::from(once::read(low))
    }

    /// The entry is established: what the server has begun no longer matters.
    pub(super) fn clear(&self) {
        self.0.iter().for_each(|slot| slot.store(0, Relaxed));
    }

    #[inline]
    pub(super) fn has(&self, spi: u32) -> bool {
        self.0.iter().any(|slot| once::read(slot) == spi)
    }

    /// Puts an SPI in the place of none, or of another, which is returned. With more SPIs than there
    /// is room for one takes another's place if it `may`: `None` otherwise.
    fn put(&self, spi: u32, may: impl FnOnce() -> bool) -> Option<u32> {
        let mut slots = self.0.iter();
        if slots.any(|slot| slot.cmpxchg(0, spi, Full).is_ok()) {
            return Some(0);
        }
        if !may() {
            return None;
        }
        let place = usize::try_from(spi).unwrap_or(0) % SLOTS;
        self.0.get(place).map(|slot| slot.xchg(spi, Full))
    }

    /// All of them.
    fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let spis = self.0.iter().map(|slot| slot.load(Relaxed));
        spis.filter(|spi| *spi != 0)
    }
}

impl Entries {
    /// Remembers that ESP of this SPI was let through in UDP by an entry.
    #[inline]
    pub(crate) fn sight(&self, guard: &Guard, entry: &EntryNode, spi: u32, now: u64) {
        if !entry.has_seen(spi) {
            self.sight_new(guard, entry, spi, now);
        }
    }

    #[cold]
    fn sight_new(&self, guard: &Guard, entry: &EntryNode, spi: u32, now: u64) {
        let second = time::to_milliseconds(now) / 1000;
        let may = || entry.kept.notes().is_first_in(second);
        let Some(old) = entry.spis.put(spi, may) else {
            return;
        };
        if old != 0 {
            self.sightings.forget(guard, self.sighting(entry, old));
        }
        self.sightings.note(guard, self.sighting(entry, spi));
        // Who ends the life of an entry forgets what it has seen: either he has found this,
        // or we find here that it is gone.
        if entry.is_gone() {
            self.sightings.forget(guard, self.sighting(entry, spi));
        }
    }

    /// Forgets every SPI that was seen on an entry.
    pub(super) fn forget_all(&self, guard: &Guard, entry: &EntryNode) {
        for spi in entry.spis.iter() {
            self.sightings.forget(guard, self.sighting(entry, spi));
        }
    }

    /// Has as much room for sightings as there are. Sleeps.
    pub(super) fn fit_sightings(&self) {
        self.sightings.fit(|tell| {
            for bucket in 0..self.size() {
                self.table.visit(&Guard::new(), bucket, |entry| {
                    if !entry.is_gone() && !entry.is_initial() {
                        let spis = entry.spis.iter();
                        spis.for_each(|spi| tell(self.sighting(entry, spi)));
                    }
                });
                breathe();
            }
        });
    }

    /// The established entry of a service on which ESP of this SPI was seen last.
    pub(crate) fn by_esp<'g>(
        &'g self,
        guard: &'g Guard,
        vip: &Addr,
        spi: u32,
        now: u64,
    ) -> Option<&'g EntryNode> {
        let hash = self.sighting_hash(vip, spi);
        self.sightings.find(guard, hash, |hash| {
            self.table.find::<0>(guard, hash, |entry| {
                entry.spis.has(spi)
                    && entry.vip() == *vip
                    && entry.state(now) == Some(State::Established)
            })
        })
    }

    /// An established entry on port 4500 of an initiator's address, if all its entries have one
    /// server: a port from which nothing but ESP has come is likely to belong there.
    pub(crate) fn sole<'g>(
        &'g self,
        guard: &'g Guard,
        client: &Addr,
        vip: &Addr,
        now: u64,
    ) -> Option<&'g EntryNode> {
        let is_alive = |entry: &Entry| entry.state(now) == Some(State::Established);
        let find = |wanted: &mut dyn FnMut(&Entry) -> bool| {
            self.find_by_address(guard, client, vip, State::Established, wanted)
        };
        let found = find(&mut |entry| is_alive(entry) && entry.flow().vip_port == NATT_PORT)?;
        let mut count = 0;
        let other = find(&mut |entry| {
            count += 1;
            count > SIBLINGS || is_alive(entry) && !entry.is_served_by(&found.server)
        });
        other.is_none().then_some(found)
    }

    fn sighting(&self, entry: &EntryNode, spi: u32) -> Hint {
        Hint {
            of: self.sighting_hash(&entry.vip(), spi),
            hash: entry.first_hash(),
        }
    }

    fn sighting_hash(&self, vip: &Addr, spi: u32) -> u32 {
        let [high, low] = vip.words();
        self.key.hash([high, low], spi.into())
    }
}
