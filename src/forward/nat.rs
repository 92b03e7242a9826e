// SPDX-License-Identifier: GPL-2.0

//! Network address translation: the packet goes to the server's address, and the server's answer
//! comes from the service's. Ports stay as they are. After `ip_vs_nat_xmit` and `handle_response`.

use super::{leave, route, Way};
use crate::{
    entry::{
        reply::{Found, Reply},
        Entry,
    },
    ike,
    kapi::{rcu::Guard, skb::Packet, time},
    netns::Netns,
    proto::{self, Carrier, Ports},
    reason::Reason,
    server::{Method, Server},
};

/// IP protocol number of ESP and AH.
const ESP: u8 = 50;
const AH: u8 = 51;

/// Bytes that ESP in UDP has more than ESP.
const ENCAP_LEN: u32 = 8;

/// Makes a packet ready for its way to `server`, and finds that way. With `encap`, ESP goes there
/// in UDP.
pub(super) fn prepare(
    server: &Server,
    encap: bool,
    packet: &mut Packet<'_>,
) -> Result<Way, Reason> {
    // Its integrity check covers the addresses (RFC 4302 section 3.3.3.1).
    if packet.protocol() == AH {
        return Err(Reason::AhNat);
    }
    let encap = encap && packet.protocol() == ESP;
    let (route, _) = route(server, packet)?;
    let way = if route.is_local() {
        if server.address.is_loopback() {
            return Err(Reason::Local);
        }
        Way::Here
    } else {
        let overhead = if encap { ENCAP_LEN } else { 0 };
        leave(packet, route.mtu().saturating_sub(overhead))?;
        Way::Along(route)
    };
    let changed = packet.set_destination(&server.address).and_then(|()| {
        if encap {
            packet.insert_udp(ike::NATT_PORT, ike::NATT_PORT)
        } else {
            Ok(())
        }
    });
    changed.map_err(|_| Reason::NoMemory)?;
    Ok(way)
}

/// Makes a server's answer one of the service. `None` if the packet is no answer.
pub(crate) fn answer<'g>(
    netns: &'g Netns,
    guard: &'g Guard,
    packet: &mut Packet<'_>,
) -> Option<Result<&'g Entry, Reason>> {
    let carrier = Carrier::of_reply(packet.protocol(), packet)?;
    let (found, is_encap) = find(netns, guard, carrier, packet)?;
    let Found::Alive(entry) = found else {
        // The initiator shall not see the server's own address.
        return Some(Err(Reason::ReplyRemoved));
    };
    let changed = || {
        if is_encap {
            packet.remove_udp(ESP)?;
        }
        packet.set_source(&entry.flow.vip)?;
        packet.reroute()
    };
    let changed = { changed }();
    Some(changed.map(|()| &**entry).map_err(|_| Reason::NoMemory))
}

/// The entry of an answer, and whether the answer is ESP in UDP for an initiator who speaks ESP.
fn find<'g>(
    netns: &'g Netns,
    guard: &'g Guard,
    carrier: Carrier,
    packet: &Packet<'_>,
) -> Option<(Found<'g>, bool)> {
    let (entries, now) = (&netns.entries, time::jiffies());
    let (server, client) = (packet.source(), packet.destination());
    let related = || entries.by_reply_address(guard, &server, &client, now);
    if carrier != Carrier::Udp {
        return related().map(|found| (found, false));
    }
    let Ports {
        source,
        destination,
    } = Ports::of(packet)?;
    let reply = Reply {
        server,
        client,
        client_port: destination,
        port: source,
    };
    if let Some(found) = entries.by_reply(guard, &reply, now) {
        return Some((found, false));
    }
    let is_wrapped = entries.has_encap() && proto::is_esp_in_udp(packet);
    let found = is_wrapped.then(related).flatten()?;
    match found {
        Found::Alive(entry) if matches!(entry.server.method, Method::Nat { encap: true }) => {
            Some((found, true))
        }
        _ => None,
    }
}
