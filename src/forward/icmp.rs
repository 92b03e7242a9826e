// SPDX-License-Identifier: GPL-2.0

//! ICMP errors about our packets, in both directions. After `ip_vs_in_icmp`, `ip_vs_out_icmp` and
//! `ip_vs_nat_icmp`.
//!
//! An error about an answer comes for the service from the initiator's side, and goes to the
//! server. One about a packet that address translation changed comes from the server's side, and
//! goes to the initiator. One about a packet in a tunnel comes for this host, which sent it, and
//! is told anew to the initiator.

mod tell;
mod translate;

use super::{prepare, Way};
use crate::{
    addr::{Addr, Family, Flow},
    entry::{
        reply::{Found, Reply},
        table::Entries,
        Entry, Form,
    },
    ike,
    kapi::{
        rcu::Guard,
        skb::{Packet, Shim},
        time,
    },
    netns::Netns,
    proto::{
        number::{AH, ESP, GRE, IPIP, IPV6, TCP, UDP},
        quote::Quote,
        Payload,
    },
    reason::Reason,
    server::{Method, Server},
};
use tell::{tell, tell_anew};
use translate::{follow_pseudo_header, translate};

/// Bytes of a UDP header.
const UDP_LEN: usize = 8;

/// What became of an error.
pub(crate) enum Outcome<'g> {
    /// It goes to the server of an entry.
    In(&'g Entry, Way),
    /// It goes to the initiator of an entry.
    Out(&'g Entry),
    /// The initiator of an entry has been told in its place.
    Told(&'g Entry),
}

/// An end of a packet that is quoted.
#[derive(Clone, Copy)]
enum End {
    Source,
    Destination,
}

/// An error from the initiator's side, or about a tunnel. `None` if it is not about us.
pub(crate) fn incoming<'g>(
    netns: &'g Netns,
    guard: &'g Guard,
    packet: &mut Packet<'_>,
) -> Option<Result<Outcome<'g>, Reason>> {
    let quote = Quote::of(packet.family(), packet)?;
    let entries = &netns.entries;
    if let Some((entry, shim, inner)) = tunnelled(entries, guard, packet, &quote) {
        return Some(
            tell(&entry.server, shim, packet, &quote, &inner).map(|()| Outcome::Told(entry)),
        );
    }
    let entry = initiator(entries, guard, packet, &quote, End::Destination)?;
    let server = &entry.server;
    if quote.protocol == ESP && server.wants_encap() {
        // The server sent it in UDP.
        let told = tell_anew(packet, &quote, |packet| {
            packet.set_source(&server.address)?;
            packet.insert_udp(ike::NATT_PORT, ike::NATT_PORT)
        });
        return Some(told.map(|()| Outcome::Told(entry)));
    }
    Some(send_on(server, packet, &quote).map(|way| Outcome::In(entry, way)))
}

/// Makes an error about an answer of `server` ready for its way there, and finds that way.
fn send_on(server: &Server, packet: &mut Packet<'_>, quote: &Quote) -> Result<Way, Reason> {
    let Method::Nat { .. } = server.method else {
        return prepare(server, packet);
    };
    translate(packet, quote, End::Source, &server.address)?;
    let old = packet.destination();
    let way = prepare(server, packet)?;
    follow_pseudo_header(packet, &old, &server.address)?;
    Ok(way)
}

/// An error from a server's side about what address translation changed. `None` if it is not
/// about us.
pub(crate) fn outgoing<'g>(
    netns: &'g Netns,
    guard: &'g Guard,
    packet: &mut Packet<'_>,
) -> Option<Result<Outcome<'g>, Reason>> {
    let (entries, now) = (&netns.entries, time::jiffies());
    let Some(quote) = Quote::of(packet.family(), packet) else {
        // A later fragment does not tell which entry it is of, but that it must not leave so.
        let later = Quote::of_later_fragment(packet.family(), packet)?;
        let is_ours = entries.knows(guard, &later.destination, &later.source);
        return is_ours.then_some(Err(Reason::ReplyRemoved));
    };
    let found = match quote.protocol {
        UDP | TCP => {
            let ports = quote.ports(packet)?;
            let reply = Reply {
                transport: ports.transport,
                server: quote.destination,
                client: quote.source,
                client_port: ports.source,
                port: ports.destination,
            };
            let may_be_wrapped = quote.protocol == UDP && reply.port == ike::NATT_PORT;
            if may_be_wrapped && entries.has_encap() {
                if let Some(told) = wrapped(entries, guard, packet, &quote) {
                    return Some(told);
                }
            }
            let found = entries.by_reply(guard, &reply, now);
            entries.or_client(found, guard, &reply, now)
        }
        ESP => entries.by_reply_address(guard, &quote.destination, &quote.source, now),
        _ => None,
    }?;
    let Found::Alive(entry) = found else {
        return Some(Err(Reason::ReplyRemoved));
    };
    Some(send_back(&entry.vip(), packet, &quote).map(|()| Outcome::Out(entry)))
}

/// Has an error about what went to a server come from the service at `vip`, and be about what the
/// initiator sent there.
fn send_back(vip: &Addr, packet: &mut Packet<'_>, quote: &Quote) -> Result<(), Reason> {
    translate(packet, quote, End::Destination, vip)?;
    let old = packet.source();
    packet.set_source(vip).map_err(|_| Reason::NoMemory)?;
    packet.reroute().map_err(|_| Reason::NoRoute)?;
    follow_pseudo_header(packet, &old, vip)
}

/// The entry of the initiator that stands at one end of a packet that is quoted.
fn initiator<'g>(
    entries: &'g Entries,
    guard: &'g Guard,
    packet: &Packet<'_>,
    quote: &Quote,
    end: End,
) -> Option<&'g Entry> {
    let now = time::jiffies();
    let (client, vip) = match end {
        End::Source => (quote.source, quote.destination),
        End::Destination => (quote.destination, quote.source),
    };
    let entry = match quote.protocol {
        UDP | TCP => {
            let ports = quote.ports(packet)?;
            let (client_port, vip_port) = match end {
                End::Source => (ports.source, ports.destination),
                End::Destination => (ports.destination, ports.source),
            };
            let flow = Flow {
                transport: ports.transport,
                client,
                client_port,
                vip,
                vip_port,
            };
            entries.by_flow(guard, &flow, now)
        }
        ESP | AH => entries.by_address(guard, &client, &vip, now),
        _ => None,
    };
    entry.map(|entry| &**entry)
}

/// The entry of a packet that is quoted inside a tunnel of ours, the tunnel, and the packet.
fn tunnelled<'g>(
    entries: &'g Entries,
    guard: &'g Guard,
    packet: &Packet<'_>,
    outer: &Quote,
) -> Option<(&'g Entry, Shim, Quote)> {
    let (inner, family) = match outer.protocol {
        IPIP => (outer.transport, Family::V4),
        IPV6 => (outer.transport, Family::V6),
        GRE => {
            let [flags, _, kind @ ..]: [u8; 4] = packet.array(outer.transport)?;
            let len = if flags & 0x80 == 0 { 4 } else { 8 };
            let family = match u16::from_be_bytes(kind) {
                0x0800 => Family::V4,
                0x86dd => Family::V6,
                _ => return None,
            };
            (outer.transport + len, family)
        }
        UDP => {
            // Variant 0 without extensions, as we write it.
            let [0, protocol, _, _]: [u8; 4] = packet.array(outer.transport + UDP_LEN)? else {
                return None;
            };
            let family = match protocol {
                IPIP => Family::V4,
                IPV6 => Family::V6,
                _ => return None,
            };
            (outer.transport + 12, family)
        }
        _ => return None,
    };
    if !packet.is_for_us() {
        return None;
    }
    let inner = Quote::read(family, packet, inner)?;
    let entry = initiator(entries, guard, packet, &inner, End::Source)?;
    match entry.server.method {
        Method::Tun(shim) if entry.server.address == outer.destination => {
            Some((entry, shim, inner))
        }
        _ => None,
    }
}

/// An error about ESP that went to its server in UDP: the initiator, who speaks ESP, is told of
/// that. `None` if it is about something else.
fn wrapped<'g>(
    entries: &'g Entries,
    guard: &'g Guard,
    packet: &mut Packet<'_>,
    quote: &Quote,
) -> Option<Result<Outcome<'g>, Reason>> {
    let is_ike = packet.array(quote.transport + UDP_LEN) == Some([0u8; 4]);
    let (server, client) = (&quote.destination, &quote.source);
    match entries.by_reply_address(guard, server, client, time::jiffies())? {
        Found::Alive(entry) if !is_ike && entry.form() == Some(Form::Native) => {
            let told = tell_anew(packet, quote, |packet| {
                packet.remove_udp(ESP)?;
                packet.set_destination(&entry.vip())
            });
            Some(told.map(|()| Outcome::Told(entry)))
        }
        _ => None,
    }
}
