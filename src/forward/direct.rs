// SPDX-License-Identifier: GPL-2.0

//! Direct routing: the packet goes to the server as it is, one hop older. After `ip_vs_dr_xmit`.

use super::{leave, route, Way};
use crate::{kapi::skb::Packet, reason::Reason, server::Server};

/// Makes a packet ready for its way to `server`, and finds that way. A server whose address is
/// this host's own is this host.
#[inline(always)]
pub(super) fn prepare(server: &Server, packet: &mut Packet<'_>) -> Result<Way, Reason> {
    let route = route(server, packet)?;
    if route.is_local() {
        return Ok(Way::Here);
    }
    leave(packet, || Ok(route.mtu()), None)?;
    Ok(Way::Along(route))
}
