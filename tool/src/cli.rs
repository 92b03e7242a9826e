// SPDX-License-Identifier: GPL-2.0
//! The grammar of the command line, and its help texts.

mod check;
mod spis;
#[cfg(test)]
mod tests;
mod values;

use std::ffi::OsString;
use std::net::IpAddr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::list::View;
use crate::model::{Method, ServiceKey, TunnelType};
use crate::uapi;
use spis::{EspSpis, Label, bits, esp_spis, label};
use values::{
    FlagList, Netmask, address, device, flags, netmask, number, port, scheduler, seconds,
};

/// Configure ip_vs_ipsec, the Linux Virtual Server for IPsec
///
/// The director balances IKE, ESP and AH that arrive for a virtual service over
/// its real servers. Everything belongs to the network namespace in which the
/// command runs; `ip netns exec NAME ipvs-ipsec ...` runs it in another.
#[derive(Debug, Parser)]
#[command(name = "ipvs-ipsec", version, verbatim_doc_comment)]
#[command(after_help = "Addresses are IPv4 or IPv6; names are not resolved. See ipvs-ipsec(8).")]
#[command(
    after_long_help = "SERVICE is a virtual address, or fwmark:N (IPv4) or fwmark6:N (IPv6) for packets with\n\
    firewall mark N. Addresses are IPv4 or IPv6; names are not resolved.\n\n\
    Exit status: 0 done, 1 refused (the reason is printed), 2 wrong usage. See ipvs-ipsec(8)."
)]
pub(crate) struct Cli {
    /// Print JSON instead of a table
    #[arg(short, long, global = true)]
    pub(crate) json: bool,
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Add, change or remove a virtual service
    #[command(subcommand)]
    Service(ServiceCommand),
    /// Add, change or remove a real server of a service
    #[command(subcommand)]
    Server(ServerCommand),
    /// List services with their servers, like ipvsadm -Ln
    #[command(aliases = ["show", "ls"])]
    List {
        /// List this service only: an address, fwmark:N or fwmark6:N
        service: Option<ServiceKey>,
        #[command(flatten)]
        show: Show,
    },
    /// List or remove the entries of the table
    #[command(subcommand)]
    Entry(EntryCommand),
    /// Choose the devices at whose ingress established flows are forwarded
    #[command(subcommand)]
    Fastpath(FastpathCommand),
    /// Show the size of the table, and counters
    Stats {
        /// Show also the reasons for which nothing was dropped
        #[arg(short, long)]
        all: bool,
    },
    /// Remove all services, with their servers and entries; the fast path stays
    Flush,
}

/// What a listing shows instead of what is configured.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct Show {
    /// Show entries made, packets and bytes
    #[arg(long)]
    stats: bool,
    /// Show entries made, packets and bytes a second
    #[arg(long)]
    rate: bool,
    /// Show the thresholds of servers
    #[arg(long)]
    thresholds: bool,
    /// Show the SPIs that name servers
    #[arg(long)]
    spis: bool,
    /// Show the reasons for which packets were dropped
    #[arg(long)]
    drops: bool,
}

impl Show {
    /// What was asked for.
    pub(crate) fn view(&self) -> View {
        match self {
            Show { stats: true, .. } => View::Stats,
            Show { rate: true, .. } => View::Rate,
            Show {
                thresholds: true, ..
            } => View::Thresholds,
            Show { spis: true, .. } => View::Spis,
            Show { drops: true, .. } => View::Drops,
            _ => View::Configured,
        }
    }
}

/// `ipvs-ipsec service …`
#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Add a service; without --scheduler the kernel chooses wlc
    Add {
        /// Virtual address, or fwmark:N (IPv4) or fwmark6:N (IPv6) for a firewall mark
        service: ServiceKey,
        #[command(flatten)]
        options: ServiceOptions,
    },
    /// Change a service; its servers and entries stay
    Set {
        /// Virtual address, or fwmark:N (IPv4) or fwmark6:N (IPv6) for a firewall mark
        service: ServiceKey,
        #[command(flatten)]
        options: ServiceOptions,
    },
    /// Remove a service, with its servers and their entries
    #[command(alias = "delete")]
    Del {
        /// Virtual address, or fwmark:N (IPv4) or fwmark6:N (IPv6) for a firewall mark
        service: ServiceKey,
    },
}

/// What can be said about a service.
#[derive(Debug, Args)]
pub(crate) struct ServiceOptions {
    /// How a server is chosen: rr wrr lc wlc sed nq sh mh fo ovf twos
    #[arg(short, long, value_name = "NAME", value_parser = scheduler)]
    pub(crate) scheduler: Option<String>,
    /// Flags of the scheduler: sh-fallback, sh-port, mh-fallback, mh-port, or none
    ///
    /// They are separated by commas. The names fallback and port are understood too, with any
    /// scheduler; none clears the flags.
    #[arg(short = 'b', long, value_name = "LIST", value_parser = flags)]
    pub(crate) sched_flags: Option<FlagList>,
    /// Keep initiators with their servers for so long, 300 if no number follows; 0 is off
    ///
    /// The time begins when an initiator's last entry has gone, and is 2678400 (31 days) at most.
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    #[arg(num_args = 0..=1, default_missing_value = "300")]
    pub(crate) persistent: Option<u32>,
    /// Keep all initiators of a prefix together: its length, or an IPv4 mask
    ///
    /// 24, /24 and 255.255.255.0 say the same. Without it each address is by itself.
    #[arg(short = 'M', long, value_name = "MASK", value_parser = netmask)]
    pub(crate) netmask: Option<Netmask>,
    /// How long an initial entry lives, up to 3600; 0 is the sysctl isakmp_initial_timeout
    #[arg(long, value_name = "SECONDS")]
    #[arg(value_parser = |text: &str| number(text, 0..=uapi::IPVS_IPSEC_INITIAL_TIMEOUT_MAX))]
    pub(crate) initial_timeout: Option<u32>,
    /// How long an established entry lives, up to 2592000 (30 days); 0 is the sysctl
    /// isakmp_established_timeout
    #[arg(long, value_name = "SECONDS")]
    #[arg(value_parser = |text: &str| number(text, 0..=uapi::IPVS_IPSEC_ESTABLISHED_TIMEOUT_MAX))]
    pub(crate) established_timeout: Option<u32>,
    /// How many established entries may outlive their timeout, up to 65536
    ///
    /// When there are more, the one that has waited longest goes first.
    #[arg(long, value_name = "N")]
    #[arg(value_parser = |text: &str| number(text, 0..=uapi::IPVS_IPSEC_SOFT_ENTRIES_MAX))]
    pub(crate) soft_entries: Option<u32>,
}

/// `ipvs-ipsec server …`
#[derive(Debug, Subcommand)]
pub(crate) enum ServerCommand {
    /// Add a real server; without options the kernel chooses dr and weight 1
    Add {
        /// The service: its address, fwmark:N or fwmark6:N
        service: ServiceKey,
        /// Address of the real server
        #[arg(value_parser = address)]
        rip: IpAddr,
        #[command(flatten)]
        options: ServerOptions,
    },
    /// Change a real server; its entries stay
    Set {
        /// The service: its address, fwmark:N or fwmark6:N
        service: ServiceKey,
        /// Address of the real server
        #[arg(value_parser = address)]
        rip: IpAddr,
        #[command(flatten)]
        options: ServerOptions,
    },
    /// Remove a real server and its entries
    #[command(alias = "delete")]
    Del {
        /// The service: its address, fwmark:N or fwmark6:N
        service: ServiceKey,
        /// Address of the real server
        #[arg(value_parser = address)]
        rip: IpAddr,
    },
}

/// What can be said about a server.
#[derive(Debug, Args)]
pub(crate) struct ServerOptions {
    /// How packets reach the server
    #[arg(short, long, value_parser = method())]
    pub(crate) method: Option<Method>,
    /// Capacity relative to the other servers, 0 to 65535; 0 takes no new entries
    #[arg(short, long, value_name = "N")]
    #[arg(value_parser = |text: &str| number(text, 0..=uapi::IPVS_IPSEC_WEIGHT_MAX))]
    pub(crate) weight: Option<u32>,
    /// Take no new entries from so many on; 0 is no limit
    #[arg(short = 'x', long, value_name = "N")]
    #[arg(value_parser = |text: &str| number(text, 0..=u32::MAX))]
    pub(crate) u_threshold: Option<u32>,
    /// Once full, take new entries again below so many; 0 is 3/4 of --u-threshold
    #[arg(short = 'y', long, value_name = "N")]
    #[arg(value_parser = |text: &str| number(text, 0..=u32::MAX))]
    pub(crate) l_threshold: Option<u32>,
    /// What method tun puts around a packet; ipip if it is never said
    #[arg(long, value_name = "TYPE", value_parser = tunnel_type())]
    pub(crate) tun_type: Option<TunnelType>,
    /// UDP port for gue; 6080 if it is never said
    #[arg(long, value_name = "PORT", value_parser = port)]
    pub(crate) tun_port: Option<u16>,
    /// Checksum in gre and gue
    #[arg(long, conflicts_with = "tun_nocsum")]
    pub(crate) tun_csum: bool,
    /// No checksum in gre and gue, as in a new server
    #[arg(long)]
    pub(crate) tun_nocsum: bool,
    /// With method nat, put native ESP into UDP port 4500 for the server
    #[arg(long, conflicts_with = "no_encap")]
    pub(crate) encap: bool,
    /// Leave native ESP as it is, as in a new server
    #[arg(long)]
    pub(crate) no_encap: bool,
    /// What the server's own IKE SPIs have in the bits of --ike-mask: 0x..., or none
    ///
    /// It is the server's charon.spi_label; none clears the mask too.
    #[arg(long, value_name = "HEX", value_parser = label)]
    pub(crate) ike_label: Option<Label>,
    /// Bits of an IKE SPI that tell whose it is: 0x..., the server's charon.spi_mask
    #[arg(long, value_name = "HEX", value_parser = bits)]
    pub(crate) ike_mask: Option<u64>,
    /// SPIs that the server gives to its inbound ESP and AH, or none
    ///
    /// They are the server's charon.spi_min and charon.spi_max, in decimal or, after 0x, in
    /// hexadecimal, with a hyphen between.
    #[arg(long, value_name = "MIN-MAX", value_parser = esp_spis)]
    pub(crate) esp_spis: Option<EspSpis>,
}

impl ServerOptions {
    /// Flags of the tunnel, if they were said.
    pub(crate) fn tunnel_flags(&self) -> Option<u32> {
        either(
            self.tun_csum,
            uapi::IPVS_IPSEC_TUNNEL_FLAGS_CSUM,
            self.tun_nocsum,
        )
    }

    /// Whether ESP goes in UDP, if it was said.
    pub(crate) fn encap(&self) -> Option<u32> {
        either(self.encap, 1, self.no_encap)
    }

    /// Label and mask of IKE SPIs, as far as they were said.
    pub(crate) fn ike_spis(&self) -> (Option<u64>, Option<u64>) {
        match self.ike_label {
            Some(Label(None)) => (Some(0), Some(0)),
            Some(Label(bits)) => (bits, self.ike_mask),
            None => (None, self.ike_mask),
        }
    }
}

/// A value or 0, whichever was said.
fn either(yes: bool, value: u32, no: bool) -> Option<u32> {
    yes.then_some(value).or(no.then_some(0))
}

/// `ipvs-ipsec entry …`
#[derive(Debug, Subcommand)]
pub(crate) enum EntryCommand {
    /// List the entries, like ipvsadm -Lcn
    #[command(aliases = ["show", "ls"])]
    List {
        #[command(flatten)]
        which: Which,
    },
    /// Remove entries: all, or those of an initiator, of a service's address, or of both
    ///
    /// ESP and AH of such an initiator are refused until it begins anew.
    Flush {
        #[command(flatten)]
        which: Which,
    },
}

/// `ipvs-ipsec fastpath …`
#[derive(Debug, Subcommand)]
pub(crate) enum FastpathCommand {
    /// Forward established flows that come in by a device at its ingress
    ///
    /// Such packets pass by the firewall. See ipvs-ipsec(8).
    Add {
        /// Name of the device that has the packets' IP addresses: the bridge, not its ports
        #[arg(value_parser = device)]
        device: String,
    },
    /// Let them go the way of other packets again
    #[command(alias = "delete")]
    Del {
        /// Name of the device
        #[arg(value_parser = device)]
        device: String,
    },
    /// List the devices
    #[command(aliases = ["show", "ls"])]
    List,
}

/// The entries that are meant: all, unless something is said.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct Which {
    /// Only entries of the initiator with this address
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub(crate) client: Option<IpAddr>,
    /// Only entries of initiators that send to this address
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub(crate) service: Option<IpAddr>,
}

/// Reads a command line.
pub(crate) fn parse(
    words: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<Cli, clap::Error> {
    let cli = Cli::try_parse_from(words)?;
    check::check(&cli.command).map_err(|(path, reason)| {
        let mut whole = Cli::command();
        whole.build();
        let mut command = &mut whole;
        // Its own usage is shown; the names are those of the grammar above.
        for name in path {
            command = match command.find_subcommand_mut(name) {
                Some(found) => found,
                None => return clap::Error::raw(ErrorKind::ArgumentConflict, reason),
            };
        }
        command.error(ErrorKind::ArgumentConflict, reason)
    })?;
    Ok(cli)
}

/// The names of all methods of the spec; the kernel refuses those it does not have yet.
fn method() -> impl TypedValueParser<Value = Method> {
    PossibleValuesParser::new(Method::names()).try_map(|name| Method::from_name(&name))
}

fn tunnel_type() -> impl TypedValueParser<Value = TunnelType> {
    PossibleValuesParser::new(TunnelType::names()).try_map(|name| TunnelType::from_name(&name))
}
