// SPDX-License-Identifier: GPL-2.0

//! Keyed hashing, so that nobody outside can aim at a bucket.
//!
//! C header: [`include/linux/siphash.h`](srctree/include/linux/siphash.h)

use super::bindings;
use kernel::prelude::*;

/// A random key.
pub(crate) struct Key(bindings::siphash_key_t);

impl Key {
    /// A new key from the kernel's random number generator.
    pub(crate) fn random() -> Self {
        let mut key = bindings::siphash_key_t { key: [0; 2] };
        // SAFETY: `key` is plain memory of this size.
        unsafe { bindings::get_random_bytes((&raw mut key).cast(), size_of_val(&key)) };
        Key(key)
    }

    /// Hash of three words.
    #[inline]
    pub(crate) fn hash3(&self, words: [u64; 3]) -> u64 {
        let [a, b, c] = words;
        // SAFETY: The key is initialised memory, only read.
        unsafe { bindings::siphash_3u64(a, b, c, &self.0) }
    }

    /// Hash of four words.
    #[inline]
    pub(crate) fn hash4(&self, words: [u64; 4]) -> u64 {
        let [a, b, c, d] = words;
        // SAFETY: The key is initialised memory, only read.
        unsafe { bindings::siphash_4u64(a, b, c, d, &self.0) }
    }
}
