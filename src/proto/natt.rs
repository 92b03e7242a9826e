// SPDX-License-Identifier: GPL-2.0

//! What shares a UDP port with IKE to cross a NAT (pure). RFC 3948, and the drafts before it.

use super::{esp, Payload, Ports, Traffic};
use crate::{
    ike::{
        header::{self, Fault, Header},
        payload::Chain,
    },
    reason::Reason,
};

/// Zeroes where ESP has its SPI (RFC 3948 section 2.2).
const NON_ESP_MARKER: [u8; 4] = [0; 4];

/// Its length.
pub(super) const MARKER_LEN: usize = NON_ESP_MARKER.len();

/// Zeroes where IKE has the initiator's SPI (draft-ietf-ipsec-udp-encaps-01 section 2.1).
const NON_IKE_MARKER: [u8; 8] = [0; 8];

/// Whether ESP follows at `offset`, rather than IKE or a keepalive.
#[inline]
pub(super) fn is_esp(payload: &impl Payload, offset: usize) -> bool {
    payload
        .array(offset)
        .is_some_and(|first| first != NON_ESP_MARKER)
}

/// Parses a datagram on port 4500.
#[inline]
pub(super) fn parse(datagram: &impl Payload, ports: Ports) -> Result<Traffic, Reason> {
    match datagram.array(0) {
        Some(NON_ESP_MARKER) => ike(datagram, MARKER_LEN, ports),
        Some(_) => esp_in_udp(datagram, 0, ports),
        // RFC 3948 section 2.3.
        None if is_keepalive(datagram) => Ok(Traffic::Keepalive(ports)),
        None => Err(Reason::Truncated),
    }
}

/// Parses a datagram on port 500, where the drafts had all of it too.
#[inline]
pub(super) fn parse_draft(datagram: &impl Payload, ports: Ports) -> Result<Traffic, Reason> {
    match datagram.array(0) {
        // What is no ESP is IKE whose initiator SPI is zero.
        Some(NON_IKE_MARKER) => {
            esp_in_udp(datagram, NON_IKE_MARKER.len(), ports).map_err(|_| Reason::IkeSpi)
        }
        None if is_keepalive(datagram) => Ok(Traffic::Keepalive(ports)),
        _ => ike(datagram, 0, ports),
    }
}

fn is_keepalive(datagram: &impl Payload) -> bool {
    datagram.available() == 1 && datagram.array(0) == Some([0xff])
}

/// Parses the ESP packet that begins at `offset`.
#[inline]
fn esp_in_udp(datagram: &impl Payload, offset: usize, ports: Ports) -> Result<Traffic, Reason> {
    esp::spi(datagram, offset).map(|spi| Traffic::EspInUdp(ports, spi))
}

/// Parses the IKE message that begins at `offset` and is the rest of the datagram.
#[inline]
fn ike(datagram: &impl Payload, offset: usize, ports: Ports) -> Result<Traffic, Reason> {
    let bytes = datagram.array::<{ header::LEN }>(offset);
    let header = Header::parse(bytes.as_ref(), datagram.available().saturating_sub(offset))?;
    Chain::of(&bytes.ok_or(Fault::Short)?).check(datagram, offset)?;
    Ok(Traffic::Ike(ports, header))
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_natt))]
mod tests {
    use super::super::{isakmp::tests::datagram, tests::Packet, Carrier};
    use super::*;

    fn traffic(port: u16, content: &[u8]) -> Result<Traffic, Reason> {
        Carrier::Udp.parse(&&datagram(port, content)[..])
    }

    const IKE_SA_INIT: [u8; 28] = [
        7, 7, 7, 7, 7, 7, 7, 7, 0, 0, 0, 0, 0, 0, 0, 0, //
        0, 0x20, 34, 0x08, 0, 0, 0, 0, 0, 0, 0, 28,
    ];

    #[test]
    fn the_first_bytes_tell_ike_and_esp_apart() {
        let marked = Packet::new(&[0; 4]).and(&IKE_SA_INIT);
        let drafts = Packet::new(&[0; 8]).and(&[0, 0, 1, 0, 0, 0, 0, 1, 9, 9]);
        assert!(matches!(traffic(500, &IKE_SA_INIT), Ok(Traffic::Ike(..))));
        assert!(matches!(traffic(4500, &marked), Ok(Traffic::Ike(..))));
        assert!(matches!(
            traffic(4500, &IKE_SA_INIT),
            Ok(Traffic::EspInUdp(..))
        ));
        assert!(matches!(traffic(500, &drafts), Ok(Traffic::EspInUdp(..))));
    }

    #[test]
    fn the_ike_length_does_not_count_the_marker() {
        let mut marked = Packet::new(&[0; 4]).and(&IKE_SA_INIT);
        marked[31] = 29; // one more than is there
        assert_eq!(traffic(4500, &marked), Err(Reason::IkeLength));
    }

    #[test]
    fn the_payloads_are_looked_for_behind_the_marker() {
        let mut marked = Packet::new(&[0; 4]).and(&IKE_SA_INIT).and(&[0, 0, 0, 4]);
        marked[4 + 16] = 33;
        marked[4 + 27] = 32;
        assert!(matches!(traffic(4500, &marked), Ok(Traffic::Ike(..))));
        assert!(matches!(traffic(500, &marked[4..]), Ok(Traffic::Ike(..))));
        marked[4 + 31] = 5;
        assert_eq!(traffic(4500, &marked), Err(Reason::IkePayload));
        assert_eq!(traffic(500, &marked[4..]), Err(Reason::IkePayload));
    }

    #[test]
    fn a_keepalive_is_one_byte() {
        assert!(matches!(traffic(4500, &[0xff]), Ok(Traffic::Keepalive(_))));
        assert_eq!(traffic(4500, &[0xfe]), Err(Reason::Truncated));
        assert_eq!(traffic(4500, &[0xff, 0xff]), Err(Reason::Truncated));
        assert_eq!(traffic(4500, &[]), Err(Reason::Truncated));
        assert!(matches!(traffic(500, &[0xff]), Ok(Traffic::Keepalive(_))));
        assert_eq!(traffic(500, &[0xfe]), Err(Reason::IkeShort));
        assert_eq!(traffic(500, &[0xff, 0xff]), Err(Reason::IkeShort));
    }

    #[test]
    fn esp_in_udp_has_a_whole_header() {
        assert_eq!(
            traffic(4500, &[0, 0, 0, 1, 0, 0, 0]),
            Err(Reason::EspMalformed)
        );
    }

    #[test]
    fn behind_a_marker_on_port_500_is_esp_or_an_spi_of_zero() {
        assert_eq!(traffic(500, &[0; 7]), Err(Reason::IkeShort));
        for len in [8, 15, 16, 28, 60] {
            assert_eq!(traffic(500, &[0; 60][..len]), Err(Reason::IkeSpi));
        }
        let short = Packet::new(&[0; 8]).and(&[0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(traffic(500, &short), Err(Reason::IkeSpi));
    }
}
