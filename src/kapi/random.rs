// SPDX-License-Identifier: GPL-2.0

//! The kernel's random number generator.
//!
//! C header: [`include/linux/random.h`](srctree/include/linux/random.h)

use super::bindings;

/// Random words, fit for keys.
pub(crate) fn words<const N: usize>() -> [u64; N] {
    let mut words = [0; N];
    // SAFETY: `words` is plain memory of this size.
    unsafe { bindings::get_random_bytes((&raw mut words).cast(), size_of_val(&words)) };
    words
}
