// SPDX-License-Identifier: GPL-2.0

//! Unit tests of entries and their end, which need a kernel: KUnit runs them when the module is
//! loaded.

use super::{
    reply::{Found, Reply},
    room::Share,
    table::{Entries, EntryNode},
    Binding, Clock, Origin, LINGER,
};
use crate::{
    addr::{Addr, Flow, Transport},
    ike::{header::Header, state::State},
    kapi::{
        rcu::{Barrier, Guard},
        table::Inserted,
        time::jiffies,
    },
    server::{Method, Server},
    service::{Common, Key, Persistence},
    stats::Stats,
};
use kernel::{
    prelude::*,
    sync::{atomic::Relaxed, Arc},
};

#[kunit_tests(ipvs_ipsec_entry)]
mod tests {
    use super::*;
    use State::{Established, Initial};

    const VIP: Addr = Addr::V4([198, 51, 100, 1]);
    const RIP: Addr = Addr::V4([10, 0, 0, 1]);

    fn flow(client: u8, port: u16) -> Flow {
        Flow {
            transport: Transport::Udp,
            client: Addr::V4([192, 0, 2, client]),
            client_port: port,
            vip: VIP,
            vip_port: 500,
        }
    }

    fn header(initiator_spi: u64, responder_spi: u64) -> Header {
        Header {
            initiator_spi,
            responder_spi,
            from_responder: false,
            is_aside: false,
        }
    }

    struct Fixture {
        entries: KBox<Entries>,
        server: Arc<Server>,
        now: u64,
    }

    impl Fixture {
        fn new() -> Result<Self> {
            Self::with(Method::Dr)
        }

        fn with(method: Method) -> Result<Self> {
            let service = Common::new(0)?;
            let stats = Arc::new(Stats::new()?, GFP_KERNEL)?;
            Ok(Fixture {
                entries: KBox::init(Entries::new(stats, Share::First), GFP_KERNEL)?,
                server: Server::new(RIP, method, service)?,
                now: jiffies(),
            })
        }

        /// An entry whose timer ends in so many jiffies.
        fn make<'g>(
            &'g self,
            guard: &'g Guard,
            flow: Flow,
            spi: u64,
            state: State,
            jiffies: u64,
        ) -> Result<&'g EntryNode> {
            let clock = (state, self.now, self.now + jiffies);
            let (header, hash) = (header(spi, 0), self.entries.spi_hash(&VIP, spi));
            match self.entries.make(
                guard,
                &self.entries.sought(flow),
                self.binding(),
                &Origin::Message(&header, hash),
                clock,
            ) {
                Ok(Inserted::New(entry)) => Ok(entry),
                Ok(Inserted::Rival(_)) => Err(EEXIST),
                Err(_) => Err(ENOMEM),
            }
        }

        fn by_spi<'g>(&'g self, guard: &'g Guard, spi: u64, now: u64) -> Option<&'g EntryNode> {
            let hash = self.entries.spi_hash(&VIP, spi);
            self.entries.by_spi(guard, &VIP, (spi, hash), now)
        }

        fn binding(&self) -> Binding<'_> {
            Binding {
                server: &self.server,
                template: None,
            }
        }

        /// Number of entries of the table; of the server's, those initial and established.
        fn counts(&self) -> (usize, u32, u32) {
            let server = &self.server;
            (
                self.entries.count(),
                server.account.entries(Initial),
                server.account.entries(Established),
            )
        }
    }

    #[test]
    fn an_entry_past_its_deadline_is_dead_at_once() -> Result {
        let f = Fixture::new()?;
        let guard = Guard::new();
        f.make(&guard, flow(1, 500), 1, Initial, 100)?;
        let Flow { client, vip, .. } = flow(1, 500);
        for (after, alive) in [(0, true), (99, true), (100, false), (1_000_000, false)] {
            let now = f.now + after;
            let by_flow = f.entries.by_flow(&guard, &flow(1, 500), now);
            let by_spi = f.by_spi(&guard, 1, now);
            let by_address = f.entries.by_address(&guard, &client, &vip, now);
            let found = [by_flow, by_spi, by_address].map(|entry| entry.is_some());
            assert_eq!((after, found), (after, [alive; 3]));
        }
        // Another may take its place before it is swept.
        let now = f.now + 100;
        let clock = (Initial, now, now + 100);
        let again = f.entries.make(
            &guard,
            &f.entries.sought(flow(1, 500)),
            f.binding(),
            &Origin::Message(&header(2, 0), f.entries.spi_hash(&VIP, 2)),
            clock,
        );
        assert!(matches!(again, Ok(Inserted::New(_))));
        Ok(())
    }

    #[test]
    fn the_sweep_frees_the_dead_only() -> Result {
        let f = Fixture::new()?;
        for client in 0..200 {
            let jiffies = if client % 2 == 0 { 0 } else { 1_000_000 };
            let state = if client % 4 < 2 { Initial } else { Established };
            f.make(&Guard::new(), flow(client, 500), 1, state, jiffies)?;
        }
        assert_eq!(f.counts(), (200, 100, 100));
        f.entries.sweep();
        assert_eq!(f.counts(), (100, 50, 50));
        assert_eq!(f.entries.initial(), 50);
        for client in 0..200 {
            let guard = Guard::new();
            let found = f.entries.by_flow(&guard, &flow(client, 500), f.now);
            assert_eq!((client, found.is_some()), (client, client % 2 == 1));
        }
        Ok(())
    }

    #[test]
    fn a_removed_servers_entries_are_dead_at_once() -> Result {
        let f = Fixture::new()?;
        let guard = Guard::new();
        let entry = f.make(&guard, flow(1, 500), 1, Established, 1000)?;
        assert_eq!(entry.state(f.now), Some(Established));
        f.server.account.remove(true);
        assert_eq!(entry.state(f.now), None);
        assert!(f.entries.by_flow(&guard, &flow(1, 500), f.now).is_none());
        drop(guard);
        f.entries.sweep_all();
        f.entries.sweep();
        assert_eq!(f.counts(), (0, 0, 0));
        // Its last entry was its last user.
        drop(Barrier);
        assert!(Arc::into_unique_or_drop(f.server).is_some());
        Ok(())
    }

    #[test]
    fn an_entry_proves_itself_once() -> Result {
        let f = Fixture::new()?;
        let guard = Guard::new();
        let entry = f.make(&guard, flow(1, 500), 1, Initial, 10)?;
        f.entries.restart(&guard, entry, Established, f.now + 1000);
        assert_eq!(entry.state(f.now + 999), Some(Established));
        assert_eq!(f.counts(), (1, 0, 1));
        // A late packet puts no short deadline on it.
        f.entries.restart(&guard, entry, Initial, f.now + 20);
        assert_eq!(entry.state(f.now + 999), Some(Established));
        // What is gone does not come back.
        assert!(f.entries.remove(&guard, entry));
        assert!(!f.entries.remove(&guard, entry));
        f.entries.restart(&guard, entry, Established, f.now + 1000);
        assert_eq!(entry.state(f.now), None);
        assert_eq!(f.counts(), (0, 0, 0));
        Ok(())
    }

    #[test]
    fn the_sweep_spares_who_is_heard_of_meanwhile() -> Result {
        let f = Fixture::new()?;
        let guard = Guard::new();
        for (client, state) in [(1, Initial), (2, Established)] {
            let entry = f.make(&guard, flow(client, 500), 1, state, 0)?;
            let ended = entry.clock.ended(f.now).ok_or(ENOENT)?;
            f.entries.restart(&guard, entry, Established, f.now + 1000);
            assert!(!f.entries.expire(&guard, entry, ended));
            assert_eq!(entry.state(f.now), Some(Established));
            let ended = entry.clock.ended(f.now + 1000).ok_or(ENOENT)?;
            assert_eq!(ended.overdue(), Some(f.now + 1000));
            assert!(f.entries.expire(&guard, entry, ended));
            assert!(!f.entries.expire(&guard, entry, ended));
        }
        assert_eq!(f.counts(), (0, 0, 0));
        Ok(())
    }

    #[test]
    fn who_is_being_established_is_found_by_address() -> Result {
        let f = Fixture::with(Method::Nat { encap: false })?;
        let guard = Guard::new();
        let entry = f.make(&guard, flow(1, 500), 1, Initial, 100)?;
        // Another CPU has come so far: the entry hangs where it did.
        entry.clock.restart(Established, f.now + 1000);
        let Flow { client, vip, .. } = flow(1, 500);
        let found = f.entries.by_address(&guard, &client, &vip, f.now);
        assert!(found.is_some_and(|found| core::ptr::eq(found, entry)));
        let found = f.entries.by_reply_address(&guard, &RIP, &client, f.now);
        assert!(matches!(found, Some(Found::Alive(found)) if core::ptr::eq(found, entry)));
        Ok(())
    }

    #[test]
    fn esp_follows_the_entry_established_last() -> Result {
        let f = Fixture::new()?;
        let guard = Guard::new();
        let Flow { client, vip, .. } = flow(1, 0);
        let port = |f: &Fixture| {
            f.entries
                .by_address(&guard, &client, &vip, f.now)
                .map(|entry| entry.flow().client_port)
        };
        let first = f.make(&guard, flow(1, 1), 1, Initial, 1000)?;
        let second = f.make(&guard, flow(1, 2), 2, Initial, 1000)?;
        f.make(&guard, flow(1, 3), 3, Initial, 1000)?;
        f.entries.restart(&guard, second, Established, f.now + 1000);
        assert_eq!(port(&f), Some(2));
        f.entries.restart(&guard, first, Established, f.now + 1000);
        assert_eq!(port(&f), Some(1));
        f.entries.remove(&guard, first);
        assert_eq!(port(&f), Some(2));
        f.entries.remove(&guard, second);
        assert_eq!(port(&f), Some(3));
        Ok(())
    }

    #[test]
    fn answers_are_found_where_addresses_are_translated() -> Result {
        let reply = |client, client_port| Reply {
            transport: Transport::Udp,
            server: RIP,
            client: flow(client, 0).client,
            client_port,
            port: 500,
        };
        let f = Fixture::with(Method::Nat { encap: false })?;
        let direct = Fixture::new()?;
        let guard = Guard::new();
        assert!(!f.entries.has_translated());
        let entry = f.make(&guard, flow(1, 700), 1, Initial, 1000)?;
        assert!(f.entries.has_translated());
        let alive = |found| matches!(found, Some(Found::Alive(_)));
        let dead = |found| matches!(found, Some(Found::Dead));
        let by_reply = |port, now| f.entries.by_reply(&guard, &reply(1, port), now);
        let by_address = |now| {
            let client = flow(1, 0).client;
            f.entries.by_reply_address(&guard, &RIP, &client, now)
        };
        assert!(alive(by_reply(700, f.now)) && alive(by_address(f.now)));
        assert!(by_reply(701, f.now).is_none());
        f.entries.restart(&guard, entry, Established, f.now + 2000);
        assert!(alive(by_reply(700, f.now + 1500)) && alive(by_address(f.now + 1500)));
        assert!(dead(by_reply(700, f.now + 2000)) && dead(by_address(f.now + 2000)));
        // Packets from a port of IKE belong to the established entry, whatever port they go to.
        let of_client = |port, now| {
            let reply = reply(1, port);
            let found = f.entries.by_reply(&guard, &reply, now);
            f.entries.or_client(found, &guard, &reply, now)
        };
        assert!(alive(of_client(701, f.now)) && dead(of_client(701, f.now + 2000)));
        f.entries.remove(&guard, entry);
        assert!(dead(by_reply(700, f.now)) && dead(by_address(f.now)));
        assert!(f.entries.has_translated());

        // A flow may have an entry at another server than its own.
        let entry = f.make(&guard, flow(1, 700), 1, Initial, 1000)?;
        let sought = f
            .entries
            .sought_at(&f.entries.sought(flow(1, 700)), &f.server);
        assert!(f.entries.find(&guard, &sought, f.now).is_none());
        let own = f.entries.by_flow(&guard, &flow(1, 700), f.now);
        assert!(own.is_some_and(|own| core::ptr::eq(own, entry)));

        direct.make(&guard, flow(1, 700), 1, Initial, 1000)?;
        let found = direct.entries.by_reply(&guard, &reply(1, 700), direct.now);
        assert!(found.is_none() && !direct.entries.has_translated());
        Ok(())
    }

    #[test]
    fn who_has_not_proved_himself_is_known_by_his_ports_only() -> Result {
        let f = Fixture::with(Method::Nat { encap: false })?;
        let guard = Guard::new();
        let client = flow(1, 0).client;
        let by_address = || f.entries.by_reply_address(&guard, &RIP, &client, f.now);
        let of_client = |port| {
            let reply = Reply::to(&flow(1, port), RIP);
            let found = f.entries.by_reply(&guard, &reply, f.now);
            f.entries.or_client(found, &guard, &reply, f.now)
        };
        let entry = f.make(&guard, flow(1, 700), 1, Initial, 1000)?;
        assert!(matches!(of_client(700), Some(Found::Alive(_))));
        assert!(of_client(701).is_none());
        f.entries.remove(&guard, entry);
        let unproved = of_client(700);
        assert!(matches!(unproved, Some(Found::Unproved(found)) if core::ptr::eq(found, entry)));
        assert!(of_client(701).is_none() && by_address().is_none());
        Ok(())
    }

    #[test]
    fn an_entry_that_has_ended_stays_for_its_servers_answers() -> Result {
        let f = Fixture::with(Method::Nat { encap: false })?;
        let guard = Guard::new();
        let entry = f.make(&guard, flow(1, 700), 1, Established, 1000)?;
        assert!(f.entries.remove(&guard, entry));
        assert!(!f.entries.remove(&guard, entry));
        assert_eq!(f.counts(), (0, 0, 0));
        drop(guard);
        let is_there = || {
            f.entries.sweep_all();
            f.entries.sweep();
            let guard = Guard::new();
            let reply = Reply::to(&flow(1, 700), RIP);
            let found = f.entries.by_reply(&guard, &reply, f.now);
            matches!(found, Some(Found::Dead))
        };
        assert!(is_there() && f.entries.has_translated());
        for bucket in 0..f.entries.size() {
            let ended = jiffies() - crate::kapi::time::from_seconds(LINGER);
            f.entries.table.visit(&Guard::new(), bucket, |entry| {
                entry.clock.0.store(ended << 2 | Clock::GONE, Relaxed);
            });
        }
        assert!(!is_there() && !f.entries.has_translated());
        Ok(())
    }

    #[test]
    fn a_template_outlives_what_was_established() -> Result {
        let f = Fixture::new()?;
        let guard = Guard::new();
        let (service, client) = (Key::Address(VIP), flow(1, 0).client);
        let persistence = Persistence {
            timeout: 1_000_000,
            prefix: 24,
        };
        let prefix = client.prefix(24);
        let find = |now| f.entries.template(&guard, &service, &prefix, now);
        let make = |state| -> Result<&EntryNode> {
            let terms = (jiffies(), &persistence);
            let tied = f.entries.tie(&guard, &service, prefix, &f.server, terms);
            let template = tied.map_err(|_| ENOMEM)?;
            let binding = Binding {
                server: &f.server,
                template: Some(template),
            };
            let clock = (state, f.now, f.now + 1000);
            match f.entries.make(
                &guard,
                &f.entries.sought(flow(1, 500)),
                binding,
                &Origin::Message(&header(1, 0), f.entries.spi_hash(&VIP, 1)),
                clock,
            ) {
                Ok(Inserted::New(entry)) => Ok(entry),
                _ => Err(EEXIST),
            }
        };
        assert!(find(f.now).is_none());
        // A first message leaves nothing behind.
        let entry = make(Initial)?;
        assert!(find(f.now).is_some());
        f.entries.remove(&guard, entry);
        // It has left by the clock, which may have gone on.
        assert!(find(jiffies()).is_none());
        // Who has proved himself is remembered.
        let entry = make(Established)?;
        f.entries.remove(&guard, entry);
        assert!(find(jiffies()).is_some());
        assert!(find(u64::MAX / 8).is_none());
        assert_eq!(f.server.account.persistent(), 2);
        drop(guard);
        f.entries.sweep_templates();
        assert_eq!(f.server.account.persistent(), 1);
        f.server.account.remove(true);
        f.entries.sweep_templates();
        assert_eq!(f.server.account.persistent(), 0);
        Ok(())
    }

    #[test]
    fn an_entry_is_found_by_the_spi_it_saw_last() -> Result {
        let f = Fixture::new()?;
        let guard = Guard::new();
        let entry = f.make(&guard, flow(1, 500), 1, Initial, 1000)?;
        let remember = |ispi, rspi, state| {
            f.entries
                .remember(&guard, entry, &header(ispi, rspi), state);
            (entry.initiator_spi(), entry.responder_spi())
        };
        // Who has not proved himself tells nothing by the responder SPI he shows.
        assert_eq!(remember(1, 7, Initial), (1, 0));
        assert_eq!(remember(1, 7, Established), (1, 7));
        assert_eq!(remember(1, 0, Established), (1, 7));
        assert_eq!(remember(2, 0, Established), (2, 0));
        assert!(f.by_spi(&guard, 1, f.now).is_none());
        assert!(f.by_spi(&guard, 2, f.now).is_some());
        Ok(())
    }

    #[test]
    fn entries_without_an_ike_spi_are_found_by_none() -> Result {
        let f = Fixture::new()?;
        let guard = Guard::new();
        let clock = (Initial, f.now, f.now + 1000);
        let made = f.entries.make(
            &guard,
            &f.entries.sought(flow(1, 500)),
            f.binding(),
            &Origin::Name,
            clock,
        );
        let Ok(Inserted::New(entry)) = made else {
            return Err(ENOMEM);
        };
        assert!(f.entries.by_flow(&guard, &flow(1, 500), f.now).is_some());
        f.entries.remember(&guard, entry, &header(5, 0), Initial);
        assert!(f.by_spi(&guard, 5, f.now).is_some());
        Ok(())
    }

    #[test]
    fn what_the_server_says_is_learnt() -> Result {
        let f = Fixture::new()?;
        let guard = Guard::new();
        let entry = f.make(&guard, flow(1, 500), 1, Initial, 1000)?;
        let learn = |ispi, rspi| {
            entry.learn(&header(ispi, rspi));
            entry.responder_spi()
        };
        assert_eq!(learn(2, 8), 0);
        assert_eq!(learn(1, 0), 0);
        assert_eq!(learn(1, 7), 7);
        // It begins an IKE SA of its own, whose SPI an answer shows, and no other message.
        assert_eq!(learn(9, 0), 7);
        let learnt = [header(9, 5), header(1, 7), header(5, 5)].map(|shown| entry.learnt(&shown));
        assert_eq!(learnt, [9, 7, 7]);
        Ok(())
    }

    #[test]
    fn an_entry_is_found_by_the_esp_it_saw() -> Result {
        let f = Fixture::new()?;
        let guard = Guard::new();
        let find = |spi| {
            let found = f.entries.by_esp(&guard, &VIP, spi, f.now);
            found.map(|entry| entry.flow().client_port)
        };
        let first = f.make(&guard, flow(1, 1), 1, Established, 1000)?;
        f.entries.sight(&guard, first, 77, f.now);
        f.entries.sight(&guard, first, 77, f.now);
        assert_eq!((find(77), find(78)), (Some(1), None));
        assert_eq!(f.entries.sightings.count(), 1);
        // On whichever it was seen last.
        let second = f.make(&guard, flow(1, 2), 1, Established, 1000)?;
        f.entries.sight(&guard, second, 77, f.now);
        assert_eq!(find(77), Some(2));
        f.entries.remove(&guard, second);
        assert_eq!(find(77), Some(1));
        f.entries.remove(&guard, first);
        assert_eq!((find(77), f.entries.sightings.count()), (None, 0));
        // What is gone leaves no trace.
        f.entries.sight(&guard, first, 79, f.now);
        assert_eq!(f.entries.sightings.count(), 0);
        Ok(())
    }

    #[test]
    fn of_many_spis_one_gives_way_once_a_second() -> Result {
        let f = Fixture::new()?;
        let guard = Guard::new();
        let entry = f.make(&guard, flow(1, 1), 1, Established, 1_000_000)?;
        let later = f.now + crate::kapi::time::from_seconds(2);
        for spi in 1..100 {
            f.entries.sight(&guard, entry, spi, later);
        }
        assert_eq!(f.entries.sightings.count(), 4);
        let known = |spi: &u32| f.entries.by_esp(&guard, &VIP, *spi, f.now).is_some();
        assert!((1..100).filter(known).count() == 4);
        f.entries.remove(&guard, entry);
        assert_eq!(f.entries.sightings.count(), 0);
        Ok(())
    }

    #[test]
    fn an_spi_of_a_crowd_is_remembered_on_some_only_and_forgotten_with_them() -> Result {
        let f = Fixture::new()?;
        let guard = Guard::new();
        for client in 1..=100 {
            let entry = f.make(&guard, flow(client, 500), 1, Established, 1_000_000)?;
            f.entries.sight(&guard, entry, 77, f.now);
        }
        let client = || {
            f.entries
                .by_esp(&guard, &VIP, 77, f.now)
                .map(|entry| entry.client())
        };
        assert_eq!(f.entries.sightings.count(), 4);
        // The last ones.
        assert_eq!(client(), Some(flow(100, 0).client));
        for client in 1..=100 {
            let entry = f.entries.by_flow(&guard, &flow(client, 500), f.now);
            f.entries.remove(&guard, entry.ok_or(ENOENT)?);
        }
        assert_eq!(f.entries.sightings.count(), 0);
        Ok(())
    }

    #[test]
    fn a_port_belongs_to_its_address_if_that_has_one_server() -> Result {
        let f = Fixture::new()?;
        let server = Server::new(RIP, Method::Dr, Common::new(0)?)?;
        let other = Binding {
            server: &server,
            template: None,
        };
        let guard = Guard::new();
        let natt = |port| Flow {
            vip_port: 4500,
            ..flow(1, port)
        };
        let client = flow(1, 0).client;
        let sole = || f.entries.sole(&guard, &client, &VIP, f.now).is_some();
        f.make(&guard, flow(1, 500), 1, Established, 1000)?;
        assert!(!sole());
        f.make(&guard, natt(1), 1, Initial, 1000)?;
        assert!(!sole());
        f.make(&guard, natt(2), 1, Established, 1000)?;
        assert!(sole());
        let clock = (Established, f.now, f.now + 1000);
        let made = f.entries.make(
            &guard,
            &f.entries.sought(natt(3)),
            other,
            &Origin::Name,
            clock,
        );
        assert!(made.is_ok() && !sole());
        Ok(())
    }

    #[test]
    fn the_sweep_passes_by_what_is_not_due() -> Result {
        let f = Fixture::new()?;
        f.entries.sweep();
        let (soon, late) = (flow(1, 500), flow(2, 500));
        f.make(&Guard::new(), soon, 1, Established, 1_000_000)?;
        f.make(&Guard::new(), late, 1, Established, 1_000_000)?;
        {
            // A timer that ends sooner than it was told to is heard of.
            let guard = Guard::new();
            let entry = f.entries.by_flow(&guard, &soon, f.now).ok_or(ENOENT)?;
            f.entries.restart(&guard, entry, Established, f.now);
        }
        f.entries.sweep();
        assert_eq!(f.counts(), (1, 0, 1));
        Ok(())
    }
}
