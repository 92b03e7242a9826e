// SPDX-License-Identifier: GPL-2.0
//! A real server.

use std::net::IpAddr;

use netlink_packet_core::{DecodeError, parse_ip, parse_u32};
use serde::Serialize;

use super::{Method, each, parse_uint, required};
use crate::uapi;

/// A real server as the kernel tells it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Server {
    /// Where it belongs; a listing tells that by the place it stands in.
    #[serde(skip)]
    pub(crate) service: IpAddr,
    pub(crate) address: IpAddr,
    pub(crate) method: Method,
    pub(crate) weight: u32,
    pub(crate) established: u32,
    pub(crate) initial: u32,
    pub(crate) conns: u64,
    pub(crate) in_packets: u64,
    pub(crate) in_bytes: u64,
}

impl Server {
    /// Reads the attributes of one message.
    pub(crate) fn decode(attributes: &[u8]) -> Result<Self, DecodeError> {
        let (mut service, mut address) = (None, None);
        let mut method = Method::default();
        let (mut weight, mut established, mut initial) = (0, 0, 0);
        let (mut conns, mut in_packets, mut in_bytes) = (0, 0, 0);
        each(attributes, |kind, attribute| {
            let value = attribute.value();
            match kind {
                uapi::IPVS_IPSEC_A_SERVER_SERVICE => service = Some(parse_ip(value)?),
                uapi::IPVS_IPSEC_A_SERVER_ADDRESS => address = Some(parse_ip(value)?),
                uapi::IPVS_IPSEC_A_SERVER_METHOD => method = Method(parse_u32(value)?),
                uapi::IPVS_IPSEC_A_SERVER_WEIGHT => weight = parse_u32(value)?,
                uapi::IPVS_IPSEC_A_SERVER_ESTABLISHED => established = parse_u32(value)?,
                uapi::IPVS_IPSEC_A_SERVER_INITIAL => initial = parse_u32(value)?,
                uapi::IPVS_IPSEC_A_SERVER_CONNS => conns = parse_uint(value)?,
                uapi::IPVS_IPSEC_A_SERVER_IN_PACKETS => in_packets = parse_uint(value)?,
                uapi::IPVS_IPSEC_A_SERVER_IN_BYTES => in_bytes = parse_uint(value)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(Server {
            service: required(service, "server of a service")?,
            address: required(address, "server")?,
            method,
            weight,
            established,
            initial,
            conns,
            in_packets,
            in_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::script::attributes;

    #[test]
    fn all_attributes() {
        let bytes = attributes(&[
            (1, &[192, 0, 2, 1]),
            (2, &[10, 0, 0, 11]),
            (3, &3u32.to_ne_bytes()),
            (4, &5u32.to_ne_bytes()),
            (5, &2u32.to_ne_bytes()),
            (6, &1u32.to_ne_bytes()),
            (7, &9u32.to_ne_bytes()),
            (8, &8u64.to_ne_bytes()),
            (9, &7u64.to_ne_bytes()),
            (10, b"tomorrow"),
        ]);
        let server = Server::decode(&bytes).unwrap();
        assert_eq!(server.service, IpAddr::from([192, 0, 2, 1]));
        assert_eq!(
            serde_json::to_string(&server).unwrap(),
            r#"{"address":"10.0.0.11","method":"dr","weight":5,"established":2,"initial":1,"conns":9,"in_packets":8,"in_bytes":7}"#
        );
    }

    #[test]
    fn both_addresses_are_needed() {
        assert!(Server::decode(&attributes(&[(1, &[192, 0, 2, 1])])).is_err());
        assert!(Server::decode(&attributes(&[(2, &[10, 0, 0, 11])])).is_err());
    }
}
