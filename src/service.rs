// SPDX-License-Identifier: GPL-2.0

//! Virtual services: what the administrator configured, and how packets find it.
//!
//! Packets read snapshots that never change. Who changes the configuration holds the lock of the
//! namespace's configuration, makes a new snapshot and puts it in the place of the old one; a
//! change that finds no memory leaves everything as it was.

#[cfg(CONFIG_KUNIT)]
mod tests;

use crate::{
    addr::Addr,
    error::Refusal,
    kapi::rcu::{Cell, Guard, Snapshot},
    sched::{Pool, Scheduler},
    server::Server,
    stats::Volume,
};
use core::cmp::Ordering;
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

/// A server and what it is for a service.
#[derive(Clone)]
pub(crate) struct Member {
    /// The server.
    pub(crate) server: Arc<Server>,
    /// Its weight, 0 to 65,535.
    pub(crate) weight: u32,
}

/// The scheduler and the servers of a service, at one time.
pub(crate) struct Roster {
    /// How servers are chosen.
    pub(crate) scheduler: &'static dyn Scheduler,
    /// The servers, in the order they were added.
    pub(crate) members: KVec<Member>,
}

/// Most servers of a service. A decision looks at each.
const MEMBERS_MAX: usize = 4096;

impl Roster {
    /// Place of the server with this address.
    pub(crate) fn place(&self, address: &Addr) -> Result<usize, Refusal> {
        let place = self
            .members
            .iter()
            .position(|m| m.server.address == *address);
        place.ok_or(Refusal::NoSuchServer)
    }

    /// A copy with another scheduler.
    pub(crate) fn with_scheduler(
        &self,
        scheduler: &'static dyn Scheduler,
    ) -> Result<Self, Refusal> {
        let members = copy(&self.members, 0)?;
        Ok(Roster { scheduler, members })
    }

    /// A copy with one server more.
    pub(crate) fn with(&self, member: Member) -> Result<Self, Refusal> {
        if self.members.len() >= MEMBERS_MAX {
            return Err(Refusal::TooManyServers);
        }
        let mut members = copy(&self.members, 1)?;
        members.push(member, GFP_KERNEL)?;
        Ok(Roster {
            scheduler: self.scheduler,
            members,
        })
    }

    /// A copy in which the server at `place` has this weight, or the one it had.
    pub(crate) fn with_weight(&self, place: usize, weight: Option<u32>) -> Result<Self, Refusal> {
        let mut members = copy(&self.members, 0)?;
        if let (Some(member), Some(weight)) = (members.get_mut(place), weight) {
            member.weight = weight;
        }
        Ok(Roster {
            scheduler: self.scheduler,
            members,
        })
    }

    /// A copy without the server at `place`.
    pub(crate) fn without(&self, place: usize) -> Result<Self, Refusal> {
        let mut members = copy(&self.members, 0)?;
        members.remove(place).map_err(|_| Refusal::NoSuchServer)?;
        Ok(Roster {
            scheduler: self.scheduler,
            members,
        })
    }
}

impl Pool for Roster {
    fn count(&self) -> usize {
        self.members.len()
    }

    fn weight(&self, index: usize) -> u32 {
        self.members.get(index).map_or(0, |member| member.weight)
    }
}

/// A virtual service.
pub(crate) struct Service {
    /// Its address (VIP).
    pub(crate) address: Addr,
    /// What went to it.
    pub(crate) volume: Volume,
    roster: Cell<Roster>,
    /// Decisions made.
    tickets: Atomic<u64>,
}

impl Service {
    /// A service without servers. Sleeps.
    pub(crate) fn new(address: Addr, scheduler: &'static dyn Scheduler) -> Result<Self, Refusal> {
        let roster = Roster {
            scheduler,
            members: KVec::new(),
        };
        Ok(Service {
            address,
            volume: Volume::new()?,
            roster: Cell::new(roster)?,
            tickets: Atomic::new(0),
        })
    }

    /// Scheduler and servers as of now.
    pub(crate) fn roster(&self) -> Snapshot<Roster> {
        self.roster.snapshot()
    }

    /// Replaces scheduler and servers.
    pub(crate) fn set_roster(&self, roster: Roster) -> Result<(), Refusal> {
        self.roster.replace(Snapshot::new(roster)?);
        Ok(())
    }

    /// Chooses the server for a new entry.
    pub(crate) fn choose(&self, guard: &Guard) -> Option<Arc<Server>> {
        let roster = self.roster.read(guard);
        let ticket = self.tickets.fetch_add(1, Relaxed);
        let index = roster.scheduler.choose(roster, ticket)?;
        roster
            .members
            .get(index)
            .map(|member| member.server.clone())
    }
}

/// The services of a namespace at one time, sorted by address.
pub(crate) struct Services(KVec<Arc<Service>>);

impl Services {
    /// None.
    pub(crate) fn none() -> Self {
        Services(KVec::new())
    }

    /// The service with this address.
    #[inline]
    pub(crate) fn find(&self, address: &Addr) -> Option<&Arc<Service>> {
        self.0.get(self.search(address).ok()?)
    }

    /// All, in the order of their addresses.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.0.iter()
    }

    /// A copy with one service more.
    pub(crate) fn with(&self, service: Service) -> Result<Self, Refusal> {
        let Err(place) = self.search(&service.address) else {
            return Err(Refusal::ServiceExists);
        };
        let service = Arc::new(service, GFP_KERNEL)?;
        let mut services = copy(&self.0, 1)?;
        let inserted = services.insert_within_capacity(place, service);
        inserted.map_err(|_| Refusal::NoMemory)?;
        Ok(Services(services))
    }

    /// A copy without the service that has this address.
    pub(crate) fn without(&self, address: &Addr) -> Result<Self, Refusal> {
        let place = self.search(address).map_err(|_| Refusal::NoSuchService)?;
        let mut services = copy(&self.0, 0)?;
        services.remove(place).map_err(|_| Refusal::NoSuchService)?;
        Ok(Services(services))
    }

    fn search(&self, address: &Addr) -> Result<usize, usize> {
        self.0
            .binary_search_by(|service| -> Ordering { service.address.cmp(address) })
    }
}

/// A copy of `from` with room for `more`.
fn copy<T: Clone>(from: &KVec<T>, more: usize) -> Result<KVec<T>, Refusal> {
    let mut copy = KVec::with_capacity(from.len() + more, GFP_KERNEL)?;
    copy.extend_from_slice(from, GFP_KERNEL)?;
    Ok(copy)
}
