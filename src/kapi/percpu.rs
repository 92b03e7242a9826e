// SPDX-License-Identifier: GPL-2.0

//! Counters, and words, that each CPU keeps for itself.
//!
//! C header: [`include/linux/percpu.h`](srctree/include/linux/percpu.h)

use super::{bindings, lock::BhDisabled};
use core::{marker::PhantomData, ptr::NonNull};
use kernel::{alloc::AllocError, prelude::*};

/// `N` counters of 64 bits on every CPU.
///
/// # Invariants
///
/// The pointer is a per-CPU allocation of `N` counters that this owns.
pub(crate) struct Counters<const N: usize>(NonNull<u64>);

// SAFETY: Each CPU writes its own counters only, and whole words are read.
unsafe impl<const N: usize> Send for Counters<N> {}
// SAFETY: As above.
unsafe impl<const N: usize> Sync for Counters<N> {}

impl<const N: usize> Counters<N> {
    /// Counters that stand at zero. Sleeps.
    pub(crate) fn new() -> Result<Self, AllocError> {
        // SAFETY: Allocating has no requirements; the memory comes zeroed.
        let counters = unsafe { bindings::ipvs_ipsec_alloc_percpu_u64(N) };
        // INVARIANT: A fresh allocation of `N` counters.
        NonNull::new(counters).map(Counters).ok_or(AllocError)
    }

    /// Adds `n` to counter `index` of this CPU. An index that is none is not counted.
    #[inline]
    pub(crate) fn add(&self, index: usize, n: u64) {
        if index < N {
            // SAFETY: By the type invariant, and `index` is in bounds.
            unsafe { bindings::ipvs_ipsec_this_cpu_add(self.0.as_ptr().wrapping_add(index), n) };
        }
    }

    /// A counter and its next one; `None` if there are not as many.
    #[inline(always)]
    pub(crate) fn pair(&self, index: usize) -> Option<Pair<'_>> {
        // INVARIANT: Both are in bounds of an allocation that is borrowed.
        (index + 1 < N).then(|| Pair(self.0.as_ptr().wrapping_add(index), PhantomData))
    }

    /// Adds 1 to counter `index` of this CPU, and to both `pairs` 1 and `n`.
    #[inline(always)]
    pub(crate) fn count_packet(
        &self,
        _: BhDisabled<'_>,
        index: usize,
        pairs: Option<[Pair<'_>; 2]>,
        n: u64,
    ) {
        if let Some([Pair(one, ..), Pair(other, ..)]) = pairs.filter(|_| index < N) {
            let event = self.0.as_ptr().wrapping_add(index);
            // SAFETY: By the type invariants, and `index` is in bounds. Softirqs are off.
            unsafe { bindings::ipvs_ipsec_count_packet(event, one, other, n) };
        }
    }

    /// Counter `index` summed over all CPUs; 0 for an index that is none.
    pub(crate) fn sum(&self, index: usize) -> u64 {
        if index >= N {
            return 0;
        }
        // SAFETY: By the type invariant, and `index` is in bounds.
        unsafe { bindings::ipvs_ipsec_percpu_sum(self.0.as_ptr().wrapping_add(index)) }
    }
}

impl<const N: usize> Drop for Counters<N> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant we own the allocation. May be called in any context.
        unsafe { bindings::free_percpu(self.0.as_ptr().cast()) };
    }
}

/// Two counters that follow one another.
///
/// # Invariants
///
/// The pointer is one to the first of two counters of a per-CPU allocation that lives as long.
#[derive(Clone, Copy)]
pub(crate) struct Pair<'a>(*mut u64, PhantomData<&'a ()>);

/// A word of 64 bits on every CPU.
///
/// # Invariants
///
/// The pointer is a per-CPU allocation of words that this owns.
pub(crate) struct Word(NonNull<bindings::ipvs_ipsec_word>);

// SAFETY: Each CPU uses its own word only, under the lock of that.
unsafe impl Send for Word {}
// SAFETY: As above.
unsafe impl Sync for Word {}

impl Word {
    /// Words that are zero. Sleeps.
    pub(crate) fn new() -> Result<Self, AllocError> {
        // SAFETY: Allocating has no requirements; the words come zeroed, and with their locks
        // initialised.
        let words = unsafe { bindings::ipvs_ipsec_alloc_word() };
        // INVARIANT: A fresh allocation.
        NonNull::new(words).map(Word).ok_or(AllocError)
    }

    /// Sets the word of this CPU to the first of what `change` returns, and returns the second. The
    /// word is locked meanwhile: `change` must not come here again.
    #[inline(always)]
    pub(crate) fn change<R>(&self, _: BhDisabled<'_>, change: impl FnOnce(u64) -> (u64, R)) -> R {
        // SAFETY: By the type invariant, with softirqs off. We unlock below.
        let word = unsafe { bindings::ipvs_ipsec_word_lock(self.0.as_ptr()) };
        // SAFETY: The word is this CPU's, which we do not leave, and its lock is held.
        let (to, result) = change(unsafe { *word });
        // SAFETY: As above.
        unsafe { *word = to };
        // SAFETY: The lock is ours.
        unsafe { bindings::ipvs_ipsec_word_unlock(self.0.as_ptr()) };
        result
    }
}

impl Drop for Word {
    fn drop(&mut self) {
        // SAFETY: By the type invariant we own the allocation. May be called in any context.
        unsafe { bindings::free_percpu(self.0.as_ptr().cast()) };
    }
}
