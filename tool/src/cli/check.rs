// SPDX-License-Identifier: GPL-2.0
//! Words of the command line that do not go together. What depends on what is configured already,
//! only the kernel can judge: for `set`, an option that is not there says nothing.

use super::spis::Label;
use super::{
    Command, EntryCommand, ServerCommand, ServerOptions, ServiceCommand, ServiceOptions, Which,
};
use crate::model::{Family, Method, ServiceKey, TunnelType};

/// The subcommand whose usage is wrong, and why.
pub(super) type Complaint = ([&'static str; 2], String);

/// Looks at options beside each other.
pub(super) fn check(command: &Command) -> Result<(), Complaint> {
    match command {
        Command::Service(ServiceCommand::Add {
            service: key,
            options,
        }) => service(*key, options, true).map_err(|reason| (["service", "add"], reason)),
        Command::Service(ServiceCommand::Set {
            service: key,
            options,
        }) => service(*key, options, false).map_err(|reason| (["service", "set"], reason)),
        Command::Server(ServerCommand::Add { options, .. }) => {
            server(options, true).map_err(|reason| (["server", "add"], reason))
        }
        Command::Server(ServerCommand::Set { options, .. }) => {
            server(options, false).map_err(|reason| (["server", "set"], reason))
        }
        Command::Entry(EntryCommand::List { which }) => {
            entries(which).map_err(|reason| (["entry", "list"], reason))
        }
        Command::Entry(EntryCommand::Flush { which }) => {
            entries(which).map_err(|reason| (["entry", "flush"], reason))
        }
        _ => Ok(()),
    }
}

fn service(key: ServiceKey, options: &ServiceOptions, new: bool) -> Result<(), String> {
    if let Some(of) = options.sched_flags.and_then(|list| list.scheduler) {
        let fits = match &options.scheduler {
            Some(name) => name == of,
            None => !new,
        };
        if !fits {
            return Err(format!(
                "--sched-flags names flags of scheduler {of}, which needs '--scheduler {of}'"
            ));
        }
    }
    match (key.family(), options.netmask) {
        (Family::Ipv4, Some(mask)) if mask.length > 32 => {
            Err("--netmask of an IPv4 service is at most 32".into())
        }
        (Family::Ipv6, Some(mask)) if mask.dotted => {
            Err("--netmask of an IPv6 service is a prefix length".into())
        }
        _ => Ok(()),
    }
}

fn server(options: &ServerOptions, new: bool) -> Result<(), String> {
    spis(options, new)?;
    let checksum = [
        ("--tun-csum", options.tun_csum),
        ("--tun-nocsum", options.tun_nocsum),
    ];
    let port = [("--tun-port", options.tun_port.is_some())];
    let kind = [("--tun-type", options.tun_type.is_some())];

    // What is not said is unknown, or in a new server the kernel's choice.
    let method = |wanted| options.method.map_or(!new, |said| said == wanted);
    if !method(Method::TUN) {
        refuse([&kind[..], &port, &checksum].concat(), "'--method tun'")?;
    }
    if !method(Method::NAT) {
        refuse([("--encap", options.encap)], "'--method nat'")?;
    }
    match options.tun_type.or(new.then_some(TunnelType::IPIP)) {
        None | Some(TunnelType::GUE) => Ok(()),
        Some(TunnelType::IPIP) => {
            refuse(port, "'--tun-type gue'")?;
            refuse(checksum, "'--tun-type gre' or 'gue'")
        }
        Some(_) => refuse(port, "'--tun-type gue'"),
    }
}

fn spis(options: &ServerOptions, new: bool) -> Result<(), String> {
    let reason = match (options.ike_label, options.ike_mask) {
        (Some(Label(None)), Some(_)) => "--ike-mask contradicts '--ike-label none'",
        (Some(Label(Some(_))), None) if new => "--ike-label needs --ike-mask",
        (None, Some(_)) if new => "--ike-mask needs --ike-label",
        (Some(Label(Some(label))), Some(mask)) if label & !mask != 0 => {
            "--ike-label has bits that --ike-mask lacks"
        }
        _ => return Ok(()),
    };
    Err(reason.into())
}

fn entries(which: &Which) -> Result<(), String> {
    match (which.client, which.service) {
        (Some(client), Some(service)) if client.is_ipv4() != service.is_ipv4() => {
            Err("--client and --service are addresses of different families".into())
        }
        _ => Ok(()),
    }
}

/// Names the first option that was said and what it lacks.
fn refuse(
    options: impl IntoIterator<Item = (&'static str, bool)>,
    needs: &str,
) -> Result<(), String> {
    match options.into_iter().find(|(_, said)| *said) {
        Some((name, _)) => Err(format!("{name} needs {needs}")),
        None => Ok(()),
    }
}
