// SPDX-License-Identifier: GPL-2.0

//! Where the bytes of an `sk_buff` are, read without a call.
//!
//! C header: [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h)

use crate::kapi::bindings;
use core::ptr::NonNull;
use kernel::num::casts::u32_as_usize;

const NETWORK_HEADER: usize = u32_as_usize(bindings::IPVS_IPSEC_SKB_NETWORK_HEADER);

/// The network header, as `skb_network_header` has it.
///
/// # Safety
///
/// `skb` is valid.
#[inline]
pub(super) unsafe fn network_header(skb: NonNull<bindings::sk_buff>) -> *mut u8 {
    // SAFETY: `skb` is valid, and the field lies at this offset.
    unsafe {
        let offset = skb.byte_add(NETWORK_HEADER).cast::<u16>().read();
        (*skb.as_ptr()).head.add(usize::from(offset))
    }
}

/// Offset of the network header from the beginning of the data, which it does not lie before.
///
/// # Safety
///
/// `skb` is valid.
#[inline]
pub(super) unsafe fn network_offset(skb: NonNull<bindings::sk_buff>) -> usize {
    // SAFETY: `skb` is valid.
    let (header, data) = unsafe { (network_header(skb), (*skb.as_ptr()).data) };
    header.addr().saturating_sub(data.addr())
}

/// `len` bytes that begin at `offset` of the data, if they are in linear memory.
///
/// # Safety
///
/// `skb` is valid.
#[inline]
pub(super) unsafe fn linear(
    skb: NonNull<bindings::sk_buff>,
    offset: usize,
    len: usize,
) -> Option<*const u8> {
    // SAFETY: `skb` is valid.
    let skb = unsafe { skb.as_ref() };
    let linear = u32_as_usize(skb.len.wrapping_sub(skb.data_len));
    let end = offset.checked_add(len)?;
    // SAFETY: There are `linear` bytes at `data`.
    (end <= linear).then(|| unsafe { skb.data.add(offset).cast_const() })
}
