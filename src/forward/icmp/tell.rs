// SPDX-License-Identifier: GPL-2.0

//! Errors told anew, where the packet that is quoted is not the one its sender knows: it was in a
//! tunnel, or ESP that travels in UDP.

use crate::{
    addr::Family,
    forward::{nat, tunnel},
    kapi::{
        icmp,
        skb::{Packet, Shim},
    },
    proto::{
        quote::{Quote, ICMP_LEN},
        Payload,
    },
    reason::Reason,
    server::Server,
};

/// What an error says.
struct Said {
    kind: u8,
    code: u8,
    info: [u8; 4],
    /// MTU of the path, if it is that the packet is too big.
    mtu: Option<u32>,
}

impl Said {
    fn by(packet: &Packet<'_>) -> Result<Self, Reason> {
        let icmp = packet.array::<ICMP_LEN>(0).ok_or(Reason::Truncated)?;
        let [kind, code, _, _, info @ ..] = icmp;
        let mtu = match packet.family() {
            Family::V4 => {
                let [_, _, high, low] = info;
                ((kind, code) == (3, 4)).then(|| u16::from_be_bytes([high, low]).into())
            }
            Family::V6 => (kind == 2).then(|| u32::from_be_bytes(info)),
        };
        Ok(Said {
            kind,
            code,
            info,
            mtu,
        })
    }

    fn relayed(&self) -> icmp::Error {
        icmp::Error::Relayed {
            kind: self.kind,
            code: self.code,
            info: self.info,
        }
    }
}

/// Tells the sender of a packet that is quoted what `packet` says, once `undo` has made the packet
/// what the sender knows.
pub(super) fn tell_anew(
    packet: &mut Packet<'_>,
    quote: &Quote,
    undo: impl FnOnce(&mut Packet<'_>) -> kernel::error::Result,
) -> Result<(), Reason> {
    let said = Said::by(packet)?;
    let error = match said.mtu {
        Some(mtu) => icmp::Error::TooBig(mtu.saturating_sub(nat::ENCAP_LEN)),
        None => said.relayed(),
    };
    let (begin, family) = (packet.header_len() + quote.network, packet.family());
    if !icmp::unquote(packet, begin, family) {
        return Err(Reason::Truncated);
    }
    undo(packet).map_err(|_| Reason::Truncated)?;
    if icmp::arrive(packet) {
        icmp::send(packet, error);
    }
    Ok(())
}

/// Tells the initiator what `packet` says of the tunnel its packet was in.
pub(super) fn tell(
    server: &Server,
    shim: Shim,
    packet: &mut Packet<'_>,
    outer: &Quote,
    inner: &Quote,
) -> Result<(), Reason> {
    let said = Said::by(packet)?;
    let (family, inner_family) = (packet.family(), inner.source.family());
    // First the packet around, which the route is found by, then the one inside.
    let mut begin = packet.header_len() + inner.network;
    let error = if let Some(mtu) = said.mtu {
        let outer_begin = packet.header_len() + outer.network;
        begin -= outer_begin;
        if mtu == 0 || !icmp::unquote(packet, outer_begin, family) {
            return Err(Reason::Truncated);
        }
        icmp::learn_mtu(packet, mtu);
        let path = server.route.route(packet.bh_disabled(), packet.net());
        let path = path.map_or(mtu, |route| route.mtu());
        icmp::Error::TooBig(tunnel::mtu(server, shim, path, inner_family)?)
    } else if family == inner_family {
        said.relayed()
    } else {
        icmp::Error::HostUnreachable
    };
    if !icmp::unquote(packet, begin, inner_family) {
        return Err(Reason::Truncated);
    }
    if said.mtu.is_none() || packet.is_unfragmentable() {
        icmp::send(packet, error);
    }
    Ok(())
}
