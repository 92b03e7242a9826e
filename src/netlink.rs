// SPDX-License-Identifier: GPL-2.0

//! The operations of the netlink family.
//!
//! Documentation/netlink/specs/ipvs-ipsec.yaml is the truth of the interface. Policies have been
//! checked when an operation is called; what they cannot say is checked here.

mod read;
mod write;

use crate::{
    error::Refusal,
    kapi::{
        genl::{operations, Dump, Refused, Request},
        time,
    },
    netns::Netns,
    sched::{self, Options},
    server::{Limits, NewServer},
    service::{Key, Member, Persistence, Plan, Timeouts},
    spi::Names,
    stats::Stats,
    uapi::*,
};
use kernel::prelude::*;
use read::{address, number, server_key, service_key, unicast, PlanChange, ServerChange};
use write::{put_entry, put_server, put_service};

operations! {
    doit {
        ipvs_ipsec_nl_service_new_doit => service_new,
        ipvs_ipsec_nl_service_set_doit => service_set,
        ipvs_ipsec_nl_service_del_doit => service_del,
        ipvs_ipsec_nl_service_get_doit => service_get,
        ipvs_ipsec_nl_server_new_doit => server_new,
        ipvs_ipsec_nl_server_set_doit => server_set,
        ipvs_ipsec_nl_server_del_doit => server_del,
        ipvs_ipsec_nl_server_get_doit => server_get,
        ipvs_ipsec_nl_entry_flush_doit => entry_flush,
        ipvs_ipsec_nl_status_get_doit => status_get,
        ipvs_ipsec_nl_flush_doit => flush,
        ipvs_ipsec_nl_fastpath_new_doit => fastpath_new,
        ipvs_ipsec_nl_fastpath_del_doit => fastpath_del,
    }
    dumpit {
        ipvs_ipsec_nl_service_get_dumpit => service_dump,
        ipvs_ipsec_nl_server_get_dumpit => server_dump,
        ipvs_ipsec_nl_entry_get_dumpit => entry_dump,
        ipvs_ipsec_nl_fastpath_get_dumpit => fastpath_dump,
    }
}

/// Weight of a server that was added without one, as ipvsadm has it.
const DEFAULT_WEIGHT: u32 = 1;

fn service_new(request: Request<'_>) -> Result<(), Refused> {
    let key = service_key(&request)?;
    if let Key::Address(address) = key {
        if !address.is_unicast() {
            return Err(Refusal::NotUnicast(IPVS_IPSEC_A_SERVICE_ADDRESS).into());
        }
    }
    let default = Plan {
        scheduler: sched::by_name(sched::DEFAULT).ok_or(Refusal::UnknownScheduler)?,
        options: Options::default(),
        persistence: Persistence {
            timeout: 0,
            prefix: key.family().bits(),
        },
        timeouts: Timeouts::default(),
        soft: 0,
    };
    let plan = PlanChange::of(&request, key.family())?.made_to(&default);
    Ok(netns_or_new(&request)?.add_service(request.net(), key, plan)?)
}

fn service_set(request: Request<'_>) -> Result<(), Refused> {
    let key = service_key(&request)?;
    let change = PlanChange::of(&request, key.family())?;
    if change.is_none() {
        return Err(Refusal::NothingToChange.into());
    }
    Ok(netns(&request)?.set_service(&key, |plan| change.made_to(plan))?)
}

fn service_del(request: Request<'_>) -> Result<(), Refused> {
    let key = service_key(&request)?;
    Ok(netns(&request)?.remove_service(&key)?)
}

fn service_get(request: Request<'_>) -> Result<(), Refused> {
    let key = service_key(&request)?;
    let (services, _) = netns(&request)?.configuration();
    let service = services.find(&key).ok_or(Refusal::NoSuchService)?;
    let reply = request.reply(IPVS_IPSEC_CMD_SERVICE_GET, |message| {
        put_service(message, service)
    });
    Ok(reply.map_err(unsent)?)
}

fn service_dump(dump: &mut Dump<'_>) -> Result<(), Refused> {
    let Some(netns) = dump.request().state::<Netns>() else {
        return Ok(());
    };
    let (services, generation) = netns.configuration();
    dump.set_generation(generation);
    let [done, _] = dump.position();
    for (place, service) in services.iter().enumerate().skip(done) {
        dump.set_position([place, 0]);
        dump.message(IPVS_IPSEC_CMD_SERVICE_GET, |message| {
            put_service(message, service)
        })
        .map_err(unsent)?;
    }
    dump.set_position([usize::MAX, 0]);
    Ok(())
}

fn server_new(request: Request<'_>) -> Result<(), Refused> {
    let key = server_key(&request)?;
    let address = unicast(&request, IPVS_IPSEC_A_SERVER_ADDRESS)?;
    let server = ServerChange::of(&request)?;
    let new = NewServer {
        address,
        method: server.method(&key, &address, None)?,
        weight: server.weight.unwrap_or(DEFAULT_WEIGHT),
        limits: server.limits(Limits::default())?,
        names: server.names(Names::default())?,
    };
    Ok(netns(&request)?.add_server(&key, new)?)
}

fn server_set(request: Request<'_>) -> Result<(), Refused> {
    let key = server_key(&request)?;
    let address = address(&request, IPVS_IPSEC_A_SERVER_ADDRESS)?;
    let change = ServerChange::of(&request)?;
    if change.is_none() {
        return Err(Refusal::NothingToChange.into());
    }
    netns(&request)?.set_server(&key, &address, |member| {
        let old = &member.server;
        let method = change.method(&key, &address, Some(old.method))?;
        let server = if method == old.method {
            old.clone()
        } else {
            old.with_method(method).map_err(|_| Refusal::NoMemory)?
        };
        let member = Member {
            server,
            weight: change.weight.unwrap_or(member.weight),
            names: change.names(member.names)?,
        };
        Ok((member, change.limits(old.account.limits())?))
    })?;
    Ok(())
}

fn server_del(request: Request<'_>) -> Result<(), Refused> {
    let key = server_key(&request)?;
    let address = address(&request, IPVS_IPSEC_A_SERVER_ADDRESS)?;
    Ok(netns(&request)?.remove_server(&key, &address)?)
}

fn server_get(request: Request<'_>) -> Result<(), Refused> {
    let key = server_key(&request)?;
    let address = address(&request, IPVS_IPSEC_A_SERVER_ADDRESS)?;
    let (services, _) = netns(&request)?.configuration();
    let service = services.find(&key).ok_or(Refusal::NoSuchService)?;
    let roster = service.snapshot();
    let member = roster.member(&address)?;
    let reply = request.reply(IPVS_IPSEC_CMD_SERVER_GET, |message| {
        put_server(message, service, member)
    });
    Ok(reply.map_err(unsent)?)
}

fn server_dump(dump: &mut Dump<'_>) -> Result<(), Refused> {
    let request = dump.request();
    let of_one = [IPVS_IPSEC_A_SERVER_SERVICE, IPVS_IPSEC_A_SERVER_MARK];
    let is_of_one = of_one.iter().any(|kind| request.attribute(*kind).is_some());
    let wanted = is_of_one.then(|| server_key(&request)).transpose()?;
    let Some(netns) = request.state::<Netns>() else {
        return wanted.map_or(Ok(()), |_| Err(Refusal::NoSuchService.into()));
    };
    let (services, generation) = netns.configuration();
    if let Some(wanted) = &wanted {
        services.find(wanted).ok_or(Refusal::NoSuchService)?;
    }
    dump.set_generation(generation);
    let [first, mut done] = dump.position();
    for (place, service) in services.iter().enumerate().skip(first) {
        if wanted.is_none_or(|wanted| wanted == service.key) {
            for (nth, member) in service.snapshot().members.iter().enumerate().skip(done) {
                dump.set_position([place, nth]);
                dump.message(IPVS_IPSEC_CMD_SERVER_GET, |message| {
                    put_server(message, service, member)
                })
                .map_err(unsent)?;
            }
        }
        done = 0;
    }
    dump.set_position([usize::MAX, 0]);
    Ok(())
}

fn entry_dump(dump: &mut Dump<'_>) -> Result<(), Refused> {
    let now = time::jiffies();
    let Some(netns) = dump.request().state::<Netns>() else {
        return Ok(());
    };
    let dumped = netns.entries.dump(dump, now, |dump, entry, state| {
        dump.message(IPVS_IPSEC_CMD_ENTRY_GET, |message| {
            put_entry(message, entry, state, now)
        })
    });
    Ok(dumped.map_err(unsent)?)
}

fn entry_flush(request: Request<'_>) -> Result<(), Refused> {
    let [client, vip] = [IPVS_IPSEC_A_ENTRY_CLIENT, IPVS_IPSEC_A_ENTRY_SERVICE]
        .map(|kind| request.attribute(kind).map(|_| address(&request, kind)));
    let (client, vip) = (client.transpose()?, vip.transpose()?);
    if let Some(netns) = request.state::<Netns>() {
        netns.entries.flush(|flow| {
            client.is_none_or(|client| client == flow.client)
                && vip.is_none_or(|vip| vip == flow.vip)
        });
    }
    Ok(())
}

fn status_get(request: Request<'_>) -> Result<(), Refused> {
    // A namespace that was never configured has nothing to tell of.
    let netns = request.state::<Netns>();
    let reply = request.reply(IPVS_IPSEC_CMD_STATUS_GET, |message| {
        message.put_text(IPVS_IPSEC_A_STATUS_VERSION, crate::VERSION)?;
        let entries = netns.as_ref().map(|netns| &*netns.entries);
        let size = entries.map_or(0, |entries| entries.size());
        let count = entries.map_or(0, |entries| entries.count());
        let initial = entries.map_or(0, |entries| entries.initial());
        let step = entries.map_or(0, |entries| entries.pace.longest_step());
        let lag = entries.map_or(0, |entries| entries.pace.longest_lag());
        message.put_u32(IPVS_IPSEC_A_STATUS_TABLE_SIZE, size.try_into()?)?;
        message.put_u32(IPVS_IPSEC_A_STATUS_ENTRIES, count.try_into()?)?;
        message.put_u32(IPVS_IPSEC_A_STATUS_INITIAL, initial)?;
        message.put_u32(IPVS_IPSEC_A_STATUS_SWEEP_STEP, step)?;
        message.put_u32(IPVS_IPSEC_A_STATUS_SWEEP_LAG, lag)?;
        message.put_nest(IPVS_IPSEC_A_STATUS_COUNTERS, |nest| {
            Stats::put(netns.as_ref().map(|netns| &*netns.stats), nest)
        })
    });
    Ok(reply.map_err(unsent)?)
}

fn flush(request: Request<'_>) -> Result<(), Refused> {
    match request.state::<Netns>() {
        Some(netns) => Ok(netns.flush()?),
        None => Ok(()),
    }
}

fn fastpath_new(request: Request<'_>) -> Result<(), Refused> {
    let index = required(&request, IPVS_IPSEC_A_FASTPATH_IFINDEX)?;
    Ok(netns_or_new(&request)?.add_fastpath(request.net(), index)?)
}

fn fastpath_del(request: Request<'_>) -> Result<(), Refused> {
    let index = required(&request, IPVS_IPSEC_A_FASTPATH_IFINDEX)?;
    let netns = request.state::<Netns>().ok_or(Refusal::NoFastpath)?;
    Ok(netns.remove_fastpath(request.net(), index)?)
}

fn fastpath_dump(dump: &mut Dump<'_>) -> Result<(), Refused> {
    let Some(netns) = dump.request().state::<Netns>() else {
        return Ok(());
    };
    let [done, _] = dump.position();
    for (place, index) in (done..).map_while(|place| Some((place, netns.fastpath(place)?))) {
        dump.set_position([place, 0]);
        dump.message(IPVS_IPSEC_CMD_FASTPATH_GET, |message| {
            message.put_u32(IPVS_IPSEC_A_FASTPATH_IFINDEX, index)
        })
        .map_err(unsent)?;
    }
    dump.set_position([usize::MAX, 0]);
    Ok(())
}

fn required(request: &Request<'_>, kind: u32) -> Result<u32, Refusal> {
    number(request, kind)?.ok_or(Refusal::Missing(kind))
}

/// The state of a namespace, which has services if it has one.
fn netns<'a>(request: &Request<'a>) -> Result<Pin<&'a Netns>, Refusal> {
    request.state().ok_or(Refusal::NoSuchService)
}

/// The state of a namespace, made if it has none.
fn netns_or_new<'a>(request: &Request<'a>) -> Result<Pin<&'a Netns>, Refusal> {
    Ok(request.state_or_new()?)
}

/// Why a message could not be sent. In a dump the part that is full is sent, and netlink comes
/// back for more.
fn unsent(error: Error) -> Refusal {
    if error == EMSGSIZE {
        Refusal::NoRoom
    } else {
        Refusal::NoMemory
    }
}
