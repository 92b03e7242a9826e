// SPDX-License-Identifier: GPL-2.0

//! What replies and dumps tell.

use crate::{
    entry::Entry,
    ike::state::State,
    kapi::{genl::Message, skb::Shim, time},
    server::Method,
    service::{Key, Member, Service},
    spi::Names,
    stats::Volume,
    uapi::*,
};
use kernel::prelude::*;

pub(super) fn put_service(message: &mut Message<'_>, service: &Service) -> Result {
    let roster = service.snapshot();
    let plan = &roster.plan;
    put_key(
        message,
        &service.key,
        [
            IPVS_IPSEC_A_SERVICE_ADDRESS,
            IPVS_IPSEC_A_SERVICE_MARK,
            IPVS_IPSEC_A_SERVICE_FAMILY,
        ],
    )?;
    message.put_text(IPVS_IPSEC_A_SERVICE_SCHEDULER, plan.scheduler.name())?;
    let flag = |is_set, flag| if is_set { flag } else { 0 };
    message.put_u32(
        IPVS_IPSEC_A_SERVICE_SCHEDULER_FLAGS,
        flag(plan.options.fallback, IPVS_IPSEC_SCHEDULER_FLAGS_FALLBACK)
            | flag(plan.options.port, IPVS_IPSEC_SCHEDULER_FLAGS_PORT),
    )?;
    let persistence = &plan.persistence;
    message.put_u32(
        IPVS_IPSEC_A_SERVICE_PERSISTENCE_TIMEOUT,
        persistence.timeout,
    )?;
    message.put_u32(
        IPVS_IPSEC_A_SERVICE_PERSISTENCE_PREFIX,
        persistence.prefix.into(),
    )?;
    let timeouts = &plan.timeouts;
    message.put_u32(IPVS_IPSEC_A_SERVICE_INITIAL_TIMEOUT, timeouts.initial)?;
    message.put_u32(
        IPVS_IPSEC_A_SERVICE_ESTABLISHED_TIMEOUT,
        timeouts.established,
    )?;
    message.put_u32(IPVS_IPSEC_A_SERVICE_SOFT_ENTRIES, plan.soft)?;
    message.put_u32(
        IPVS_IPSEC_A_SERVICE_SERVERS,
        roster.members.len().try_into()?,
    )?;
    put_volume(message, &service.common.volume, IPVS_IPSEC_A_SERVICE_CONNS)
}

pub(super) fn put_server(message: &mut Message<'_>, service: &Service, member: &Member) -> Result {
    let server = &member.server;
    put_key(
        message,
        &service.key,
        [
            IPVS_IPSEC_A_SERVER_SERVICE,
            IPVS_IPSEC_A_SERVER_MARK,
            IPVS_IPSEC_A_SERVER_FAMILY,
        ],
    )?;
    message.put_bytes(IPVS_IPSEC_A_SERVER_ADDRESS, server.address.as_bytes())?;
    message.put_u32(IPVS_IPSEC_A_SERVER_METHOD, method_number(&server.method))?;
    message.put_u32(IPVS_IPSEC_A_SERVER_WEIGHT, member.weight)?;
    match server.method {
        Method::Tun(shim) => put_tunnel(message, shim)?,
        Method::Nat { encap } => message.put_u32(IPVS_IPSEC_A_SERVER_ENCAP, encap.into())?,
        Method::Local | Method::Dr => {}
    }
    let account = &server.account;
    let limits = account.limits();
    message.put_u32(IPVS_IPSEC_A_SERVER_UPPER_THRESHOLD, limits.upper)?;
    message.put_u32(IPVS_IPSEC_A_SERVER_LOWER_THRESHOLD, limits.lower)?;
    put_names(message, &member.names)?;
    let load = account.load();
    message.put_u32(IPVS_IPSEC_A_SERVER_ESTABLISHED, load.established)?;
    message.put_u32(IPVS_IPSEC_A_SERVER_INITIAL, load.initial)?;
    message.put_u32(IPVS_IPSEC_A_SERVER_PERSISTENT, account.persistent())?;
    put_volume(message, &account.volume, IPVS_IPSEC_A_SERVER_CONNS)
}

/// Puts which SPIs a server chooses; zeroes where it is not known.
fn put_names(message: &mut Message<'_>, names: &Names) -> Result {
    let (label, mask) = names.ike.map_or((0, 0), |ike| (ike.value(), ike.mask()));
    let (min, max) = names.esp.map_or((0, 0), |esp| (esp.first(), esp.last()));
    message.put_bytes(IPVS_IPSEC_A_SERVER_IKE_LABEL, &label.to_be_bytes())?;
    message.put_bytes(IPVS_IPSEC_A_SERVER_IKE_MASK, &mask.to_be_bytes())?;
    message.put_u32(IPVS_IPSEC_A_SERVER_ESP_SPI_MIN, min)?;
    message.put_u32(IPVS_IPSEC_A_SERVER_ESP_SPI_MAX, max)
}

fn put_tunnel(message: &mut Message<'_>, shim: Shim) -> Result {
    let (kind, port, checksum) = match shim {
        Shim::None => (IPVS_IPSEC_TUNNEL_TYPE_IPIP, None, false),
        Shim::Gre { checksum } => (IPVS_IPSEC_TUNNEL_TYPE_GRE, None, checksum),
        Shim::Gue { port, checksum } => (IPVS_IPSEC_TUNNEL_TYPE_GUE, Some(port), checksum),
    };
    message.put_u32(IPVS_IPSEC_A_SERVER_TUNNEL_TYPE, kind)?;
    if let Some(port) = port {
        message.put_bytes(IPVS_IPSEC_A_SERVER_TUNNEL_PORT, &port.to_be_bytes())?;
    }
    let flags = if checksum {
        IPVS_IPSEC_TUNNEL_FLAGS_CSUM
    } else {
        0
    };
    message.put_u32(IPVS_IPSEC_A_SERVER_TUNNEL_FLAGS, flags)
}

fn put_key(message: &mut Message<'_>, key: &Key, [vip, mark, family]: [u32; 3]) -> Result {
    match key {
        Key::Address(address) => message.put_bytes(vip, address.as_bytes()),
        Key::Mark(of, number) => {
            message.put_u32(mark, *number)?;
            message.put_u32(family, of.number())
        }
    }
}

/// Puts what was counted, what there is of it in a second, and what was dropped. These attributes
/// follow each other from `first` on.
fn put_volume(message: &mut Message<'_>, volume: &Volume, first: u32) -> Result {
    let amounts = Iterator::chain(volume.sums().into_iter(), volume.rates());
    (first..)
        .zip(amounts)
        .try_for_each(|(kind, amount)| message.put_uint(kind, amount))?;
    message.put_nest(first + DROPS, |nest| volume.put_drops(nest))
}

/// Place of the reasons for drops behind the number of entries.
const DROPS: u32 = IPVS_IPSEC_A_SERVICE_DROPS - IPVS_IPSEC_A_SERVICE_CONNS;

/// The attributes that [`put_volume`] counts up to.
const _: () = {
    assert!(DROPS == 10);
    assert!(IPVS_IPSEC_A_SERVICE_OUT_BYTES == IPVS_IPSEC_A_SERVICE_CONNS + 4);
    assert!(IPVS_IPSEC_A_SERVICE_OUT_BPS == IPVS_IPSEC_A_SERVICE_CONNS + 9);
    assert!(IPVS_IPSEC_A_SERVER_OUT_BYTES == IPVS_IPSEC_A_SERVER_CONNS + 4);
    assert!(IPVS_IPSEC_A_SERVER_OUT_BPS == IPVS_IPSEC_A_SERVER_CONNS + 9);
    assert!(IPVS_IPSEC_A_SERVER_DROPS == IPVS_IPSEC_A_SERVER_CONNS + DROPS);
};

fn method_number(method: &Method) -> u32 {
    match method {
        Method::Nat { .. } => IPVS_IPSEC_METHOD_NAT,
        Method::Local => IPVS_IPSEC_METHOD_LOCAL,
        Method::Tun(_) => IPVS_IPSEC_METHOD_TUN,
        Method::Dr => IPVS_IPSEC_METHOD_DR,
    }
}

pub(super) fn put_entry(
    message: &mut Message<'_>,
    entry: &Entry,
    state: State,
    now: u64,
) -> Result {
    let flow = &entry.flow();
    let port = |port: u16| port.to_be_bytes();
    message.put_bytes(IPVS_IPSEC_A_ENTRY_CLIENT, flow.client.as_bytes())?;
    message.put_bytes(IPVS_IPSEC_A_ENTRY_CLIENT_PORT, &port(flow.client_port))?;
    message.put_bytes(IPVS_IPSEC_A_ENTRY_SERVICE, flow.vip.as_bytes())?;
    message.put_bytes(IPVS_IPSEC_A_ENTRY_SERVICE_PORT, &port(flow.vip_port))?;
    message.put_u32(IPVS_IPSEC_A_ENTRY_PROTOCOL, flow.transport.number().into())?;
    message.put_bytes(IPVS_IPSEC_A_ENTRY_SERVER, entry.server.address.as_bytes())?;
    message.put_u32(
        IPVS_IPSEC_A_ENTRY_METHOD,
        method_number(&entry.server.method),
    )?;
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
