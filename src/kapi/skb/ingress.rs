// SPDX-License-Identifier: GPL-2.0

//! Packets as a device hands them in, of which the IP stack has checked nothing yet.

use super::{
    fields::{self, ipv4, ipv6},
    Packet,
};
use crate::{
    addr::Family,
    checksum,
    kapi::{bindings, Net},
};
use core::ptr::NonNull;
use kernel::num::casts::u32_as_usize;

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
    /// The caller owns `skb`, whose data begin with the network header, and hands over. Softirqs are
    /// off until the packet is answered.
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
                // SAFETY: `skb` is valid; bytes need no alignment.
                let header = unsafe {
                    fields::linear(skb, 0, ipv4::LEN)?
                        .cast::<[u8; ipv4::LEN]>()
                        .as_ref()?
                };
                let [first, _, l0, l1, _, _, f0, f1, ttl, protocol, ..] = *header;
                let fragment = u32::from(u16::from_be_bytes([f0, f1]));
                let is_plain = first == PLAIN_IPV4
                    && fragment & (bindings::IP_OFFSET | bindings::IP_MF) == 0
                    && usize::from(u16::from_be_bytes([l0, l1])) == len
                    && ttl > 1
                    && checksum::is_right(header);
                is_plain.then_some((Family::V4, protocol, ipv4::LEN))?
            }
            bindings::ETH_P_IPV6 => {
                // SAFETY: As above.
                let header = unsafe {
                    fields::linear(skb, 0, ipv6::LEN)?
                        .cast::<[u8; ipv6::LEN]>()
                        .as_ref()?
                };
                let [first, _, _, _, l0, l1, protocol, hop_limit, ..] = *header;
                let is_plain = first >> 4 == 6
                    && usize::from(u16::from_be_bytes([l0, l1])) + ipv6::LEN == len
                    && hop_limit > 1;
                is_plain.then_some((Family::V6, protocol, ipv6::LEN))?
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
