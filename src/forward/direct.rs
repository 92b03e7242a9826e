// SPDX-License-Identifier: GPL-2.0

//! Direct routing: the packet goes to the server as it is, one hop older. After `ip_vs_dr_xmit`.

use crate::{
    addr::Addr,
    kapi::{icmp, route::Route, skb::Packet},
    reason::Reason,
    server::Server,
};

/// Makes a packet ready for its way to `server`, and finds that way.
#[inline]
pub(crate) fn prepare(server: &Server, packet: &mut Packet<'_>) -> Result<Route, Reason> {
    let Addr::V4(host) = server.address else {
        return Err(Reason::NoRoute);
    };
    let route = server
        .route
        .route(packet.net(), host)
        .map_err(|_| Reason::NoRoute)?;
    if route.is_local() {
        return Err(Reason::NoRoute);
    }
    if packet.ttl() <= 1 {
        icmp::send(packet, icmp::Error::TimeExceeded);
        return Err(Reason::Ttl);
    }
    let mtu = route.mtu();
    if packet.is_unfragmentable() && !packet.fits(mtu) {
        icmp::send(packet, icmp::Error::FragmentationNeeded(mtu));
        return Err(Reason::Mtu);
    }
    packet.decrease_ttl().map_err(|_| Reason::NoMemory)?;
    Ok(route)
}
