// SPDX-License-Identifier: GPL-2.0

//! Unit tests of the life of a configuration, which need a kernel: KUnit runs them when the module
//! is loaded.

use super::{
    Common, Key, Member, Persistence, Plan, Roster, Service, Services, Timeouts, MEMBERS_MAX,
};
use crate::{
    addr::Addr,
    error::Refusal,
    ike::state::State,
    kapi::rcu::{Barrier, Guard, Unpublished},
    proto::Traffic,
    sched::{self, Options},
    server::{Limits, Method, Server},
    spi::{Names, Range},
};
use kernel::{prelude::*, sync::Arc};

#[kunit_tests(ipvs_ipsec_service)]
mod tests {
    use super::*;

    fn vip(last: u8) -> Addr {
        Addr::V4([198, 51, 100, last])
    }

    fn rip(last: u8) -> Addr {
        Addr::V4([10, 0, 0, last])
    }

    fn key(last: u8) -> Key {
        Key::Address(vip(last))
    }

    fn plan(scheduler: &CStr) -> Result<Plan> {
        Ok(Plan {
            scheduler: sched::by_name(scheduler).ok_or(ENOENT)?,
            options: Options::default(),
            persistence: Persistence {
                timeout: 0,
                prefix: 32,
            },
            timeouts: Timeouts::default(),
            soft: 0,
        })
    }

    fn service(last: u8) -> Result<Service> {
        Service::new(key(last), plan(c"wrr")?).map_err(|_| ENOMEM)
    }

    fn server(last: u8) -> Result<Arc<Server>> {
        Server::new(rip(last), Method::Dr, Common::new(0)?)
    }

    fn member(last: u8, weight: u32) -> Result<Member> {
        let server = server(last)?;
        Ok(Member {
            server,
            weight,
            names: Names::default(),
        })
    }

    fn add(service: &Service, member: Member) -> Result {
        let roster = changed(service.snapshot().with(member))?;
        service.set_roster(Unpublished::new(roster)?);
        Ok(())
    }

    fn choose(service: &Service) -> Option<Arc<Server>> {
        let roster = service.snapshot();
        service.choose(&roster, rip(200), 500).cloned()
    }

    fn changed<T>(result: Result<T, Refusal>) -> Result<T> {
        result.map_err(|_| EINVAL)
    }

    #[test]
    fn services_are_found_by_their_addresses() -> Result {
        let mut services = Services::none();
        for last in [7, 3, 9, 1] {
            services = changed(services.with(service(last)?))?;
        }
        assert!(services.iter().map(|s| s.key).eq([1, 3, 7, 9].map(key)));
        assert!(services.find(&key(3)).is_some_and(|s| s.key == key(3)));
        assert!(services.find(&key(4)).is_none());
        let twice = services.with(service(3)?);
        assert_eq!(twice.err(), Some(Refusal::ServiceExists));
        assert_eq!(
            services.without(&key(4)).err(),
            Some(Refusal::NoSuchService)
        );
        let fewer = changed(services.without(&key(3)))?;
        assert!(fewer.find(&key(3)).is_none());
        assert!(services.find(&key(3)).is_some());
        Ok(())
    }

    #[test]
    fn a_snapshot_does_not_change() -> Result {
        let service = service(1)?;
        let before = service.snapshot();
        add(&service, member(1, 5)?)?;
        let after = service.snapshot();
        assert_eq!((before.members.len(), after.members.len()), (0, 1));
        let heavier = changed(after.with_member(0, member(1, 9)?))?;
        let weights = [&*after, &heavier].map(|r| r.members.first().map(|m| m.weight));
        assert_eq!(weights, [5, 9].map(Some));
        Ok(())
    }

    #[test]
    fn what_is_refused_has_changed_nothing() -> Result {
        let service = service(1)?;
        add(&service, member(1, 1)?)?;
        let roster = service.snapshot();
        assert_eq!(roster.place(&rip(2)), Err(Refusal::NoSuchServer));
        assert_eq!(roster.without(1).err(), Some(Refusal::NoSuchServer));
        assert_eq!(service.snapshot().place(&rip(1)), Ok(0));
        Ok(())
    }

    #[test]
    fn a_service_has_so_many_servers_and_no_more() -> Result {
        let one = member(1, 1)?;
        let mut members = KVec::with_capacity(MEMBERS_MAX, GFP_KERNEL)?;
        for _ in 1..MEMBERS_MAX {
            members.push(one.clone(), GFP_KERNEL)?;
        }
        let roster = changed(Roster::new(plan(c"wrr")?, members, KVec::new()))?;
        let roster = changed(roster.with(one.clone()))?;
        assert_eq!(roster.with(one).err(), Some(Refusal::TooManyServers));
        Ok(())
    }

    #[test]
    fn only_servers_with_a_weight_are_chosen() -> Result {
        let service = service(1)?;
        assert!(choose(&service).is_none());
        for last in 1..=3 {
            let weight = u32::from(last == 2);
            add(&service, member(last, weight)?)?;
        }
        for _ in 0..10 {
            let chosen = choose(&service).map(|server| server.address);
            assert_eq!(chosen, Some(rip(2)));
        }
        Ok(())
    }

    /// mh has a table made from the servers, whatever their number.
    #[test]
    fn a_scheduler_has_its_slots() -> Result {
        let service = Service::new(key(1), plan(c"mh")?).map_err(|_| ENOMEM)?;
        assert!(choose(&service).is_none());
        add(&service, member(1, 1)?)?;
        assert_eq!(choose(&service).map(|server| server.address), Some(rip(1)));
        let roster = service.roster.read(&Guard::new()).slots.len();
        assert_eq!(roster, plan(c"mh")?.scheduler.slots());
        Ok(())
    }

    #[test]
    fn a_full_server_waits_until_it_has_lost_enough() -> Result {
        let account = &server(1)?.account;
        let enter = |n| (0..n).for_each(|_| account.enter(State::Initial));
        let leave = |n| (0..n).for_each(|_| account.leave(State::Initial));
        account.set_limits(Limits { upper: 8, lower: 3 });
        enter(7);
        assert!(!account.is_overloaded());
        enter(1);
        assert!(account.is_overloaded());
        leave(5);
        assert!(account.is_overloaded());
        leave(1);
        assert!(!account.is_overloaded());
        account.set_limits(Limits { upper: 8, lower: 0 });
        enter(6);
        assert!(account.is_overloaded());
        leave(2);
        assert!(account.is_overloaded());
        leave(1);
        assert!(!account.is_overloaded());
        enter(3);
        account.set_limits(Limits::default());
        assert!(!account.is_overloaded());
        Ok(())
    }

    #[test]
    fn another_method_is_another_way_to_the_same_server() -> Result {
        let first = server(1)?;
        let second = first.with_method(Method::Local)?;
        assert!(Arc::ptr_eq(&first.account, &second.account));
        let roster = changed(Roster::new(plan(c"rr")?, KVec::new(), KVec::new()))?;
        let member = Member {
            server: second.clone(),
            weight: 1,
            names: Names::default(),
        };
        let roster = changed(roster.with(member))?;
        assert!(Arc::ptr_eq(roster.current(&first), &second));
        let other = server(2)?;
        assert!(Arc::ptr_eq(roster.current(&other), &other));
        Ok(())
    }

    #[test]
    fn a_server_goes_with_its_last_user() -> Result {
        let server = server(1)?;
        let services = changed(Services::none().with(service(1)?))?;
        let service = services.find(&key(1)).ok_or(ENOENT)?;
        let member = Member {
            server: server.clone(),
            weight: 1,
            names: Names::default(),
        };
        add(service, member)?;
        let chosen = choose(service);
        drop(services);
        drop(Barrier);
        assert_eq!(chosen.map(|server| server.address), Some(rip(1)));
        assert!(Arc::into_unique_or_drop(server).is_some());
        Ok(())
    }
    #[test]
    fn an_spi_names_one_server_or_none() -> Result {
        let service = service(1)?;
        let named = |last, min, max| -> Result<Member> {
            let esp = Range::new(min, max);
            assert!(esp.is_some());
            Ok(Member {
                names: Names { ike: None, esp },
                ..member(last, 0)?
            })
        };
        let find = |spi| {
            let roster = service.snapshot();
            let found = roster.named(&Traffic::Esp(spi));
            found.map(|server| server.address)
        };
        assert_eq!(find(1000), None);
        add(&service, named(2, 2000, 2999)?)?;
        add(&service, named(1, 1000, 1999)?)?;
        add(&service, member(3, 1)?)?;
        assert_eq!(
            [1000, 1999, 2000, 3000].map(find),
            [Some(rip(1)), Some(rip(1)), Some(rip(2)), None]
        );
        let roster = service.snapshot();
        assert_eq!(
            roster.with(named(4, 1500, 1500)?).err(),
            Some(Refusal::NameTaken)
        );
        // A server may change its own.
        assert!(roster.with_member(1, named(1, 1500, 1600)?).is_ok());
        let taken = roster.with_member(1, named(1, 1500, 2000)?);
        assert_eq!(taken.err(), Some(Refusal::NameTaken));
        Ok(())
    }
}
