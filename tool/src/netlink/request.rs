// SPDX-License-Identifier: GPL-2.0
//! A request, and its bytes.

use std::net::IpAddr;

use netlink_packet_core::{DefaultNla, Emitable, NetlinkBuffer};

use super::GENL_HEADER;
use crate::names::AttributeSet;
use crate::uapi;

/// Size of struct nlmsghdr.
pub(super) const NETLINK_HEADER: usize = 16;

/// The family's version, which has one byte in a message.
const VERSION: u8 = uapi::IPVS_IPSEC_FAMILY_VERSION.to_le_bytes()[0];

/// A command and its attributes.
#[derive(Debug)]
pub(crate) struct Request {
    command: u8,
    names: &'static AttributeSet,
    attributes: Vec<DefaultNla>,
}

impl Request {
    /// A request without attributes yet; those to come are of the set `names`.
    pub(crate) fn new(command: u8, names: &'static AttributeSet) -> Self {
        Request {
            command,
            names,
            attributes: Vec::new(),
        }
    }

    /// Adds an address, in its family's length.
    pub(crate) fn address(self, kind: u16, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.bytes(kind, address.octets().to_vec()),
            IpAddr::V6(address) => self.bytes(kind, address.octets().to_vec()),
        }
    }

    /// Adds a number.
    pub(crate) fn u32(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, value.to_ne_bytes().to_vec())
    }

    /// Adds bits of an IKE SPI, in network byte order.
    pub(crate) fn ike_spi(self, kind: u16, value: u64) -> Self {
        self.bytes(kind, value.to_be_bytes().to_vec())
    }

    /// Adds a port, in network byte order.
    pub(crate) fn port(self, kind: u16, value: u16) -> Self {
        self.bytes(kind, value.to_be_bytes().to_vec())
    }

    /// Adds a string, with the NUL that ends it.
    pub(crate) fn string(self, kind: u16, value: &str) -> Self {
        self.bytes(kind, [value.as_bytes(), &[0]].concat())
    }

    fn bytes(mut self, kind: u16, value: Vec<u8>) -> Self {
        self.attributes.push(DefaultNla::new(kind, value));
        self
    }

    /// The command's number.
    #[cfg(test)]
    pub(crate) fn command(&self) -> u8 {
        self.command
    }

    /// The names of this request's attributes.
    pub(super) fn names(&self) -> &'static AttributeSet {
        self.names
    }

    /// The attributes' bytes.
    pub(crate) fn attributes(&self) -> Vec<u8> {
        let attributes = self.attributes.as_slice();
        let mut bytes = vec![0; attributes.buffer_len()];
        attributes.emit(&mut bytes);
        bytes
    }

    /// The whole message.
    pub(super) fn message(&self, family: u16, flags: u16, sequence: u32) -> Vec<u8> {
        let genl: [u8; GENL_HEADER] = [self.command, VERSION, 0, 0];
        let mut message = [&[0; NETLINK_HEADER][..], &genl, &self.attributes()].concat();
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let mut header = NetlinkBuffer::new(&mut message);
        header.set_length(length);
        header.set_message_type(family);
        header.set_flags(flags);
        header.set_sequence_number(sequence);
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::SERVICE;

    #[test]
    #[cfg(target_endian = "little")]
    fn bytes_of_a_request() {
        let request = Request::new(4, &SERVICE)
            .address(1, "192.0.2.1".parse().unwrap())
            .string(2, "rr");
        #[rustfmt::skip]
        let expected = [
            36, 0, 0, 0,  0x21, 0,  5, 0,  7, 0, 0, 0,  0, 0, 0, 0,
            4, 1, 0, 0,
            8, 0, 1, 0,  192, 0, 2, 1,
            7, 0, 2, 0,  b'r', b'r', 0, 0,
        ];
        assert_eq!(request.message(0x21, 5, 7), expected);
    }

    #[test]
    fn ipv6_takes_16_bytes() {
        let request = Request::new(1, &SERVICE).address(1, "2001:db8::1".parse().unwrap());
        assert_eq!(request.attributes().len(), 20);
    }
}
