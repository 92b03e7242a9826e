// SPDX-License-Identifier: GPL-2.0
//! An entry: one initiator's flow.

use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::{DecodeError, parse_ip, parse_u16_be, parse_u32, parse_u64_be};
use serde::{Serialize, Serializer};

use super::{Method, State, each, required};
use crate::uapi;

/// An entry as the kernel tells it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    pub(crate) client: IpAddr,
    pub(crate) client_port: u16,
    pub(crate) service: IpAddr,
    pub(crate) service_port: u16,
    pub(crate) server: IpAddr,
    pub(crate) method: Method,
    pub(crate) state: State,
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
            server: required(server, "server of an entry")?,
            method,
            state,
            expires_ms,
            initiator_spi,
            responder_spi,
        })
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
            (5, &[10, 0, 0, 11]),
            (6, &3u32.to_ne_bytes()),
            (7, &1u32.to_ne_bytes()),
            (8, &28_798_999u32.to_ne_bytes()),
            (9, &0x0123_4567_89ab_cdefu64.to_be_bytes()),
            (10, &0xau64.to_be_bytes()),
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
                r#""server":"10.0.0.11","method":"dr","state":"established","expires_ms":28798999,"#,
                r#""initiator_spi":"0123456789abcdef","responder_spi":"000000000000000a"}"#
            )
        );
    }

    #[test]
    fn an_empty_one_is_an_error() {
        assert!(Entry::decode(&[]).is_err());
    }
}
