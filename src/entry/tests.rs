// SPDX-License-Identifier: GPL-2.0

//! Unit tests of entries and their end, which need a kernel: KUnit runs them when the module is
//! loaded.

use super::table::{Entries, EntryNode};
use crate::{
    addr::{Addr, Flow},
    ike::{header::Header, state::State},
    kapi::{
        rcu::{Barrier, Guard},
        table::Inserted,
        time::jiffies,
    },
    server::Server,
    stats::Stats,
};
use kernel::{prelude::*, sync::Arc};

#[kunit_tests(ipvs_ipsec_entry)]
mod tests {
    use super::*;
    use State::{Established, Initial};

    const VIP: Addr = Addr::V4([198, 51, 100, 1]);

    fn flow(client: u8, port: u16) -> Flow {
        Flow {
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
        }
    }

    struct Fixture {
        entries: KBox<Entries>,
        server: Arc<Server>,
        now: u64,
    }

    impl Fixture {
        fn new() -> Result<Self> {
            let stats = Arc::new(Stats::new()?, GFP_KERNEL)?;
            Ok(Fixture {
                entries: KBox::init(Entries::new(stats), GFP_KERNEL)?,
                server: Server::new(Addr::V4([10, 0, 0, 1]))?,
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
            let header = header(spi, 0);
            match self
                .entries
                .make(guard, flow, self.server.clone(), &header, clock)
            {
                Ok(Inserted::New(entry)) => Ok(entry),
                Ok(Inserted::Rival(_)) => Err(EEXIST),
                Err(_) => Err(ENOMEM),
            }
        }

        /// Number of entries of the table; of the server's, those initial and established.
        fn counts(&self) -> (usize, u32, u32) {
            let server = &self.server;
            (
                self.entries.count(),
                server.entries(Initial),
                server.entries(Established),
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
            let by_spi = f.entries.by_spi(&guard, &VIP, 1, now);
            let by_address = f.entries.by_address(&guard, &client, &vip, now);
            let found = [by_flow, by_spi, by_address].map(|entry| entry.is_some());
            assert_eq!((after, found), (after, [alive; 3]));
        }
        // Another may take its place before it is swept.
        let now = f.now + 100;
        let clock = (Initial, now, now + 100);
        let again = f
            .entries
            .make(&guard, flow(1, 500), f.server.clone(), &header(2, 0), clock);
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
        f.server.remove();
        assert_eq!(entry.state(f.now), None);
        assert!(f.entries.by_flow(&guard, &flow(1, 500), f.now).is_none());
        drop(guard);
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
    fn esp_follows_the_entry_established_last() -> Result {
        let f = Fixture::new()?;
        let guard = Guard::new();
        let Flow { client, vip, .. } = flow(1, 0);
        let port = |f: &Fixture| {
            f.entries
                .by_address(&guard, &client, &vip, f.now)
                .map(|entry| entry.flow.client_port)
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
    fn an_entry_is_found_by_the_spi_it_saw_last() -> Result {
        let f = Fixture::new()?;
        let guard = Guard::new();
        let entry = f.make(&guard, flow(1, 500), 1, Initial, 1000)?;
        f.entries.remember(&guard, entry, &header(1, 7));
        f.entries.remember(&guard, entry, &header(1, 0));
        assert_eq!((entry.initiator_spi(), entry.responder_spi()), (1, 7));
        f.entries.remember(&guard, entry, &header(2, 0));
        assert_eq!((entry.initiator_spi(), entry.responder_spi()), (2, 0));
        assert!(f.entries.by_spi(&guard, &VIP, 1, f.now).is_none());
        assert!(f.entries.by_spi(&guard, &VIP, 2, f.now).is_some());
        Ok(())
    }
}
