// SPDX-License-Identifier: GPL-2.0

//! Which entry a packet belongs to, and whether it may pass.

use crate::{
    addr::{Addr, Flow, Transport},
    entry::{
        table::{Entries, EntryNode, Sought},
        Binding, Entry, Form, Origin,
    },
    ike::{
        self,
        header::Header,
        state::{Event, Outcome, State},
    },
    kapi::{rcu::Guard, table::Inserted, time},
    netns::Netns,
    proto::{Ports, Segment, Traffic},
    reason::Reason,
    server::Server,
    service::{Roster, Service},
    stats::Event as Counted,
};
use kernel::sync::Arc;

/// A packet that may pass.
pub(crate) struct Admitted<'g> {
    /// Where it is to go.
    pub(crate) server: &'g Arc<Server>,
    /// Whether its SPI says so.
    pub(crate) is_named: bool,
}

/// A packet at the door.
struct Arrival<'g> {
    netns: &'g Netns,
    guard: &'g Guard,
    service: &'g Service,
    roster: &'g Roster,
    client: Addr,
    vip: Addr,
    now: u64,
}

/// Finds the entry of a packet from `client` to `vip`, which is `service`'s, or makes it, and moves it by what came
/// in.
#[inline]
pub(crate) fn admit<'g>(
    netns: &'g Netns,
    guard: &'g Guard,
    service: &'g Service,
    (client, vip): (Addr, Addr),
    traffic: &Traffic,
) -> Result<Admitted<'g>, Reason> {
    let arrival = Arrival {
        netns,
        guard,
        service,
        roster: service.roster(guard),
        client,
        vip,
        now: time::jiffies(),
    };
    if let Some(server) = arrival.roster.named(traffic) {
        arrival.named(server, traffic)?;
        return Ok(Admitted {
            server,
            is_named: true,
        });
    }
    let (entry, event) = match traffic {
        Traffic::Ike(ports, header) => arrival.ike(ports, header)?,
        Traffic::Keepalive(ports) => (
            arrival.known(ports).ok_or(Reason::KeepaliveNoEntry)?,
            Event::Keepalive,
        ),
        Traffic::EspInUdp(ports, spi) => (arrival.esp_in_udp(ports, *spi)?, arrival.ipsec()),
        Traffic::Esp(_) => (
            arrival.related().ok_or(Reason::EspNoEntry)?,
            arrival.ipsec(),
        ),
        Traffic::Ah(_) => (arrival.related().ok_or(Reason::AhNoEntry)?, arrival.ipsec()),
        Traffic::Tcp(ports, segment) => arrival.tcp(ports, segment)?,
    };
    match arrival.advance(entry, event, traffic) {
        Outcome::Restart(_) | Outcome::Forward => {}
        Outcome::Drop if event == Event::IkeUnproved => return Err(Reason::IkeResponderSpi),
        Outcome::Drop => return Err(Reason::NotEstablished),
    }
    Ok(Admitted {
        server: &entry.server,
        is_named: false,
    })
}

impl<'g> Arrival<'g> {
    fn entries(&self) -> &'g Entries {
        &self.netns.entries
    }

    fn deadline(&self, state: State) -> u64 {
        let of_service = self.roster.plan.timeouts.get(state);
        self.now + of_service.unwrap_or_else(|| self.netns.settings.timeout(state))
    }

    fn ipsec(&self) -> Event {
        Event::Ipsec {
            refreshes: self.netns.settings.esp_refreshes(),
        }
    }

    /// Moves an entry by what came in for it, and remembers what that tells.
    #[inline]
    fn advance(&self, entry: &'g EntryNode, event: Event, traffic: &Traffic) -> Outcome {
        // Who has died meanwhile is treated as one who had not proved itself.
        let state = entry.state(self.now).unwrap_or(State::Initial);
        let mut outcome = state.on(entry.judge(state, event));
        if traffic.ike().is_some_and(|header| header.is_aside) {
            outcome = outcome.aside();
        }
        if let Outcome::Restart(to) = outcome {
            let mut deadline = self.deadline(to);
            if entry.flow().transport == Transport::Tcp {
                deadline = deadline.min(self.now + self.netns.settings.tcp_timeout());
            }
            self.entries().restart(self.guard, entry, to, deadline);
            if let Some(header) = traffic.ike() {
                self.entries().remember(self.guard, entry, header, to);
            }
        }
        if let (Traffic::EspInUdp(_, spi), State::Established) = (traffic, state) {
            self.entries().sight(self.guard, entry, *spi, self.now);
        }
        if outcome != Outcome::Drop && entry.server.wants_encap() {
            self.note_form(entry, traffic);
        }
        outcome
    }

    /// A packet whose SPI names `server`, where it goes without an entry too; but its answers must
    /// find one where addresses are translated. What it proves for its entry it proves as ever.
    #[inline(never)]
    fn named(&self, server: &'g Arc<Server>, traffic: &Traffic) -> Result<(), Reason> {
        let ports = match traffic {
            Traffic::Ike(ports, _) | Traffic::EspInUdp(ports, _) | Traffic::Keepalive(ports) => {
                Some(ports)
            }
            Traffic::Esp(_) | Traffic::Ah(_) | Traffic::Tcp(..) => None,
        };
        // No answer finds the entry of a server whose address was not translated then.
        let is_at = |entry: &&EntryNode| {
            let is_found = entry.server.is_translated() || !server.is_translated();
            entry.is_served_by(server) && is_found
        };
        let own = ports.map_or_else(|| self.related(), |ports| self.known(ports));
        let entry = match own.filter(is_at) {
            Some(entry) => entry,
            None if server.is_translated() => {
                if traffic.ike().is_some_and(|header| header.is_aside) {
                    return Err(Reason::IkeExchange);
                }
                let binding = Binding {
                    server,
                    template: None,
                };
                // Native ESP and AH belong to whatever there is on port 500.
                const IKE: Ports = Ports {
                    transport: Transport::Udp,
                    source: ike::PORT,
                    destination: ike::PORT,
                };
                let mut own = self.sought(ports.unwrap_or(&IKE));
                // A flow that is another server's has one at this server beside its own.
                if self.find(&own).is_some_and(|entry| !is_at(&entry)) {
                    own = self.entries().sought_at(&own, server);
                }
                match self.find(&own) {
                    Some(entry) => entry,
                    None => self.make(&own, Origin::Name, binding, State::Initial)?,
                }
            }
            None => return Ok(()),
        };
        let event = match traffic {
            Traffic::Ike(_, header) => entry.on_ike(header),
            _ => self.ipsec(),
        };
        // Whatever the entry makes of it, it goes where its SPI says.
        self.advance(entry, event, traffic);
        Ok(())
    }

    #[inline]
    fn sought(&self, ports: &Ports) -> Sought {
        self.entries().sought(Flow {
            transport: ports.transport,
            client: self.client,
            client_port: ports.source,
            vip: self.vip,
            vip_port: ports.destination,
        })
    }

    /// The entry of a flow.
    fn find(&self, sought: &Sought) -> Option<&'g EntryNode> {
        self.entries().find(self.guard, sought, self.now)
    }

    /// The entry of the packet's own flow.
    fn known(&self, ports: &Ports) -> Option<&'g EntryNode> {
        self.find(&self.sought(ports))
    }

    /// The entry that ESP and AH are related to.
    fn related(&self) -> Option<&'g EntryNode> {
        let vip = &self.vip;
        self.entries()
            .by_address(self.guard, &self.client, vip, self.now)
    }

    /// Remembers how the initiator sends ESP, as its server's answers must reach it likewise: both
    /// in the entry that ESP is related to, and in that of the flow that ESP in UDP has.
    fn note_form(&self, entry: &Entry, traffic: &Traffic) {
        let form = match traffic {
            Traffic::Esp(_) => Form::Native,
            Traffic::EspInUdp(..) => Form::InUdp,
            _ => return,
        };
        if entry.form() == Some(form) {
            return;
        }
        entry.set_form(form);
        let other = match form {
            Form::Native => self.known(&Ports {
                transport: Transport::Udp,
                source: ike::NATT_PORT,
                destination: ike::NATT_PORT,
            }),
            Form::InUdp => self.related(),
        };
        if let Some(other) = other {
            other.set_form(form);
        }
    }

    /// The entry for an IKE message, and what the message is for it. What its SPI says goes before
    /// what its flow says: the flow may have had another IKE SA before.
    #[inline(never)]
    fn ike(&self, ports: &Ports, header: &Header) -> Result<(&'g EntryNode, Event), Reason> {
        let own = self.sought(ports);
        let known = self.find(&own);
        if let Some(entry) = known {
            if entry.initiator_spi() == header.initiator_spi {
                return Ok((entry, entry.on_ike(header)));
            }
        }
        let spi = header.initiator_spi;
        let spi_hash = self.entries().spi_hash(&self.vip, spi);
        let same_sa = self
            .entries()
            .by_spi(self.guard, &self.vip, (spi, spi_hash), self.now);
        if header.is_aside {
            let entry = self.aside(known, same_sa).ok_or(Reason::IkeExchange)?;
            return Ok((entry, entry.on_ike(header)));
        }
        let origin = Origin::Message(header, spi_hash);
        match (known, same_sa) {
            // The initiator began the IKE SA on its other flow, and was bound to another server
            // there: it has been away for longer than an entry lives.
            // What shows no responder SPI says nothing of that: anybody can send it.
            (Some(entry), Some(other))
                if header.responder_spi != 0
                    && other.client() == self.client
                    && !Arc::ptr_eq(&entry.server, &other.server) =>
            {
                self.inheritance(header, other)?;
                self.entries().remove(self.guard, entry);
                self.inherit((ports, &own), (header, origin), other)
            }
            (Some(entry), other) => Ok((entry, other.unwrap_or(entry).on_ike(header))),
            (None, Some(other)) => self.inherit((ports, &own), (header, origin), other),
            (None, None) if header.is_first() || self.netns.settings.is_sloppy() => {
                let binding = match self.neighbour(ports) {
                    Some(binding) => binding,
                    None => self.schedule(ports)?,
                };
                let sees_replies = binding.server.sees_replies();
                let entry = self.make(&own, origin, binding, State::Initial)?;
                // Who comes in the middle of an exchange has to wait for the next reply, if the
                // director sees it.
                let event = if sees_replies {
                    Event::IkeFirst
                } else {
                    Event::ike(header, 0, false)
                };
                Ok((entry, event))
            }
            (None, None) => Err(Reason::IkeNoEntry),
        }
    }

    /// The entry of a message that says nothing about its IKE SA, and makes no entry: that of the
    /// IKE SA, if its server's answer needs none of this flow; else the flow's own, which may have
    /// other IKE SAs once it has one.
    fn aside(
        &self,
        known: Option<&'g EntryNode>,
        same_sa: Option<&'g EntryNode>,
    ) -> Option<&'g EntryNode> {
        let is_established = |entry: &&EntryNode| entry.state(self.now) == Some(State::Established);
        same_sa
            .filter(|entry| !entry.server.is_translated())
            .or(known.filter(is_established))
    }

    /// The state that a message inherits from an entry that has seen the same IKE SA, and what it is
    /// for that.
    fn inheritance(&self, header: &Header, other: &EntryNode) -> Result<(State, Event), Reason> {
        let state = other.state(self.now).unwrap_or(State::Initial);
        let event = other.on_ike(header);
        let is_unproved = match state {
            State::Initial => event == Event::IkeUnproved,
            State::Established => !other.may_own(header),
        };
        if is_unproved {
            return Err(Reason::IkeResponderSpi);
        }
        let proved = other.client() == self.client || !header.is_first();
        let state = match event {
            // It would be established in a moment, and need not wait for room among the initial.
            Event::IkeLater => State::Established,
            _ if proved => state,
            _ => State::Initial,
        };
        Ok((state, event))
    }

    /// An entry with server and state of one that has seen the same IKE SA. From another address
    /// the initiator's SPI alone, which a first message has, proves nothing: only the server is
    /// inherited.
    fn inherit(
        &self,
        (ports, own): (&Ports, &Sought),
        (header, origin): (&Header, Origin<'_>),
        other: &'g EntryNode,
    ) -> Result<(&'g EntryNode, Event), Reason> {
        let (state, event) = self.inheritance(header, other)?;
        let entry = self.make(own, origin, other.binding(), state)?;
        // Port 4500 after port 500 is no move.
        if other.client() != self.client || other.flow().vip_port == ports.destination {
            self.netns.stats.count(Counted::Moved);
        }
        Ok((entry, event))
    }

    /// The entry for ESP in UDP.
    #[inline]
    fn esp_in_udp(&self, ports: &Ports, spi: u32) -> Result<&'g EntryNode, Reason> {
        let own = self.sought(ports);
        match self.find(&own) {
            Some(entry) => Ok(entry),
            None => self.moved(&own, spi),
        }
    }

    /// The entry for ESP in UDP from a new address or port: a flow of its own, if its SPI was seen,
    /// or its address tells where it belongs. That is initial until IKE from there proves more, so
    /// that whoever knows an SPI cannot fill the table.
    #[cold]
    fn moved(&self, own: &Sought, spi: u32) -> Result<&'g EntryNode, Reason> {
        let (entries, guard) = (self.entries(), self.guard);
        let other = entries
            .by_esp(guard, &self.vip, spi, self.now)
            .or_else(|| entries.sole(guard, &self.client, &self.vip, self.now))
            .ok_or(Reason::EspInUdpNoEntry)?;
        let entry = self.make(own, Origin::Entry(other), other.binding(), State::Initial)?;
        self.netns.stats.count(Counted::Moved);
        Ok(entry)
    }

    /// The entry of a connection, which goes where the initiator's other flows do, and what a segment
    /// is for it. The server has proved the initiator's address by the time it speaks IKE, whether
    /// its replies are seen or not.
    #[inline(never)]
    fn tcp(&self, ports: &Ports, segment: &Segment) -> Result<(&'g EntryNode, Event), Reason> {
        let own = self.sought(ports);
        let entry = match self.find(&own) {
            Some(entry) => entry,
            None if segment.begins => {
                let binding = match self.related() {
                    Some(other) => other.binding(),
                    None => self.schedule(ports)?,
                };
                self.make(&own, Origin::Connection, binding, State::Initial)?
            }
            None => return Err(Reason::TcpNoEntry),
        };
        let event = match &segment.message {
            Some(header) => Event::ike(header, entry.learnt(header), false),
            None if segment.begins => Event::IkeFirst,
            None => Event::Keepalive,
        };
        Ok((entry, event))
    }

    /// The server that persistence or the scheduler chooses for a new initiator.
    fn schedule(&self, ports: &Ports) -> Result<Binding<'g>, Reason> {
        let roster = self.roster;
        let choose = || {
            let server = self.service.choose(roster, self.client, ports.source);
            server.ok_or(Reason::NoServer)
        };
        let persistence = &roster.plan.persistence;
        if persistence.timeout == 0 {
            return Ok(Binding {
                server: choose()?,
                template: None,
            });
        }
        let (guard, key) = (self.guard, &self.service.key);
        let prefix = self.client.prefix(persistence.prefix);
        let template = match self.entries().template(guard, key, &prefix, self.now) {
            Some(template) => template,
            None => {
                let terms = (self.now, persistence);
                self.entries().tie(guard, key, prefix, choose()?, terms)?
            }
        };
        Ok(Binding {
            server: roster.current(&template.server),
            template: Some(template),
        })
    }

    /// What an initiator is bound to that no NAT has given other ports, by its flow from the other
    /// port of IKE. It may begin a new IKE SA on either.
    fn neighbour(&self, ports: &Ports) -> Option<Binding<'g>> {
        let other = match ports.source {
            ike::PORT => ike::NATT_PORT,
            ike::NATT_PORT => ike::PORT,
            _ => return None,
        };
        let ports = Ports {
            transport: Transport::Udp,
            source: other,
            destination: other,
        };
        self.known(&ports).map(|entry| entry.binding())
    }

    /// A new entry.
    fn make(
        &self,
        own: &Sought,
        origin: Origin<'_>,
        binding: Binding<'_>,
        state: State,
    ) -> Result<&'g EntryNode, Reason> {
        let clock = (state, self.now, self.deadline(state));
        match self
            .entries()
            .make(self.guard, own, binding, &origin, clock)?
        {
            Inserted::New(entry) => {
                entry.server.account.count_conn();
                self.netns.sweep_later();
                Ok(entry)
            }
            Inserted::Rival(entry) => Ok(entry),
        }
    }
}
