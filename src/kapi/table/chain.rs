// SPDX-License-Identifier: GPL-2.0

//! The chains of a table: links that are part of the objects, and the buckets they begin in.
//!
//! Readers follow them under RCU; writers hold the stripe lock of the chain. A chain ends in a
//! marker that names its bucket, in the manner of `include/linux/rculist_nulls.h`.

use super::agenda::Agenda;
use crate::kapi::{once, rcu::Guard, work::breathe};
use core::ptr::{self, NonNull};
use kernel::{
    alloc::{flags::__GFP_NOWARN, AllocError, Flags},
    num::casts::u32_as_usize,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed, Release},
        barrier::{smp_mb, Read},
    },
};

/// How memory for buckets is asked for: a table that finds none for more goes on as it is, which is
/// nothing to fill the kernel's log with.
pub(super) fn flags() -> Flags {
    GFP_KERNEL | __GFP_NOWARN
}

/// The pointer to what comes next in a chain: an object's [`Link`], or an end marker.
#[repr(transparent)]
pub(super) struct Next(Atomic<*mut Link>);

impl Next {
    /// What comes next, as a reader sees it.
    #[inline]
    pub(super) fn load(&self) -> *mut Link {
        // ORDERING: Pairs with the stores of `Link`, so that objects are seen whole: whatever is read
        // of them is read through this pointer, as with `rcu_dereference`.
        once::read(&self.0)
    }

    /// The marker that ends the chain which begins here.
    #[inline]
    pub(super) fn marker(&self) -> *mut Link {
        ptr::from_ref(self)
            .cast_mut()
            .cast::<Link>()
            .map_addr(|addr| addr | 1)
    }

    /// The link that comes next; `None` at the end of the chain.
    #[inline]
    pub(super) fn link(next: *mut Link) -> Option<NonNull<Link>> {
        NonNull::new(next).filter(|link| link.addr().get() & 1 == 0)
    }
}

/// An object's place in an index.
///
/// # Invariants
///
/// While linked, `prev` is what points here, else null. It changes only under the stripe lock, and
/// from null and to null only under the lock of the object.
#[repr(C)]
pub(super) struct Link {
    pub(super) next: Next,
    prev: Atomic<*mut Next>,
}

impl Link {
    /// A link that is in no chain.
    pub(super) const fn new() -> Self {
        Link {
            next: Next(Atomic::new(ptr::null_mut())),
            prev: Atomic::new(ptr::null_mut()),
        }
    }

    /// Whether the link is in a chain. The caller holds the lock of the object.
    pub(super) fn is_linked(&self) -> bool {
        !self.prev.load(Relaxed).is_null()
    }

    /// Puts the link at the head of a chain. The caller holds the stripe lock of the chain.
    pub(super) fn link(&self, head: &Next) {
        let next = head.0.load(Relaxed);
        // ORDERING: Release, for a reader that stands here while the link changes chains.
        self.next.0.store(next, Release);
        self.prev.store(ptr::from_ref(head).cast_mut(), Relaxed);
        if let Some(next) = Next::link(next) {
            // SAFETY: What is linked is alive while we hold the stripe lock.
            let next = unsafe { next.as_ref() };
            next.prev
                .store(ptr::from_ref(&self.next).cast_mut(), Relaxed);
        }
        // ORDERING: Publishes the object to `Next::load`.
        head.0.store(ptr::from_ref(self).cast_mut(), Release);
    }

    /// Takes the link out of its chain; `false` if it is in none. Readers who stand here go on.
    /// The caller holds the stripe lock of the chain.
    pub(super) fn unlink(&self) -> bool {
        let Some(prev) = NonNull::new(self.prev.xchg(ptr::null_mut(), Relaxed)) else {
            return false;
        };
        let next = self.next.0.load(Relaxed);
        if let Some(next) = Next::link(next) {
            // SAFETY: What is linked is alive while we hold the stripe lock.
            unsafe { next.as_ref() }.prev.store(prev.as_ptr(), Relaxed);
        }
        // SAFETY: By the type invariant this is what points here: another link, or a slot.
        let prev = unsafe { prev.as_ref() };
        // ORDERING: Release, so that the next object is seen whole through this link too.
        prev.0.store(next, Release);
        true
    }

    /// The link before this one in the chain at `head`, unless it is the first. The caller holds the
    /// stripe lock of the chain.
    pub(super) fn before(&self, head: &Next) -> Option<NonNull<Link>> {
        let prev = self.prev.load(Relaxed);
        // What points to a link is the first field of another, or the head.
        NonNull::new(prev.cast::<Link>()).filter(|_| !ptr::eq(prev, head))
    }

    /// Moves the link, which is the last of the chain at `from`, to the head of another chain. The
    /// caller holds the stripe lock of both.
    ///
    /// A reader who stands at the last object has missed nothing when it moves, and one who comes
    /// too late finds it in the other chain.
    pub(super) fn move_last(&self, from: &Next, to: &Next) {
        let prev = NonNull::new(self.prev.load(Relaxed));
        self.link(to);
        if let Some(prev) = prev {
            // SAFETY: By the type invariant, and we hold the stripe lock.
            let prev = unsafe { prev.as_ref() };
            // ORDERING: After the object can be found in the other chain.
            prev.0.store(from.marker(), Release);
        }
    }
}

/// Buckets made before others may have the CPU.
const PACE: usize = 4096;

/// The buckets of an index, in one of its sizes.
pub(super) struct Buckets {
    pub(super) slots: KVVec<Next>,
    /// When they want a visit.
    pub(super) agenda: Agenda,
    /// The bucket array that objects are moving to.
    pub(super) successor: Atomic<*mut Buckets>,
}

impl Buckets {
    /// `count` empty buckets, a power of two. Sleeps.
    pub(super) fn new(count: usize) -> Result<KBox<Self>, AllocError> {
        let mut slots = KVVec::with_capacity(count, flags())?;
        for number in 0..count {
            slots.push(Next(Atomic::new(ptr::null_mut())), flags())?;
            if number % PACE == 0 {
                breathe();
            }
        }
        // From here on the slots stay where they are.
        for some in slots.chunks(PACE) {
            some.iter()
                .for_each(|slot| slot.0.store(slot.marker(), Relaxed));
            breathe();
        }
        KBox::new(
            Buckets {
                slots,
                agenda: Agenda::new(count)?,
                successor: Atomic::new(ptr::null_mut()),
            },
            flags(),
        )
    }

    /// What objects move to, while they do.
    pub(super) fn successor<'g>(&'g self, _: &'g Guard) -> Option<&'g Buckets> {
        // ORDERING: The caller has looked into these buckets before. Who misses an object there
        // because it was moved has read a link that was stored, with Release, after `successor`.
        smp_mb(Read);
        // ORDERING: As in `Index::first`.
        let successor = once::read(&self.successor);
        // SAFETY: What is not null lives as long as the guard: see `Index`.
        unsafe { successor.as_ref() }
    }

    /// The number of the bucket for `hash`.
    #[inline]
    pub(super) fn number(&self, hash: u32) -> usize {
        u32_as_usize(hash) & (self.slots.len() - 1)
    }

    /// The head of the chain for `hash`.
    #[inline]
    pub(super) fn slot(&self, hash: u32) -> &Next {
        &self.slots[self.number(hash)]
    }
}
