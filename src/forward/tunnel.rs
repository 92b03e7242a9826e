// SPDX-License-Identifier: GPL-2.0

//! The packet goes to the server inside another: IP in IP (RFC 2003, RFC 2473), GRE (RFC 2784) or
//! GUE. After `ip_vs_tunnel_xmit`.

use super::{header_len, leave, route, Way};
use crate::{
    addr::Family,
    kapi::skb::{Packet, Shim},
    reason::Reason,
    server::Server,
};

/// Least MTU of a link of IPv6 (RFC 8200 section 5), and what IPv4 has instead (RFC 791).
const MIN_MTU_V6: u32 = 1280;
const MIN_MTU_V4: u32 = 68;

/// Bytes of the longest headers around a packet: IPv6, UDP and GUE.
const OVERHEAD_MAX: usize = 52;

/// Makes a packet ready for its way to `server`, and finds that way. A server whose address is
/// this host's own is this host.
pub(super) fn prepare(server: &Server, shim: Shim, packet: &mut Packet<'_>) -> Result<Way, Reason> {
    let (route, source) = route(server, packet)?;
    if route.is_local() {
        return Ok(Way::Here);
    }
    leave(packet, mtu(server, shim, route.mtu(), packet.family())?)?;
    if packet.len() + OVERHEAD_MAX > u16::MAX.into() {
        return Err(Reason::Mtu);
    }
    let wrapped = packet.wrap(&route, shim, &source, &server.address);
    wrapped.map_err(|_| Reason::NoMemory)?;
    Ok(Way::Wrapped(route))
}

/// Longest packet of family `inner` that the tunnel carries over a path of MTU `path`.
pub(super) fn mtu(server: &Server, shim: Shim, path: u32, inner: Family) -> Result<u32, Reason> {
    let overhead = header_len(server.address.family()) + u32::try_from(shim.len()).unwrap_or(0);
    let mtu = path.saturating_sub(overhead);
    match inner {
        Family::V4 if mtu < MIN_MTU_V4 => Err(Reason::PathMtu),
        Family::V4 => Ok(mtu),
        // What is around it will be cut instead (RFC 2473 section 7.1, RFC 4213 section 3.2).
        Family::V6 => Ok(mtu.max(MIN_MTU_V6)),
    }
}
