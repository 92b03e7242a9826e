// SPDX-License-Identifier: GPL-2.0

//! Relaxed loads and stores that the packet path does by the dozen. Those of `Atomic` are the same, by
//! way of a call to C each time.
//!
//! C header: [`include/asm-generic/rwonce.h`](srctree/include/asm-generic/rwonce.h)

use kernel::sync::atomic::{Atomic, AtomicType};

/// The value as of now, as `READ_ONCE` has it: what is read through it, if it is a pointer, is read
/// after it, and nothing else is ordered.
#[inline]
pub(crate) fn read<T: AtomicType>(atomic: &Atomic<T>) -> T {
    // SAFETY: The pointer is valid and aligned. A volatile read of a whole word is an atomic access
    // as the kernel's memory model has it.
    unsafe { atomic.as_ptr().read_volatile() }
}

/// Stores a value, as `WRITE_ONCE` has it: nothing else is ordered.
#[inline]
pub(super) fn write<T: AtomicType>(atomic: &Atomic<T>, value: T) {
    // SAFETY: The pointer is valid and aligned. A volatile write of a whole word is an atomic access
    // as the kernel's memory model has it.
    unsafe { atomic.as_ptr().write_volatile(value) }
}
