// SPDX-License-Identifier: GPL-2.0

//! Network address translation: the packet goes to the server's address, and the server's answer
//! comes from the service's. Ports stay as they are. After `ip_vs_nat_xmit` and `handle_response`.

use super::{leave, route, Way};
use crate::{
    entry::{
        reply::{Found, Reply},
        Entry, Form,
    },
    ike,
    kapi::{rcu::Guard, skb::Packet, time},
    netns::Netns,
    proto::{
        self,
        number::{AH, ESP},
        Carrier, Payload, Ports,
    },
    reason::Reason,
    server::Server,
};

/// Bytes of a UDP header, and of the beginning of ESP.
const MIN_LEN: usize = 8;

/// Bytes that ESP in UDP has more than ESP.
pub(super) const ENCAP_LEN: u32 = 8;

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
    let route = route(server, packet)?;
    let way = if route.is_local() {
        if server.address.is_loopback() {
            return Err(Reason::Local);
        }
        let changed = packet.set_destination(&server.address);
        changed.map_err(|_| Reason::NoMemory)?;
        Way::Here
    } else {
        let overhead = if encap { ENCAP_LEN } else { 0 };
        let mtu = || Ok(route.mtu().saturating_sub(overhead));
        leave(packet, mtu, Some(&server.address))?;
        Way::Along(route)
    };
    if encap {
        let inserted = packet.insert_udp(ike::NATT_PORT, ike::NATT_PORT);
        inserted.map_err(|_| Reason::NoMemory)?;
    }
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
    let entry = match found {
        Found::Alive(entry) => entry,
        // The server may say something of its own to a host in whose name somebody has begun.
        Found::Unproved(entry) if !is_said_to(entry, packet) => return None,
        // The initiator shall not see the server's own address.
        Found::Unproved(_) | Found::Dead => return Some(Err(Reason::ReplyRemoved)),
    };
    Some(translate(packet, entry, is_encap).map(|()| &**entry))
}

/// Whether a packet is about the IKE SA that the initiator of an entry has begun.
fn is_said_to(entry: &Entry, packet: &Packet<'_>) -> bool {
    let message = packet.ike_reply();
    message.is_some_and(|message| message.initiator_spi == entry.initiator_spi())
}

fn translate(packet: &mut Packet<'_>, entry: &Entry, is_encap: bool) -> Result<(), Reason> {
    if packet.protocol() == AH {
        return Err(Reason::AhNat);
    }
    if packet.available() < MIN_LEN && !packet.is_fragment() {
        return Err(Reason::Truncated);
    }
    if is_encap {
        packet.remove_udp(ESP).map_err(|_| Reason::NoMemory)?;
    }
    let vip = &entry.vip();
    packet.set_source(vip).map_err(|_| Reason::NoMemory)?;
    packet.reroute().map_err(|_| Reason::NoRoute)
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
    if matches!(carrier, Carrier::Esp | Carrier::Ah) {
        return related().map(|found| (found, false));
    }
    let Ports {
        transport,
        source,
        destination,
    } = packet.ports()?;
    let reply = Reply {
        transport,
        server,
        client,
        client_port: destination,
        port: source,
    };
    // ESP from a further port of the server belongs to the flow that IKE is on.
    let found = entries.by_reply(guard, &reply, now).or_else(|| {
        let is_further = carrier == Carrier::Udp && destination == ike::NATT_PORT;
        let port = ike::NATT_PORT;
        is_further
            .then(|| entries.by_reply(guard, &Reply { port, ..reply }, now))
            .flatten()
    });
    if entries.has_encap() && carrier == Carrier::Udp && proto::is_esp_in_udp(packet) {
        // The flow on 4500 may be that of IKE only, while the initiator speaks ESP.
        match found {
            Some(Found::Alive(entry)) if entry.server.wants_encap() => {
                let form = entry.form().or_else(|| match related() {
                    Some(Found::Alive(related)) => related.form(),
                    _ => None,
                });
                return Some((Found::Alive(entry), form == Some(Form::Native)));
            }
            Some(Found::Alive(_)) => {}
            Some(Found::Dead | Found::Unproved(_)) | None => match related() {
                Some(Found::Alive(entry)) if entry.server.wants_encap() => {
                    return Some((Found::Alive(entry), true));
                }
                _ => {}
            },
        }
    }
    let found = entries.or_client(found, guard, &reply, now)?;
    Some((found, false))
}
