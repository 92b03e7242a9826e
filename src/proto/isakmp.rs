// SPDX-License-Identifier: GPL-2.0

//! UDP on the ports of IKE (pure). RFC 768, RFC 7296 section 2.

use super::{natt, Payload, Ports, Protocol, Traffic};
use crate::{addr::Transport, ike, reason::Reason};

/// Bytes of a UDP header.
pub(super) const UDP_LEN: usize = 8;

/// ISAKMP, IKE, and what NAT traversal puts on the same ports.
pub(super) struct Isakmp;

/// Whether one of IKE's ports stands at `offset`.
#[inline]
fn has_port(payload: &impl Payload, offset: usize) -> bool {
    payload
        .array(offset)
        .is_some_and(|port| matches!(u16::from_be_bytes(port), ike::PORT | ike::NATT_PORT))
}

/// Whether a datagram comes from a port of IKE, or goes to one: an SA for each CPU (RFC 9611) may have
/// a port of its own at the server.
#[inline]
pub(super) fn claims_reply(payload: &impl Payload) -> bool {
    has_port(payload, 0) || has_port(payload, 2)
}

impl Protocol for Isakmp {
    #[inline]
    fn claims(payload: &impl Payload) -> bool {
        has_port(payload, 2)
    }

    #[inline]
    fn parse(payload: &impl Payload) -> Result<Traffic, Reason> {
        let Some([s0, s1, d0, d1, l0, l1, _, _]) = payload.array::<UDP_LEN>(0) else {
            return Err(Reason::Truncated);
        };
        let ports = Ports {
            transport: Transport::Udp,
            source: u16::from_be_bytes([s0, s1]),
            destination: u16::from_be_bytes([d0, d1]),
        };
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        if !(UDP_LEN..=payload.available()).contains(&len) {
            return Err(Reason::Truncated);
        }
        let datagram = Datagram {
            payload,
            len: len - UDP_LEN,
        };
        match ports.destination {
            ike::NATT_PORT => natt::parse(&datagram, ports),
            _ => natt::parse_draft(&datagram, ports),
        }
    }
}

/// What a UDP datagram carries: its own length ends it, not that of the IP packet.
struct Datagram<'a, P> {
    payload: &'a P,
    len: usize,
}

impl<P: Payload> Payload for Datagram<'_, P> {
    #[inline]
    fn available(&self) -> usize {
        self.len
    }

    #[inline]
    fn copy(&self, offset: usize, to: &mut [u8]) -> bool {
        let end = offset.checked_add(to.len());
        end.is_some_and(|end| end <= self.len) && self.payload.copy(UDP_LEN + offset, to)
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_isakmp))]
pub(super) mod tests {
    use super::super::tests::Packet;
    use super::*;

    pub(in super::super) fn datagram(port: u16, content: &[u8]) -> Packet {
        let len = u16::try_from(UDP_LEN + content.len()).unwrap();
        Packet::new(&1027u16.to_be_bytes())
            .and(&port.to_be_bytes())
            .and(&len.to_be_bytes())
            .and(&[0, 0])
            .and(content)
    }

    #[test]
    fn only_the_ports_of_ike_are_claimed() {
        for (port, claimed) in [
            (500, true),
            (4500, true),
            (501, false),
            (53, false),
            (0, false),
        ] {
            let claims = Isakmp::claims(&&datagram(port, &[])[..]);
            assert_eq!((port, claims), (port, claimed));
        }
        assert!(!Isakmp::claims(&&[1, 244, 1][..]));
    }

    #[test]
    fn the_udp_length_is_held_against_what_arrived() {
        for (field, good) in [
            (0u16, false),
            (7, false),
            (9, true),
            (10, false),
            (0xffff, false),
        ] {
            let mut bytes = datagram(4500, &[0xff]);
            bytes[4..6].copy_from_slice(&field.to_be_bytes());
            let result = Isakmp::parse(&&bytes[..]);
            assert_eq!((field, result != Err(Reason::Truncated)), (field, good));
        }
        assert_eq!(
            Isakmp::parse(&&datagram(500, &[])[..7]),
            Err(Reason::Truncated)
        );
    }

    #[test]
    fn bytes_behind_the_datagram_are_not_read() {
        let bytes = datagram(500, &[1; 27]).and(&[0; 40]);
        assert_eq!(Isakmp::parse(&&bytes[..]), Err(Reason::IkeShort));
    }
}
