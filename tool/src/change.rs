// SPDX-License-Identifier: GPL-2.0
//! Changes: the requests that the command line asks for. Only what was said there is sent: the
//! kernel knows the defaults, and `set` leaves the rest alone.

#[cfg(test)]
mod tests;

use crate::cli::{ServerCommand, ServerOptions, ServiceCommand, ServiceOptions, Which};
use crate::names::{ENTRY, FASTPATH, SERVER, SERVICE};
use crate::netlink::Request;
use crate::uapi;

/// `ipvs-ipsec flush`
pub(crate) fn flush() -> Request {
    Request::new(uapi::IPVS_IPSEC_CMD_FLUSH, &SERVICE)
}

/// `ipvs-ipsec entry flush`
pub(crate) fn entry_flush(which: Which) -> Request {
    let mut request = Request::new(uapi::IPVS_IPSEC_CMD_ENTRY_FLUSH, &ENTRY);
    if let Some(client) = which.client {
        request = request.address(uapi::IPVS_IPSEC_A_ENTRY_CLIENT, client);
    }
    if let Some(service) = which.service {
        request = request.address(uapi::IPVS_IPSEC_A_ENTRY_SERVICE, service);
    }
    request
}

/// `ipvs-ipsec fastpath add`, of the device with this index.
pub(crate) fn fastpath_add(index: u32) -> Request {
    fastpath(uapi::IPVS_IPSEC_CMD_FASTPATH_NEW, index)
}

/// `ipvs-ipsec fastpath del`
pub(crate) fn fastpath_del(index: u32) -> Request {
    fastpath(uapi::IPVS_IPSEC_CMD_FASTPATH_DEL, index)
}

fn fastpath(number: u8, index: u32) -> Request {
    Request::new(number, &FASTPATH).u32(uapi::IPVS_IPSEC_A_FASTPATH_IFINDEX, index)
}

/// `ipvs-ipsec service …`
pub(crate) fn service(command: &ServiceCommand) -> Request {
    let (number, key, options) = match command {
        ServiceCommand::Add { service, options } => {
            (uapi::IPVS_IPSEC_CMD_SERVICE_NEW, service, Some(options))
        }
        ServiceCommand::Set { service, options } => {
            (uapi::IPVS_IPSEC_CMD_SERVICE_SET, service, Some(options))
        }
        ServiceCommand::Del { service } => (uapi::IPVS_IPSEC_CMD_SERVICE_DEL, service, None),
    };
    let request = key.in_service(Request::new(number, &SERVICE));
    match options {
        Some(options) => service_options(request, options),
        None => request,
    }
}

fn service_options(mut request: Request, options: &ServiceOptions) -> Request {
    if let Some(name) = &options.scheduler {
        request = request.string(uapi::IPVS_IPSEC_A_SERVICE_SCHEDULER, name);
    }
    for (kind, value) in [
        (
            uapi::IPVS_IPSEC_A_SERVICE_SCHEDULER_FLAGS,
            options.sched_flags.map(|list| list.flags.0),
        ),
        (
            uapi::IPVS_IPSEC_A_SERVICE_PERSISTENCE_TIMEOUT,
            options.persistent,
        ),
        (
            uapi::IPVS_IPSEC_A_SERVICE_PERSISTENCE_PREFIX,
            options.netmask.map(|mask| mask.length),
        ),
        (
            uapi::IPVS_IPSEC_A_SERVICE_INITIAL_TIMEOUT,
            options.initial_timeout,
        ),
        (
            uapi::IPVS_IPSEC_A_SERVICE_ESTABLISHED_TIMEOUT,
            options.established_timeout,
        ),
        (
            uapi::IPVS_IPSEC_A_SERVICE_SOFT_ENTRIES,
            options.soft_entries,
        ),
    ] {
        if let Some(value) = value {
            request = request.u32(kind, value);
        }
    }
    request
}

/// `ipvs-ipsec server …`
pub(crate) fn server(command: &ServerCommand) -> Request {
    let (number, key, rip, options) = match command {
        ServerCommand::Add {
            service,
            rip,
            options,
        } => (uapi::IPVS_IPSEC_CMD_SERVER_NEW, service, rip, Some(options)),
        ServerCommand::Set {
            service,
            rip,
            options,
        } => (uapi::IPVS_IPSEC_CMD_SERVER_SET, service, rip, Some(options)),
        ServerCommand::Del { service, rip } => {
            (uapi::IPVS_IPSEC_CMD_SERVER_DEL, service, rip, None)
        }
    };
    let request = key
        .in_server(Request::new(number, &SERVER))
        .address(uapi::IPVS_IPSEC_A_SERVER_ADDRESS, *rip);
    match options {
        Some(options) => server_options(request, options),
        None => request,
    }
}

fn server_options(mut request: Request, options: &ServerOptions) -> Request {
    for (kind, value) in [
        (
            uapi::IPVS_IPSEC_A_SERVER_METHOD,
            options.method.map(|method| method.0),
        ),
        (uapi::IPVS_IPSEC_A_SERVER_WEIGHT, options.weight),
        (
            uapi::IPVS_IPSEC_A_SERVER_UPPER_THRESHOLD,
            options.u_threshold,
        ),
        (
            uapi::IPVS_IPSEC_A_SERVER_LOWER_THRESHOLD,
            options.l_threshold,
        ),
        (
            uapi::IPVS_IPSEC_A_SERVER_TUNNEL_TYPE,
            options.tun_type.map(|kind| kind.0),
        ),
        (
            uapi::IPVS_IPSEC_A_SERVER_TUNNEL_FLAGS,
            options.tunnel_flags(),
        ),
        (uapi::IPVS_IPSEC_A_SERVER_ENCAP, options.encap()),
        (
            uapi::IPVS_IPSEC_A_SERVER_ESP_SPI_MIN,
            options.esp_spis.map(|spis| spis.min),
        ),
        (
            uapi::IPVS_IPSEC_A_SERVER_ESP_SPI_MAX,
            options.esp_spis.map(|spis| spis.max),
        ),
    ] {
        if let Some(value) = value {
            request = request.u32(kind, value);
        }
    }
    if let Some(port) = options.tun_port {
        request = request.port(uapi::IPVS_IPSEC_A_SERVER_TUNNEL_PORT, port);
    }
    let (label, mask) = options.ike_spis();
    if let Some(label) = label {
        request = request.ike_spi(uapi::IPVS_IPSEC_A_SERVER_IKE_LABEL, label);
    }
    if let Some(mask) = mask {
        request = request.ike_spi(uapi::IPVS_IPSEC_A_SERVER_IKE_MASK, mask);
    }
    request
}
