// SPDX-License-Identifier: GPL-2.0

//! Where the bytes of an `sk_buff` are, read without a call.
//!
//! C header: [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h)

use crate::kapi::bindings;
use core::ptr::NonNull;
use kernel::num::casts::u32_as_usize;

const NETWORK_HEADER: usize = u32_as_usize(bindings::IPVS_IPSEC_SKB_NETWORK_HEADER);
const PROTOCOL: usize = u32_as_usize(bindings::IPVS_IPSEC_SKB_PROTOCOL);
const MARK: usize = u32_as_usize(bindings::IPVS_IPSEC_SKB_MARK);
const VLAN: usize = u32_as_usize(bindings::IPVS_IPSEC_SKB_VLAN);
const PKT_TYPE: usize = u32_as_usize(bindings::IPVS_IPSEC_SKB_PKT_TYPE);

/// The firewall mark.
///
/// # Safety
///
/// `skb` is valid.
#[inline(always)]
pub(super) unsafe fn mark(skb: NonNull<bindings::sk_buff>) -> u32 {
    // SAFETY: `skb` is valid, and the field lies at this offset.
    unsafe { skb.byte_add(MARK).cast().read() }
}

/// What the device says that the packet is: an EtherType.
///
/// # Safety
///
/// `skb` is valid.
#[inline(always)]
pub(super) unsafe fn protocol(skb: NonNull<bindings::sk_buff>) -> u16 {
    // SAFETY: `skb` is valid, and the field lies at this offset.
    u16::from_be(unsafe { skb.byte_add(PROTOCOL).cast().read() })
}

/// Whether the packet has a VLAN tag that is kept beside it.
///
/// # Safety
///
/// `skb` is valid.
#[inline(always)]
pub(super) unsafe fn has_vlan_tag(skb: NonNull<bindings::sk_buff>) -> bool {
    // SAFETY: `skb` is valid, and the field lies at this offset.
    unsafe { skb.byte_add(VLAN).cast::<u32>().read() != 0 }
}

/// Whether the packet was sent to the link-layer address of this host: `PACKET_HOST`, which is 0.
///
/// # Safety
///
/// `skb` is valid.
#[inline(always)]
pub(super) unsafe fn is_for_host(skb: NonNull<bindings::sk_buff>) -> bool {
    // SAFETY: `skb` is valid, and the field lies at this offset.
    let flags = unsafe { skb.byte_add(PKT_TYPE).cast::<u8>().read() };
    u32::from(flags) & bindings::IPVS_IPSEC_PKT_TYPE_MASK == 0
}

/// The network header, as `skb_network_header` has it.
///
/// # Safety
///
/// `skb` is valid.
#[inline(always)]
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
#[inline(always)]
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
#[inline(always)]
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
