// SPDX-License-Identifier: GPL-2.0
//! A listing as text, laid out as `ipvsadm -Ln` does. Numbers are exact, as with its --exact.

use std::io::{self, Write};
use std::net::Ipv4Addr;

use super::collect::{Configured, Listing};
use crate::model::{Counters, Family, Server, Service, ServiceKey, Traffic};

/// What is shown of services and servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// How they are configured, and the entries they have now.
    Configured,
    /// What was counted since they were added.
    Stats,
    /// What is counted in a second.
    Rate,
    /// The limits of servers.
    Thresholds,
    /// The SPIs that name servers.
    Spis,
    /// Reasons for which packets were dropped.
    Drops,
}

impl Listing {
    /// Writes the whole of it.
    pub(super) fn print(&self, out: &mut impl Write, view: View) -> io::Result<()> {
        writeln!(out, "{}", self.title)?;
        head(out, view)?;
        for Configured { service, servers } in &self.services {
            print_service(out, view, service)?;
            for server in servers {
                print_server(out, view, server)?;
            }
        }
        Ok(())
    }
}

fn head(out: &mut impl Write, view: View) -> io::Result<()> {
    let columns = match view {
        View::Configured => {
            return writeln!(
                out,
                "Prot LocalAddress Scheduler Flags\n  -> {:<28} Forward Weight ActiveConn InActConn",
                "RemoteAddress"
            );
        }
        View::Stats => row(["Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"]),
        View::Rate => row(["CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"]),
        View::Thresholds => " Uthreshold Lthreshold ActiveConn InActConn".into(),
        View::Spis => format!(" {:<18} {:<18} EspSpis", "IkeLabel", "IkeMask"),
        View::Drops => format!("{} Reason", row(["Packets"])),
    };
    writeln!(out, "{:<33}{columns}", "Prot LocalAddress")?;
    writeln!(out, "  -> RemoteAddress")
}

fn print_service(out: &mut impl Write, view: View, service: &Service) -> io::Result<()> {
    let name = name(service.key);
    match view {
        View::Configured | View::Thresholds | View::Spis => {
            writeln!(
                out,
                "{name} {}{}{}{}",
                service.scheduler,
                flags(service),
                persistence(service),
                lives(service)
            )
        }
        View::Stats => writeln!(out, "{name:<33}{}", stats(&service.traffic)),
        View::Rate => writeln!(out, "{name:<33}{}", rate(&service.traffic)),
        View::Drops => print_drops(out, &name, &service.drops),
    }
}

fn print_server(out: &mut impl Write, view: View, server: &Server) -> io::Result<()> {
    let name = format!("  -> {:<28}", server.address.to_string());
    match view {
        View::Configured => writeln!(
            out,
            "{name} {:<7} {:<6} {:<10} {}",
            server.method.forward(),
            server.weight,
            server.established,
            server.initial
        ),
        View::Stats => writeln!(out, "{name}{}", stats(&server.traffic)),
        View::Rate => writeln!(out, "{name}{}", rate(&server.traffic)),
        View::Thresholds => writeln!(
            out,
            "{name} {:<10} {:<10} {:<10} {}",
            server.upper_threshold, server.lower_threshold, server.established, server.initial
        ),
        View::Spis => {
            let [label, mask, range] = server.spis.words();
            writeln!(out, "{name} {label:<18} {mask:<18} {range}")
        }
        View::Drops => print_drops(out, &name, &server.drops),
    }
}

/// A reason a line, the first beside the name; without any, 0.
fn print_drops(out: &mut impl Write, name: &str, drops: &Counters) -> io::Result<()> {
    let mut name = name;
    for (reason, packets) in drops.drops().filter(|(_, packets)| *packets > 0) {
        writeln!(out, "{name:<33}{} {reason}", row([packets]))?;
        name = "";
    }
    if name.is_empty() {
        Ok(())
    } else {
        writeln!(out, "{name:<33}{}", row([0]))
    }
}

/// ipvsadm's word for a service by mark; ours for one by address, which has no port.
fn name(key: ServiceKey) -> String {
    match key {
        ServiceKey::Address { address } => format!("IPSEC {address}"),
        ServiceKey::Mark {
            mark,
            family: Family::Ipv4,
        } => format!("FWM  {mark}"),
        ServiceKey::Mark {
            mark,
            family: Family::Ipv6,
        } => format!("FWM  {mark} IPv6"),
    }
}

fn flags(service: &Service) -> String {
    match service.scheduler_flags.words(&service.scheduler).as_str() {
        "" => String::new(),
        words => format!(" ({words})"),
    }
}

fn persistence(service: &Service) -> String {
    match service.persistence_timeout {
        0 => String::new(),
        seconds => format!(" persistent {seconds}{}", mask(service)),
    }
}

/// The mask of persistence, unless it is a single address.
fn mask(service: &Service) -> String {
    let length = service.persistence_prefix;
    match service.key.family() {
        Family::Ipv4 if (1..32).contains(&length) => {
            let mask = Ipv4Addr::from(u32::MAX << (32 - length));
            format!(" mask {mask}")
        }
        Family::Ipv6 if (1..128).contains(&length) => format!(" mask {length}"),
        _ => String::new(),
    }
}

/// What the service has of its own to say about the life of its entries, in the options' words.
fn lives(service: &Service) -> String {
    let mut lives = String::new();
    for (name, value) in [
        ("initial-timeout", service.initial_timeout),
        ("established-timeout", service.established_timeout),
        ("soft-entries", service.soft_entries),
    ] {
        if value > 0 {
            lives += &format!(" {name} {value}");
        }
    }
    lives
}

fn stats(traffic: &Traffic) -> String {
    row([
        traffic.conns,
        traffic.in_packets,
        traffic.out_packets,
        traffic.in_bytes,
        traffic.out_bytes,
    ])
}

fn rate(traffic: &Traffic) -> String {
    row([
        traffic.cps,
        traffic.in_pps,
        traffic.out_pps,
        traffic.in_bps,
        traffic.out_bps,
    ])
}

/// Columns on the right, which grow with what is in them.
fn row<T: ToString>(values: impl IntoIterator<Item = T>) -> String {
    let mut row = String::new();
    for value in values {
        row += &format!(" {:>8}", value.to_string());
    }
    row
}
