// SPDX-License-Identifier: GPL-2.0
//! The conversation with the kernel: one request at a time, answers handed on while they arrive.

mod ack;
mod request;
#[cfg(test)]
pub(crate) mod script;
#[cfg(test)]
mod tests;
mod wire;

use std::io;

use netlink_packet_core::{
    DecodeError, DoneBuffer, ErrorBuffer, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST,
    NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN, NetlinkBuffer, NlasIterator, parse_u16,
};
use netlink_sys::Socket;

use crate::error::{Error, Result};
use crate::names::NONE;
use crate::uapi;

pub(crate) use request::Request;
pub(crate) use wire::Wire;

// The controller, which knows the families (linux/genetlink.h). libc has these in other widths.
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

/// Command and version of a generic netlink message, and two reserved bytes.
const GENL_HEADER: usize = 4;

/// A socket that knows the number of the family.
#[derive(Debug)]
pub(crate) struct Connection<W = Socket> {
    wire: W,
    family: u16,
    sequence: u32,
    buffer: Vec<u8>,
}

/// How an exchange went that the kernel did not refuse.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// The table changed while the kernel walked it: the dump may lack something or tell it twice.
    interrupted: bool,
    /// What the kernel remarks although it complied.
    remark: Option<String>,
}

impl Connection<Socket> {
    /// Opens a socket in this network namespace and asks for the family, which also loads the
    /// module if the system is set up so.
    pub(crate) fn open() -> Result<Self> {
        Self::over(wire::socket().map_err(Error::Netlink)?)
    }
}

impl<W: Wire> Connection<W> {
    /// Finds the number of the family over `wire`.
    pub(crate) fn over(wire: W) -> Result<Self> {
        let mut connection = Connection {
            wire,
            family: GENL_ID_CTRL,
            sequence: 0,
            buffer: Vec::new(),
        };
        let name = uapi::IPVS_IPSEC_FAMILY_NAME.to_string_lossy();
        connection.family = connection.resolve(&name)?;
        Ok(connection)
    }

    fn resolve(&mut self, name: &str) -> Result<u16> {
        let request = Request::new(CTRL_CMD_GETFAMILY, &NONE).string(CTRL_ATTR_FAMILY_NAME, name);
        let answer = self.get(&request, |attributes| {
            let mut id = None;
            for attribute in NlasIterator::new(attributes) {
                let attribute = attribute?;
                if attribute.kind() == CTRL_ATTR_FAMILY_ID {
                    id = Some(parse_u16(attribute.value())?);
                }
            }
            Ok(id)
        });
        match answer {
            Ok(Some(id)) => Ok(id),
            Err(Error::Refused(refusal)) if refusal.errno == libc::ENOENT => Err(Error::NotLoaded),
            Ok(None) => Err(DecodeError::from("a family without number").into()),
            Err(error) => Err(error),
        }
    }

    /// Makes a change. The kernel may comply and yet have a remark.
    pub(crate) fn run(&mut self, request: &Request) -> Result<Option<String>> {
        let outcome = self.exchange(request, NLM_F_ACK, |_| Ok(()))?;
        Ok(outcome.remark)
    }

    /// Asks for one thing.
    pub(crate) fn get<T>(
        &mut self,
        request: &Request,
        decode: impl Fn(&[u8]) -> std::result::Result<T, DecodeError>,
    ) -> Result<T> {
        let mut answer = None;
        self.exchange(request, NLM_F_ACK, |attributes| {
            answer = Some(decode(attributes)?);
            Ok(())
        })?;
        Ok(answer.ok_or(DecodeError::from("nothing but an acknowledgement"))?)
    }

    /// Asks for many things and hands their attributes to `each` as they arrive. Tells whether the
    /// table changed meanwhile, so that something may be missing or have come twice.
    pub(crate) fn dump(
        &mut self,
        request: &Request,
        each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<bool> {
        let outcome = self.exchange(request, NLM_F_DUMP, each)?;
        Ok(outcome.interrupted)
    }

    /// Sends a request and reads until its acknowledgement or the end of its dump.
    fn exchange(
        &mut self,
        request: &Request,
        flags: u16,
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<Outcome> {
        self.sequence = self.sequence.wrapping_add(1);
        let sent = request.message(self.family, NLM_F_REQUEST | flags, self.sequence);
        self.wire.send(&sent).map_err(Error::Netlink)?;

        let mut outcome = Outcome::default();
        loop {
            self.wire
                .receive(&mut self.buffer)
                .map_err(Error::Netlink)?;
            let mut rest = self.buffer.as_slice();
            while !rest.is_empty() {
                let message = NetlinkBuffer::new_checked(rest)?;
                rest = after(rest, message.length());
                if message.sequence_number() != self.sequence {
                    continue;
                }
                outcome.interrupted |= message.flags() & NLM_F_DUMP_INTR != 0;
                let payload = message.payload();
                match message.message_type() {
                    NLMSG_NOOP => {}
                    NLMSG_OVERRUN => {
                        return Err(Error::Netlink(io::Error::from_raw_os_error(libc::ENOBUFS)));
                    }
                    NLMSG_ERROR => {
                        let code = ErrorBuffer::new_checked(payload)?
                            .code()
                            .map_or(0, |code| code.get());
                        let extended = ack::of_error(message.flags(), payload)?;
                        outcome.remark = extended.judge(code, &sent, request.names())?;
                        return Ok(outcome);
                    }
                    NLMSG_DONE => {
                        let done = DoneBuffer::new_checked(payload)?;
                        let extended = ack::of_done(message.flags(), done.extended_ack())?;
                        outcome.remark = extended.judge(done.code(), &sent, request.names())?;
                        return Ok(outcome);
                    }
                    kind if kind == self.family => each(
                        payload
                            .get(GENL_HEADER..)
                            .ok_or(DecodeError::buffer_too_small(payload.len(), GENL_HEADER))?,
                    )?,
                    kind => return Err(DecodeError::from(format!("message of type {kind}")).into()),
                }
            }
        }
    }
}

/// What follows a message of `length` bytes, which is padded to 4.
fn after(datagram: &[u8], length: u32) -> &[u8] {
    usize::try_from(length)
        .ok()
        .and_then(|length| datagram.get(length.next_multiple_of(4)..))
        .unwrap_or_default()
}
