// SPDX-License-Identifier: GPL-2.0

//! How packets reach a real server: a file for each forwarding method.

mod direct;
pub(crate) mod icmp;
mod local;
pub(crate) mod nat;
mod tunnel;

use crate::{
    addr::{Addr, Family},
    kapi::{
        icmp as errors,
        route::Route,
        skb::{Packet, Verdict},
    },
    reason::Reason,
    server::{Method, Server},
};

/// Where a packet goes that has been made ready.
pub(crate) enum Way {
    /// To this host itself.
    Here,
    /// Along a route.
    Along(Route),
    /// Along a route, as a packet of this host.
    Wrapped(Route),
}

impl Way {
    /// Has the packet go. The hook in LOCAL_OUT whose handler is `handler` lets it pass.
    #[inline(always)]
    pub(crate) fn take<H>(self, packet: Packet<'_>, handler: &H) -> Verdict {
        match self {
            Way::Here => packet.accept_as_ours(),
            Way::Along(route) => packet.send(route, handler),
            Way::Wrapped(route) => packet.send_wrapped(route),
        }
    }
}

/// Makes a packet from an initiator ready for its way to `server`, and finds that way.
#[inline(always)]
pub(crate) fn prepare(server: &Server, packet: &mut Packet<'_>) -> Result<Way, Reason> {
    match server.method {
        Method::Dr => direct::prepare(server, packet),
        Method::Nat { encap } => nat::prepare(server, encap, packet),
        Method::Tun(shim) => tunnel::prepare(server, shim, packet),
        Method::Local => Ok(local::prepare()),
    }
}

/// The way to a server.
#[inline(always)]
fn route(server: &Server, packet: &Packet<'_>) -> Result<Route, Reason> {
    let route = server.route.route(packet.bh_disabled(), packet.net());
    route.map_err(|_| unreachable(packet))
}

#[cold]
fn unreachable(packet: &Packet<'_>) -> Reason {
    errors::send(packet, errors::Error::HostUnreachable);
    Reason::NoRoute
}

/// What every packet must stand that leaves this host again, towards another address `to` if one is
/// given: it has another hop to live, and is not longer than `mtu` if it must not be cut. Else its
/// sender is told. After `decrement_ttl` and `ensure_mtu_is_adequate` of ip_vs_xmit.c.
#[inline(always)]
fn leave(
    packet: &mut Packet<'_>,
    mtu: impl FnOnce() -> Result<u32, Reason>,
    to: Option<&Addr>,
) -> Result<(), Reason> {
    if !packet.source().may_be_forwarded() {
        return Err(Reason::Source);
    }
    if packet.ttl() <= 1 {
        errors::send(packet, errors::Error::TimeExceeded);
        return Err(Reason::Ttl);
    }
    if packet.is_unfragmentable() {
        let mtu = mtu()?;
        if !packet.fits(mtu) {
            errors::send(packet, errors::Error::TooBig(mtu));
            return Err(Reason::Mtu);
        }
    }
    packet.pass_on(to).map_err(|_| Reason::NoMemory)
}

/// Bytes of the header of a family, without options.
fn header_len(family: Family) -> u32 {
    match family {
        Family::V4 => 20,
        Family::V6 => 40,
    }
}
