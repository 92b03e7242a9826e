// SPDX-License-Identifier: GPL-2.0

//! The chains of a table: pointers that are part of the objects, and the buckets they begin in.
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
        atomic::{Atomic, Release},
        barrier::{smp_mb, Read},
    },
};

/// How memory for buckets is asked for: a table that finds none for more goes on as it is, which is
/// nothing to fill the kernel's log with.
pub(super) fn flags() -> Flags {
    GFP_KERNEL_ACCOUNT | __GFP_NOWARN
}

/// The pointer to what comes next in a chain: to the same in another object, or an end marker.
#[repr(transparent)]
pub(super) struct Next(Atomic<*mut Next>);

impl Next {
    /// That of an object which is in no chain.
    pub(super) const fn new() -> Self {
        Next(Atomic::new(ptr::null_mut()))
    }

    /// What comes next, as a reader sees it.
    #[inline]
    pub(super) fn load(&self) -> *mut Next {
        // ORDERING: Pairs with the stores of `Place`, so that objects are seen whole: whatever is read
        // of them is read through this pointer, as with `rcu_dereference`.
        once::read(&self.0)
    }

    /// The marker that ends the chain which begins here.
    #[inline]
    pub(super) fn marker(&self) -> *mut Next {
        Self::end_at(ptr::from_ref(self).cast_mut())
    }

    /// The marker that ends the chain which begins there.
    #[inline]
    fn end_at(slot: *mut Next) -> *mut Next {
        slot.map_addr(|addr| addr | 1)
    }

    /// What comes next, if it is an object's; `None` at the end of the chain.
    #[inline]
    pub(super) fn object(next: *mut Next) -> Option<NonNull<Next>> {
        NonNull::new(next).filter(|next| next.addr().get() & 1 == 0)
    }
}

/// What points to an object in a chain: the [`Next`] before it. Null while it is in none.
#[repr(transparent)]
pub(super) struct Prev(Atomic<*mut Next>);

impl Prev {
    /// That of an object which is in no chain.
    pub(super) const fn new() -> Self {
        Prev(Atomic::new(ptr::null_mut()))
    }

    /// Whether the object is in the chain. The caller holds the lock of the object.
    pub(super) fn is_linked(&self) -> bool {
        !once::read(&self.0).is_null()
    }
}

/// An object's place in an index.
///
/// # Invariants
///
/// In all objects of an index `prev` is as far from `next`. While linked, `prev` is what points to
/// `next`, else null. It changes only under the stripe lock, and from null and to null only under the
/// lock of the object.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    next: &'a Next,
    prev: &'a Prev,
}

impl<'a> Place<'a> {
    /// The place of these two.
    ///
    /// # Safety
    ///
    /// The type invariants.
    #[inline]
    pub(super) unsafe fn new(next: &'a Next, prev: &'a Prev) -> Self {
        // INVARIANT: By the safety requirements.
        Place { next, prev }
    }

    /// Has what comes next, if it is an object, know what points to it from now on. The caller holds
    /// the stripe lock of the chain.
    fn precede(&self, next: *mut Next, with: &Next) {
        let Some(next) = Next::object(next) else {
            return;
        };
        let distance = ptr::from_ref(self.prev)
            .addr()
            .wrapping_sub(ptr::from_ref(self.next).addr());
        let prev = next.addr().get().wrapping_add(distance);
        let prev = ptr::with_exposed_provenance::<Prev>(prev);
        // SAFETY: By the type invariant this is the `prev` of the next object, whose provenance is
        // exposed (`Node`). What is linked is alive while we hold the stripe lock.
        once::write(unsafe { &(*prev).0 }, ptr::from_ref(with).cast_mut());
    }

    /// Whether the object is in the chain. The caller holds the lock of the object.
    pub(super) fn is_linked(&self) -> bool {
        self.prev.is_linked()
    }

    /// Puts the object at the head of a chain. The caller holds the stripe lock of the chain.
    #[inline]
    pub(super) fn link(&self, head: &Next) {
        let next = once::read(&head.0);
        // ORDERING: Release, for a reader that stands here while the object changes chains.
        self.next.0.store(next, Release);
        once::write(&self.prev.0, ptr::from_ref(head).cast_mut());
        self.precede(next, self.next);
        // ORDERING: Publishes the object to `Next::load`.
        head.0.store(ptr::from_ref(self.next).cast_mut(), Release);
    }

    /// Takes the object out of its chain; `false` if it is in none. Readers who stand here go on.
    /// The caller holds the stripe lock of the chain.
    pub(super) fn unlink(&self) -> bool {
        let Some(prev) = NonNull::new(once::read(&self.prev.0)) else {
            return false;
        };
        once::write(&self.prev.0, ptr::null_mut());
        // SAFETY: By the type invariant this is what points here: another object's, or a slot.
        let prev = unsafe { prev.as_ref() };
        let next = once::read(&self.next.0);
        self.precede(next, prev);
        // ORDERING: Release, so that the next object is seen whole through this pointer too.
        prev.0.store(next, Release);
        true
    }

    /// The object before this one in the chain at `head`, unless it is the first. The caller holds
    /// the stripe lock of the chain.
    pub(super) fn before(&self, head: &Next) -> Option<NonNull<Next>> {
        // What points here is in another object, or the head.
        NonNull::new(once::read(&self.prev.0)).filter(|prev| !ptr::eq(prev.as_ptr(), head))
    }

    /// Moves the object, which is the last of the chain at `from`, to the head of another chain. The
    /// caller holds the stripe lock of both.
    ///
    /// A reader who stands at the last object has missed nothing when it moves, and one who comes
    /// too late finds it in the other chain.
    pub(super) fn move_last(&self, from: &Next, to: &Next) {
        let prev = NonNull::new(once::read(&self.prev.0));
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
        let mut slots: KVVec<Next> = KVVec::with_capacity(count, flags())?;
        for some in slots.spare_capacity_mut()[..count].chunks_mut(PACE) {
            for slot in some {
                // It stays where it is.
                let marker = Next::end_at(slot.as_mut_ptr());
                slot.write(Next(Atomic::new(marker)));
            }
            breathe();
        }
        // SAFETY: There was room for so many, and all of them have just been written.
        unsafe { slots.inc_len(count) };
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
