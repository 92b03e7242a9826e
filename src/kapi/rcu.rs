// SPDX-License-Identifier: GPL-2.0

//! Objects that readers find without a lock, and whose end waits for them.
//!
//! C header: [`include/linux/rcupdate.h`](srctree/include/linux/rcupdate.h)

#[cfg(CONFIG_KUNIT)]
mod tests;

use super::{bindings, once};
use core::{ops::Deref, ptr::NonNull};
use kernel::{
    alloc::AllocError,
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Full},
        Arc, ArcBorrow, UniqueArc,
    },
    types::Opaque,
};

/// Proof that this CPU reads under RCU.
///
/// # Invariants
///
/// The CPU is in a read-side critical section, of this guard's own or of the caller's, that ends
/// after the guard.
pub(crate) struct Guard(
    #[allow(dead_code, reason = "kept for its end")] Option<kernel::sync::rcu::Guard>,
);

impl Guard {
    /// Begins a critical section that ends with the guard.
    #[inline]
    pub(crate) fn new() -> Self {
        // INVARIANT: The section is the guard's own.
        Guard(Some(kernel::sync::rcu::Guard::new()))
    }

    /// For a critical section that has begun already.
    ///
    /// # Safety
    ///
    /// The caller is in one, and it ends after the guard.
    #[inline]
    pub(super) unsafe fn within() -> Self {
        // INVARIANT: By the safety requirements.
        Guard(None)
    }
}

/// Complains, on a kernel that proves its use of RCU, if no [`Guard`] is alive on this CPU.
#[inline]
pub(super) fn assert_reading() {
    #[cfg(CONFIG_PROVE_RCU)]
    // SAFETY: No requirements.
    unsafe {
        bindings::ipvs_ipsec_rcu_assert_reading()
    };
}

/// Has `callback` called with `head` after a grace period.
///
/// # Safety
///
/// The memory of `head` must not be used for anything else until then, and the callback must be
/// right to call. It must not be a module's that does not wait for it: see [`Barrier`].
pub(super) unsafe fn call_later(
    head: NonNull<Head>,
    callback: unsafe extern "C" fn(*mut bindings::callback_head),
) {
    // SAFETY: By the safety requirements. A head is nothing but what C calls it.
    unsafe { bindings::call_rcu(head.as_ptr().cast(), Some(callback)) };
}

/// What RCU has of an object that is to go: see [`call_later`].
#[repr(transparent)]
pub(super) struct Head(Opaque<bindings::callback_head>);

// SAFETY: Only whoever gives an object to RCU touches its head.
unsafe impl Send for Head {}
// SAFETY: As above.
unsafe impl Sync for Head {}

impl Head {
    /// A head that is not used yet.
    pub(super) const fn new() -> Self {
        Head(Opaque::uninit())
    }
}

#[repr(C)]
struct Inner<T> {
    head: Head,
    value: T,
}

/// A value for a [`Cell`], which nobody else has. What came out of a cell cannot go into one again:
/// its head is RCU's from the time when the cell gives it up.
pub(crate) struct Unpublished<T>(UniqueArc<Inner<T>>);

impl<T> Unpublished<T> {
    /// Allocates for `value`. Sleeps.
    pub(crate) fn new(value: T) -> Result<Self, AllocError> {
        let inner = Inner {
            head: Head::new(),
            value,
        };
        UniqueArc::new(inner, GFP_KERNEL_ACCOUNT).map(Unpublished)
    }
}

impl<T> Deref for Unpublished<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

/// A value out of a [`Cell`]. Its holder may keep it.
pub(crate) struct Snapshot<T>(Arc<Inner<T>>);

impl<T> Deref for Snapshot<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

/// A pointer to a value that readers follow while others replace the value.
///
/// # Invariants
///
/// The pointer comes out of an `Arc`, and the cell owns that reference to it.
pub(crate) struct Cell<T: Send + Sync + 'static>(Atomic<*mut Inner<T>>);

impl<T: Send + Sync + 'static> Cell<T> {
    /// A cell that holds `value`. Sleeps.
    pub(crate) fn new(value: T) -> Result<Self, AllocError> {
        // INVARIANT: The pointer comes out of an `Arc` that becomes ours.
        Ok(Cell(Atomic::new(Self::release(Unpublished::new(value)?))))
    }

    /// The value as of now, for as long as the guard lives.
    #[inline]
    pub(crate) fn read<'g>(&'g self, _: &'g Guard) -> &'g T {
        assert_reading();
        // ORDERING: Pairs with the exchange in `replace`: the value is read through this pointer, and
        // seen whole.
        let inner = once::read(&self.0);
        // SAFETY: By the type invariant this is alive. `replace` lets it live until the guard's
        // critical section ends, and `drop` has exclusive access.
        unsafe { &(*inner).value }
    }

    /// The value as of now, for as long as one likes.
    pub(crate) fn snapshot(&self) -> Snapshot<T> {
        let _guard = Guard::new();
        // ORDERING: As in `read`.
        let inner = self.0.load(Acquire);
        // SAFETY: As in `read`; the cell's own reference is not dropped while the guard lives.
        Snapshot(unsafe { ArcBorrow::from_raw(inner) }.into())
    }

    /// Puts `value` in the place of the old one, which is dropped after a grace period.
    pub(crate) fn replace(&self, value: Unpublished<T>) {
        // ORDERING: Publishes the value to the loads in `read` and `snapshot`.
        let old = self.0.xchg(Self::release(value), Full);
        // SAFETY: By the type invariant the reference to `old` is ours, and the exchange has made
        // it this call's. What a cell holds was unpublished before: it is in this cell only, once, and
        // its head is free.
        unsafe { bindings::call_rcu((*old).head.0.get(), Some(drop_reference::<T>)) };
    }

    fn release(value: Unpublished<T>) -> *mut Inner<T> {
        Arc::into_raw(Arc::from(value.0)).cast_mut()
    }
}

/// Called by RCU when a grace period has passed.
///
/// # Safety
///
/// `head` is that of a value which a [`Cell`] gave up, with the cell's reference.
unsafe extern "C" fn drop_reference<T>(head: *mut bindings::callback_head) {
    // SAFETY: The head is the first field, and the reference is ours.
    drop(unsafe { Arc::from_raw(head.cast_const().cast::<Inner<T>>()) });
}

impl<T: Send + Sync + 'static> Drop for Cell<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the reference is ours. There are no readers: they borrow
        // the cell.
        drop(unsafe { Arc::from_raw(self.0.get_mut().cast_const()) });
    }
}

/// Waits, when dropped, until every callback given to RCU has run. The last field of a module.
pub(crate) struct Barrier;

impl Drop for Barrier {
    fn drop(&mut self) {
        kernel::sync::rcu::rcu_barrier();
    }
}
