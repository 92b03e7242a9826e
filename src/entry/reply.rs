// SPDX-License-Identifier: GPL-2.0

//! Answers of servers, and the entries they belong to, where addresses are translated.

use super::{
    table::{Entries, EntryNode, BY_REPLY, BY_REPLY_ADDRESS},
    Entry,
};
use crate::{
    addr::{Addr, Flow, Transport},
    ike::{self, state::State},
    kapi::{once, rcu::Guard},
    server::Method,
};
use kernel::sync::atomic::Relaxed;

/// UDP/RIP:PORT -> CIP:CPORT, an answer of a server whose address is translated; or the same in
/// TCP.
#[derive(Clone, Copy)]
pub(crate) struct Reply {
    /// What carries it.
    pub(crate) transport: Transport,
    /// Address of the server (RIP).
    pub(crate) server: Addr,
    /// Address of the initiator (CIP).
    pub(crate) client: Addr,
    /// Port of the initiator.
    pub(crate) client_port: u16,
    /// Port of the server, and of the service.
    pub(crate) port: u16,
}

impl Reply {
    /// The answer of a server to what came from a flow.
    pub(super) fn to(flow: &Flow, server: Addr) -> Self {
        Reply {
            transport: flow.transport,
            server,
            client: flow.client,
            client_port: flow.client_port,
            port: flow.vip_port,
        }
    }

    /// Whether it comes from a port of IKE.
    fn is_from_ike(&self) -> bool {
        matches!(
            (self.transport, self.port),
            (Transport::Udp, ike::PORT) | (_, ike::NATT_PORT)
        )
    }
}

/// What was found by an answer.
pub(crate) enum Found<'g> {
    /// An entry.
    Alive(&'g EntryNode),
    /// An entry that has just ended.
    Dead,
    /// One that has just ended, whose initiator had not proved itself: only answers to what it has
    /// said are about it.
    Unproved(&'g EntryNode),
}

/// What becomes of an entry that has ended.
fn ended(entry: &EntryNode) -> Found<'_> {
    if !entry.clock.was_established() && !entry.is_vouched() {
        Found::Unproved(entry)
    } else {
        Found::Dead
    }
}

impl Entry {
    /// Whether answers of its server come with this.
    fn is_answered_by(&self, reply: &Reply) -> bool {
        let flow = self.flow();
        (flow.transport, flow.client_port, flow.vip_port)
            == (reply.transport, reply.client_port, reply.port)
            && self.is_answered_from(&reply.server, &reply.client)
    }

    /// Whether answers of its server come from and to these.
    fn is_answered_from(&self, server: &Addr, client: &Addr) -> bool {
        self.client() == *client && self.server.address == *server
    }
}

impl Entries {
    /// The entry that an answer with ports belongs to.
    pub(crate) fn by_reply<'g>(
        &'g self,
        guard: &'g Guard,
        reply: &Reply,
        now: u64,
    ) -> Option<Found<'g>> {
        let hash = self.reply_hash(reply);
        let find = |wanted: &dyn Fn(&Entry) -> bool| {
            self.table.find::<BY_REPLY>(guard, hash, |entry| {
                entry.is_answered_by(reply) && wanted(entry)
            })
        };
        let is_alive = |entry: &Entry| entry.state(now).is_some();
        // Most answers have just one entry, which is alive.
        let found = find(&|_| true)?;
        let alive = Some(found).filter(|found| is_alive(found));
        Some(match alive.or_else(|| find(&is_alive)) {
            Some(entry) => Found::Alive(entry),
            None => ended(found),
        })
    }

    /// Whether another entry has the same answers, and has proved as much, so that this one need not
    /// stay for them when it ends in `state`.
    pub(super) fn is_replaced(&self, guard: &Guard, entry: &EntryNode, state: State) -> bool {
        let reply = Reply::to(&entry.flow(), entry.server.address);
        let hash = self.reply_hash(&reply);
        let other = self.table.find::<BY_REPLY>(guard, hash, |other| {
            let proves_less = state == State::Established && !other.clock.was_established();
            !core::ptr::eq(other, &**entry) && !proves_less && other.is_answered_by(&reply)
        });
        other.is_some()
    }

    /// Whether there is an entry of this initiator at this server, be it one that has ended.
    pub(crate) fn knows(&self, guard: &Guard, server: &Addr, client: &Addr) -> bool {
        self.find_at(guard, server, client, |_| true).is_some()
    }

    /// The entry of what a server sends with these ports, `found` by them or not: what comes from a
    /// port of IKE is the service's, to whichever port of an initiator that has proved itself. What a
    /// server says to anybody else is between the two.
    pub(crate) fn or_client<'g>(
        &'g self,
        found: Option<Found<'g>>,
        guard: &'g Guard,
        reply: &Reply,
        now: u64,
    ) -> Option<Found<'g>> {
        match found {
            Some(Found::Alive(_)) => found,
            _ if reply.is_from_ike() => {
                let proved = self.proved(guard, &reply.server, &reply.client, now);
                proved.or(found)
            }
            _ => found,
        }
    }

    /// The entry that an answer without ports belongs to, the one established last; if none is,
    /// one in state initial.
    pub(crate) fn by_reply_address<'g>(
        &'g self,
        guard: &'g Guard,
        server: &Addr,
        client: &Addr,
        now: u64,
    ) -> Option<Found<'g>> {
        let alive = self.find_at(guard, server, client, |entry| entry.state(now).is_some());
        if let Some(entry) = alive {
            return Some(Found::Alive(entry));
        }
        // An initiator whose entries have all ended gets ESP only if it was allowed to send some.
        let let_pass = self
            .find_by_reply_address(guard, server, client, State::Established, |_| true)
            .or_else(|| {
                self.find_by_reply_address(guard, server, client, State::Initial, |entry| {
                    entry.is_vouched()
                })
            });
        let_pass.map(|_| Found::Dead)
    }

    /// The entry of an initiator and a server that was established last.
    fn proved<'g>(
        &'g self,
        guard: &'g Guard,
        server: &Addr,
        client: &Addr,
        now: u64,
    ) -> Option<Found<'g>> {
        let alive = self.find_at(guard, server, client, |entry| {
            entry.state(now) == Some(State::Established)
        });
        alive.map(Found::Alive).or_else(|| {
            self.find_by_reply_address(guard, server, client, State::Established, |_| true)
                .map(|_| Found::Dead)
        })
    }

    /// The first entry of an initiator and a server that is `wanted`: one that has just been established
    /// may hang where the initial ones do, for a moment.
    fn find_at<'g>(
        &'g self,
        guard: &'g Guard,
        server: &Addr,
        client: &Addr,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Option<&'g EntryNode> {
        let hashes = self.address_hashes(client, server);
        self.table
            .find_moving::<BY_REPLY_ADDRESS>(guard, hashes, |entry| {
                entry.is_answered_from(server, client) && wanted(entry)
            })
    }

    /// The first entry of an initiator and a server that is wanted, of those that hang where entries of
    /// this state do.
    fn find_by_reply_address<'g>(
        &'g self,
        guard: &'g Guard,
        server: &Addr,
        client: &Addr,
        state: State,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Option<&'g EntryNode> {
        let hash = self.address_hash(client, server, state);
        self.table.find::<BY_REPLY_ADDRESS>(guard, hash, |entry| {
            entry.is_answered_from(server, client) && wanted(entry)
        })
    }

    /// Whether there are entries whose server's address is translated.
    #[inline]
    pub(crate) fn has_translated(&self) -> bool {
        once::read(&self.translated) > 0
    }

    /// Whether anything that a server sends can mean anything to us.
    #[inline]
    pub(crate) fn awaits_answers(&self) -> bool {
        self.has_translated() || self.initial() > 0
    }

    /// Whether there are entries whose server gets ESP in UDP.
    pub(crate) fn has_encap(&self) -> bool {
        self.encap.load(Relaxed) > 0
    }

    /// Counts entries that are made, or go, by the method of their server.
    pub(super) fn tally_method(&self, method: Method, n: i32) {
        if let Method::Nat { encap } = method {
            self.translated.add(n, Relaxed);
            if encap {
                self.encap.add(n, Relaxed);
            }
        }
    }

    pub(super) fn reply_hash(&self, reply: &Reply) -> u32 {
        let ports = u64::from(reply.client_port) << 16 | u64::from(reply.port);
        let transport = u64::from(reply.transport.number()) << 32;
        self.pair_hash(&reply.server, &reply.client, transport | ports)
    }
}
