// SPDX-License-Identifier: GPL-2.0

//! Everything that belongs to one network namespace, and its life.

use crate::{
    addr::Addr,
    entry::table::Entries,
    error::Refusal,
    kapi::{
        netfilter::Hooks,
        pernet::{Id, PerNet},
        rcu::{Cell, Snapshot},
        time,
        work::Deferred,
        Net,
    },
    sched::Scheduler,
    server::Server,
    service::{Member, Roster, Service, Services},
    stats::Stats,
    sysctl::Settings,
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{Arc, Mutex},
};

/// The state of a namespace.
///
/// The fields are dropped in their order, when no hook runs any more: first what writes to the
/// namespace's files and entries, then what it uses.
#[pin_data]
pub(crate) struct Netns {
    hooks: Hooks,
    pub(crate) settings: Settings,
    #[pin]
    pub(crate) entries: Deferred<Entries>,
    pub(crate) services: Cell<Services>,
    /// Held by who changes the configuration. Counts the changes.
    #[pin]
    changes: Mutex<u32>,
    pub(crate) stats: Arc<Stats>,
}

impl PerNet for Netns {
    fn id() -> &'static Id {
        static ID: Id = Id::new();
        &ID
    }

    fn new(net: Net<'_>) -> impl PinInit<Self, Error> {
        try_pin_init!(Netns {
            hooks: Hooks::new(),
            stats: Arc::new(Stats::new()?, GFP_KERNEL)?,
            settings: Settings::new(net)?,
            entries <- Deferred::new(Entries::new(stats.clone())),
            services: Cell::new(Services::none())?,
            changes <- new_mutex!(0),
        })
    }

    fn hooks(&self) -> &Hooks {
        &self.hooks
    }
}

impl Netns {
    /// Has the entries swept within the sweep's period.
    pub(crate) fn sweep_later(&self) {
        let count = self.entries.count();
        if count > self.entries.size() && count.is_power_of_two() {
            self.entries.kick();
        } else {
            self.entries
                .arm(time::from_seconds(crate::entry::SWEEP_PERIOD));
        }
    }

    /// The services as of now, and a number that is another after every change.
    pub(crate) fn configuration(&self) -> (Snapshot<Services>, u32) {
        let changes = self.changes.lock();
        (self.services.snapshot(), *changes)
    }

    /// Adds a service.
    pub(crate) fn add_service(
        &self,
        address: Addr,
        scheduler: &'static dyn Scheduler,
    ) -> Result<(), Refusal> {
        self.change(|services| {
            let services = services.with(Service::new(address, scheduler)?)?;
            self.services.replace(Snapshot::new(services)?);
            Ok(())
        })
    }

    /// Gives a service another scheduler.
    pub(crate) fn set_service(
        &self,
        address: &Addr,
        scheduler: &'static dyn Scheduler,
    ) -> Result<(), Refusal> {
        self.change_roster(address, |roster| roster.with_scheduler(scheduler))
    }

    /// Removes a service, its servers and their entries.
    pub(crate) fn remove_service(&self, address: &Addr) -> Result<(), Refusal> {
        self.change(|services| {
            let service = services.find(address).ok_or(Refusal::NoSuchService)?;
            self.services
                .replace(Snapshot::new(services.without(address)?)?);
            self.bury(service);
            Ok(())
        })
    }

    /// Removes all services.
    pub(crate) fn flush(&self) -> Result<(), Refusal> {
        self.change(|services| {
            self.services.replace(Snapshot::new(Services::none())?);
            services.iter().for_each(|service| self.bury(service));
            Ok(())
        })
    }

    /// Adds a server to a service.
    pub(crate) fn add_server(
        &self,
        service: &Addr,
        address: Addr,
        weight: u32,
    ) -> Result<(), Refusal> {
        self.change_roster(service, |roster| {
            if roster.place(&address).is_ok() {
                return Err(Refusal::ServerExists);
            }
            let server = Server::new(address).map_err(|_| Refusal::NoMemory)?;
            roster.with(Member { server, weight })
        })
    }

    /// Gives a server another weight, if there is one to give.
    pub(crate) fn set_server(
        &self,
        service: &Addr,
        address: &Addr,
        weight: Option<u32>,
    ) -> Result<(), Refusal> {
        self.change_roster(service, |roster| {
            roster.with_weight(roster.place(address)?, weight)
        })
    }

    /// Removes a server and its entries.
    pub(crate) fn remove_server(&self, service: &Addr, address: &Addr) -> Result<(), Refusal> {
        let mut removed = None;
        self.change_roster(service, |roster| {
            let place = roster.place(address)?;
            removed = roster
                .members
                .get(place)
                .map(|member| member.server.clone());
            roster.without(place)
        })?;
        if let Some(server) = removed {
            server.remove();
            self.entries.kick();
        }
        Ok(())
    }

    /// Changes the configuration, one at a time. If it is refused nothing has changed.
    fn change(&self, change: impl FnOnce(&Services) -> Result<(), Refusal>) -> Result<(), Refusal> {
        let mut changes = self.changes.lock();
        change(&self.services.snapshot())?;
        *changes = changes.wrapping_add(1);
        Ok(())
    }

    /// Changes scheduler or servers of a service.
    fn change_roster(
        &self,
        service: &Addr,
        change: impl FnOnce(&Roster) -> Result<Roster, Refusal>,
    ) -> Result<(), Refusal> {
        self.change(|services| {
            let service = services.find(service).ok_or(Refusal::NoSuchService)?;
            service.set_roster(change(&service.roster())?)
        })
    }

    /// Ends the entries of a service that packets no longer find.
    fn bury(&self, service: &Service) {
        for member in &service.roster().members {
            member.server.remove();
        }
        self.entries.kick();
    }
}
