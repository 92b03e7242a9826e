// SPDX-License-Identifier: GPL-2.0

//! The way of a packet.

use crate::{
    addr::Flow,
    admit::{admit, Admitted},
    entry::Entry,
    forward::{
        self,
        icmp::{self, Outcome},
        nat,
    },
    ike::header::Header,
    kapi::{
        icmp as errors,
        netfilter::Handler,
        rcu::Guard,
        skb::{Merged, Packet, Verdict},
        time,
    },
    netns::Netns,
    proto::{
        merged::is_one_sa,
        number::{ESP, TCP, UDP},
        quote, Carrier, Kind,
    },
    reason::Reason,
    service::Common,
    stats::{Direction, Event},
};

impl Handler for Netns {
    /// From an initiator to a service: find the entry, admit, forward, count.
    #[inline(always)]
    fn local_in(&self, guard: &Guard, packet: Packet<'_>) -> Verdict {
        match self.express(guard, &packet) {
            Some((entry, kind)) => {
                let (server, is_named) = (&entry.server, false);
                self.deliver(&Admitted { server, is_named }, kind, packet)
            }
            None => self.any_in(guard, packet),
        }
    }

    /// What came in by a device with a fast path.
    #[inline(always)]
    fn ingress(&self, guard: &Guard, packet: Packet<'_>) -> Verdict {
        self.fast(guard, packet)
    }

    /// UDP, TCP and ESP may be a server's reply, which is looked at while an entry expects one;
    /// anything else may be an ICMP error about our packets.
    #[inline(always)]
    fn wants(&self, protocol: u8) -> bool {
        !matches!(protocol, UDP | TCP | ESP) || self.entries.awaits_answers()
    }

    /// From a server to an initiator.
    #[inline(always)]
    fn forward(&self, guard: &Guard, packet: Packet<'_>) -> Verdict {
        if quote::is_icmp(packet.family(), packet.protocol()) {
            self.icmp_through(guard, packet)
        } else {
            self.answer(guard, packet)
        }
    }

    fn takes_as_one(&self, packet: &Packet<'_>, merged: Merged, is_reply: bool) -> bool {
        let carrier = if is_reply {
            Carrier::of_reply(packet.protocol(), packet)
        } else {
            Carrier::of(packet.protocol(), packet)
        };
        // Changes to a list reach its first datagram only, and ESP that loses its UDP header cannot
        // be segmented as UDP.
        let must_be_single = merged.is_list || is_reply && self.entries.has_encap();
        carrier.is_none() || !must_be_single && is_one_sa(packet, merged.size)
    }

    /// From a server that is this host, to an initiator.
    #[inline(always)]
    fn local_out(&self, guard: &Guard, packet: Packet<'_>) -> Verdict {
        if quote::is_icmp(packet.family(), packet.protocol()) {
            self.icmp_out(guard, packet)
        } else {
            self.answer(guard, packet)
        }
    }

    fn lose(&self, packet: Packet<'_>) {
        self.stats.count(Event::Dropped(Reason::NoMemory));
        drop(packet);
    }
}

impl Netns {
    /// Whatever is for this host: classify, and on if it is a service's.
    #[inline(never)]
    fn any_in(&self, guard: &Guard, packet: Packet<'_>) -> Verdict {
        let Some(carrier) = Carrier::of(packet.protocol(), &packet) else {
            return self.icmp_in(guard, packet);
        };
        let (client, vip) = (packet.source(), packet.destination());
        let Some(service) = self.services.read(guard).of_packet(&packet, &vip) else {
            return packet.accept();
        };
        let admitted = carrier.parse(&packet).and_then(|traffic| {
            let admitted = admit(self, guard, service, (client, vip), &traffic)?;
            Ok((admitted, traffic.kind()))
        });
        match admitted {
            Ok((admitted, kind)) => self.deliver(&admitted, kind, packet),
            Err(reason) => {
                self.refuse(&service.common, &packet, reason);
                if reason == Reason::TcpNoEntry {
                    // Our own stack has no such connection either, and says so.
                    packet.accept()
                } else {
                    packet.drop()
                }
            }
        }
    }

    /// Sends a packet that was admitted to its server, and counts it.
    #[inline(always)]
    fn deliver(
        &self,
        &Admitted { server, is_named }: &Admitted<'_>,
        kind: Kind,
        mut packet: Packet<'_>,
    ) -> Verdict {
        let bytes = length(&packet);
        match forward::prepare(server, &mut packet) {
            Ok(way) => {
                let (event, volumes) = (Event::Forwarded(kind), server.account.volumes());
                if is_named {
                    self.stats.count(Event::Named);
                }
                self.stats
                    .count_packet(packet.bh_disabled(), event, volumes, Direction::In, bytes);
                way.take(packet, self)
            }
            Err(reason) => {
                self.refuse(&server.account.common, &packet, reason);
                server.account.volume.count_drop(reason);
                packet.drop()
            }
        }
    }

    /// Counts a packet of a service that goes no further, and answers it if it shall be.
    #[cold]
    fn refuse(&self, service: &Common, packet: &Packet<'_>, reason: Reason) {
        self.stats.count(Event::Dropped(reason));
        service.volume.count_drop(reason);
        if matches!(reason, Reason::EspNoEntry | Reason::AhNoEntry) {
            errors::send(packet, errors::Error::ProtocolUnreachable);
            self.stats.count(Event::Unreachable);
        }
    }

    /// Has a server's answer come from the service, where addresses are translated.
    #[inline(never)]
    fn answer(&self, guard: &Guard, packet: Packet<'_>) -> Verdict {
        if !self.entries.has_translated() {
            self.learn(guard, &packet);
            return packet.accept();
        }
        let has_ports = matches!(packet.protocol(), UDP | TCP);
        let mut packet = if has_ports && packet.is_fragment() {
            // Only what goes to our initiators is held up.
            let (server, client) = (packet.source(), packet.destination());
            if !self.entries.knows(guard, &server, &client) {
                self.learn(guard, &packet);
                return packet.accept();
            }
            match packet.reassemble() {
                Some(packet) => packet,
                None => return Packet::stolen(),
            }
        } else {
            packet
        };
        match nat::answer(self, guard, &mut packet) {
            None => {
                self.learn(guard, &packet);
                packet.accept()
            }
            Some(Ok(entry)) => {
                if let Some(reply) = self.awaited(&packet) {
                    entry.learn(&reply);
                }
                let (bytes, volumes) = (length(&packet), entry.server.account.volumes());
                self.stats.count_packet(
                    packet.bh_disabled(),
                    Event::Out,
                    volumes,
                    Direction::Out,
                    bytes,
                );
                packet.accept_as_ours()
            }
            Some(Err(reason)) => self.drop(packet, reason),
        }
    }

    /// Learns what a server's reply says, where addresses are not translated and it passes all the
    /// same.
    #[inline]
    fn learn(&self, guard: &Guard, packet: &Packet<'_>) {
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
        if let Some(entry) = self.entries.by_flow(guard, &flow, time::jiffies()) {
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
    #[inline(never)]
    fn icmp_in(&self, guard: &Guard, mut packet: Packet<'_>) -> Verdict {
        if !quote::is_icmp(packet.family(), packet.protocol()) || self.entries.count() == 0 {
            return packet.accept();
        }
        let outcome = icmp::incoming(self, guard, &mut packet);
        self.icmp_done(packet, outcome)
    }

    /// ICMP of this host.
    #[inline(never)]
    fn icmp_out(&self, guard: &Guard, mut packet: Packet<'_>) -> Verdict {
        if !self.entries.has_translated() {
            return packet.accept();
        }
        let outcome = icmp::outgoing(self, guard, &mut packet);
        self.icmp_done(packet, outcome)
    }

    /// ICMP for another host: for an initiator, or for a service by mark that is no address of
    /// this host.
    #[inline(never)]
    fn icmp_through(&self, guard: &Guard, packet: Packet<'_>) -> Verdict {
        if self.entries.is_empty() {
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
        let outcome = icmp::outgoing(self, guard, &mut packet)
            .or_else(|| icmp::incoming(self, guard, &mut packet));
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
        let bytes = length(&packet);
        let count = |entry: &Entry, direction| {
            let volumes = entry.server.account.volumes();
            self.stats
                .count_packet(packet.bh_disabled(), Event::Icmp, volumes, direction, bytes);
        };
        match outcome {
            Outcome::In(entry, way) => {
                count(entry, Direction::In);
                way.take(packet, self)
            }
            Outcome::Out(entry) => {
                count(entry, Direction::Out);
                packet.accept_as_ours()
            }
            Outcome::Told(entry) => {
                count(entry, Direction::Out);
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
