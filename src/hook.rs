// SPDX-License-Identifier: GPL-2.0

//! The way of a packet.

use crate::{
    addr::Flow,
    admit::admit,
    forward::{
        self,
        icmp::{self, Outcome},
        nat, Way,
    },
    ike::header::Header,
    kapi::{
        icmp as errors,
        netfilter::Handler,
        rcu::Guard,
        skb::{Packet, Verdict},
        time,
    },
    netns::Netns,
    proto::{number::UDP, quote, Carrier},
    reason::Reason,
    server::Server,
    service::Service,
    stats::{Direction, Event},
};

/// A packet that goes no further, and who is to be told of it.
struct Refused<'g> {
    reason: Reason,
    server: Option<&'g Server>,
}

impl Handler for Netns {
    /// From an initiator to a service.
    #[inline]
    fn local_in(&self, mut packet: Packet<'_>) -> Verdict {
        let Some(carrier) = Carrier::of(packet.protocol(), &packet) else {
            return self.icmp_in(packet);
        };
        let guard = Guard::new();
        let vip = packet.destination();
        let Some(service) = self.services.read(&guard).of_packet(&packet, &vip) else {
            return packet.accept();
        };
        match self.way(&guard, service, carrier, &mut packet) {
            Ok(way) => way.take(packet),
            Err(refused) => {
                self.refuse(service, &packet, &refused);
                if refused.reason == Reason::TcpNoEntry {
                    // Our own stack has no such connection either, and says so.
                    packet.accept()
                } else {
                    packet.drop()
                }
            }
        }
    }

    /// From a server to an initiator.
    #[inline]
    fn forward(&self, packet: Packet<'_>) -> Verdict {
        if quote::is_icmp(packet.family(), packet.protocol()) {
            return self.icmp_through(packet);
        }
        self.answer(packet)
    }

    /// From a server that is this host, to an initiator.
    #[inline]
    fn local_out(&self, packet: Packet<'_>) -> Verdict {
        if quote::is_icmp(packet.family(), packet.protocol()) {
            return self.icmp_out(packet);
        }
        self.answer(packet)
    }
}

impl Netns {
    /// Classify, find the entry, admit, forward, count.
    #[inline]
    fn way<'g>(
        &'g self,
        guard: &'g Guard,
        service: &'g Service,
        carrier: Carrier,
        packet: &mut Packet<'_>,
    ) -> Result<Way, Refused<'g>> {
        let refused = |server| move |reason| Refused { reason, server };
        let traffic = carrier.parse(packet).map_err(refused(None))?;
        let ends = (packet.source(), packet.destination());
        let server = admit(self, guard, service, ends, &traffic).map_err(refused(None))?;
        let bytes = length(packet);
        let way = forward::prepare(server, packet).map_err(refused(Some(server)))?;

        server.account.count_packet(Direction::In, bytes);
        self.stats.count(Event::Forwarded(traffic));
        Ok(way)
    }

    /// Counts a packet that goes no further, and answers it if it shall be.
    #[cold]
    fn refuse(&self, service: &Service, packet: &Packet<'_>, refused: &Refused<'_>) {
        let reason = refused.reason;
        self.stats.count(Event::Dropped(reason));
        service.common.volume.count_drop(reason);
        if let Some(server) = refused.server {
            server.account.volume.count_drop(reason);
        }
        if matches!(reason, Reason::EspNoEntry | Reason::AhNoEntry) {
            errors::send(packet, errors::Error::ProtocolUnreachable);
            self.stats.count(Event::Unreachable);
        }
    }

    /// Has a server's answer come from the service, where addresses are translated.
    #[inline]
    fn answer(&self, packet: Packet<'_>) -> Verdict {
        if !self.entries.has_translated() {
            self.learn(&packet);
            return packet.accept();
        }
        let guard = Guard::new();
        let mut packet = if packet.protocol() == UDP && packet.is_fragment() {
            // Only what goes to our initiators is held up.
            let (server, client) = (packet.source(), packet.destination());
            let now = time::jiffies();
            let ours = self.entries.by_reply_address(&guard, &server, &client, now);
            if ours.is_none() {
                self.learn(&packet);
                return packet.accept();
            }
            match packet.reassemble() {
                Some(packet) => packet,
                None => return Packet::stolen(),
            }
        } else {
            packet
        };
        match nat::answer(self, &guard, &mut packet) {
            None => {
                self.learn(&packet);
                packet.accept()
            }
            Some(Ok(entry)) => {
                if let Some(reply) = self.awaited(&packet) {
                    entry.learn(&reply);
                }
                entry
                    .server
                    .account
                    .count_packet(Direction::Out, length(&packet));
                self.stats.count(Event::Out);
                packet.accept_as_ours()
            }
            Some(Err(reason)) => self.drop(packet, reason),
        }
    }

    /// Learns what a server's reply says, where addresses are not translated and it passes all the
    /// same.
    #[inline]
    fn learn(&self, packet: &Packet<'_>) {
        let Some(reply) = self.awaited(packet) else {
            return;
        };
        let Some(ports) = packet.ports() else {
            return;
        };
        let flow = Flow {
            transport: ports.transport,
            client: packet.destination(),
            client_port: ports.destination,
            vip: packet.source(),
            vip_port: ports.source,
        };
        let guard = Guard::new();
        if let Some(entry) = self.entries.by_flow(&guard, &flow, time::jiffies()) {
            entry.learn(&reply);
        }
    }

    /// The IKE message in a packet, if an initiator that has to prove itself may wait for it.
    #[inline]
    fn awaited(&self, packet: &Packet<'_>) -> Option<Header> {
        (self.entries.initial() > 0)
            .then(|| packet.ike_reply())
            .flatten()
    }

    /// ICMP for this host.
    fn icmp_in(&self, mut packet: Packet<'_>) -> Verdict {
        if !quote::is_icmp(packet.family(), packet.protocol()) || self.entries.count() == 0 {
            return packet.accept();
        }
        let guard = Guard::new();
        let outcome = icmp::incoming(self, &guard, &mut packet);
        self.icmp_done(packet, outcome)
    }

    /// ICMP of this host.
    fn icmp_out(&self, mut packet: Packet<'_>) -> Verdict {
        if !self.entries.has_translated() {
            return packet.accept();
        }
        let guard = Guard::new();
        let outcome = icmp::outgoing(self, &guard, &mut packet);
        self.icmp_done(packet, outcome)
    }

    /// ICMP for another host: for an initiator, or for a service by mark that is no address of
    /// this host.
    fn icmp_through(&self, packet: Packet<'_>) -> Verdict {
        if self.entries.count() == 0 {
            return packet.accept();
        }
        // The middle of a message must not be taken for its beginning, nor its beginning be
        // translated alone.
        let mut packet = if packet.is_fragment() {
            match packet.reassemble() {
                Some(packet) => packet,
                None => return Packet::stolen(),
            }
        } else {
            packet
        };
        let guard = Guard::new();
        let outcome = icmp::outgoing(self, &guard, &mut packet)
            .or_else(|| icmp::incoming(self, &guard, &mut packet));
        self.icmp_done(packet, outcome)
    }

    fn icmp_done(
        &self,
        packet: Packet<'_>,
        outcome: Option<Result<Outcome<'_>, Reason>>,
    ) -> Verdict {
        let outcome = match outcome {
            None => return packet.accept(),
            Some(Err(reason)) => return self.drop(packet, reason),
            Some(Ok(outcome)) => outcome,
        };
        self.stats.count(Event::Icmp);
        let bytes = length(&packet);
        match outcome {
            Outcome::In(entry, way) => {
                entry.server.account.count_packet(Direction::In, bytes);
                way.take(packet)
            }
            Outcome::Out(entry) => {
                entry.server.account.count_packet(Direction::Out, bytes);
                packet.accept_as_ours()
            }
            Outcome::Told(entry) => {
                entry.server.account.count_packet(Direction::Out, bytes);
                // It is no longer what came.
                packet.drop()
            }
        }
    }

    #[cold]
    fn drop(&self, packet: Packet<'_>, reason: Reason) -> Verdict {
        self.stats.count(Event::Dropped(reason));
        packet.drop()
    }
}

fn length(packet: &Packet<'_>) -> u64 {
    u64::try_from(packet.len()).unwrap_or(0)
}
