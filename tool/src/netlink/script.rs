// SPDX-License-Identifier: GPL-2.0
//! A kernel for the tests, which answers from a script.

use std::collections::VecDeque;
use std::io;

use netlink_packet_core::{
    DefaultNla, Emitable, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer,
};

use super::request::NETLINK_HEADER;
use super::{Connection, Wire};

/// The family's number in the script.
pub(crate) const FAMILY: u16 = 0x21;

/// Datagrams to be received, and the messages that were sent.
#[derive(Debug)]
pub(crate) struct Script {
    answers: VecDeque<Vec<u8>>,
    pub(crate) sent: Vec<Vec<u8>>,
}

impl Script {
    pub(crate) fn new(answers: Vec<Vec<u8>>) -> Self {
        Script {
            answers: answers.into(),
            sent: Vec::new(),
        }
    }
}

impl Wire for Script {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.sent.push(message.to_vec());
        Ok(())
    }

    /// Sequence numbers that the script leaves at 0 become those of the last request.
    fn receive(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        let sequence = NetlinkBuffer::new(self.sent.last().unwrap()).sequence_number();
        *buffer = self.answers.pop_front().unwrap();
        let mut start = 0;
        while let Ok(mut message) = NetlinkBuffer::new_checked(&mut buffer[start..]) {
            if message.sequence_number() == 0 {
                message.set_sequence_number(sequence);
            }
            start += usize::try_from(message.length())
                .unwrap()
                .next_multiple_of(4);
        }
        Ok(())
    }
}

/// A connection that found its family.
pub(crate) fn connection(answers: Vec<Vec<u8>>) -> Connection<Script> {
    Connection {
        wire: Script::new(answers),
        family: FAMILY,
        sequence: 0,
        buffer: Vec::new(),
    }
}

impl Connection<Script> {
    /// The messages that were sent.
    pub(crate) fn sent(&self) -> &[Vec<u8>] {
        &self.wire.sent
    }

    /// Genl commands of the messages that were sent.
    pub(crate) fn commands(&self) -> Vec<u8> {
        self.wire
            .sent
            .iter()
            .map(|message| message[NETLINK_HEADER])
            .collect()
    }
}

/// Any message.
pub(crate) fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [&[0; NETLINK_HEADER][..], payload].concat();
    let length = u32::try_from(bytes.len()).unwrap();
    let mut header = NetlinkBuffer::new(&mut bytes);
    header.set_length(length);
    header.set_message_type(kind);
    header.set_flags(flags);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A message of the family.
pub(crate) fn answer(flags: u16, attributes: &[u8]) -> Vec<u8> {
    message(FAMILY, flags, &[&[1, 1, 0, 0], attributes].concat())
}

/// The positive end of a request that is no dump.
pub(crate) fn acknowledged(extended: &[u8]) -> Vec<u8> {
    refused(0, extended)
}

/// The negative end of a request.
pub(crate) fn refused(errno: i32, extended: &[u8]) -> Vec<u8> {
    let payload = [&(-errno).to_ne_bytes()[..], &[0; NETLINK_HEADER], extended].concat();
    message(NLMSG_ERROR, NLM_F_CAPPED | NLM_F_ACK_TLVS, &payload)
}

/// The end of a dump.
pub(crate) fn done(errno: i32, extended: &[u8]) -> Vec<u8> {
    message(
        NLMSG_DONE,
        NLM_F_ACK_TLVS,
        &[&(-errno).to_ne_bytes()[..], extended].concat(),
    )
}

/// One attribute.
pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let attribute = DefaultNla::new(kind, value.to_vec());
    let mut bytes = vec![0; attribute.buffer_len()];
    attribute.emit(&mut bytes);
    bytes
}

/// Several attributes.
pub(crate) fn attributes(all: &[(u16, &[u8])]) -> Vec<u8> {
    all.iter()
        .flat_map(|(kind, value)| attribute(*kind, value))
        .collect()
}
