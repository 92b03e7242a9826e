// SPDX-License-Identifier: GPL-2.0

//! ICMP errors about a packet, limited in rate by the kernel.
//!
//! C header: [`include/net/icmp.h`](srctree/include/net/icmp.h)

use super::{bindings, skb::Packet};
use kernel::prelude::*;

/// What is wrong with a packet.
#[derive(Clone, Copy)]
pub(crate) enum Error {
    /// Nobody here takes its protocol.
    ProtocolUnreachable,
    /// Its time to live ends here.
    TimeExceeded,
    /// It is larger than the path, whose MTU this is, and must not be fragmented.
    FragmentationNeeded(u32),
}

/// Tells the sender of a packet what is wrong with it. The packet must still have the route it
/// came in by.
pub(crate) fn send(packet: &Packet<'_>, error: Error) {
    let (kind, code, info) = match error {
        Error::ProtocolUnreachable => (bindings::ICMP_DEST_UNREACH, bindings::ICMP_PROT_UNREACH, 0),
        Error::TimeExceeded => (bindings::ICMP_TIME_EXCEEDED, bindings::ICMP_EXC_TTL, 0),
        Error::FragmentationNeeded(mtu) => {
            (bindings::ICMP_DEST_UNREACH, bindings::ICMP_FRAG_NEEDED, mtu)
        }
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
