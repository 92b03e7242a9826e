// SPDX-License-Identifier: GPL-2.0

//! Packets as a device hands them in, of which the IP stack has checked nothing yet.

use super::{fields, Packet};
use crate::{
    addr::Family,
    checksum,
    kapi::{bindings, Net},
};
use core::ptr::NonNull;
use kernel::num::casts::u32_as_usize;

/// Bytes of a header without options, and of the one of IPv6.
const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;

/// Version 4, and a header of five words.
const PLAIN_IPV4: u8 = 0x45;

impl<'a> Packet<'a> {
    /// Takes a packet from a hook at the ingress of a device. `None`, and the caller still has it, if
    /// it is not for this host by its link-layer address, has a VLAN tag, is not IP, or its header is
    /// not as plain as can be: no options, no extensions, no fragment, the length that arrived,
    /// another hop to live, and the right checksum.
    ///
    /// # Safety
    ///
    /// The caller owns `skb`, whose data begin with the network header, and hands over.
    #[inline(always)]
    pub(in crate::kapi) unsafe fn at_ingress(
        skb: NonNull<bindings::sk_buff>,
        net: Net<'a>,
    ) -> Option<Self> {
        // SAFETY: `skb` is valid.
        let (is_plain, ether_type, len) = unsafe {
            (
                fields::is_for_host(skb) && !fields::has_vlan_tag(skb),
                u32::from(fields::protocol(skb)),
                u32_as_usize(skb.as_ref().len),
            )
        };
        if !is_plain {
            return None;
        }
        let (family, protocol, transport) = match ether_type {
            bindings::ETH_P_IP => {
                // SAFETY: `skb` is valid; a header has no other alignment than its bytes.
                let (header, bytes) = unsafe {
                    let bytes = fields::linear(skb, 0, IPV4_LEN)?;
                    (
                        bytes.cast::<bindings::iphdr>().as_ref()?,
                        bytes.cast::<[u8; IPV4_LEN]>().as_ref()?,
                    )
                };
                let fragment = u32::from(u16::from_be(header.frag_off));
                let is_plain = header.version() << 4 | header.ihl() == PLAIN_IPV4
                    && fragment & (bindings::IP_OFFSET | bindings::IP_MF) == 0
                    && usize::from(u16::from_be(header.tot_len)) == len
                    && header.ttl > 1
                    && checksum::is_right(bytes);
                is_plain.then_some((Family::V4, header.protocol, IPV4_LEN))?
            }
            bindings::ETH_P_IPV6 => {
                // SAFETY: As above.
                let header = unsafe {
                    fields::linear(skb, 0, IPV6_LEN)?
                        .cast::<bindings::ipv6hdr>()
                        .as_ref()?
                };
                let is_plain = header.version() == 6
                    && usize::from(u16::from_be(header.payload_len)) + IPV6_LEN == len
                    && header.hop_limit > 1;
                is_plain.then_some((Family::V6, header.nexthdr, IPV6_LEN))?
            }
            _ => return None,
        };
        // INVARIANT: The header is linear, and where the data begin.
        Some(Packet {
            skb,
            net,
            family,
            protocol,
            network: 0,
            transport,
        })
    }
}
