// SPDX-License-Identifier: GPL-2.0

//! Spinlocks that softirq and process context share.
//!
//! C header: [`include/linux/spinlock.h`](srctree/include/linux/spinlock.h)

use super::bindings;
use core::{cmp::Ordering, marker::PhantomData};
use kernel::{
    prelude::*,
    sync::barrier::{smp_mb, Read},
    types::{NotThreadSafe, Opaque},
};

/// `N` spinlocks, each for a share of a table's buckets. They guard no data of their own: the
/// table says what they guard.
///
/// # Invariants
///
/// The locks are initialised, and stay where they are.
pub(crate) struct Stripes<const N: usize>(Pin<KBox<[Opaque<bindings::spinlock_t>; N]>>);

// SAFETY: Spinlocks are made to be shared.
unsafe impl<const N: usize> Send for Stripes<N> {}
// SAFETY: Spinlocks are made to be shared.
unsafe impl<const N: usize> Sync for Stripes<N> {}

impl<const N: usize> Stripes<N> {
    /// Unlocked locks. Sleeps.
    pub(crate) fn new() -> Result<Self> {
        let unlocked = |_| {
            Opaque::ffi_init(|lock| {
                // SAFETY: `lock` is memory for a spinlock that stays where it is.
                unsafe { bindings::ipvs_ipsec_spin_lock_init(lock) };
            })
        };
        // INVARIANT: Just initialised, in a box that is pinned.
        KBox::pin_init(
            pin_init::pin_init_array_from_fn(unlocked),
            GFP_KERNEL_ACCOUNT,
        )
        .map(Stripes)
    }

    /// Takes the lock for `hash`, with softirqs off on this CPU, at a `level` (lockdep's subclass, 0
    /// to 7).
    #[inline]
    pub(crate) fn lock(&self, hash: usize, level: usize) -> StripeGuard<'_> {
        let lock = self.stripe(hash);
        let level = c_int::try_from(level).unwrap_or(0);
        // SAFETY: The lock is initialised by the type invariant.
        unsafe { bindings::ipvs_ipsec_spin_lock_bh_nested(lock.get(), level) };
        // INVARIANT: It has just been taken.
        StripeGuard(lock, NotThreadSafe)
    }

    /// Takes the lock for `hash` while another is held, which is of a lesser `level`.
    #[inline]
    pub(crate) fn lock_within<'a>(
        &'a self,
        _: &'a StripeGuard<'_>,
        hash: usize,
        level: usize,
    ) -> InnerGuard<'a> {
        let lock = self.stripe(hash);
        let level = c_int::try_from(level).unwrap_or(0);
        // SAFETY: The lock is initialised by the type invariant. Softirqs are off, and stay so until
        // the outer guard ends, which is later.
        unsafe { bindings::ipvs_ipsec_spin_lock_nested(lock.get(), level) };
        // INVARIANT: It has just been taken.
        InnerGuard(lock, NotThreadSafe)
    }

    /// Takes the locks for two hashes while another is held, both of a greater `level`; the second
    /// is of the level `then`. In an order that all take them in.
    pub(crate) fn lock_two_within<'a>(
        &'a self,
        outer: &'a StripeGuard<'_>,
        [one, other]: [usize; 2],
        level: usize,
        then: usize,
    ) -> (Option<InnerGuard<'a>>, InnerGuard<'a>) {
        let [first, second] = match Self::number(one).cmp(&Self::number(other)) {
            Ordering::Less => [one, other],
            Ordering::Equal => return (None, self.lock_within(outer, one, level)),
            Ordering::Greater => [other, one],
        };
        let first = self.lock_within(outer, first, level);
        (Some(first), self.lock_within(outer, second, then))
    }

    /// Waits until the present holder of the lock for `hash` releases it. The caller holds none.
    #[inline]
    pub(crate) fn wait(&self, hash: usize, level: usize) {
        // ORDERING: Pairs with the stores to chains, which are Release: a caller that has seen a
        // part of a change under the lock sees here that it is held, or sees the whole change.
        smp_mb(Read);
        // SAFETY: The lock is initialised by the type invariant.
        if unsafe { bindings::ipvs_ipsec_spin_is_locked(self.stripe(hash).get()) } {
            drop(self.lock(hash, level));
        } else {
            // ORDERING: Pairs with the unlock, which is Release: a caller that sees the lock
            // released reads the chains after that. A branch orders no loads.
            smp_mb(Read);
        }
    }

    #[inline]
    fn number(hash: usize) -> usize {
        const { assert!(N.is_power_of_two()) };
        hash & (N - 1)
    }

    #[inline]
    fn stripe(&self, hash: usize) -> &Opaque<bindings::spinlock_t> {
        &self.0[Self::number(hash)]
    }
}

/// Proof that softirqs are off on this CPU, or that this is one, as hooks run. It costs nothing.
///
/// On PREEMPT_RT that keeps a task on its CPU, but not others from running there in between: what
/// belongs to the CPU wants a lock of its own besides (`local_lock_nested_bh()`).
///
/// # Invariants
///
/// Softirqs stay off during `'a`.
#[derive(Clone, Copy)]
pub(crate) struct BhDisabled<'a>(PhantomData<&'a ()>, NotThreadSafe);

impl BhDisabled<'_> {
    /// For callers that run with softirqs off anyway.
    ///
    /// # Safety
    ///
    /// They are off, and stay so for the lifetime of the result.
    #[inline(always)]
    pub(super) unsafe fn assume() -> Self {
        // INVARIANT: By the safety requirements.
        BhDisabled(PhantomData, NotThreadSafe)
    }
}

/// No softirq begins on this CPU.
pub(crate) struct BhGuard(NotThreadSafe);

impl BhGuard {
    /// Until it is dropped.
    pub(crate) fn new() -> Self {
        // SAFETY: Dropping it turns them on again.
        unsafe { bindings::ipvs_ipsec_local_bh_disable() };
        BhGuard(NotThreadSafe)
    }

    /// Likewise, unless they are off already, or this is one.
    #[inline]
    pub(crate) fn unless_in_softirq() -> Option<Self> {
        // SAFETY: Asking has no requirements.
        let is_softirq = unsafe { bindings::ipvs_ipsec_in_softirq() };
        (!is_softirq).then(Self::new)
    }
}

impl Drop for BhGuard {
    fn drop(&mut self) {
        // SAFETY: `new` has turned them off.
        unsafe { bindings::ipvs_ipsec_local_bh_enable() };
    }
}

/// Evidence that a lock is held.
///
/// # Invariants
///
/// This CPU holds the lock.
pub(crate) struct StripeGuard<'a>(&'a Opaque<bindings::spinlock_t>, NotThreadSafe);

impl Drop for StripeGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the lock is held.
        unsafe { bindings::ipvs_ipsec_spin_unlock_bh(self.0.get()) };
    }
}

/// Evidence that a lock is held within another one.
///
/// # Invariants
///
/// This CPU holds the lock.
pub(crate) struct InnerGuard<'a>(&'a Opaque<bindings::spinlock_t>, NotThreadSafe);

impl Drop for InnerGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the lock is held.
        unsafe { bindings::ipvs_ipsec_spin_unlock(self.0.get()) };
    }
}
