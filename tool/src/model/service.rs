// SPDX-License-Identifier: GPL-2.0
//! A virtual service.

use std::net::IpAddr;

use netlink_packet_core::{DecodeError, parse_ip, parse_string};
use serde::Serialize;

use super::{each, parse_uint, required};
use crate::uapi;

/// A virtual service as the kernel tells it. How many servers it has is seen from the servers
/// themselves.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Service {
    pub(crate) address: IpAddr,
    pub(crate) scheduler: String,
    pub(crate) conns: u64,
    pub(crate) in_packets: u64,
    pub(crate) in_bytes: u64,
}

impl Service {
    /// Reads the attributes of one message.
    pub(crate) fn decode(attributes: &[u8]) -> Result<Self, DecodeError> {
        let mut address = None;
        let mut scheduler = String::new();
        let (mut conns, mut in_packets, mut in_bytes) = (0, 0, 0);
        each(attributes, |kind, attribute| {
            let value = attribute.value();
            match kind {
                uapi::IPVS_IPSEC_A_SERVICE_ADDRESS => address = Some(parse_ip(value)?),
                uapi::IPVS_IPSEC_A_SERVICE_SCHEDULER => scheduler = parse_string(value)?,
                uapi::IPVS_IPSEC_A_SERVICE_CONNS => conns = parse_uint(value)?,
                uapi::IPVS_IPSEC_A_SERVICE_IN_PACKETS => in_packets = parse_uint(value)?,
                uapi::IPVS_IPSEC_A_SERVICE_IN_BYTES => in_bytes = parse_uint(value)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(Service {
            address: required(address, "service")?,
            scheduler,
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
    fn all_attributes_and_one_of_tomorrow() {
        let bytes = attributes(&[
            (1, &[192, 0, 2, 1]),
            (2, b"wrr\0"),
            (3, &2u32.to_ne_bytes()),
            (4, &9u32.to_ne_bytes()),
            (5, &8u64.to_ne_bytes()),
            (6, &(1u64 << 40).to_ne_bytes()),
            (77, b"tomorrow"),
        ]);
        let service = Service::decode(&bytes).unwrap();
        assert_eq!(
            service,
            Service {
                address: [192, 0, 2, 1].into(),
                scheduler: "wrr".into(),
                conns: 9,
                in_packets: 8,
                in_bytes: 1 << 40
            }
        );
        assert_eq!(
            serde_json::to_string(&service).unwrap(),
            r#"{"address":"192.0.2.1","scheduler":"wrr","conns":9,"in_packets":8,"in_bytes":1099511627776}"#
        );
    }

    #[test]
    fn nothing_without_an_address() {
        assert!(Service::decode(&attributes(&[(2, b"wrr\0")])).is_err());
        assert!(Service::decode(&attributes(&[(1, &[1, 2, 3])])).is_err());
        assert!(Service::decode(&[8, 0, 1]).is_err());
    }
}
