// SPDX-License-Identifier: GPL-2.0

//! Where the bytes of an `sk_buff` are, read without a call.
//!
//! C header: [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h)

use crate::kapi::bindings;
use core::{mem::offset_of, ptr::NonNull};
use kernel::num::casts::u32_as_usize;

const NETWORK_HEADER: usize = u32_as_usize(bindings::IPVS_IPSEC_SKB_NETWORK_HEADER);
const PROTOCOL: usize = u32_as_usize(bindings::IPVS_IPSEC_SKB_PROTOCOL);
const MARK: usize = u32_as_usize(bindings::IPVS_IPSEC_SKB_MARK);
const VLAN: usize = u32_as_usize(bindings::IPVS_IPSEC_SKB_VLAN);
const PKT_TYPE: usize = u32_as_usize(bindings::IPVS_IPSEC_SKB_PKT_TYPE);
const GSO_SIZE: usize = u32_as_usize(bindings::IPVS_IPSEC_SHINFO_GSO_SIZE);
const GSO_TYPE: usize = u32_as_usize(bindings::IPVS_IPSEC_SHINFO_GSO_TYPE);

/// Offsets in an IPv4 header.
pub(super) mod ipv4 {
    use super::{bindings::iphdr, offset_of};

    pub(in super::super) const LEN: usize = size_of::<iphdr>();
    pub(in super::super) const TOS: usize = offset_of!(iphdr, tos);
    pub(in super::super) const TOT_LEN: usize = offset_of!(iphdr, tot_len);
    pub(in super::super) const FRAG_OFF: usize = offset_of!(iphdr, frag_off);
    pub(in super::super) const TTL: usize = offset_of!(iphdr, ttl);
    pub(in super::super) const PROTOCOL: usize = offset_of!(iphdr, protocol);
    pub(in super::super) const CHECK: usize = offset_of!(iphdr, check);
    pub(in super::super) const SADDR: usize = offset_of!(iphdr, __bindgen_anon_1);
    pub(in super::super) const DADDR: usize = SADDR + 4;
}

/// Offsets in an IPv6 header.
pub(super) mod ipv6 {
    use super::{bindings::ipv6hdr, offset_of};

    pub(in super::super) const LEN: usize = size_of::<ipv6hdr>();
    pub(in super::super) const PAYLOAD_LEN: usize = offset_of!(ipv6hdr, payload_len);
    pub(in super::super) const NEXTHDR: usize = offset_of!(ipv6hdr, nexthdr);
    pub(in super::super) const HOP_LIMIT: usize = offset_of!(ipv6hdr, hop_limit);
    pub(in super::super) const SADDR: usize = offset_of!(ipv6hdr, __bindgen_anon_1);
    pub(in super::super) const DADDR: usize = SADDR + 16;
}

/// Bytes of each of the segments that the packet is, or 0.
///
/// # Safety
///
/// `skb` is valid.
#[inline(always)]
pub(super) unsafe fn gso_size(skb: NonNull<bindings::sk_buff>) -> u16 {
    // SAFETY: `skb` is valid, and the field lies at this offset.
    unsafe { shared_info(skb).add(GSO_SIZE).cast::<u16>().read() }
}

/// What kind of segments they are.
///
/// # Safety
///
/// `skb` is valid.
#[inline(always)]
pub(super) unsafe fn gso_type(skb: NonNull<bindings::sk_buff>) -> u32 {
    // SAFETY: `skb` is valid, and the field lies at this offset.
    unsafe { shared_info(skb).add(GSO_TYPE).cast::<u32>().read() }
}

/// What packets with the same bytes share, as `skb_shinfo` has it.
///
/// # Safety
///
/// `skb` is valid.
#[inline(always)]
unsafe fn shared_info(skb: NonNull<bindings::sk_buff>) -> *mut u8 {
    // SAFETY: `skb` is valid.
    unsafe {
        let skb = skb.as_ptr();
        (*skb).head.add(u32_as_usize((*skb).end))
    }
}

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

/// `N` bytes of the network header, from `offset` on. A header may lie at any address: behind an
/// Ethernet header it is at 2 modulo 4 where `NET_IP_ALIGN` is 0. So it is read and written by bytes,
/// never by way of its C struct, whose fields want their alignment.
///
/// # Safety
///
/// `skb` is valid, and has a network header that is as long.
#[inline(always)]
pub(super) unsafe fn network_bytes<const N: usize>(
    skb: NonNull<bindings::sk_buff>,
    offset: usize,
) -> [u8; N] {
    // SAFETY: By the safety requirements; bytes need no alignment.
    unsafe { network_header(skb).add(offset).cast::<[u8; N]>().read() }
}

/// Writes bytes of the network header, likewise.
///
/// # Safety
///
/// As [`network_bytes`], and the header is ours alone.
#[inline(always)]
pub(super) unsafe fn set_network_bytes<const N: usize>(
    skb: NonNull<bindings::sk_buff>,
    offset: usize,
    to: [u8; N],
) {
    // SAFETY: By the safety requirements; bytes need no alignment.
    unsafe { network_header(skb).add(offset).cast::<[u8; N]>().write(to) }
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
