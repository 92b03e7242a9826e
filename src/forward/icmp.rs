// SPDX-License-Identifier: GPL-2.0

//! ICMP errors about our packets, in both directions. After `ip_vs_in_icmp`, `ip_vs_out_icmp` and
//! `ip_vs_nat_icmp`.
//!
//! An error about an answer comes for the service from the initiator's side, and goes to the
//! server. One about a packet that address translation changed comes from the server's side, and
//! goes to the initiator. One about a packet in a tunnel comes for this host, which sent it, and
//! is told anew to the initiator.

use super::{prepare, tunnel, Way};
use crate::{
    addr::{Addr, Family, Flow},
    checksum,
    entry::{
        reply::{Found, Reply},
        table::Entries,
        Entry,
    },
    kapi::{icmp, rcu::Guard, skb::Packet, skb::Shim, time},
    netns::Netns,
    proto::{
        quote::{Quote, ICMP_LEN},
        Payload,
    },
    reason::Reason,
    server::{Method, Server},
};

const IPIP: u8 = 4;
const UDP: u8 = 17;
const IPV6: u8 = 41;
const GRE: u8 = 47;
const ESP: u8 = 50;
const AH: u8 = 51;

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
    let way = || {
        if let Method::Nat { encap } = server.method {
            // With encap the server sent ESP in UDP; the error tells it of ESP.
            if encap && quote.protocol == ESP {
                return Err(Reason::Local);
            }
            translate(packet, &quote, End::Source, &server.address)?;
        }
        let old = packet.destination();
        let way = prepare(server, packet)?;
        if let Method::Nat { .. } = server.method {
            follow_pseudo_header(packet, &old, &server.address)?;
        }
        Ok(way)
    };
    let way = { way }();
    Some(way.map(|way| Outcome::In(entry, way)))
}

/// An error from a server's side about what address translation changed. `None` if it is not
/// about us.
pub(crate) fn outgoing<'g>(
    netns: &'g Netns,
    guard: &'g Guard,
    packet: &mut Packet<'_>,
) -> Option<Result<Outcome<'g>, Reason>> {
    let quote = Quote::of(packet.family(), packet)?;
    let (entries, now) = (&netns.entries, time::jiffies());
    let found = match quote.protocol {
        UDP => {
            let ports = quote.ports(packet)?;
            let reply = Reply {
                server: quote.destination,
                client: quote.source,
                client_port: ports.source,
                port: ports.destination,
            };
            entries.by_reply(guard, &reply, now)
        }
        ESP => entries.by_reply_address(guard, &quote.destination, &quote.source, now),
        _ => None,
    }?;
    let Found::Alive(entry) = found else {
        return Some(Err(Reason::ReplyRemoved));
    };
    let vip = entry.flow.vip;
    let told = translate(packet, &quote, End::Destination, &vip).and_then(|()| {
        let old = packet.source();
        let changed = packet.set_source(&vip).and_then(|()| packet.reroute());
        changed.map_err(|_| Reason::NoMemory)?;
        follow_pseudo_header(packet, &old, &vip)
    });
    Some(told.map(|()| Outcome::Out(entry)))
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
        UDP => {
            let ports = quote.ports(packet)?;
            let (client_port, vip_port) = match end {
                End::Source => (ports.source, ports.destination),
                End::Destination => (ports.destination, ports.source),
            };
            let flow = Flow {
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
            let [0, protocol, _, _]: [u8; 4] = packet.array(outer.transport + 8)? else {
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

/// Tells the initiator what `packet` says of the tunnel its packet was in.
fn tell(
    server: &Server,
    shim: Shim,
    packet: &mut Packet<'_>,
    outer: &Quote,
    inner: &Quote,
) -> Result<(), Reason> {
    let Some([kind, code, _, _, info @ ..]) = packet.array::<ICMP_LEN>(0) else {
        return Err(Reason::Truncated);
    };
    let (family, inner_family) = (packet.family(), inner.source.family());
    let (is_too_big, mtu) = match family {
        Family::V4 => {
            let [_, _, high, low] = info;
            let mtu = u16::from_be_bytes([high, low]);
            ((kind, code) == (3, 4), mtu.into())
        }
        Family::V6 => (kind == 2, u32::from_be_bytes(info)),
    };
    // First the packet around, which the route is found by, then the one inside.
    let mut begin = packet.header_len() + inner.network;
    let error = if is_too_big {
        let outer_begin = packet.header_len() + outer.network;
        begin -= outer_begin;
        if mtu == 0 || !icmp::unquote(packet, outer_begin, family) {
            return Err(Reason::Truncated);
        }
        icmp::learn_mtu(packet, mtu);
        let path = server.route.route(packet.net());
        let path = path.map_or(mtu, |(route, _)| route.mtu());
        icmp::Error::TooBig(tunnel::mtu(server, shim, path, inner_family)?)
    } else if family == inner_family {
        icmp::Error::Relayed { kind, code, info }
    } else {
        icmp::Error::HostUnreachable
    };
    if !icmp::unquote(packet, begin, inner_family) {
        return Err(Reason::Truncated);
    }
    if !is_too_big || packet.is_unfragmentable() {
        icmp::send(packet, error);
    }
    Ok(())
}

/// Writes another address into a packet that is quoted. The checksums of the quoted headers and of
/// ICMP follow.
fn translate(
    packet: &mut Packet<'_>,
    quote: &Quote,
    end: End,
    address: &Addr,
) -> Result<(), Reason> {
    let len = packet.available().min(quote.transport + 8);
    let writable = packet.make_writable(packet.header_len() + len);
    writable.map_err(|_| Reason::NoMemory)?;
    let old = match end {
        End::Source => quote.source,
        End::Destination => quote.destination,
    };
    let (old, new) = (old.as_bytes(), address.as_bytes());
    if old.len() != new.len() {
        return Err(Reason::Truncated);
    }
    let at = quote.network
        + match (packet.family(), end) {
            (Family::V4, End::Source) => 12,
            (Family::V4, End::Destination) => 16,
            (Family::V6, End::Source) => 8,
            (Family::V6, End::Destination) => 24,
        };
    let mut patch = Patch::of(packet)?;
    patch.replace(packet, at, old, new);
    if packet.family() == Family::V4 {
        patch.sum(packet, quote.network + 10, old, new);
    }
    if quote.protocol == UDP && packet.array(quote.transport + 6) != Some([0, 0]) {
        patch.sum(packet, quote.transport + 6, old, new);
    }
    patch.finish(packet);
    Ok(())
}

/// The checksum of ICMPv6 covers the addresses of its own packet too.
fn follow_pseudo_header(packet: &mut Packet<'_>, old: &Addr, new: &Addr) -> Result<(), Reason> {
    if packet.family() == Family::V6 {
        let mut patch = Patch::of(packet)?;
        patch.0 = checksum::update(patch.0, old.as_bytes(), new.as_bytes());
        patch.finish(packet);
    }
    Ok(())
}

/// Changes to an ICMP message, and what becomes of its checksum by them.
struct Patch(u16);

impl Patch {
    const CHECKSUM: usize = 2;

    fn of(packet: &Packet<'_>) -> Result<Self, Reason> {
        let sum = packet.array(Self::CHECKSUM).ok_or(Reason::Truncated)?;
        Ok(Patch(u16::from_be_bytes(sum)))
    }

    /// Replaces bytes at an even offset.
    fn replace(&mut self, packet: &mut Packet<'_>, at: usize, old: &[u8], new: &[u8]) {
        if packet.write(at, new) {
            self.0 = checksum::update(self.0, old, new);
        }
    }

    /// Brings another checksum up to date that covers what was replaced, if it was quoted.
    fn sum(&mut self, packet: &mut Packet<'_>, at: usize, old: &[u8], new: &[u8]) {
        if let Some(sum) = packet.array::<2>(at) {
            let updated = checksum::update(u16::from_be_bytes(sum), old, new).to_be_bytes();
            self.replace(packet, at, &sum, &updated);
        }
    }

    fn finish(self, packet: &mut Packet<'_>) {
        packet.write(Self::CHECKSUM, &self.0.to_be_bytes());
    }
}
