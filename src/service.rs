// SPDX-License-Identifier: GPL-2.0

//! Virtual services: what the administrator configured, and how packets find it.
//!
//! Packets read snapshots that never change. Who changes the configuration holds the lock of the
//! namespace's configuration, makes a new snapshot and puts it in the place of the old one; a
//! change that finds no memory leaves everything as it was.

mod directory;
#[cfg(CONFIG_KUNIT)]
mod tests;

use crate::{
    addr::{Addr, Family},
    entry::soft::{Room, Soft},
    error::Refusal,
    ike::state::State,
    kapi::{
        netfilter::HookLevel,
        rcu::{Cell, Guard, Snapshot, Unpublished},
        skb::Packet,
        time,
        work::Task,
        Net,
    },
    proto::Traffic,
    sched::{Load, Options, Pool, Request, Scheduler},
    server::{Account, Server},
    spi::Names,
    stats::{Rates, Volume},
};
use core::ops::Deref;
use directory::Directory;
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

/// What packets of a service have in common.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// Their destination (VIP).
    Address(Addr),
    /// Their firewall mark, which is not 0.
    Mark(Family, u32),
}

impl Key {
    /// Family of its packets.
    pub(crate) fn family(&self) -> Family {
        match self {
            Key::Address(address) => address.family(),
            Key::Mark(family, _) => *family,
        }
    }

    /// Two words for hashing.
    pub(crate) fn words(&self) -> [u64; 2] {
        match self {
            Key::Address(address) => address.words(),
            Key::Mark(_, mark) => [u64::MAX, u64::from(*mark)],
        }
    }
}

/// How long, and how many, initiators stay with a server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Persistence {
    /// Seconds after the last entry has gone; 0 for as long as there are entries only.
    pub(crate) timeout: u32,
    /// Length of the prefix that counts as one initiator.
    pub(crate) prefix: u8,
}

/// Seconds that entries of a service live without being heard of; 0 is what the namespace has.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Timeouts {
    /// In state initial.
    pub(crate) initial: u32,
    /// In state established.
    pub(crate) established: u32,
}

impl Timeouts {
    /// That of a state in jiffies, if it is not what the namespace has.
    #[inline]
    pub(crate) fn get(&self, state: State) -> Option<u64> {
        let seconds = match state {
            State::Initial => self.initial,
            State::Established => self.established,
        };
        (seconds != 0).then(|| time::from_seconds(seconds.into()))
    }
}

/// What a service does with its initiators.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// How servers are chosen.
    pub(crate) scheduler: &'static dyn Scheduler,
    /// Options of the scheduler.
    pub(crate) options: Options,
    /// Whether initiators stay with their servers.
    pub(crate) persistence: Persistence,
    /// How long entries live.
    pub(crate) timeouts: Timeouts,
    /// How many may outlive that.
    pub(crate) soft: u32,
}

/// What belongs to a service beyond its configuration.
#[pin_data]
pub(crate) struct Common {
    /// What went to it.
    pub(crate) volume: Volume,
    /// Its entries that have outlived their timers.
    #[pin]
    pub(crate) soft: Soft,
    /// Whether data packets may take the short way (`express.rs`): nothing goes before what its
    /// entries say, neither a mark nor an SPI that names a server.
    pub(crate) express: Atomic<bool>,
}

impl Common {
    /// For a service with so many soft entries. Sleeps.
    pub(crate) fn new(soft: u32) -> Result<Arc<Self>> {
        let common = Arc::pin_init(
            try_pin_init!(Common {
                volume: Volume::new()?,
                soft <- Soft::new(),
                express: Atomic::new(false),
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        common.soft.set_limit(soft, Room::new(soft)?);
        Ok(common)
    }
}

/// A server and what it is for a service.
#[derive(Clone)]
pub(crate) struct Member {
    /// The server.
    pub(crate) server: Arc<Server>,
    /// Its weight, 0 to 65,535.
    pub(crate) weight: u32,
    /// Which SPIs it chooses.
    pub(crate) names: Names,
}

/// The plan and the servers of a service, at one time.
pub(crate) struct Roster {
    /// What is done with new initiators.
    pub(crate) plan: Plan,
    /// The servers, in the order they were added. Their names do not overlap.
    pub(crate) members: KVec<Member>,
    /// Servers that were removed, but have entries that go on until the service goes.
    pub(crate) retired: KVec<Arc<Account>>,
    directory: Directory,
    /// What the scheduler looks its choices up in.
    slots: KVVec<u16>,
}

/// Most servers of a service. A decision looks at each.
const MEMBERS_MAX: usize = 4096;

impl Roster {
    /// A roster for which the scheduler has made what it needs. Sleeps.
    fn new(
        plan: Plan,
        members: KVec<Member>,
        retired: KVec<Arc<Account>>,
    ) -> Result<Self, Refusal> {
        let mut roster = Roster {
            plan,
            directory: Directory::of(&members)?,
            members,
            retired,
            slots: KVVec::new(),
        };
        let count = plan.scheduler.slots();
        if count > 0 {
            let mut slots = KVVec::from_elem(u16::MAX, count, GFP_KERNEL_ACCOUNT)?;
            let mut scratch = KVVec::from_elem(0, roster.members.len(), GFP_KERNEL_ACCOUNT)?;
            plan.scheduler.prepare(&roster, &mut slots, &mut scratch);
            roster.slots = slots;
        }
        Ok(roster)
    }

    /// Place of the server with this address.
    pub(crate) fn place(&self, address: &Addr) -> Result<usize, Refusal> {
        let place = self
            .members
            .iter()
            .position(|m| m.server.address == *address);
        place.ok_or(Refusal::NoSuchServer)
    }

    /// The member with this address.
    pub(crate) fn member(&self, address: &Addr) -> Result<&Member, Refusal> {
        let member = self.members.get(self.place(address)?);
        member.ok_or(Refusal::NoSuchServer)
    }

    /// The server that new entries are bound to where `server` is meant, whose method may have
    /// changed.
    pub(crate) fn current<'a>(&'a self, server: &'a Arc<Server>) -> &'a Arc<Server> {
        self.members
            .iter()
            .map(|member| &member.server)
            .find(|member| Arc::ptr_eq(&member.account, &server.account))
            .unwrap_or(server)
    }

    /// The server that the SPI of a packet from an initiator names, whatever the packet's entry.
    #[inline]
    pub(crate) fn named(&self, traffic: &Traffic) -> Option<&Arc<Server>> {
        if self.directory.is_empty() {
            return None;
        }
        let place = match traffic {
            Traffic::Ike(_, header) => match header.receiver_spi() {
                0 => None,
                spi => self.directory.by_ike(spi),
            },
            Traffic::EspInUdp(_, spi) | Traffic::Esp(spi) | Traffic::Ah(spi) => {
                self.directory.by_esp(*spi)
            }
            Traffic::Keepalive(_) | Traffic::Tcp(..) => None,
        };
        self.members.get(place?).map(|member| &member.server)
    }

    /// Whether a server may have these names: none of the others has such.
    fn check_names(&self, place: usize, names: &Names) -> Result<(), Refusal> {
        let others = self.members.iter().enumerate();
        let taken = others
            .filter(|(other, _)| *other != place)
            .any(|(_, member)| member.names.overlap(names));
        if taken {
            Err(Refusal::NameTaken)
        } else {
            Ok(())
        }
    }

    /// A copy with another plan.
    pub(crate) fn with_plan(&self, plan: Plan) -> Result<Self, Refusal> {
        Self::new(plan, copy(&self.members, 0)?, self.retired()?)
    }

    /// A copy with one server more.
    pub(crate) fn with(&self, member: Member) -> Result<Self, Refusal> {
        if self.members.len() >= MEMBERS_MAX {
            return Err(Refusal::TooManyServers);
        }
        self.check_names(self.members.len(), &member.names)?;
        let mut members = copy(&self.members, 1)?;
        members.push(member, GFP_KERNEL_ACCOUNT)?;
        Self::new(self.plan, members, self.retired()?)
    }

    /// A copy with another member at `place`.
    pub(crate) fn with_member(&self, place: usize, member: Member) -> Result<Self, Refusal> {
        self.check_names(place, &member.names)?;
        let mut members = copy(&self.members, 0)?;
        *members.get_mut(place).ok_or(Refusal::NoSuchServer)? = member;
        Self::new(self.plan, members, self.retired()?)
    }

    /// A copy without the server at `place`.
    pub(crate) fn without(&self, place: usize) -> Result<Self, Refusal> {
        let mut members = copy(&self.members, 0)?;
        members.remove(place).map_err(|_| Refusal::NoSuchServer)?;
        Self::new(self.plan, members, self.retired()?)
    }

    /// The same, with a server that was removed and whose entries go on.
    pub(crate) fn with_retired(mut self, account: Arc<Account>) -> Result<Self, Refusal> {
        self.retired.push(account, GFP_KERNEL_ACCOUNT)?;
        Ok(self)
    }

    /// Those of the retired that have entries still.
    fn retired(&self) -> Result<KVec<Arc<Account>>, Refusal> {
        let mut retired = copy(&self.retired, 0)?;
        retired.retain(|account| account.load() != Load::default());
        Ok(retired)
    }

    fn server(&self, index: usize) -> Option<&Server> {
        self.members.get(index).map(|member| &*member.server)
    }
}

impl Pool for Roster {
    fn count(&self) -> usize {
        self.members.len()
    }

    fn weight(&self, index: usize) -> u32 {
        self.members.get(index).map_or(0, |member| member.weight)
    }

    fn load(&self, index: usize) -> Load {
        let server = self.server(index);
        server.map_or(Load::default(), |server| server.account.load())
    }

    fn is_overloaded(&self, index: usize) -> bool {
        let server = self.server(index);
        server.is_none_or(|server| server.account.is_overloaded())
    }

    fn address(&self, index: usize) -> Addr {
        let server = self.server(index);
        server.map_or(Addr::V4([0; 4]), |server| server.address)
    }

    fn slots(&self) -> &[u16] {
        &self.slots
    }
}

/// A virtual service.
pub(crate) struct Service {
    /// What its packets have in common.
    pub(crate) key: Key,
    /// What it has with its servers in common.
    pub(crate) common: Arc<Common>,
    roster: Cell<Roster>,
    /// Decisions made.
    tickets: Atomic<u64>,
}

impl Service {
    /// A service without servers. Sleeps.
    pub(crate) fn new(key: Key, plan: Plan) -> Result<Self, Refusal> {
        Ok(Service {
            key,
            common: Common::new(plan.soft)?,
            roster: Cell::new(Roster::new(plan, KVec::new(), KVec::new())?)?,
            tickets: Atomic::new(0),
        })
    }

    /// Plan and servers as of now, while the guard lives.
    pub(crate) fn roster<'g>(&'g self, guard: &'g Guard) -> &'g Roster {
        self.roster.read(guard)
    }

    /// Plan and servers as of now, for as long as one likes.
    pub(crate) fn snapshot(&self) -> Snapshot<Roster> {
        self.roster.snapshot()
    }

    /// Replaces plan and servers.
    pub(crate) fn set_roster(&self, roster: Unpublished<Roster>) {
        let is_express = matches!(self.key, Key::Address(_)) && roster.directory.is_empty();
        self.common.express.store(is_express, Relaxed);
        self.roster.replace(roster);
    }

    /// Chooses the server for a new initiator.
    pub(crate) fn choose<'a>(
        &self,
        roster: &'a Roster,
        client: Addr,
        port: u16,
    ) -> Option<&'a Arc<Server>> {
        let request = Request {
            client,
            client_port: port,
            ticket: self.tickets.fetch_add(1, Relaxed),
            options: roster.plan.options,
        };
        let index = roster.plan.scheduler.choose(roster, &request)?;
        roster.members.get(index).map(|member| &member.server)
    }

    fn estimate(&self) {
        self.common.volume.estimate();
        for member in &self.snapshot().members {
            member.server.account.volume.estimate();
        }
    }
}

/// The services of a namespace at one time, sorted by key, those with an address first.
pub(crate) struct Services {
    services: KVec<Arc<Service>>,
    has_marks: bool,
}

impl Services {
    /// None.
    pub(crate) fn none() -> Self {
        Self::of(KVec::new())
    }

    fn of(services: KVec<Arc<Service>>) -> Self {
        let last = services.last();
        let has_marks = last.is_some_and(|service| matches!(service.key, Key::Mark(..)));
        Services {
            services,
            has_marks,
        }
    }

    /// Whether a mark makes packets a service's.
    #[inline]
    pub(crate) fn has_marks(&self) -> bool {
        self.has_marks
    }

    /// Whether there is a service of this family.
    pub(crate) fn has_family(&self, family: Family) -> bool {
        self.iter().any(|service| service.key.family() == family)
    }

    /// The service with this key.
    #[inline]
    pub(crate) fn find(&self, key: &Key) -> Option<&Arc<Service>> {
        self.services.get(self.search(key).ok()?)
    }

    /// The service of a packet. A mark goes before the destination, as in ip_vs.
    #[inline]
    pub(crate) fn of_packet(
        &self,
        packet: &Packet<'_>,
        destination: &Addr,
    ) -> Option<&Arc<Service>> {
        if self.has_marks {
            let mark = packet.mark();
            let marked = || self.find(&Key::Mark(packet.family(), mark));
            if let Some(service) = (mark != 0).then(marked).flatten() {
                return Some(service);
            }
        }
        self.find(&Key::Address(*destination))
    }

    /// Returns which hooks they want.
    pub(crate) fn hook_level(&self, net: Net<'_>) -> HookLevel {
        let of_service = |service: &Arc<Service>| {
            let members = &service.snapshot().members;
            let levels = members.iter().map(|member| member.server.hook_level(net));
            // A service without servers counts what it drops.
            levels.max().unwrap_or(HookLevel::Forward)
        };
        let levels = self.iter().map(of_service);
        levels.max().unwrap_or(HookLevel::None)
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// All, in the order of their keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.iter()
    }

    /// A copy with one service more.
    pub(crate) fn with(&self, service: Service) -> Result<Self, Refusal> {
        let Err(place) = self.search(&service.key) else {
            return Err(Refusal::ServiceExists);
        };
        let service = Arc::new(service, GFP_KERNEL_ACCOUNT)?;
        let mut services = copy(&self.services, 1)?;
        let inserted = services.insert_within_capacity(place, service);
        inserted.map_err(|_| Refusal::NoMemory)?;
        Ok(Self::of(services))
    }

    /// A copy without the service that has this key.
    pub(crate) fn without(&self, key: &Key) -> Result<Self, Refusal> {
        let place = self.search(key).map_err(|_| Refusal::NoSuchService)?;
        let mut services = copy(&self.services, 0)?;
        services.remove(place).map_err(|_| Refusal::NoSuchService)?;
        Ok(Self::of(services))
    }

    fn search(&self, key: &Key) -> Result<usize, usize> {
        self.services
            .binary_search_by(|service| service.key.cmp(key))
    }
}

/// The services that packets find, and whose rates are estimated.
pub(crate) struct Published(Cell<Services>);

impl Published {
    /// None. Sleeps.
    pub(crate) fn new() -> Result<Self> {
        Ok(Published(Cell::new(Services::none())?))
    }
}

impl Deref for Published {
    type Target = Cell<Services>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Task for Published {
    fn run(&self) -> Option<u64> {
        let services = self.snapshot();
        services.iter().for_each(|service| service.estimate());
        (!services.is_empty()).then_some(time::from_seconds(Rates::PERIOD))
    }
}

/// A copy of `from` with room for `more`.
fn copy<T: Clone>(from: &KVec<T>, more: usize) -> Result<KVec<T>, Refusal> {
    let mut copy = KVec::with_capacity(from.len() + more, GFP_KERNEL_ACCOUNT)?;
    copy.extend_from_slice(from, GFP_KERNEL_ACCOUNT)?;
    Ok(copy)
}
