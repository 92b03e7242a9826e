// SPDX-License-Identifier: GPL-2.0
//! `ipvs-ipsec entry list`: the entries, laid out as `ipvsadm -Lcn` does, and the method
//! behind. They are printed while they arrive: there may be millions.

#[cfg(test)]
mod tests;

use std::io::{self, Write};

use crate::cli::Which;
use crate::complain;
use crate::error::{Error, Result};
use crate::model::Entry;
use crate::names::NONE;
use crate::netlink::{Connection, Request, Wire};
use crate::output;
use crate::uapi;

/// Asks the kernel and prints.
pub(crate) fn run<W: Wire>(kernel: &mut Connection<W>, which: Which, json: bool) -> Result<()> {
    let mut out = output::stdout();
    let interrupted = if json {
        print_json(kernel, which, &mut out)
    } else {
        print(kernel, which, &mut out)
    }?;
    output::finish(out)?;
    if interrupted {
        // What is printed cannot be taken back.
        complain(
            "warning: the table changed while it was listed; entries may be missing or listed twice",
        );
    }
    Ok(())
}

fn request() -> Request {
    Request::new(uapi::IPVS_IPSEC_CMD_ENTRY_GET, &NONE)
}

/// The kernel tells all entries; here it is seen which are meant.
fn is_meant(which: Which, entry: &Entry) -> bool {
    which.client.is_none_or(|client| client == entry.client)
        && which.service.is_none_or(|service| service == entry.service)
}

fn print<W: Wire>(kernel: &mut Connection<W>, which: Which, out: &mut impl Write) -> Result<bool> {
    // The title comes with the first answer: a refusal is no empty table.
    let mut titled = false;
    let interrupted = kernel.dump(&request(), |attributes| {
        let entry = Entry::decode(attributes)?;
        if !titled {
            title(out).map_err(Error::Output)?;
            titled = true;
        }
        if is_meant(which, &entry) {
            line(out, &entry).map_err(Error::Output)?;
        }
        Ok(())
    })?;
    if !titled {
        title(out).map_err(Error::Output)?;
    }
    Ok(interrupted)
}

fn title(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "IPsec Virtual Server entries")?;
    writeln!(
        out,
        "pro expire {:<11} {:<18} {:<18} {:<18} forward",
        "state", "source", "virtual", "destination"
    )
}

fn line(out: &mut impl Write, entry: &Entry) -> io::Result<()> {
    let seconds = entry.expires_ms / 1000;
    let expire = if entry.is_soft() {
        "soft".to_owned()
    } else {
        format!("{:02}:{:02}", seconds / 60, seconds % 60)
    };
    writeln!(
        out,
        "{:<3} {expire:<6} {:<11} {:<18} {:<18} {:<18} {}",
        entry.protocol.to_string().to_uppercase(),
        entry.state.to_string().to_uppercase(),
        entry.source().to_string(),
        entry.target().to_string(),
        entry.server.to_string(),
        entry.method.forward()
    )
}

/// An array with one entry a line. If the dump fails, the array stays open, so that nobody takes it
/// for the whole.
fn print_json<W: Wire>(
    kernel: &mut Connection<W>,
    which: Which,
    out: &mut impl Write,
) -> Result<bool> {
    let mut separator = "[";
    let interrupted = kernel.dump(&request(), |attributes| {
        let entry = Entry::decode(attributes)?;
        if !is_meant(which, &entry) {
            return Ok(());
        }
        writeln!(out, "{separator}").map_err(Error::Output)?;
        separator = ",";
        serde_json::to_writer(&mut *out, &entry).map_err(|error| Error::Output(error.into()))
    })?;
    let end = if separator == "[" { "[]" } else { "\n]" };
    writeln!(out, "{end}").map_err(Error::Output)?;
    Ok(interrupted)
}
