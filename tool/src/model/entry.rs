// SPDX-License-Identifier: GPL-2.0
//! An entry: one initiator's flow.

use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::{DecodeError, parse_ip, parse_u16_be, parse_u32, parse_u64_be};
use serde::{Serialize, Serializer};

use super::{Method, Protocol, State, each, required};
use crate::uapi;

/// An entry as the kernel tells it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    pub(crate) client: IpAddr,
    pub(crate) client_port: u16,
    pub(crate) service: IpAddr,
    pub(crate) service_port: u16,
    pub(crate) protocol: Protocol,
    pub(crate) server: IpAddr,
    pub(crate) method: Method,
    pub(crate) state: State,
    /// 0 if it has outlived its timer.
    pub(crate) expires_ms: u32,
    #[serde(serialize_with = "hex")]
    pub(crate) initiator_spi: u64,
    #[serde(serialize_with = "hex")]
    pub(crate) responder_spi: u64,
}

impl Entry {
    /// Reads the attributes of one message.
    pub(crate) fn decode(attributes: &[u8]) -> Result<Self, DecodeError> {
        let (mut client, mut service, mut server) = (None, None, None);
        let (mut client_port, mut service_port) = (0, 0);
        let mut protocol = Protocol::UDP;
        let mut method = Method::default();
        let mut state = State::default();
        let mut expires_ms = 0;
        let (mut initiator_spi, mut responder_spi) = (0, 0);
        each(attributes, |kind, attribute| {
            let value = attribute.value();
            match kind {
                uapi::IPVS_IPSEC_A_ENTRY_CLIENT => client = Some(parse_ip(value)?),
                uapi::IPVS_IPSEC_A_ENTRY_CLIENT_PORT => client_port = parse_u16_be(value)?,
                uapi::IPVS_IPSEC_A_ENTRY_SERVICE => service = Some(parse_ip(value)?),
                uapi::IPVS_IPSEC_A_ENTRY_SERVICE_PORT => service_port = parse_u16_be(value)?,
                uapi::IPVS_IPSEC_A_ENTRY_PROTOCOL => protocol = Protocol(parse_u32(value)?),
                uapi::IPVS_IPSEC_A_ENTRY_SERVER => server = Some(parse_ip(value)?),
                uapi::IPVS_IPSEC_A_ENTRY_METHOD => method = Method(parse_u32(value)?),
                uapi::IPVS_IPSEC_A_ENTRY_STATE => state = State(parse_u32(value)?),
                uapi::IPVS_IPSEC_A_ENTRY_EXPIRES => expires_ms = parse_u32(value)?,
                uapi::IPVS_IPSEC_A_ENTRY_INITIATOR_SPI => initiator_spi = parse_u64_be(value)?,
                uapi::IPVS_IPSEC_A_ENTRY_RESPONDER_SPI => responder_spi = parse_u64_be(value)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(Entry {
            client: required(client, "client of an entry")?,
            client_port,
            service: required(service, "service of an entry")?,
            service_port,
            protocol,
            server: required(server, "server of an entry")?,
            method,
            state,
            expires_ms,
            initiator_spi,
            responder_spi,
        })
    }

    /// Whether it is one of the soft entries of its service. One that is not, and whose timer has
    /// ended, is not told.
    pub(crate) fn is_soft(&self) -> bool {
        self.state == State::ESTABLISHED && self.expires_ms == 0
    }

    /// Where the initiator sends from.
    pub(crate) fn source(&self) -> SocketAddr {
        SocketAddr::new(self.client, self.client_port)
    }

    /// Where the initiator sends to.
    pub(crate) fn target(&self) -> SocketAddr {
        SocketAddr::new(self.service, self.service_port)
    }
}

/// SPIs are names, not quantities, and wider than what JSON readers keep exactly.
fn hex<S: Serializer>(spi: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{spi:016x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::script::attributes;

    fn example() -> Vec<u8> {
        attributes(&[
            (1, &[198, 51, 100, 7]),
            (2, &500u16.to_be_bytes()),
            (3, &[192, 0, 2, 1]),
            (4, &4500u16.to_be_bytes()),
            (5, &6u32.to_ne_bytes()),
            (6, &[10, 0, 0, 11]),
            (7, &3u32.to_ne_bytes()),
            (8, &1u32.to_ne_bytes()),
            (9, &28_798_999u32.to_ne_bytes()),
            (10, &0x0123_4567_89ab_cdefu64.to_be_bytes()),
            (11, &0xau64.to_be_bytes()),
            (99, &[]),
        ])
    }

    #[test]
    fn all_attributes() {
        let entry = Entry::decode(&example()).unwrap();
        assert_eq!(entry.source().to_string(), "198.51.100.7:500");
        assert_eq!(entry.target().to_string(), "192.0.2.1:4500");
        assert_eq!(
            serde_json::to_string(&entry).unwrap(),
            concat!(
                r#"{"client":"198.51.100.7","client_port":500,"service":"192.0.2.1","service_port":4500,"#,
                r#""protocol":"tcp","server":"10.0.0.11","method":"dr","state":"established","expires_ms":28798999,"#,
                r#""initiator_spi":"0123456789abcdef","responder_spi":"000000000000000a"}"#
            )
        );
    }

    #[test]
    fn soft_is_what_outlived_the_timer_of_an_established_entry() {
        for (state, expires, soft) in [(1u32, 0u32, true), (1, 1, false), (0, 0, false)] {
            let mut bytes = example();
            bytes.extend(attributes(&[
                (8, &state.to_ne_bytes()),
                (9, &expires.to_ne_bytes()),
            ]));
            let entry = Entry::decode(&bytes).unwrap();
            assert_eq!(entry.is_soft(), soft, "{state} {expires}");
        }
    }

    #[test]
    fn an_empty_one_is_an_error() {
        assert!(Entry::decode(&[]).is_err());
    }
}
