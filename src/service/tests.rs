// SPDX-License-Identifier: GPL-2.0

//! Unit tests of the life of a configuration, which need a kernel: KUnit runs them when the module
//! is loaded.

use super::{Member, Roster, Service, Services, MEMBERS_MAX};
use crate::{
    addr::Addr,
    error::Refusal,
    kapi::rcu::{Barrier, Guard},
    sched::{self, Scheduler},
    server::Server,
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

    fn wrr() -> Result<&'static dyn Scheduler> {
        sched::by_name(c"wrr").ok_or(ENOENT)
    }

    fn service(last: u8) -> Result<Service> {
        Service::new(vip(last), wrr()?).map_err(|_| ENOMEM)
    }

    fn member(last: u8, weight: u32) -> Result<Member> {
        let server = Server::new(rip(last))?;
        Ok(Member { server, weight })
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
        assert!(services.iter().map(|s| s.address).eq([1, 3, 7, 9].map(vip)));
        assert!(services.find(&vip(3)).is_some_and(|s| s.address == vip(3)));
        assert!(services.find(&vip(4)).is_none());
        let twice = services.with(service(3)?);
        assert_eq!(twice.err(), Some(Refusal::ServiceExists));
        assert_eq!(
            services.without(&vip(4)).err(),
            Some(Refusal::NoSuchService)
        );
        let fewer = changed(services.without(&vip(3)))?;
        assert!(fewer.find(&vip(3)).is_none());
        assert!(services.find(&vip(3)).is_some());
        Ok(())
    }

    #[test]
    fn a_snapshot_does_not_change() -> Result {
        let service = service(1)?;
        let before = service.roster();
        changed(service.set_roster(changed(before.with(member(1, 5)?))?))?;
        let after = service.roster();
        assert_eq!((before.members.len(), after.members.len()), (0, 1));
        let heavier = changed(after.with_weight(0, Some(9)))?;
        let same = changed(after.with_weight(0, None))?;
        let weights = [&*after, &heavier, &same].map(|r| r.members.first().map(|m| m.weight));
        assert_eq!(weights, [5, 9, 5].map(Some));
        Ok(())
    }

    #[test]
    fn what_is_refused_has_changed_nothing() -> Result {
        let service = service(1)?;
        changed(service.set_roster(changed(service.roster().with(member(1, 1)?))?))?;
        let roster = service.roster();
        assert_eq!(roster.place(&rip(2)), Err(Refusal::NoSuchServer));
        assert_eq!(roster.without(1).err(), Some(Refusal::NoSuchServer));
        assert_eq!(service.roster().place(&rip(1)), Ok(0));
        Ok(())
    }

    #[test]
    fn a_service_has_so_many_servers_and_no_more() -> Result {
        let one = member(1, 1)?;
        let mut members = KVec::with_capacity(MEMBERS_MAX, GFP_KERNEL)?;
        for _ in 1..MEMBERS_MAX {
            members.push(one.clone(), GFP_KERNEL)?;
        }
        let scheduler = wrr()?;
        let roster = changed(Roster { scheduler, members }.with(one.clone()))?;
        assert_eq!(roster.with(one).err(), Some(Refusal::TooManyServers));
        Ok(())
    }

    #[test]
    fn only_servers_with_a_weight_are_chosen() -> Result {
        let service = service(1)?;
        let guard = || Guard::new();
        assert!(service.choose(&guard()).is_none());
        for last in 1..=3 {
            let weight = u32::from(last == 2);
            changed(service.set_roster(changed(service.roster().with(member(last, weight)?))?))?;
        }
        for _ in 0..10 {
            let chosen = service.choose(&guard()).map(|server| server.address);
            assert_eq!(chosen, Some(rip(2)));
        }
        Ok(())
    }

    #[test]
    fn a_server_goes_with_its_last_user() -> Result {
        let server = Server::new(rip(1))?;
        let services = changed(Services::none().with(service(1)?))?;
        let service = services.find(&vip(1)).ok_or(ENOENT)?;
        let member = Member {
            server: server.clone(),
            weight: 1,
        };
        changed(service.set_roster(changed(service.roster().with(member))?))?;
        let chosen = service.choose(&Guard::new());
        drop(services);
        drop(Barrier);
        assert_eq!(chosen.map(|server| server.address), Some(rip(1)));
        assert!(Arc::into_unique_or_drop(server).is_some());
        Ok(())
    }
}
