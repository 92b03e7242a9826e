// SPDX-License-Identifier: GPL-2.0
//! `ipvs-ipsec entry list`: the entries, laid out as `ipvsadm -Lcn` does, and the method
//! behind. They are printed while they arrive: there may be millions.

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

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
    let mut line = Line::default();
    let interrupted = kernel.dump(&request(), |attributes| {
        let entry = Entry::decode(attributes)?;
        if !titled {
            title(out).map_err(Error::Output)?;
            titled = true;
        }
        if is_meant(which, &entry) {
            let line = line.of(&entry).map_err(Error::Output)?;
            out.write_all(line).map_err(Error::Output)?;
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

/// A line of the table. It is written over for each entry.
#[derive(Default)]
struct Line(Vec<u8>);

impl Line {
    /// The line that tells of an entry.
    fn of(&mut self, entry: &Entry) -> io::Result<&[u8]> {
        self.0.clear();
        self.capitals(3, entry.protocol)?;
        self.column(6, |line| line.expire(entry))?;
        self.capitals(11, entry.state)?;
        self.column(18, |line| line.socket(entry.source()))?;
        self.column(18, |line| line.socket(entry.target()))?;
        self.column(18, |line| line.address(entry.server))?;
        writeln!(self.0, "{}", entry.method.forward())?;
        Ok(&self.0)
    }

    /// Pads what `write` writes.
    fn column(
        &mut self,
        width: usize,
        write: impl FnOnce(&mut Self) -> io::Result<()>,
    ) -> io::Result<()> {
        let end = self.0.len() + width;
        write(self)?;
        self.0.resize(end.max(self.0.len()), b' ');
        self.0.push(b' ');
        Ok(())
    }

    /// A column in capitals, as ipvsadm has them.
    fn capitals(&mut self, width: usize, word: impl fmt::Display) -> io::Result<()> {
        let begin = self.0.len();
        self.column(width, |line| write!(line.0, "{word}"))?;
        if let Some(column) = self.0.get_mut(begin..) {
            column.make_ascii_uppercase();
        }
        Ok(())
    }

    fn expire(&mut self, entry: &Entry) -> io::Result<()> {
        if entry.is_soft() {
            return self.0.write_all(b"soft");
        }
        let seconds = entry.expires_ms / 1000;
        write!(self.0, "{:02}:{:02}", seconds / 60, seconds % 60)
    }

    fn socket(&mut self, socket: SocketAddr) -> io::Result<()> {
        match socket {
            SocketAddr::V4(socket) => {
                self.octets(*socket.ip());
                self.0.push(b':');
                self.number(socket.port());
                Ok(())
            }
            SocketAddr::V6(socket) => write!(self.0, "{socket}"),
        }
    }

    fn address(&mut self, address: IpAddr) -> io::Result<()> {
        match address {
            IpAddr::V4(address) => {
                self.octets(address);
                Ok(())
            }
            IpAddr::V6(address) => write!(self.0, "{address}"),
        }
    }

    /// An IPv4 address. Most of a table is addresses, and the standard library's way through its
    /// formatter is several times as long.
    fn octets(&mut self, address: Ipv4Addr) {
        for (place, octet) in address.octets().into_iter().enumerate() {
            if place > 0 {
                self.0.push(b'.');
            }
            self.number(octet);
        }
    }

    fn number(&mut self, number: impl itoa::Integer) {
        let mut digits = itoa::Buffer::new();
        self.0.extend_from_slice(digits.format(number).as_bytes());
    }
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
