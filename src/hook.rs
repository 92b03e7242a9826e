// SPDX-License-Identifier: GPL-2.0

//! The way of a packet.

use crate::{
    admit::admit,
    forward::direct,
    kapi::{
        icmp,
        netfilter::Handler,
        rcu::Guard,
        route::Route,
        skb::{Packet, Verdict},
    },
    netns::Netns,
    proto::Carrier,
    reason::Reason,
    service::Service,
    stats::Event,
};

impl Handler for Netns {
    #[inline]
    fn local_in(&self, mut packet: Packet<'_>) -> Verdict {
        let Some(carrier) = Carrier::of(packet.protocol(), &packet) else {
            return packet.accept();
        };
        let guard = Guard::new();
        let Some(service) = self.services.read(&guard).find(&packet.destination()) else {
            return packet.accept();
        };
        match way(self, &guard, service, carrier, &mut packet) {
            Ok(route) => packet.send(route),
            Err(reason) => {
                refuse(self, &packet, reason);
                packet.drop()
            }
        }
    }
}

/// Classify, find the entry, admit, forward, count.
#[inline]
fn way(
    netns: &Netns,
    guard: &Guard,
    service: &Service,
    carrier: Carrier,
    packet: &mut Packet<'_>,
) -> Result<Route, Reason> {
    let traffic = carrier.parse(packet)?;
    let entry = admit(netns, guard, service, packet.source(), &traffic)?;
    let route = direct::prepare(&entry.server, packet)?;

    let bytes = u64::try_from(packet.len()).unwrap_or(0);
    entry.server.volume.count_packet(bytes);
    service.volume.count_packet(bytes);
    netns.stats.count(Event::Forwarded(traffic));
    Ok(route)
}

/// Counts a packet that goes no further, and answers it if it shall be.
#[cold]
fn refuse(netns: &Netns, packet: &Packet<'_>, reason: Reason) {
    netns.stats.count(Event::Dropped(reason));
    if matches!(reason, Reason::EspNoEntry | Reason::AhNoEntry) {
        icmp::send(packet, icmp::Error::ProtocolUnreachable);
        netns.stats.count(Event::Unreachable);
    }
}
