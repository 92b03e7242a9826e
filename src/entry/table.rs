// SPDX-License-Identifier: GPL-2.0

//! The entries of a namespace, found by flow, by IKE SPI, by address, and by what servers answer.

use super::{
    expire::Pace, hints::Hints, kept::Kept, reply::Reply, room::Share, template::Template, Binding,
    Clock, Entry, Origin, Restarted, LINGER,
};
use crate::{
    addr::{Addr, Family, Flow},
    ike::{header::Header, state::State},
    kapi::{
        genl::Dump,
        once, random,
        rcu::Guard,
        table::{Far, Inserted, Node, Table},
        time,
        work::breathe,
    },
    reason::Reason,
    server::Server,
    siphash,
    stats::{Event, Stats},
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

/// Most entries in state initial in a namespace, so that a flood of first messages takes no more
/// than about 10 MiB.
const INITIAL_MAX: i32 = 65_536;

/// Entries that have ended are not kept for answers while there are more of them: in state initial,
/// so that a flood of first messages does not outlive itself, and in any.
const LINGERING_INITIAL_MAX: i32 = INITIAL_MAX;
const LINGERING_MAX: i32 = 4 * LINGERING_INITIAL_MAX;

/// Times a flush goes through a table that is being resized.
const FLUSH_PASSES: usize = 8;

/// An entry in the table. Those whose server's address is translated, or whom persistence knows, are
/// wide ones; with the latter comes what it knows.
pub(crate) type EntryNode = Node<Entry, Tie, INDICES, FURTHER>;

/// A flow, and its hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sought {
    pub(super) flow: Flow,
    pub(super) hash: u32,
}

/// What persistence knows of an initiator.
type Tie = Option<Arc<Template>>;

const INDICES: usize = 3;
const BY_SPI: usize = 1;
const BY_ADDRESS: usize = 2;
/// Answers of servers are looked up only where addresses are translated: no other entry is in
/// these two.
const FURTHER: usize = 2;
pub(super) const BY_REPLY: usize = 3;
pub(super) const BY_REPLY_ADDRESS: usize = 4;

impl EntryNode {
    /// What persistence knows of the initiator.
    fn template(&self) -> Option<&Arc<Template>> {
        self.far()?.as_ref()
    }

    /// What the entry is bound to.
    pub(crate) fn binding(&self) -> Binding<'_> {
        Binding {
            server: &self.server,
            template: self.template(),
        }
    }
}

/// The table of a namespace.
pub(crate) struct Entries {
    pub(super) table: Table<Entry, Tie, INDICES, FURTHER>,
    pub(super) templates: Table<Arc<Template>, (), 1, 0>,
    /// Entries by what ESP was seen on them.
    pub(super) sightings: Hints,
    /// How the sweep goes.
    pub(crate) pace: Pace,
    pub(super) stats: Arc<Stats>,
    pub(super) key: siphash::Key,
    initial: Atomic<i32>,
    /// Entries that have ended, and are in the table still.
    retired: Atomic<i32>,
    /// Entries whose server's address is translated.
    pub(super) translated: Atomic<i32>,
    /// Of these, entries whose server gets ESP in UDP.
    pub(super) encap: Atomic<i32>,
    pub(super) share: Share,
}

impl Entries {
    /// An empty table. Sleeps.
    pub(crate) fn new(stats: Arc<Stats>, share: Share) -> impl Init<Self, Error> {
        try_init!(Entries {
            table <- Table::new(),
            templates <- Table::new(),
            sightings: Hints::none()?,
            pace: Pace::new(),
            stats,
            key: siphash::Key::new(random::words()),
            initial: Atomic::new(0),
            retired: Atomic::new(0),
            translated: Atomic::new(0),
            encap: Atomic::new(0),
            share,
        })
    }

    /// The living entry of a flow.
    #[inline]
    pub(crate) fn by_flow<'g>(
        &'g self,
        guard: &'g Guard,
        flow: &Flow,
        now: u64,
    ) -> Option<&'g EntryNode> {
        self.find(guard, &self.sought(*flow), now)
    }

    /// For those who look for a flow, and make an entry of it if there is none.
    #[inline(always)]
    pub(crate) fn sought(&self, flow: Flow) -> Sought {
        let hash = self.flow_hash(&flow);
        Sought { flow, hash }
    }

    /// Returns the flow with the hash of its entry at a server that is not its own. The look-up by
    /// flow does not find that entry: it is there for the server's answers.
    pub(crate) fn sought_at(&self, Sought { flow, .. }: &Sought, server: &Server) -> Sought {
        Sought {
            flow: *flow,
            hash: self.reply_hash(&Reply::to(flow, server.address)),
        }
    }

    /// The living entry of a flow.
    #[inline]
    pub(crate) fn find<'g>(
        &'g self,
        guard: &'g Guard,
        Sought { flow, hash }: &Sought,
        now: u64,
    ) -> Option<&'g EntryNode> {
        let wanted = |entry: &Entry| entry.kept.is(flow) && entry.state(now).is_some();
        self.table.find::<0>(guard, *hash, wanted)
    }

    /// The living entry of a flow, if it is established.
    #[inline(always)]
    pub(crate) fn established<'g>(
        &'g self,
        guard: &'g Guard,
        flow: &Flow,
        now: u64,
    ) -> Option<&'g EntryNode> {
        let mut state = None;
        let wanted = |entry: &Entry| {
            entry.kept.is(flow) && {
                state = entry.state(now);
                state.is_some()
            }
        };
        let entry = self.table.find::<0>(guard, self.flow_hash(flow), wanted)?;
        (state == Some(State::Established)).then_some(entry)
    }

    /// The living entry of an initiator's address and a service that was established last.
    #[inline(always)]
    pub(crate) fn established_at<'g>(
        &'g self,
        guard: &'g Guard,
        client: &Addr,
        vip: &Addr,
        now: u64,
    ) -> Option<&'g EntryNode> {
        self.find_by_address(guard, client, vip, State::Established, |entry| {
            entry.state(now) == Some(State::Established)
        })
    }

    /// The living entry of a service that saw this initiator SPI, of this [hash](Self::spi_hash),
    /// last.
    pub(crate) fn by_spi<'g>(
        &'g self,
        guard: &'g Guard,
        vip: &Addr,
        (spi, hash): (u64, u32),
        now: u64,
    ) -> Option<&'g EntryNode> {
        self.table.find::<BY_SPI>(guard, hash, |entry| {
            entry.initiator_spi() == spi && entry.vip() == *vip && entry.state(now).is_some()
        })
    }

    /// The living entry of an initiator's address and a service that was established last; if
    /// none is, one in state initial.
    #[inline]
    pub(crate) fn by_address<'g>(
        &'g self,
        guard: &'g Guard,
        client: &Addr,
        vip: &Addr,
        now: u64,
    ) -> Option<&'g EntryNode> {
        let hashes = self.address_hashes(client, vip);
        // One that has just been established may hang where the initial ones do, for a moment.
        self.table
            .find_moving::<BY_ADDRESS>(guard, hashes, |entry| {
                entry.kept.is_between(client, vip) && entry.state(now).is_some()
            })
    }

    /// The first entry of an initiator's address and a service that is `wanted`, of those that hang
    /// where entries of this state do, the one that came there last first.
    #[inline(always)]
    pub(super) fn find_by_address<'g>(
        &'g self,
        guard: &'g Guard,
        client: &Addr,
        vip: &Addr,
        state: State,
        mut wanted: impl FnMut(&Entry) -> bool,
    ) -> Option<&'g EntryNode> {
        let hash = self.address_hash(client, vip, state);
        self.table.find::<BY_ADDRESS>(guard, hash, |entry| {
            entry.kept.is_between(client, vip) && wanted(entry)
        })
    }

    /// Makes an entry for a flow, unless another CPU was faster; then its entry is returned.
    pub(crate) fn make<'g>(
        &'g self,
        guard: &'g Guard,
        Sought { flow, hash }: &Sought,
        Binding { server, template }: Binding<'_>,
        origin: &Origin<'_>,
        (state, now, deadline): (State, u64, u64),
    ) -> Result<Inserted<'g, Entry, Tie, INDICES, FURTHER>, Reason> {
        let is_full = match state {
            State::Initial => self.initial.load(Relaxed) >= INITIAL_MAX,
            State::Established => false,
        };
        if is_full || !self.has_room(self.count()) {
            return Err(Reason::TableFull);
        }
        let kept = Kept::new(flow).map_err(|_| Reason::NoMemory)?;
        let (client, vip) = (&flow.client, &flow.vip);
        let (spis, hash) = (origin.spis(state), *hash);
        let hashes = [
            hash,
            match (origin, spis.0) {
                // Those without an SPI shall not all hang in one chain.
                (_, 0) => hash,
                (Origin::Message(_, spi_hash), _) => *spi_hash,
                (_, spi) => self.spi_hash(vip, spi),
            },
            self.address_hash(client, vip, state),
        ];
        let is_translated = server.is_translated();
        let far = (is_translated || template.is_some()).then(|| Far {
            value: template.cloned(),
            hashes: if is_translated {
                let reply = Reply::to(flow, server.address);
                let address = self.address_hash(client, &server.address, state);
                [Some(self.reply_hash(&reply)), Some(address)]
            } else {
                [None; FURTHER]
            },
        });
        // Before others can find the entry, and remove it.
        server.account.enter(state);
        self.occupy(1);
        self.tally(state, 1);
        self.tally_method(server.method, 1);
        if let Some(template) = template {
            template.enter();
            if state == State::Established {
                template.prove();
            }
        }
        let is_vouched = matches!(origin, Origin::Entry(_) | Origin::Name);
        let clock = Clock::new(state, deadline);
        let entry = Entry::new(kept, server.clone(), clock, spis, is_vouched);
        let rival = |rival: &Entry| rival.kept.is(flow) && rival.state(now).is_some();
        let inserted = self.table.insert(guard, entry, hashes, far, rival);
        if let Ok(Inserted::New(_)) = inserted {
            self.table.see_by(guard, hash, deadline);
            self.stats.count(Event::Created);
            if state == State::Established {
                self.stats.count(Event::Established);
            }
        } else {
            server.account.leave(state);
            self.occupy(-1);
            self.tally(state, -1);
            self.tally_method(server.method, -1);
            if let Some(template) = template {
                template.leave(now);
            }
        }
        inserted.map_err(|_| Reason::NoMemory)
    }

    /// Restarts the timer of an entry in state `to`, which is its state from now on.
    #[inline]
    pub(crate) fn restart<'g>(
        &'g self,
        guard: &'g Guard,
        entry: &'g EntryNode,
        to: State,
        deadline: u64,
    ) {
        let Restarted { from, sooner } = entry.clock.restart(to, deadline);
        if sooner {
            self.table.see_by(guard, entry.first_hash(), deadline);
        }
        let Some(from) = from else {
            return;
        };
        entry.server.account.advance(from, to);
        self.tally(from, -1);
        self.tally(to, 1);
        self.stats.count(Event::Established);
        entry.spis.clear();
        // ESP and AH follow the initiator's address: to the entry that was established last.
        let client = &entry.client();
        let hash = self.address_hash(client, &entry.vip(), to);
        self.table.relink::<BY_ADDRESS>(guard, entry, hash, || {});
        if entry.server.is_translated() {
            let hash = self.address_hash(client, &entry.server.address, to);
            self.table
                .relink::<BY_REPLY_ADDRESS>(guard, entry, hash, || {});
        }
        if let Some(template) = entry.template() {
            template.prove();
        }
    }

    /// Remembers the IKE SPIs of a message that came in for an entry and left it in `state`.
    pub(crate) fn remember<'g>(
        &'g self,
        guard: &'g Guard,
        entry: &'g EntryNode,
        header: &Header,
        state: State,
    ) {
        let spi = header.initiator_spi;
        let another = entry.initiator_spi() != spi;
        // Who is to show the responder SPI of a reply tells nothing by his own. Nor does a first
        // message that is sent again.
        let responder = match state {
            State::Initial => 0,
            State::Established => header.responder_spi,
        };
        if another || (responder != 0 && responder != entry.responder_spi()) {
            entry.responder_spi.store(responder, Relaxed);
        }
        if another {
            let hash = self.spi_hash(&entry.vip(), spi);
            self.table.relink::<BY_SPI>(guard, entry, hash, || {
                entry.initiator_spi.store(spi, Relaxed);
            });
        }
    }

    /// Ends the life of an entry; `false` if somebody else has. Where addresses are translated it
    /// stays in the table for a while, so that what its server still sends does not go out with the
    /// server's own address.
    pub(crate) fn remove<'g>(&'g self, guard: &'g Guard, entry: &'g EntryNode) -> bool {
        let now = time::jiffies();
        let state = entry.clock.retire(now);
        if let Some(state) = state {
            self.forget(guard, entry, state, now);
        }
        state.is_some()
    }

    /// Takes an entry out of the table that has ended.
    pub(super) fn take_out<'g>(&'g self, guard: &'g Guard, entry: &'g EntryNode) {
        if self.table.remove(guard, entry) {
            self.occupy(-1);
            self.retired.add(-1, Relaxed);
            self.tally_method(entry.server.method, -1);
        }
    }

    /// Removes an entry whose life has ended in `state` at `now` from all that counts or refers to
    /// it, and from the table: at once, or after [`LINGER`] where addresses are translated.
    pub(super) fn forget<'g>(
        &'g self,
        guard: &'g Guard,
        entry: &'g EntryNode,
        state: State,
        now: u64,
    ) {
        entry.server.account.leave(state);
        self.tally(state, -1);
        self.retired.add(1, Relaxed);
        self.forget_all(guard, entry);
        if let Some(template) = entry.template() {
            template.leave(now);
        }
        let most = match state {
            State::Initial => LINGERING_INITIAL_MAX,
            State::Established => LINGERING_MAX,
        };
        let stays = entry.server.is_translated()
            && self.retired.load(Relaxed) <= most
            && !self.is_replaced(guard, entry, state);
        if stays {
            let until = now + time::from_seconds(LINGER);
            self.table.see_by(guard, entry.first_hash(), until);
        } else {
            self.take_out(guard, entry);
        }
    }

    /// Removes the living entries whose flow is `unwanted`. Sleeps.
    pub(crate) fn flush(&self, unwanted: impl Fn(&Flow) -> bool) {
        // Entries that change their bucket under us are met in another pass.
        for _ in 0..FLUSH_PASSES {
            let generation = self.table.generation();
            for bucket in 0..self.size() {
                let guard = Guard::new();
                let now = time::jiffies();
                self.table.visit(&guard, bucket, |entry| {
                    let is_unwanted = entry.state(now).is_some() && unwanted(&entry.flow());
                    if is_unwanted && self.remove(&guard, entry) {
                        self.stats.count(Event::Flushed);
                    }
                });
                drop(guard);
                breathe();
            }
            if generation % 2 == 0 && generation == self.table.generation() {
                break;
            }
        }
    }

    /// Number of entries.
    pub(crate) fn count(&self) -> usize {
        let retired = usize::try_from(self.retired.load(Relaxed)).unwrap_or(0);
        self.table.count().saturating_sub(retired)
    }

    /// Whether there is none, be it one that has ended.
    pub(crate) fn is_empty(&self) -> bool {
        self.table.count() == 0
    }

    /// Number of entries in state initial.
    #[inline]
    pub(crate) fn initial(&self) -> u32 {
        u32::try_from(once::read(&self.initial)).unwrap_or(0)
    }

    /// Number of buckets.
    pub(crate) fn size(&self) -> usize {
        self.table.size()
    }

    /// Calls `put` for each living entry from where the dump stands on, until it fails.
    pub(crate) fn dump(
        &self,
        dump: &mut Dump<'_>,
        now: u64,
        put: impl Fn(&mut Dump<'_>, &Entry, State) -> Result,
    ) -> Result {
        let [mut bucket, mut done] = dump.position();
        dump.set_generation(self.table.generation());
        loop {
            let guard = Guard::new();
            let mut place = 0;
            let mut result = Ok(());
            let there = self.table.visit(&guard, bucket, |entry| {
                place += 1;
                if place > done && result.is_ok() {
                    if let Some(state) = entry.state(now) {
                        result = put(dump, entry, state);
                    }
                    if result.is_ok() {
                        done = place;
                    }
                }
            });
            dump.set_position([bucket, done]);
            result?;
            if !there {
                return Ok(());
            }
            (bucket, done) = (bucket + 1, 0);
        }
    }

    fn tally(&self, state: State, n: i32) {
        if state == State::Initial {
            self.initial.add(n, Relaxed);
        }
    }

    #[inline(always)]
    fn flow_hash(&self, flow: &Flow) -> u32 {
        let ports = u64::from(flow.client_port) << 16 | u64::from(flow.vip_port);
        let transport = u64::from(flow.transport.number()) << 32;
        self.pair_hash(&flow.client, &flow.vip, transport | ports)
    }

    /// The hash of an IKE SPI of a service.
    pub(crate) fn spi_hash(&self, vip: &Addr, spi: u64) -> u32 {
        let [high, low] = vip.words();
        match vip.family() {
            Family::V4 => self.key.hash([spi], low),
            Family::V6 => self.key.hash([high, low, spi], 0),
        }
    }

    #[inline(always)]
    pub(super) fn address_hash(&self, client: &Addr, vip: &Addr, state: State) -> u32 {
        let [established, initial] = self.address_hashes(client, vip);
        match state {
            State::Established => established,
            State::Initial => initial,
        }
    }

    /// The hashes of established entries and of initial ones. Those that have not proved themselves
    /// hang elsewhere, so that a flood of them in a client's name hides nothing.
    #[inline(always)]
    pub(super) fn address_hashes(&self, client: &Addr, vip: &Addr) -> [u32; 2] {
        let hash = self.pair_hash(client, vip, 0);
        [hash, !hash]
    }

    /// Hash of two addresses, and of 56 bits more.
    #[inline(always)]
    pub(super) fn pair_hash(&self, one: &Addr, other: &Addr, more: u64) -> u32 {
        let ([a, b], [c, d]) = (one.words(), other.words());
        match one.family() {
            Family::V4 => self.key.hash([b << 32 | d], more),
            Family::V6 => self.key.hash([a, b, c, d], more),
        }
    }
}
