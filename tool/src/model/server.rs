// SPDX-License-Identifier: GPL-2.0
//! A real server.

use std::net::IpAddr;

use netlink_packet_core::{DecodeError, parse_ip, parse_u16_be, parse_u32, parse_u64_be};
use serde::Serialize;

use super::key::KeyParts;
use super::{Counters, Method, ServiceKey, Spis, Traffic, TunnelFlags, TunnelType, each, required};
use crate::names::SERVER;
use crate::uapi;

/// A real server as the kernel tells it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Server {
    /// Where it belongs; a listing tells that by the place it stands in.
    #[serde(skip)]
    pub(crate) service: ServiceKey,
    pub(crate) address: IpAddr,
    pub(crate) method: Method,
    pub(crate) weight: u32,
    /// With method tun only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tunnel: Option<Tunnel>,
    pub(crate) encap: bool,
    pub(crate) upper_threshold: u32,
    pub(crate) lower_threshold: u32,
    #[serde(flatten)]
    pub(crate) spis: Spis,
    pub(crate) established: u32,
    pub(crate) initial: u32,
    pub(crate) persistent: u32,
    #[serde(flatten)]
    pub(crate) traffic: Traffic,
    pub(crate) drops: Counters,
}

/// What method tun puts around a packet.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tunnel {
    #[serde(rename = "type")]
    pub(crate) kind: TunnelType,
    pub(crate) port: u16,
    pub(crate) flags: TunnelFlags,
}

impl Server {
    /// Reads the attributes of one message.
    pub(crate) fn decode(attributes: &[u8]) -> Result<Self, DecodeError> {
        let mut key = KeyParts::default();
        let mut address = None;
        let mut method = Method::default();
        let mut tunnel = Tunnel::default();
        let (mut weight, mut encap) = (0, false);
        let (mut upper_threshold, mut lower_threshold) = (0, 0);
        let mut spis = Spis::default();
        let (mut established, mut initial, mut persistent) = (0, 0, 0);
        let mut traffic = Traffic::default();
        let mut drops = Counters::default();
        each(attributes, |kind, attribute| {
            let value = attribute.value();
            match kind {
                uapi::IPVS_IPSEC_A_SERVER_SERVICE => key.address = Some(parse_ip(value)?),
                uapi::IPVS_IPSEC_A_SERVER_MARK => key.mark = Some(parse_u32(value)?),
                uapi::IPVS_IPSEC_A_SERVER_FAMILY => key.family = Some(parse_u32(value)?),
                uapi::IPVS_IPSEC_A_SERVER_ADDRESS => address = Some(parse_ip(value)?),
                uapi::IPVS_IPSEC_A_SERVER_METHOD => method = Method(parse_u32(value)?),
                uapi::IPVS_IPSEC_A_SERVER_WEIGHT => weight = parse_u32(value)?,
                uapi::IPVS_IPSEC_A_SERVER_TUNNEL_TYPE => {
                    tunnel.kind = TunnelType(parse_u32(value)?);
                }
                uapi::IPVS_IPSEC_A_SERVER_TUNNEL_PORT => tunnel.port = parse_u16_be(value)?,
                uapi::IPVS_IPSEC_A_SERVER_TUNNEL_FLAGS => {
                    tunnel.flags = TunnelFlags(parse_u32(value)?);
                }
                uapi::IPVS_IPSEC_A_SERVER_ENCAP => encap = parse_u32(value)? != 0,
                uapi::IPVS_IPSEC_A_SERVER_UPPER_THRESHOLD => upper_threshold = parse_u32(value)?,
                uapi::IPVS_IPSEC_A_SERVER_LOWER_THRESHOLD => lower_threshold = parse_u32(value)?,
                uapi::IPVS_IPSEC_A_SERVER_IKE_LABEL => spis.ike_label = parse_u64_be(value)?,
                uapi::IPVS_IPSEC_A_SERVER_IKE_MASK => spis.ike_mask = parse_u64_be(value)?,
                uapi::IPVS_IPSEC_A_SERVER_ESP_SPI_MIN => spis.esp_spi_min = parse_u32(value)?,
                uapi::IPVS_IPSEC_A_SERVER_ESP_SPI_MAX => spis.esp_spi_max = parse_u32(value)?,
                uapi::IPVS_IPSEC_A_SERVER_ESTABLISHED => established = parse_u32(value)?,
                uapi::IPVS_IPSEC_A_SERVER_INITIAL => initial = parse_u32(value)?,
                uapi::IPVS_IPSEC_A_SERVER_PERSISTENT => persistent = parse_u32(value)?,
                uapi::IPVS_IPSEC_A_SERVER_DROPS => drops = Counters::decode(value)?,
                _ => traffic.take(&SERVER, kind, value)?,
            }
            Ok(())
        })?;
        Ok(Server {
            service: key.whole()?,
            address: required(address, "server")?,
            method,
            weight,
            tunnel: (method == Method::TUN).then_some(tunnel),
            encap,
            upper_threshold,
            lower_threshold,
            spis,
            established,
            initial,
            persistent,
            traffic,
            drops,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::script::attributes;

    fn example(method: u32) -> Vec<u8> {
        let number = |number: u32| number.to_ne_bytes();
        let drops = attributes(&[
            (uapi::IPVS_IPSEC_A_COUNTERS_DROP_MTU, &number(1)),
            (uapi::IPVS_IPSEC_A_COUNTERS_DROP_PATH_MTU, &number(2)),
        ]);
        attributes(&[
            (1, &[192, 0, 2, 1]),
            (4, &[10, 0, 0, 11]),
            (5, &number(method)),
            (6, &number(106)),
            (7, &number(2)),
            (8, &6080u16.to_be_bytes()),
            (9, &number(1)),
            (10, &number(1)),
            (11, &number(111)),
            (12, &number(112)),
            (13, &0x0113u64.to_be_bytes()),
            (14, &0xff14u64.to_be_bytes()),
            (15, &number(0xc115)),
            (16, &number(0xc116)),
            (17, &number(117)),
            (18, &number(118)),
            (19, &number(119)),
            (20, &number(120)),
            (21, &121u64.to_ne_bytes()),
            (22, &122u64.to_ne_bytes()),
            (23, &number(123)),
            (24, &number(124)),
            (25, &number(125)),
            (26, &number(126)),
            (27, &number(127)),
            (28, &number(128)),
            (29, &number(129)),
            (30 | 0x8000, &drops),
            (31, b"tomorrow"),
        ])
    }

    #[test]
    fn all_attributes() {
        let server = Server::decode(&example(2)).unwrap();
        assert_eq!(
            server.service,
            ServiceKey::Address {
                address: [192, 0, 2, 1].into()
            }
        );
        assert_eq!(
            serde_json::to_string(&server).unwrap(),
            concat!(
                r#"{"address":"10.0.0.11","method":"tun","weight":106,"#,
                r#""tunnel":{"type":"gue","port":6080,"flags":["csum"]},"encap":true,"#,
                r#""upper_threshold":111,"lower_threshold":112,"#,
                r#""ike_label":"0x0000000000000113","ike_mask":"0x000000000000ff14","#,
                r#""esp_spi_min":"0x0000c115","esp_spi_max":"0x0000c116","#,
                r#""established":117,"initial":118,"persistent":119,"#,
                r#""conns":120,"in_packets":121,"in_bytes":122,"out_packets":123,"out_bytes":124,"#,
                r#""cps":125,"in_pps":126,"out_pps":127,"in_bps":128,"out_bps":129,"#,
                r#""drops":{"drop_mtu":1,"drop_path_mtu":2}}"#
            )
        );
    }

    #[test]
    fn only_tun_has_a_tunnel() {
        for (method, has) in [(0, false), (1, false), (2, true), (3, false)] {
            let server = Server::decode(&example(method)).unwrap();
            assert_eq!(server.tunnel.is_some(), has);
            let json = serde_json::to_string(&server).unwrap();
            assert_eq!(json.contains("tunnel"), has);
        }
    }

    #[test]
    fn of_a_service_by_mark() {
        let number = |number: u32| number.to_ne_bytes();
        let server = Server::decode(&attributes(&[
            (2, &number(7)),
            (3, &number(10)),
            (4, &[10, 0, 0, 11]),
        ]));
        assert_eq!(server.unwrap().service, "fwmark6:7".parse().unwrap());
    }

    #[test]
    fn service_and_address_are_needed() {
        assert!(Server::decode(&attributes(&[(1, &[192, 0, 2, 1])])).is_err());
        assert!(Server::decode(&attributes(&[(4, &[10, 0, 0, 11])])).is_err());
    }
}
