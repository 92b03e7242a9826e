// SPDX-License-Identifier: GPL-2.0

//! The operations of the netlink family.
//!
//! Documentation/netlink/specs/ipvs-ipsec.yaml is the truth of the interface. Policies have been
//! checked when an operation is called; what they cannot say is checked here.

use crate::{
    addr::Addr,
    entry::Entry,
    error::Refusal,
    ike::state::State,
    kapi::{
        genl::{operations, Dump, Message, Refused, Request},
        time,
    },
    netns::Netns,
    sched::{self, Scheduler},
    service::{Member, Service},
    stats::Volume,
    uapi::*,
};
use kernel::prelude::*;

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
        ipvs_ipsec_nl_status_get_doit => status_get,
        ipvs_ipsec_nl_flush_doit => flush,
    }
    dumpit {
        ipvs_ipsec_nl_service_get_dumpit => service_dump,
        ipvs_ipsec_nl_server_get_dumpit => server_dump,
        ipvs_ipsec_nl_entry_get_dumpit => entry_dump,
    }
}

/// Weight of a server that was added without one, as ipvsadm has it.
const DEFAULT_WEIGHT: u32 = 1;

fn service_new(request: Request<'_>) -> Result<(), Refused> {
    let address = unicast(&request, IPVS_IPSEC_A_SERVICE_ADDRESS)?;
    let scheduler = match scheduler(&request)? {
        Some(scheduler) => scheduler,
        None => sched::by_name(sched::DEFAULT).ok_or(Refusal::UnknownScheduler)?,
    };
    Ok(netns(&request).add_service(address, scheduler)?)
}

fn service_set(request: Request<'_>) -> Result<(), Refused> {
    let address = address(&request, IPVS_IPSEC_A_SERVICE_ADDRESS)?;
    let scheduler = scheduler(&request)?.ok_or(Refusal::Missing(IPVS_IPSEC_A_SERVICE_SCHEDULER))?;
    Ok(netns(&request).set_service(&address, scheduler)?)
}

fn service_del(request: Request<'_>) -> Result<(), Refused> {
    let address = address(&request, IPVS_IPSEC_A_SERVICE_ADDRESS)?;
    Ok(netns(&request).remove_service(&address)?)
}

fn service_get(request: Request<'_>) -> Result<(), Refused> {
    let address = address(&request, IPVS_IPSEC_A_SERVICE_ADDRESS)?;
    let (services, _) = netns(&request).configuration();
    let service = services.find(&address).ok_or(Refusal::NoSuchService)?;
    let reply = request.reply(IPVS_IPSEC_CMD_SERVICE_GET, |message| {
        put_service(message, service)
    });
    Ok(reply.map_err(unsent)?)
}

fn service_dump(dump: &mut Dump<'_>) -> Result<(), Refused> {
    let (services, generation) = netns(&dump.request()).configuration();
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
    let service = address(&request, IPVS_IPSEC_A_SERVER_SERVICE)?;
    let address = unicast(&request, IPVS_IPSEC_A_SERVER_ADDRESS)?;
    if address == service {
        return Err(Refusal::ServerIsService.into());
    }
    check_method(&request)?;
    let weight = number(&request, IPVS_IPSEC_A_SERVER_WEIGHT)?.unwrap_or(DEFAULT_WEIGHT);
    Ok(netns(&request).add_server(&service, address, weight)?)
}

fn server_set(request: Request<'_>) -> Result<(), Refused> {
    let service = address(&request, IPVS_IPSEC_A_SERVER_SERVICE)?;
    let address = address(&request, IPVS_IPSEC_A_SERVER_ADDRESS)?;
    check_method(&request)?;
    let weight = number(&request, IPVS_IPSEC_A_SERVER_WEIGHT)?;
    if weight.is_none() && request.attribute(IPVS_IPSEC_A_SERVER_METHOD).is_none() {
        return Err(Refusal::Missing(IPVS_IPSEC_A_SERVER_WEIGHT).into());
    }
    Ok(netns(&request).set_server(&service, &address, weight)?)
}

fn server_del(request: Request<'_>) -> Result<(), Refused> {
    let service = address(&request, IPVS_IPSEC_A_SERVER_SERVICE)?;
    let address = address(&request, IPVS_IPSEC_A_SERVER_ADDRESS)?;
    Ok(netns(&request).remove_server(&service, &address)?)
}

fn server_get(request: Request<'_>) -> Result<(), Refused> {
    let service = address(&request, IPVS_IPSEC_A_SERVER_SERVICE)?;
    let address = address(&request, IPVS_IPSEC_A_SERVER_ADDRESS)?;
    let (services, _) = netns(&request).configuration();
    let service = services.find(&service).ok_or(Refusal::NoSuchService)?;
    let roster = service.roster();
    let member = roster
        .members
        .get(roster.place(&address)?)
        .ok_or(Refusal::NoSuchServer)?;
    let reply = request.reply(IPVS_IPSEC_CMD_SERVER_GET, |message| {
        put_server(message, service, member)
    });
    Ok(reply.map_err(unsent)?)
}

fn server_dump(dump: &mut Dump<'_>) -> Result<(), Refused> {
    let request = dump.request();
    let (services, generation) = netns(&request).configuration();
    let wanted = match request.attribute(IPVS_IPSEC_A_SERVER_SERVICE) {
        Some(_) => {
            let wanted = address(&request, IPVS_IPSEC_A_SERVER_SERVICE)?;
            services.find(&wanted).ok_or(Refusal::NoSuchService)?;
            Some(wanted)
        }
        None => None,
    };
    dump.set_generation(generation);
    let [first, mut done] = dump.position();
    for (place, service) in services.iter().enumerate().skip(first) {
        if wanted.is_none_or(|wanted| wanted == service.address) {
            for (nth, member) in service.roster().members.iter().enumerate().skip(done) {
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
    let netns = netns(&dump.request());
    let dumped = netns.entries.dump(dump, now, |dump, entry, state| {
        dump.message(IPVS_IPSEC_CMD_ENTRY_GET, |message| {
            put_entry(message, entry, state, now)
        })
    });
    Ok(dumped.map_err(unsent)?)
}

fn status_get(request: Request<'_>) -> Result<(), Refused> {
    let netns = netns(&request);
    let reply = request.reply(IPVS_IPSEC_CMD_STATUS_GET, |message| {
        let entries = &netns.entries;
        message.put_text(IPVS_IPSEC_A_STATUS_VERSION, crate::VERSION)?;
        message.put_u32(IPVS_IPSEC_A_STATUS_TABLE_SIZE, entries.size().try_into()?)?;
        message.put_u32(IPVS_IPSEC_A_STATUS_ENTRIES, entries.count().try_into()?)?;
        message.put_u32(IPVS_IPSEC_A_STATUS_INITIAL, entries.initial())?;
        message.put_nest(IPVS_IPSEC_A_STATUS_COUNTERS, |nest| netns.stats.put(nest))
    });
    Ok(reply.map_err(unsent)?)
}

fn flush(request: Request<'_>) -> Result<(), Refused> {
    // Without attributes in the specification netlink checks none, and whoever sends one believes
    // in a narrower effect.
    if request.has_attributes() {
        return Err(Refusal::TakesNothing.into());
    }
    Ok(netns(&request).flush()?)
}

fn netns<'a>(request: &Request<'a>) -> Pin<&'a Netns> {
    request.state()
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

/// An address, which must be there.
fn address(request: &Request<'_>, kind: u32) -> Result<Addr, Refusal> {
    let bytes = request.attribute(kind).ok_or(Refusal::Missing(kind))?;
    Addr::from_bytes(bytes).ok_or(Refusal::NotAnAddress(kind))
}

/// An address for a new service or server.
fn unicast(request: &Request<'_>, kind: u32) -> Result<Addr, Refusal> {
    let address = address(request, kind)?;
    match address {
        _ if !address.is_unicast() => Err(Refusal::NotUnicast(kind)),
        Addr::V4(_) => Ok(address),
        Addr::V6(_) => Err(Refusal::Ipv6(kind)),
    }
}

/// A number of 32 bits, which need not be there.
fn number(request: &Request<'_>, kind: u32) -> Result<Option<u32>, Refusal> {
    let Some(bytes) = request.attribute(kind) else {
        return Ok(None);
    };
    let bytes = bytes.try_into().map_err(|_| Refusal::NotANumber(kind))?;
    Ok(Some(u32::from_ne_bytes(bytes)))
}

fn scheduler(request: &Request<'_>) -> Result<Option<&'static dyn Scheduler>, Refusal> {
    let Some(name) = request.attribute(IPVS_IPSEC_A_SERVICE_SCHEDULER) else {
        return Ok(None);
    };
    let name = CStr::from_bytes_until_nul(name).map_err(|_| Refusal::UnknownScheduler)?;
    sched::by_name(name)
        .map(Some)
        .ok_or(Refusal::UnknownScheduler)
}

fn check_method(request: &Request<'_>) -> Result<(), Refusal> {
    match number(request, IPVS_IPSEC_A_SERVER_METHOD)? {
        None | Some(IPVS_IPSEC_METHOD_DR) => Ok(()),
        Some(_) => Err(Refusal::UnknownMethod),
    }
}

fn put_service(message: &mut Message<'_>, service: &Service) -> Result {
    let roster = service.roster();
    message.put_bytes(IPVS_IPSEC_A_SERVICE_ADDRESS, service.address.as_bytes())?;
    message.put_text(IPVS_IPSEC_A_SERVICE_SCHEDULER, roster.scheduler.name())?;
    message.put_u32(
        IPVS_IPSEC_A_SERVICE_SERVERS,
        roster.members.len().try_into()?,
    )?;
    put_volume(message, &service.volume, IPVS_IPSEC_A_SERVICE_CONNS)
}

fn put_server(message: &mut Message<'_>, service: &Service, member: &Member) -> Result {
    let server = &member.server;
    message.put_bytes(IPVS_IPSEC_A_SERVER_SERVICE, service.address.as_bytes())?;
    message.put_bytes(IPVS_IPSEC_A_SERVER_ADDRESS, server.address.as_bytes())?;
    message.put_u32(IPVS_IPSEC_A_SERVER_METHOD, IPVS_IPSEC_METHOD_DR)?;
    message.put_u32(IPVS_IPSEC_A_SERVER_WEIGHT, member.weight)?;
    let (established, initial) = (State::Established, State::Initial);
    message.put_u32(IPVS_IPSEC_A_SERVER_ESTABLISHED, server.entries(established))?;
    message.put_u32(IPVS_IPSEC_A_SERVER_INITIAL, server.entries(initial))?;
    put_volume(message, &server.volume, IPVS_IPSEC_A_SERVER_CONNS)
}

/// Puts entries, packets and bytes, whose attributes follow each other from `first` on.
fn put_volume(message: &mut Message<'_>, volume: &Volume, first: u32) -> Result {
    let sums = volume.sums();
    (first..)
        .zip(sums)
        .try_for_each(|(kind, sum)| message.put_uint(kind, sum))
}

fn put_entry(message: &mut Message<'_>, entry: &Entry, state: State, now: u64) -> Result {
    let flow = &entry.flow;
    let port = |port: u16| port.to_be_bytes();
    message.put_bytes(IPVS_IPSEC_A_ENTRY_CLIENT, flow.client.as_bytes())?;
    message.put_bytes(IPVS_IPSEC_A_ENTRY_CLIENT_PORT, &port(flow.client_port))?;
    message.put_bytes(IPVS_IPSEC_A_ENTRY_SERVICE, flow.vip.as_bytes())?;
    message.put_bytes(IPVS_IPSEC_A_ENTRY_SERVICE_PORT, &port(flow.vip_port))?;
    message.put_bytes(IPVS_IPSEC_A_ENTRY_SERVER, entry.server.address.as_bytes())?;
    let state = match state {
        State::Initial => IPVS_IPSEC_STATE_INITIAL,
        State::Established => IPVS_IPSEC_STATE_ESTABLISHED,
    };
    message.put_u32(IPVS_IPSEC_A_ENTRY_STATE, state)?;
    let expires = time::to_milliseconds(entry.remaining(now));
    message.put_u32(
        IPVS_IPSEC_A_ENTRY_EXPIRES,
        expires.try_into().unwrap_or(u32::MAX),
    )?;
    let spi = |spi: u64| spi.to_be_bytes();
    message.put_bytes(
        IPVS_IPSEC_A_ENTRY_INITIATOR_SPI,
        &spi(entry.initiator_spi()),
    )?;
    message.put_bytes(
        IPVS_IPSEC_A_ENTRY_RESPONDER_SPI,
        &spi(entry.responder_spi()),
    )
}

/// The attributes that [`put_volume`] counts up to.
const _: () = {
    assert!(IPVS_IPSEC_A_SERVICE_IN_PACKETS == IPVS_IPSEC_A_SERVICE_CONNS + 1);
    assert!(IPVS_IPSEC_A_SERVICE_IN_BYTES == IPVS_IPSEC_A_SERVICE_CONNS + 2);
    assert!(IPVS_IPSEC_A_SERVER_IN_PACKETS == IPVS_IPSEC_A_SERVER_CONNS + 1);
    assert!(IPVS_IPSEC_A_SERVER_IN_BYTES == IPVS_IPSEC_A_SERVER_CONNS + 2);
};
