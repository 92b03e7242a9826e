// SPDX-License-Identifier: GPL-2.0

//! ICMP errors about a packet, limited in rate by the kernel.
//!
//! C headers: [`include/net/icmp.h`](srctree/include/net/icmp.h),
//! [`include/linux/icmpv6.h`](srctree/include/linux/icmpv6.h)

use super::{bindings, route::Route, skb::Packet};
use crate::addr::Family;
use kernel::prelude::*;

/// What is wrong with a packet.
#[derive(Clone, Copy)]
pub(crate) enum Error {
    /// Nobody here takes its protocol.
    ProtocolUnreachable,
    /// There is no way on from here.
    HostUnreachable,
    /// Its time to live ends here.
    TimeExceeded,
    /// It is larger than the path, whose MTU this is, and must not be fragmented.
    TooBig(u32),
    /// What a router has said, by type, code and the four bytes after the checksum.
    Relayed { kind: u8, code: u8, info: [u8; 4] },
}

/// Tells the sender of a packet what is wrong with it. The packet must still have the route it
/// came in by.
pub(crate) fn send(packet: &Packet<'_>, error: Error) {
    match packet.family() {
        Family::V4 => send_v4(packet, error),
        Family::V6 => send_v6(packet, error),
    }
}

fn send_v4(packet: &Packet<'_>, error: Error) {
    let (kind, code, info) = match error {
        Error::ProtocolUnreachable => (bindings::ICMP_DEST_UNREACH, bindings::ICMP_PROT_UNREACH, 0),
        Error::HostUnreachable => (bindings::ICMP_DEST_UNREACH, bindings::ICMP_HOST_UNREACH, 0),
        Error::TimeExceeded => (bindings::ICMP_TIME_EXCEEDED, bindings::ICMP_EXC_TTL, 0),
        Error::TooBig(mtu) => (bindings::ICMP_DEST_UNREACH, bindings::ICMP_FRAG_NEEDED, mtu),
        Error::Relayed { kind, code, info } => (kind.into(), code.into(), u32::from_be_bytes(info)),
    };
    let (kind, code) = (c_int::try_from(kind), c_int::try_from(code));
    let (Ok(kind), Ok(code)) = (kind, code) else {
        return;
    };
    if let Error::TimeExceeded = error {
        // SAFETY: The namespace is alive.
        unsafe { bindings::ipvs_ipsec_count_ttl_expired(packet.net().as_ptr()) };
    }
    // SAFETY: The packet is valid and only read.
    unsafe { bindings::ipvs_ipsec_icmp_send(packet.as_ptr(), kind, code, info.to_be()) };
}

fn send_v6(packet: &Packet<'_>, error: Error) {
    let (kind, code, info) = match error {
        Error::ProtocolUnreachable => (
            bindings::ICMPV6_PARAMPROB,
            bindings::ICMPV6_UNK_NEXTHDR,
            packet.protocol_named_at(),
        ),
        Error::HostUnreachable => (
            bindings::ICMPV6_DEST_UNREACH,
            bindings::ICMPV6_ADDR_UNREACH,
            0,
        ),
        Error::TimeExceeded => (
            bindings::ICMPV6_TIME_EXCEED,
            bindings::ICMPV6_EXC_HOPLIMIT,
            0,
        ),
        Error::TooBig(mtu) => (bindings::ICMPV6_PKT_TOOBIG, 0, mtu),
        Error::Relayed { kind, code, info } => (kind.into(), code.into(), u32::from_be_bytes(info)),
    };
    let (Ok(kind), Ok(code)) = (u8::try_from(kind), u8::try_from(code)) else {
        return;
    };
    let skb = packet.as_ptr();
    if let Error::TimeExceeded = error {
        // SAFETY: The namespace is alive, and the packet valid.
        unsafe { bindings::ipvs_ipsec_count_ttl_expired6(packet.net().as_ptr(), skb) };
    }
    // SAFETY: The packet is valid and only read.
    unsafe { bindings::ipvs_ipsec_icmpv6_send(skb, kind, code, info) };
}

/// Remembers that the path of a packet which was quoted, and is [unquoted](unquote), carries `mtu`
/// bytes only.
pub(crate) fn learn_mtu(packet: &Packet<'_>, mtu: u32) {
    let (skb, net) = (packet.as_ptr(), packet.net().as_ptr());
    // SAFETY: The data begin with a whole IP header of this family.
    unsafe {
        match packet.family() {
            Family::V4 => bindings::ipv4_update_pmtu(skb, net, mtu, 0, 0),
            Family::V6 => bindings::ipvs_ipsec_ipv6_update_pmtu(skb, net, mtu.to_be()),
        }
    }
}

/// Makes an ICMP error the packet of `family` that is quoted `offset` bytes behind the beginning of
/// the network header. `false` if no such packet is there.
pub(crate) fn unquote(packet: &mut Packet<'_>, offset: usize, family: Family) -> bool {
    let has_other_route = packet.family() != family;
    packet.strip_to(offset, family) && (!has_other_route || arrive(packet))
}

/// Gives a packet that is unquoted, and changed, the route by which its sender's come in. `false`
/// if they do not. After `ip4ip6_err` of net/ipv6/ip6_tunnel.c.
pub(crate) fn arrive(packet: &mut Packet<'_>) -> bool {
    let skb = packet.as_ptr();
    // SAFETY: `skb` is valid and ours.
    unsafe { bindings::ipvs_ipsec_skb_dst_drop(skb) };
    Route::to(packet.net(), &packet.source()).is_ok_and(|route| {
        // SAFETY: As above, and the data begin with a whole header of the family. The device stays
        // as long as we are in a hook. ICMPv6 needs no route.
        unsafe {
            bindings::ipvs_ipsec_skb_set_dev(skb, route.as_ptr());
            packet.family() == Family::V6 || bindings::ipvs_ipsec_ip_route_input(skb)
        }
    })
}
