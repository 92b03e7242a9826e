// SPDX-License-Identifier: GPL-2.0

//! Memory for what packets make, without the detour of a box that could be resized.
//!
//! C header: [`include/linux/slab.h`](srctree/include/linux/slab.h)

use super::bindings;
use core::{mem::MaybeUninit, ptr::NonNull};
use kernel::{alloc::AllocError, prelude::*};

/// Memory for a `T`. Does not sleep.
#[inline]
pub(super) fn atomic<T>() -> Result<KBox<MaybeUninit<T>>, AllocError> {
    const { assert!(size_of::<T>() > 0 && align_of::<T>() <= align_of::<u64>()) };
    // SAFETY: No requirements.
    let memory = unsafe { bindings::ipvs_ipsec_kmalloc_atomic(size_of::<T>()) };
    let memory = NonNull::new(memory.cast()).ok_or(AllocError)?;
    // SAFETY: It is of this size, aligned as words are at least, and comes from where a `KBox` gives
    // its memory back to.
    Ok(unsafe { KBox::from_raw(memory.as_ptr()) })
}
