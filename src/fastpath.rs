// SPDX-License-Identifier: GPL-2.0

//! The fast path: data packets of established entries, taken at the ingress of a device and sent to
//! the next hop, past the rest of the stack. After `nf_flow_table_ip.c`, which does so for TCP and
//! UDP.
//!
//! Whatever is unusual goes the way of other packets, unchanged; nothing is dropped here.

use crate::{
    addr::Addr,
    entry::table::EntryNode,
    kapi::{
        neighbour::Neighbour,
        rcu::Guard,
        skb::{Packet, Verdict},
    },
    netns::Netns,
    proto::Kind,
    server::Method,
    stats::{Direction, Event},
};

/// A packet that can be sent on, and where.
struct Hop<'g> {
    entry: &'g EntryNode,
    kind: Kind,
    next: Neighbour<'g>,
    /// The server's address, if the packet is to be addressed to it.
    to: Option<&'g Addr>,
}

impl Netns {
    /// The way of a packet that came in by a device with a fast path: find the entry, forward, count.
    #[inline(always)]
    pub(crate) fn fast(&self, guard: &Guard, mut packet: Packet<'_>) -> Verdict {
        let Some(hop) = self.hop(guard, &packet) else {
            return packet.accept();
        };
        let bytes = u64::try_from(packet.len()).unwrap_or(0);
        if packet.pass_on(hop.to).is_err() {
            return packet.accept();
        }
        let volumes = hop.entry.server.account.volumes();
        self.stats.count(Event::Fast);
        self.stats.count_packet(
            packet.bh_disabled(),
            Event::Forwarded(hop.kind),
            volumes,
            Direction::In,
            bytes,
        );
        hop.next.send(packet)
    }

    /// Where a packet goes; `None` if the rest of the stack has to see it.
    #[inline(always)]
    fn hop<'g>(&'g self, guard: &'g Guard, packet: &Packet<'_>) -> Option<Hop<'g>> {
        let (entry, kind) = self.express(guard, packet)?;
        let server = &entry.server;
        let to = match server.method {
            Method::Dr => None,
            Method::Nat { .. } => Some(&server.address),
            Method::Tun(_) | Method::Local => return None,
        };
        if self.services.read(guard).has_marks() || packet.net().has_xfrm() {
            return None;
        }
        let route = server
            .route
            .route(packet.bh_disabled(), packet.net())
            .ok()?;
        if route.is_local()
            || !packet.source().may_be_forwarded()
            || packet.len() > route.mtu().try_into().unwrap_or(0)
        {
            return None;
        }
        let next = Neighbour::of(guard, &route, &server.address, packet)?;
        Some(Hop {
            entry,
            kind,
            next,
            to,
        })
    }
}
