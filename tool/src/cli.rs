// SPDX-License-Identifier: GPL-2.0
//! The grammar of the command line, and its help texts.

use std::net::IpAddr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, value_parser};

use crate::model::Method;
use crate::uapi;

/// Configure ip_vs_ipsec, the Linux Virtual Server for IPsec
///
/// The director balances IKE, ESP and AH that arrive for a virtual service over
/// its real servers. Everything belongs to the network namespace in which the
/// command runs; `ip netns exec NAME ipvs-ipsec ...` runs it in another.
#[derive(Debug, Parser)]
#[command(name = "ipvs-ipsec", version, verbatim_doc_comment)]
#[command(after_help = "Addresses are IPv4 or IPv6; names are not resolved. See ipvs-ipsec(8).")]
#[command(
    after_long_help = "Addresses are IPv4 or IPv6; names are not resolved.\n\n\
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
        /// List this service only
        #[arg(value_parser = address)]
        vip: Option<IpAddr>,
        /// Show what was forwarded instead of what is configured
        #[arg(long)]
        stats: bool,
    },
    /// Look at the entries of the table
    #[command(subcommand)]
    Entry(EntryCommand),
    /// Show the size of the table, and counters
    Stats {
        /// Show also the reasons for which nothing was dropped
        #[arg(short, long)]
        all: bool,
    },
    /// Remove all services, with their servers and entries
    Flush,
}

/// `ipvs-ipsec service …`
#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Add a service; without --scheduler the kernel chooses wrr
    Add {
        /// Virtual address
        #[arg(value_parser = address)]
        vip: IpAddr,
        #[command(flatten)]
        options: ServiceOptions,
    },
    /// Change a service; its servers and entries stay
    Set {
        /// Virtual address
        #[arg(value_parser = address)]
        vip: IpAddr,
        #[command(flatten)]
        options: ServiceOptions,
    },
    /// Remove a service, with its servers and their entries
    #[command(alias = "delete")]
    Del {
        /// Virtual address
        #[arg(value_parser = address)]
        vip: IpAddr,
    },
}

/// What can be said about a service.
#[derive(Debug, Args)]
pub(crate) struct ServiceOptions {
    /// How a server is chosen: rr, wrr
    #[arg(short, long, value_name = "NAME", value_parser = scheduler)]
    pub(crate) scheduler: Option<String>,
}

/// `ipvs-ipsec server …`
#[derive(Debug, Subcommand)]
pub(crate) enum ServerCommand {
    /// Add a real server; without options the kernel chooses dr and weight 1
    Add {
        /// Virtual address of the service
        #[arg(value_parser = address)]
        vip: IpAddr,
        /// Address of the real server
        #[arg(value_parser = address)]
        rip: IpAddr,
        #[command(flatten)]
        options: ServerOptions,
    },
    /// Change a real server; its entries stay
    Set {
        /// Virtual address of the service
        #[arg(value_parser = address)]
        vip: IpAddr,
        /// Address of the real server
        #[arg(value_parser = address)]
        rip: IpAddr,
        #[command(flatten)]
        options: ServerOptions,
    },
    /// Remove a real server and its entries
    #[command(alias = "delete")]
    Del {
        /// Virtual address of the service
        #[arg(value_parser = address)]
        vip: IpAddr,
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
    #[arg(value_parser = value_parser!(u32).range(..=i64::from(uapi::IPVS_IPSEC_WEIGHT_MAX)))]
    pub(crate) weight: Option<u32>,
}

/// `ipvs-ipsec entry …`
#[derive(Debug, Subcommand)]
pub(crate) enum EntryCommand {
    /// List the entries, like ipvsadm -Lcn
    #[command(aliases = ["show", "ls"])]
    List,
}

/// The names of all methods of the spec; the kernel refuses those it does not have yet.
fn method() -> impl TypedValueParser<Value = Method> {
    PossibleValuesParser::new(Method::names()).try_map(|name| Method::from_name(&name))
}

fn address(text: &str) -> Result<IpAddr, &'static str> {
    text.parse()
        .map_err(|_| "not an IPv4 or IPv6 address (names are not resolved)")
}

/// Which schedulers there are is the module's knowledge; only what cannot be sent is refused here.
fn scheduler(text: &str) -> Result<String, String> {
    let room = usize::try_from(uapi::IPVS_IPSEC_SCHEDULER_NAME_LEN).unwrap_or(usize::MAX);
    if text.len() < room {
        Ok(text.to_owned())
    } else {
        Err(format!("longer than {} characters", room.saturating_sub(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    fn parse(words: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(words.split_whitespace())
    }

    fn refusal(words: &str) -> clap::Error {
        let error = parse(words).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{words}");
        error
    }

    #[test]
    fn grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_issue_s_grammar() {
        for words in [
            "ipvs-ipsec service add 192.0.2.1",
            "ipvs-ipsec service add 192.0.2.1 --scheduler rr",
            "ipvs-ipsec service set 2001:db8::1 -s wrr",
            "ipvs-ipsec service del 192.0.2.1",
            "ipvs-ipsec server add 192.0.2.1 10.0.0.11 --method dr --weight 3",
            "ipvs-ipsec server add 192.0.2.1 10.0.0.11 -m nat",
            "ipvs-ipsec server set 192.0.2.1 10.0.0.11 -w 0",
            "ipvs-ipsec server set 192.0.2.1 10.0.0.11 -w 65535",
            "ipvs-ipsec server del 192.0.2.1 10.0.0.11",
            "ipvs-ipsec list",
            "ipvs-ipsec list 192.0.2.1 --stats",
            "ipvs-ipsec ls -j",
            "ipvs-ipsec entry list --json",
            "ipvs-ipsec -j entry show",
            "ipvs-ipsec flush",
            "ipvs-ipsec stats",
            "ipvs-ipsec stats -a --json",
        ] {
            parse(words).unwrap_or_else(|error| panic!("{words}: {error}"));
        }
    }

    #[test]
    fn wrong_usage() {
        for words in [
            "ipvs-ipsec",
            "ipvs-ipsec service",
            "ipvs-ipsec service add",
            "ipvs-ipsec service del 192.0.2.1 -s rr",
            "ipvs-ipsec server add 192.0.2.1",
            "ipvs-ipsec server add 192.0.2.1 10.0.0.11 -m masq",
            "ipvs-ipsec server add 192.0.2.1 10.0.0.11 -w 65536",
            "ipvs-ipsec server add 192.0.2.1 10.0.0.11 -w x",
            "ipvs-ipsec server add 192.0.2.1 10.0.0.11 -w 1 -w 2",
            "ipvs-ipsec service add 192.0.2.1 -s abcdefghijklmnop",
            "ipvs-ipsec list 192.0.2.1 192.0.2.2",
            "ipvs-ipsec flush now",
        ] {
            refusal(words);
        }
    }

    #[test]
    fn names_are_not_resolved_and_it_is_said() {
        for word in [
            "vpn.example.org",
            "192.0.2",
            "192.0.2.1/32",
            "192.0.2.1:500",
            "fe80::1%eth0",
            "",
        ] {
            let error = Cli::try_parse_from(["ipvs-ipsec", "service", "add", word]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ValueValidation);
            assert!(
                error.to_string().contains("names are not resolved"),
                "{error}"
            );
        }
    }

    #[test]
    fn fifteen_characters_are_a_name() {
        assert_eq!(
            scheduler("abcdefghijklmno").as_deref(),
            Ok("abcdefghijklmno")
        );
        assert_eq!(
            scheduler("abcdefghijklmnop").unwrap_err(),
            "longer than 15 characters"
        );
    }
}
