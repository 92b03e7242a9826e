// SPDX-License-Identifier: GPL-2.0

//! Everything that belongs to one network namespace, and its life.

use crate::{
    addr::{Addr, Family},
    entry::{room::Share, soft::Room, table::Entries},
    error::Refusal,
    kapi::{
        defrag,
        device::Devices,
        netfilter::{HookLevel, Hooks},
        pernet::{Home, Id, PerNet},
        rcu::{Snapshot, Unpublished},
        time,
        work::Deferred,
        Net,
    },
    server::{Account, Limits, NewServer, Server},
    service::{Key, Member, Plan, Published, Roster, Service, Services},
    stats::{Rates, Stats},
    sysctl::Settings,
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{rcu::synchronize_rcu, Arc, Mutex},
};

/// The state of a namespace that is configured: it is made with the first service or fast path.
///
/// The fields are dropped in their order, when no hook runs any more: first what writes to the
/// namespace's entries, then what it uses.
#[pin_data]
pub(crate) struct Netns {
    #[pin]
    hooks: Hooks<Netns>,
    /// Those with a fast path.
    #[pin]
    devices: Devices,
    pub(crate) settings: Arc<Settings>,
    #[pin]
    pub(crate) entries: Deferred<Entries>,
    #[pin]
    pub(crate) services: Deferred<Published>,
    /// Held by who changes the configuration. Counts the changes.
    #[pin]
    changes: Mutex<Changes>,
    pub(crate) stats: Arc<Stats>,
}

/// What changes of the configuration leave behind.
struct Changes {
    /// How many there were.
    count: u32,
    /// There while there is a service of IPv6.
    defrag: Option<defrag::Ipv6>,
}

/// Jiffies until hooks that may go are looked at again.
const FIT_PERIOD: u64 = time::from_seconds(1);

impl PerNet for Netns {
    type Settings = Settings;

    fn id() -> &'static Id {
        static ID: Id = Id::new();
        &ID
    }

    fn settings(net: Net<'_>) -> Result<Settings> {
        Settings::new(net)
    }

    fn new(home: Home<Self>, settings: Arc<Settings>) -> impl PinInit<Self, Error> {
        let share = share(home.net());
        try_pin_init!(Netns {
            hooks <- Hooks::new(home),
            devices <- Devices::none(),
            stats: Arc::new(Stats::new()?, GFP_KERNEL_ACCOUNT)?,
            settings,
            entries <- Deferred::new(Entries::new(stats.clone(), share)),
            services <- Deferred::new(Published::new()),
            changes <- new_mutex!(Changes {
                count: 0,
                defrag: None,
            }),
        })
    }

    fn hooks(&self) -> &Hooks<Self> {
        &self.hooks
    }

    fn devices(&self) -> &Devices {
        &self.devices
    }

    fn fit_hooks(&self) -> Option<u64> {
        self.fit(&mut self.changes.lock())
    }
}

/// Whether fragments of IPv6 are reassembled for no service.
fn wants_no_defrag(services: &Services, changes: &Changes) -> bool {
    changes.defrag.is_some() && !services.has_family(Family::V6)
}

fn share(net: Net<'_>) -> Share {
    if net.is_first() {
        Share::First
    } else {
        Share::Other
    }
}

impl Netns {
    /// Has the entries swept within the sweep's period.
    pub(crate) fn sweep_later(&self) {
        let count = self.entries.count();
        if count.is_power_of_two() && count > self.entries.size() {
            self.entries.kick();
        } else {
            self.entries.arm(crate::entry::sweep_period());
        }
    }

    /// The services as of now, and a number that is another after every change.
    pub(crate) fn configuration(&self) -> (Snapshot<Services>, u32) {
        let changes = self.changes.lock();
        (self.services.snapshot(), changes.count)
    }

    /// Adds a service.
    pub(crate) fn add_service(&self, net: Net<'_>, key: Key, plan: Plan) -> Result<(), Refusal> {
        self.change(|services, changes| {
            let services = Unpublished::new(services.with(Service::new(key, plan)?)?)?;
            let wants_defrag = services.has_family(Family::V6) && changes.defrag.is_none();
            let defrag = wants_defrag
                .then(|| defrag::Ipv6::enable(net))
                .transpose()?;
            let hooks = self.hooks.raise(HookLevel::Forward)?;
            Ok(|changes: &mut Changes| {
                hooks.keep();
                changes.defrag = changes.defrag.take().or(defrag);
                self.publish(services);
            })
        })
    }

    /// Changes the plan of a service.
    pub(crate) fn set_service(
        &self,
        key: &Key,
        change: impl FnOnce(&Plan) -> Plan,
    ) -> Result<(), Refusal> {
        self.change_roster(key, |service, roster| {
            let plan = change(&roster.plan);
            let is_other = plan.soft != roster.plan.soft;
            let room = is_other.then(|| Room::new(plan.soft)).transpose()?;
            let common = service.common.clone();
            let also = move || {
                if let Some(room) = room {
                    common.soft.set_limit(plan.soft, room);
                }
            };
            Ok((roster.with_plan(plan)?, HookLevel::None, also))
        })
    }

    /// Removes a service, its servers and their entries.
    pub(crate) fn remove_service(&self, key: &Key) -> Result<(), Refusal> {
        self.change(|services, _| {
            let service = services.find(key).ok_or(Refusal::NoSuchService)?.clone();
            let services = Unpublished::new(services.without(key)?)?;
            Ok(move |changes: &mut Changes| {
                self.publish(services);
                self.bury(&service);
                self.release(changes);
            })
        })
    }

    /// Removes all services.
    pub(crate) fn flush(&self) -> Result<(), Refusal> {
        self.change(|services, _| {
            let none = Unpublished::new(Services::none())?;
            Ok(move |changes: &mut Changes| {
                self.publish(none);
                services.iter().for_each(|service| self.bury(service));
                self.release(changes);
            })
        })
    }

    /// Adds a server to a service.
    pub(crate) fn add_server(&self, key: &Key, new: NewServer) -> Result<(), Refusal> {
        self.change_roster(key, |service, roster| {
            if roster.place(&new.address).is_ok() {
                return Err(Refusal::ServerExists);
            }
            let server = Server::new(new.address, new.method, service.common.clone());
            let server = server.map_err(|_| Refusal::NoMemory)?;
            server.account.set_limits(new.limits);
            let level = server.hook_level(self.hooks.net());
            let member = Member {
                server,
                weight: new.weight,
                names: new.names,
            };
            Ok((roster.with(member)?, level, || {}))
        })
    }

    /// Changes a server.
    pub(crate) fn set_server(
        &self,
        key: &Key,
        address: &Addr,
        change: impl FnOnce(&Member) -> Result<(Member, Limits), Refusal>,
    ) -> Result<(), Refusal> {
        self.change_roster(key, |_, roster| {
            let (member, limits) = change(roster.member(address)?)?;
            let account = member.server.account.clone();
            let level = member.server.hook_level(self.hooks.net());
            let roster = roster.with_member(roster.place(address)?, member)?;
            Ok((roster, level, move || {
                account.set_limits(limits);
                self.hooks.fit_in(FIT_PERIOD);
            }))
        })
    }

    /// Removes a server. Its entries go at once or live on, as the settings say.
    pub(crate) fn remove_server(&self, key: &Key, address: &Addr) -> Result<(), Refusal> {
        let with_entries = self.settings.expires_with_server();
        self.change_roster(key, |_, roster| {
            let account = roster.member(address)?.server.account.clone();
            let roster = roster.without(roster.place(address)?)?;
            let roster = if with_entries {
                roster
            } else {
                roster.with_retired(account.clone())?
            };
            Ok((roster, HookLevel::None, move || {
                self.retire(&account, with_entries);
                self.hooks.fit_in(FIT_PERIOD);
            }))
        })
    }

    /// Has established flows that come in by a device take the fast path. Sleeps.
    pub(crate) fn add_fastpath(&self, net: Net<'_>, index: u32) -> Result<(), Refusal> {
        Ok(self.devices.add::<Netns>(net, index)?)
    }

    /// Has them take the way of other packets again. Sleeps.
    pub(crate) fn remove_fastpath(&self, net: Net<'_>, index: u32) -> Result<(), Refusal> {
        if self.devices.remove(net, index) {
            Ok(())
        } else {
            Err(Refusal::NoFastpath)
        }
    }

    /// The device with a fast path in this place, in the order they were added.
    pub(crate) fn fastpath(&self, place: usize) -> Option<u32> {
        self.devices.get(place)
    }

    /// Changes the configuration, one at a time: every change comes by here.
    ///
    /// `prepare` checks the change and makes all that it needs, from the services as of now; it may
    /// fail, and drops what it has made. What it returns publishes the change, and cannot fail. So
    /// what is refused has changed nothing, and nobody sees half a change.
    ///
    /// A step that has effects elsewhere returns a value whose drop undoes it ([`defrag::Ipv6`],
    /// [`Raised`](crate::kapi::netfilter::Hooks::raise)), until it is published.
    fn change<P: FnOnce(&mut Changes)>(
        &self,
        prepare: impl FnOnce(Snapshot<Services>, &Changes) -> Result<P, Refusal>,
    ) -> Result<(), Refusal> {
        let mut changes = self.changes.lock();
        let publish = prepare(self.services.snapshot(), &changes)?;
        publish(&mut changes);
        changes.count = changes.count.wrapping_add(1);
        Ok(())
    }

    /// Changes plan or servers of a service. `prepare` returns them, which hooks they want besides those
    /// that there are, and what is published with them.
    fn change_roster<P: FnOnce()>(
        &self,
        key: &Key,
        prepare: impl FnOnce(&Service, &Roster) -> Result<(Roster, HookLevel, P), Refusal>,
    ) -> Result<(), Refusal> {
        self.change(|services, _| {
            let service = services.find(key).ok_or(Refusal::NoSuchService)?.clone();
            let (roster, level, also) = prepare(&service, &service.snapshot())?;
            let roster = Unpublished::new(roster)?;
            // Last: it has effects on packets of others, be it undone at once.
            let hooks = self.hooks.raise(level)?;
            Ok(move |_: &mut Changes| {
                hooks.keep();
                service.set_roster(roster);
                also();
            })
        })
    }

    /// Has packets find other services.
    fn publish(&self, services: Unpublished<Services>) {
        self.services.replace(services);
        self.services.arm(time::from_seconds(Rates::PERIOD));
    }

    /// Ends what no service wants any more: at once where that is told without a look at all servers,
    /// unless entries need it for a while.
    fn release(&self, changes: &mut Changes) {
        let services = self.services.snapshot();
        let looks_again = if services.is_empty() || wants_no_defrag(&services, changes) {
            self.fit(changes)
        } else {
            Some(FIT_PERIOD)
        };
        if let Some(jiffies) = looks_again {
            self.hooks.fit_in(jiffies);
        }
    }

    /// Has the hooks that are wanted now, and no others, and no reassembly of IPv6 without a service of
    /// it. Entries outlive their server's removal and its method: what is still answered for them must
    /// be seen whole, so that neither ends before the last of them. Returns in how many jiffies to look
    /// again, if so. Sleeps.
    fn fit(&self, changes: &mut Changes) -> Option<u64> {
        let services = self.services.snapshot();
        let (wanted, level) = (services.hook_level(self.hooks.net()), self.hooks.level());
        let ends_defrag = wants_no_defrag(&services, changes);
        let waits = (wanted < level || ends_defrag) && !self.may_lower_hooks();
        let failed = if waits {
            self.hooks.set_level(wanted.max(level))
        } else {
            if ends_defrag {
                changes.defrag = None;
            }
            self.hooks.set_level(wanted)
        };
        (waits || failed.is_err()).then_some(FIT_PERIOD)
    }

    /// Returns whether no entry needs hooks that no service wants. Sleeps.
    fn may_lower_hooks(&self) -> bool {
        !self.entries.awaits_answers() && {
            // Packets that found what is published no more have made what entries they make.
            synchronize_rcu();
            !self.entries.awaits_answers()
        }
    }

    /// Ends the entries of a service that packets no longer find.
    fn bury(&self, service: &Service) {
        // Its last entries may linger; they need no room for more.
        service.common.soft.set_limit(0, Room::none());
        let roster = service.snapshot();
        let members = roster.members.iter().map(|member| &member.server.account);
        for account in Iterator::chain(members, &roster.retired) {
            self.retire(account, true);
        }
    }

    fn retire(&self, account: &Account, with_entries: bool) {
        account.remove(with_entries);
        self.entries.sweep_all();
        self.entries.kick();
    }
}
