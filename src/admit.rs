// SPDX-License-Identifier: GPL-2.0

//! Which entry a packet belongs to, and whether it may pass.

use crate::{
    addr::{Addr, Flow},
    entry::{
        table::{Entries, EntryNode},
        Binding, Entry, Form,
    },
    ike::{
        self,
        header::Header,
        state::{Event, Outcome, State},
    },
    kapi::{rcu::Guard, table::Inserted, time},
    netns::Netns,
    proto::{Ports, Traffic},
    reason::Reason,
    service::Service,
};
use kernel::sync::Arc;

/// A packet at the door.
struct Arrival<'g> {
    netns: &'g Netns,
    guard: &'g Guard,
    service: &'g Service,
    client: Addr,
    vip: Addr,
    now: u64,
}

/// Finds the entry of a packet from `client` to `vip`, which is `service`'s, or makes it, and moves it by what came
/// in. The packet is to be forwarded to the server of the entry.
#[inline]
pub(crate) fn admit<'g>(
    netns: &'g Netns,
    guard: &'g Guard,
    service: &'g Service,
    (client, vip): (Addr, Addr),
    traffic: &Traffic,
) -> Result<&'g EntryNode, Reason> {
    let arrival = Arrival {
        netns,
        guard,
        service,
        client,
        vip,
        now: time::jiffies(),
    };
    let (entry, event) = match traffic {
        Traffic::Ike(ports, header) if header.responder_spi == 0 => {
            (arrival.ike(ports, header)?, Event::IkeFirst)
        }
        Traffic::Ike(ports, header) => (arrival.ike(ports, header)?, Event::IkeLater),
        Traffic::Keepalive(ports) => (
            arrival.known(ports).ok_or(Reason::KeepaliveNoEntry)?,
            Event::Keepalive,
        ),
        Traffic::EspInUdp(ports) => (
            arrival.known(ports).ok_or(Reason::EspInUdpNoEntry)?,
            Event::Ipsec,
        ),
        Traffic::Esp => (arrival.related().ok_or(Reason::EspNoEntry)?, Event::Ipsec),
        Traffic::Ah => (arrival.related().ok_or(Reason::AhNoEntry)?, Event::Ipsec),
    };
    // Who has died meanwhile is treated as one who had not proved itself.
    let state = entry.state(arrival.now).unwrap_or(State::Initial);
    match state.on(event) {
        Outcome::Restart(to) => {
            let deadline = arrival.deadline(to);
            arrival.entries().restart(guard, entry, to, deadline);
        }
        Outcome::Forward => {}
        Outcome::Drop => return Err(Reason::NotEstablished),
    }
    if entry.server.wants_encap() {
        arrival.note_form(entry, traffic);
    }
    Ok(entry)
}

impl<'g> Arrival<'g> {
    fn entries(&self) -> &'g Entries {
        &self.netns.entries
    }

    fn deadline(&self, state: State) -> u64 {
        self.now + self.netns.settings.timeout(state)
    }

    fn flow(&self, ports: &Ports) -> Flow {
        Flow {
            client: self.client,
            client_port: ports.source,
            vip: self.vip,
            vip_port: ports.destination,
        }
    }

    /// The entry of the packet's own flow.
    fn known(&self, ports: &Ports) -> Option<&'g EntryNode> {
        self.entries()
            .by_flow(self.guard, &self.flow(ports), self.now)
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
            Traffic::Esp => Form::Native,
            Traffic::EspInUdp(_) => Form::InUdp,
            _ => return,
        };
        if entry.form() == Some(form) {
            return;
        }
        entry.set_form(form);
        let other = match form {
            Form::Native => self.known(&Ports {
                source: ike::NATT_PORT,
                destination: ike::NATT_PORT,
            }),
            Form::InUdp => self.related(),
        };
        if let Some(other) = other {
            other.set_form(form);
        }
    }

    /// The entry for an IKE message. What its SPI says goes before what its flow says: the flow
    /// may have had another IKE SA before.
    fn ike(&self, ports: &Ports, header: &Header) -> Result<&'g EntryNode, Reason> {
        let known = self.known(ports);
        if let Some(entry) = known {
            if entry.initiator_spi() == header.initiator_spi {
                self.entries().remember(self.guard, entry, header);
                return Ok(entry);
            }
        }
        let vip = &self.vip;
        let same_sa = self
            .entries()
            .by_spi(self.guard, vip, header.initiator_spi, self.now);
        match (known, same_sa) {
            // The initiator began the IKE SA on its other flow, and was bound to another server
            // there: it has been away for longer than an entry lives.
            (Some(entry), Some(other))
                if other.flow.client == self.client
                    && !Arc::ptr_eq(&entry.server, &other.server) =>
            {
                self.entries().remove(self.guard, entry);
                self.inherit(ports, header, other)
            }
            (Some(entry), _) => {
                self.entries().remember(self.guard, entry, header);
                Ok(entry)
            }
            (None, Some(other)) => self.inherit(ports, header, other),
            (None, None) if header.responder_spi != 0 => Err(Reason::IkeNoEntry),
            (None, None) => {
                let binding = match self.neighbour(ports) {
                    Some(binding) => binding,
                    None => self.schedule(ports)?,
                };
                self.make(ports, header, binding, State::Initial)
            }
        }
    }

    /// An entry with server and state of one that has seen the same IKE SA. From another address
    /// the initiator's SPI alone, which a first message has, proves nothing: only the server is
    /// inherited.
    fn inherit(
        &self,
        ports: &Ports,
        header: &Header,
        other: &'g EntryNode,
    ) -> Result<&'g EntryNode, Reason> {
        if !other.may_own(header) {
            return Err(Reason::IkeResponderSpi);
        }
        let proved = other.flow.client == self.client || header.responder_spi != 0;
        let state = other.state(self.now).filter(|_| proved);
        self.make(
            ports,
            header,
            other.binding(),
            state.unwrap_or(State::Initial),
        )
    }

    /// The server that persistence or the scheduler chooses for a new initiator.
    fn schedule(&self, ports: &Ports) -> Result<Binding, Reason> {
        let roster = self.service.roster(self.guard);
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
                self.entries().tie(guard, key, prefix, &choose()?, terms)?
            }
        };
        Ok(Binding {
            server: roster.current(&template.server).clone(),
            template: Some(template),
        })
    }

    /// What an initiator is bound to that no NAT has given other ports, by its flow from the other
    /// port of IKE. It may begin a new IKE SA on either.
    fn neighbour(&self, ports: &Ports) -> Option<Binding> {
        let other = match ports.source {
            ike::PORT => ike::NATT_PORT,
            ike::NATT_PORT => ike::PORT,
            _ => return None,
        };
        let ports = Ports {
            source: other,
            destination: other,
        };
        self.known(&ports).map(|entry| entry.binding())
    }

    /// A new entry.
    fn make(
        &self,
        ports: &Ports,
        header: &Header,
        binding: Binding,
        state: State,
    ) -> Result<&'g EntryNode, Reason> {
        let clock = (state, self.now, self.deadline(state));
        let flow = self.flow(ports);
        match self
            .entries()
            .make(self.guard, flow, binding, header, clock)?
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
