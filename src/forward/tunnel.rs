// SPDX-License-Identifier: GPL-2.0

//! The packet goes to the server inside another: IP in IP (RFC 2003, RFC 2473), GRE (RFC 2784) or
//! GUE. After `ip_vs_tunnel_xmit`.

use super::{header_len, leave, unreachable, Way};
use crate::{
    addr::{Addr, Family},
    kapi::{
        route::Route,
        skb::{Packet, Shim},
    },
    reason::Reason,
    server::Server,
};

/// Least MTU of a link of IPv6 (RFC 8200 section 5), and what IPv4 has instead (RFC 791).
const MIN_MTU_V6: u32 = 1280;
const MIN_MTU_V4: u32 = 68;

/// Bytes of an IPv4 header, which its length field counts; that of IPv6 does not.
const IPV4_LEN: usize = 20;

/// Makes a packet ready for its way to `server`, and finds that way. A server whose address is
/// this host's own is this host.
pub(super) fn prepare(server: &Server, shim: Shim, packet: &mut Packet<'_>) -> Result<Way, Reason> {
    // Each family has a copy of what follows, so that only this has to ask.
    let cache = &server.route;
    match server.address {
        Addr::V4(host) => match cache.route_and_source_v4(packet.bh_disabled(), packet.net(), host)
        {
            Ok((route, source)) => {
                let ends = (&Addr::V4(source), &Addr::V4(host));
                prepare_between(ends, route, server, shim, packet)
            }
            Err(_) => Err(unreachable(packet)),
        },
        Addr::V6(host) => prepare_v6(host, server, shim, packet),
    }
}

#[inline(never)]
fn prepare_v6(
    host: [u8; 16],
    server: &Server,
    shim: Shim,
    packet: &mut Packet<'_>,
) -> Result<Way, Reason> {
    let (bh, net) = (packet.bh_disabled(), packet.net());
    let found = server.route.route_and_source_v6(bh, net, host);
    let (route, source) = found.map_err(|_| unreachable(packet))?;
    let ends = (&Addr::V6(source), &Addr::V6(host));
    prepare_between(ends, route, server, shim, packet)
}

/// Makes a packet ready for its way along `route`, from this host's address to the server's.
#[inline(always)]
fn prepare_between(
    (source, host): (&Addr, &Addr),
    route: Route,
    server: &Server,
    shim: Shim,
    packet: &mut Packet<'_>,
) -> Result<Way, Reason> {
    if route.is_local() {
        return Ok(Way::Here);
    }
    if !source.is_unicast() {
        // This host has no address of the family.
        return Err(Reason::NoRoute);
    }
    // Only what must not be cut is held against it: what may be is cut with what is around it.
    let family = packet.family();
    let mtu = || mtu_between(host.family(), shim, route.mtu(), family);
    leave(packet, mtu, None)?;
    // Reassembled here; the initiator cannot be told of a limit that no link has.
    let counted = match host.family() {
        Family::V4 => IPV4_LEN,
        Family::V6 => 0,
    };
    if !packet.can_grow(counted + shim.len()) {
        return Err(Reason::Mtu);
    }
    let wrapped = packet.wrap(&route, shim, source, host, &server.idents);
    wrapped.map_err(|_| Reason::NoMemory)?;
    Ok(Way::Wrapped(route))
}

/// Longest packet of family `inner` that the tunnel carries over a path of MTU `path`.
pub(super) fn mtu(server: &Server, shim: Shim, path: u32, inner: Family) -> Result<u32, Reason> {
    mtu_between(server.address.family(), shim, path, inner)
}

#[inline(always)]
fn mtu_between(outer: Family, shim: Shim, path: u32, inner: Family) -> Result<u32, Reason> {
    let overhead = header_len(outer) + u32::try_from(shim.len()).unwrap_or(0);
    let mtu = path.saturating_sub(overhead);
    match inner {
        Family::V4 if mtu < MIN_MTU_V4 => Err(Reason::PathMtu),
        Family::V4 => Ok(mtu),
        // What is around it will be cut instead (RFC 2473 section 7.1, RFC 4213 section 3.2).
        Family::V6 => Ok(mtu.max(MIN_MTU_V6)),
    }
}
