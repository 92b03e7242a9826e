// SPDX-License-Identifier: GPL-2.0
//! `ipvs-ipsec`, the command that configures ip_vs_ipsec: parse, carry out, tell by the exit
//! status.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)
)]

mod change;
mod cli;
mod device;
mod entries;
mod error;
mod fastpath;
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
use std::process::ExitCode;

use crate::cli::{Cli, Command, EntryCommand, FastpathCommand};
use crate::error::Result;
use crate::netlink::{Connection, Request};

fn main() -> ExitCode {
    // Usage errors end here, with status 2.
    let cli = cli::parse(std::env::args_os()).unwrap_or_else(|error| error.exit());
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
        Command::Service(command) => make(&mut kernel, &change::service(command)),
        Command::Server(command) => make(&mut kernel, &change::server(command)),
        Command::Flush => make(&mut kernel, &change::flush()),
        Command::List { service, show } => list::run(&mut kernel, *service, show.view(), cli.json),
        Command::Entry(EntryCommand::List { which }) => entries::run(&mut kernel, *which, cli.json),
        Command::Entry(EntryCommand::Flush { which }) => {
            make(&mut kernel, &change::entry_flush(*which))
        }
        Command::Fastpath(FastpathCommand::Add { device }) => {
            make(&mut kernel, &change::fastpath_add(device::index(device)?))
        }
        Command::Fastpath(FastpathCommand::Del { device }) => {
            make(&mut kernel, &change::fastpath_del(device::index(device)?))
        }
        Command::Fastpath(FastpathCommand::List) => fastpath::run(&mut kernel, cli.json),
        Command::Stats { all } => stats::run(&mut kernel, *all, cli.json),
    }
}

/// Makes a change and passes on what the kernel remarks about it.
fn make(kernel: &mut Connection, request: &Request) -> Result<()> {
    if let Some(remark) = kernel.run(request)? {
        complain(&format!("warning: {remark}"));
    }
    Ok(())
}

/// Writes to standard error in the manner of Unix commands; when that is closed too, nobody is left
/// to be told.
fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "ipvs-ipsec: {message}");
}
