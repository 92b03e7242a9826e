// SPDX-License-Identifier: GPL-2.0

//! The clock of timers, in jiffies.
//!
//! C header: [`include/linux/jiffies.h`](srctree/include/linux/jiffies.h)

use super::bindings;
use kernel::num::casts::{u32_as_u64, usize_as_u64};

/// Jiffies in a second.
const HZ: u64 = u32_as_u64(bindings::IPVS_IPSEC_HZ);

// Deadlines are compared without regard to wrapping, and kept with two bits less.
const _: () = assert!(usize::BITS == 64, "jiffies must have 64 bits");

/// Jiffies since shortly before boot. Does not wrap in the life of a machine.
#[inline]
pub(crate) fn jiffies() -> u64 {
    // SAFETY: `jiffies` is a word that the timer interrupt changes; reading it is always allowed.
    usize_as_u64(unsafe { core::ptr::read_volatile(&raw const bindings::jiffies) })
}

/// `seconds` in jiffies.
#[inline]
pub(crate) const fn from_seconds(seconds: u64) -> u64 {
    seconds * HZ
}

/// `milliseconds` in jiffies, at least one.
pub(crate) fn from_milliseconds(milliseconds: u64) -> u64 {
    (milliseconds * HZ).div_ceil(1000)
}

/// `jiffies` in milliseconds.
#[inline]
pub(crate) fn to_milliseconds(jiffies: u64) -> u64 {
    jiffies * 1000 / HZ
}
