// SPDX-License-Identifier: GPL-2.0
//! `ipvs-ipsec`, the command that configures ip_vs_ipsec: parse, carry out, tell by the exit
//! status.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)
)]

mod cli;
mod entries;
mod error;
mod list;
mod model;
mod names;
mod netlink;
mod output;
mod stats;
#[rustfmt::skip]
#[allow(unreachable_pub)]
mod uapi;

use std::io::{self, Write};
use std::net::IpAddr;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command, EntryCommand, ServerCommand, ServerOptions, ServiceCommand};
use crate::error::Result;
use crate::names::{SERVER, SERVICE};
use crate::netlink::{Connection, Request};

fn main() -> ExitCode {
    // Usage errors end here, with status 2.
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Carries out one command line.
fn run(cli: &Cli) -> Result<()> {
    let mut kernel = Connection::open()?;
    match &cli.command {
        Command::Service(command) => change(&mut kernel, service_request(command)),
        Command::Server(command) => change(&mut kernel, server_request(command)),
        Command::Flush => change(
            &mut kernel,
            Request::new(uapi::IPVS_IPSEC_CMD_FLUSH, &SERVICE),
        ),
        Command::List { vip, stats } => list::run(&mut kernel, *vip, *stats, cli.json),
        Command::Entry(EntryCommand::List) => entries::run(&mut kernel, cli.json),
        Command::Stats { all } => stats::run(&mut kernel, *all, cli.json),
    }
}

/// Makes a change and passes on what the kernel remarks about it.
fn change(kernel: &mut Connection, request: Request) -> Result<()> {
    if let Some(remark) = kernel.run(&request)? {
        complain(&format!("warning: {remark}"));
    }
    Ok(())
}

fn service_request(command: &ServiceCommand) -> Request {
    let (number, vip, scheduler) = match command {
        ServiceCommand::Add { vip, options } => (
            uapi::IPVS_IPSEC_CMD_SERVICE_NEW,
            vip,
            options.scheduler.as_ref(),
        ),
        ServiceCommand::Set { vip, options } => (
            uapi::IPVS_IPSEC_CMD_SERVICE_SET,
            vip,
            options.scheduler.as_ref(),
        ),
        ServiceCommand::Del { vip } => (uapi::IPVS_IPSEC_CMD_SERVICE_DEL, vip, None),
    };
    let request = Request::new(number, &SERVICE).address(uapi::IPVS_IPSEC_A_SERVICE_ADDRESS, *vip);
    match scheduler {
        Some(name) => request.string(uapi::IPVS_IPSEC_A_SERVICE_SCHEDULER, name),
        None => request,
    }
}

fn server_request(command: &ServerCommand) -> Request {
    let request = |number, vip: &IpAddr, rip: &IpAddr| {
        Request::new(number, &SERVER)
            .address(uapi::IPVS_IPSEC_A_SERVER_SERVICE, *vip)
            .address(uapi::IPVS_IPSEC_A_SERVER_ADDRESS, *rip)
    };
    match command {
        ServerCommand::Add { vip, rip, options } => {
            server_options(request(uapi::IPVS_IPSEC_CMD_SERVER_NEW, vip, rip), options)
        }
        ServerCommand::Set { vip, rip, options } => {
            server_options(request(uapi::IPVS_IPSEC_CMD_SERVER_SET, vip, rip), options)
        }
        ServerCommand::Del { vip, rip } => request(uapi::IPVS_IPSEC_CMD_SERVER_DEL, vip, rip),
    }
}

/// Only what was said on the command line is sent: the kernel knows the defaults, and `set` leaves
/// the rest alone.
fn server_options(mut request: Request, options: &ServerOptions) -> Request {
    if let Some(method) = options.method {
        request = request.u32(uapi::IPVS_IPSEC_A_SERVER_METHOD, method.0);
    }
    if let Some(weight) = options.weight {
        request = request.u32(uapi::IPVS_IPSEC_A_SERVER_WEIGHT, weight);
    }
    request
}

/// Writes to standard error in the manner of Unix commands; when that is closed too, nobody is left
/// to be told.
fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "ipvs-ipsec: {message}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(words: &str) -> Request {
        match Cli::try_parse_from(words.split_whitespace())
            .unwrap()
            .command
        {
            Command::Service(command) => service_request(&command),
            Command::Server(command) => server_request(&command),
            _ => panic!("{words}: not a change"),
        }
    }

    #[test]
    fn only_what_was_said_is_sent() {
        let service = request("ipvs-ipsec service add 192.0.2.1");
        assert_eq!(service.attributes(), [8, 0, 1, 0, 192, 0, 2, 1]);
        let server = request("ipvs-ipsec server set 192.0.2.1 10.0.0.11 -w 0");
        assert_eq!(
            server.attributes(),
            [
                &[8, 0, 1, 0, 192, 0, 2, 1][..],
                &[8, 0, 2, 0, 10, 0, 0, 11],
                &[8, 0, 4, 0, 0, 0, 0, 0]
            ]
            .concat()
        );
    }

    #[test]
    fn strings_end_in_nul_and_are_padded() {
        let service = request("ipvs-ipsec service set 2001:db8::1 -s wlc");
        assert_eq!(
            service.attributes()[20..],
            [8, 0, 2, 0, b'w', b'l', b'c', 0]
        );
        let service = request("ipvs-ipsec service set 2001:db8::1 -s rr");
        assert_eq!(service.attributes()[20..], [7, 0, 2, 0, b'r', b'r', 0, 0]);
    }
}
