// SPDX-License-Identifier: GPL-2.0

//! The protocols of IPsec behind one trait, in the manner of `struct ip_vs_protocol` (pure).

mod ah;
mod data;
mod esp;
mod isakmp;
pub mod merged;
mod natt;
pub mod number;
pub mod quote;
mod tcp;

use crate::{addr::Transport, ike::header::Header, reason::Reason};
pub use data::Data;
pub use tcp::Segment;

/// What follows the network header of a packet.
pub trait Payload {
    /// Its length in bytes.
    fn available(&self) -> usize;

    /// Copies `to.len()` bytes that begin at `offset`; `false` if there are not as many.
    fn copy(&self, offset: usize, to: &mut [u8]) -> bool;

    /// `N` bytes that begin at `offset`.
    #[inline]
    fn array<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.copy(offset, &mut bytes).then_some(bytes)
    }
}

/// Ports of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Whose ports they are.
    pub transport: Transport,
    /// Of the initiator.
    pub source: u16,
    /// Of the service.
    pub destination: u16,
}

impl Ports {
    /// Those of a transport header, whose first bytes they are.
    #[inline]
    pub fn of(transport: Transport, header: &impl Payload) -> Option<Self> {
        let [s0, s1, d0, d1] = header.array(0)?;
        Some(Ports {
            transport,
            source: u16::from_be_bytes([s0, s1]),
            destination: u16::from_be_bytes([d0, d1]),
        })
    }
}

/// Whether a datagram from port 4500 carries ESP (RFC 3948 section 2.2).
pub fn is_esp_in_udp(udp: &impl Payload) -> bool {
    Ports::of(Transport::Udp, udp).is_some_and(|ports| ports.source == crate::ike::NATT_PORT)
        && natt::is_esp(udp, isakmp::UDP_LEN)
}

/// What the header of an IKE message from a port of IKE says, as far as it has come: the rest may
/// be in other fragments.
pub fn ike_reply(transport: Transport, payload: &impl Payload) -> Option<Header> {
    if transport == Transport::Tcp {
        return tcp::reply(payload);
    }
    let offset = match Ports::of(transport, payload)?.source {
        crate::ike::PORT => isakmp::UDP_LEN,
        crate::ike::NATT_PORT if !is_esp_in_udp(payload) => isakmp::UDP_LEN + natt::MARKER_LEN,
        _ => return None,
    };
    Header::parse(payload.array(offset).as_ref(), usize::MAX).ok()
}

/// A well-formed packet of IPsec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// ISAKMP or IKE.
    Ike(Ports, Header),
    /// A NAT keepalive.
    Keepalive(Ports),
    /// ESP in UDP, and its SPI.
    EspInUdp(Ports, u32),
    /// ESP on IP, and its SPI.
    Esp(u32),
    /// AH, and its SPI.
    Ah(u32),
    /// A segment of a stream of IKE and ESP.
    Tcp(Ports, Segment),
}

/// What a packet of IPsec is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ISAKMP or IKE.
    Ike,
    /// A NAT keepalive.
    Keepalive,
    /// ESP in UDP.
    EspInUdp,
    /// ESP on IP.
    Esp,
    /// AH.
    Ah,
    /// A segment of a stream of IKE and ESP.
    Tcp,
}

impl Traffic {
    /// What it is.
    #[inline]
    pub fn kind(&self) -> Kind {
        match self {
            Traffic::Ike(..) => Kind::Ike,
            Traffic::Keepalive(_) => Kind::Keepalive,
            Traffic::EspInUdp(..) => Kind::EspInUdp,
            Traffic::Esp(_) => Kind::Esp,
            Traffic::Ah(_) => Kind::Ah,
            Traffic::Tcp(..) => Kind::Tcp,
        }
    }

    /// The header of the IKE message that it begins with, if it does.
    #[inline]
    pub fn ike(&self) -> Option<&Header> {
        match self {
            Traffic::Ike(_, header) => Some(header),
            Traffic::Tcp(_, segment) => segment.message.as_ref(),
            _ => None,
        }
    }
}

/// What one IP protocol brings.
trait Protocol {
    /// Whether the packet can be IPsec at all. If not, it goes its way untouched.
    #[inline]
    fn claims(_: &impl Payload) -> bool {
        true
    }

    /// Reads the headers and checks every length in them.
    fn parse(payload: &impl Payload) -> Result<Traffic, Reason>;
}

/// An IP protocol number that can carry IPsec (IANA "Assigned Internet Protocol Numbers").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// UDP with a port of IKE.
    Udp,
    /// ESP.
    Esp,
    /// AH.
    Ah,
    /// TCP with the port of IKE.
    Tcp,
}

impl Carrier {
    /// The carrier that a packet of this `protocol` is, unless it cannot be IPsec.
    #[inline]
    pub fn of(protocol: u8, payload: &impl Payload) -> Option<Self> {
        match protocol {
            number::UDP if isakmp::Isakmp::claims(payload) => Some(Carrier::Udp),
            number::ESP if esp::Esp::claims(payload) => Some(Carrier::Esp),
            number::AH if ah::Ah::claims(payload) => Some(Carrier::Ah),
            number::TCP if tcp::Tcp::claims(payload) => Some(Carrier::Tcp),
            _ => None,
        }
    }

    /// The carrier of a packet of this `protocol` that a server sent, unless it cannot be IPsec.
    #[inline]
    pub fn of_reply(protocol: u8, payload: &impl Payload) -> Option<Self> {
        match protocol {
            number::UDP if isakmp::claims_reply(payload) => Some(Carrier::Udp),
            number::ESP => Some(Carrier::Esp),
            number::AH => Some(Carrier::Ah),
            number::TCP if tcp::claims_reply(payload) => Some(Carrier::Tcp),
            _ => None,
        }
    }

    /// Reads and checks the headers of a packet of this carrier.
    #[inline]
    pub fn parse(self, payload: &impl Payload) -> Result<Traffic, Reason> {
        match self {
            Carrier::Udp => isakmp::Isakmp::parse(payload),
            Carrier::Esp => esp::Esp::parse(payload),
            Carrier::Ah => ah::Ah::parse(payload),
            Carrier::Tcp => tcp::Tcp::parse(payload),
        }
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_proto))]
pub(crate) mod tests {
    use super::*;
    use core::ops::{Deref, DerefMut};

    /// A packet in the making.
    pub(crate) struct Packet {
        bytes: [u8; 128],
        len: usize,
    }

    impl Packet {
        pub(crate) fn new(bytes: &[u8]) -> Self {
            let empty = Packet {
                bytes: [0; 128],
                len: 0,
            };
            empty.and(bytes)
        }

        /// With more at its end.
        pub(crate) fn and(mut self, bytes: &[u8]) -> Self {
            let begin = self.len;
            self.len += bytes.len();
            self[begin..].copy_from_slice(bytes);
            self
        }
    }

    impl Deref for Packet {
        type Target = [u8];

        fn deref(&self) -> &[u8] {
            &self.bytes[..self.len]
        }
    }

    impl DerefMut for Packet {
        fn deref_mut(&mut self) -> &mut [u8] {
            &mut self.bytes[..self.len]
        }
    }

    impl Payload for &[u8] {
        fn available(&self) -> usize {
            (**self).len()
        }

        fn copy(&self, offset: usize, to: &mut [u8]) -> bool {
            let from = offset
                .checked_add(to.len())
                .and_then(|end| self.get(offset..end));
            from.map(|from| to.copy_from_slice(from)).is_some()
        }
    }

    /// Bytes that look random, the same each time.
    pub(crate) fn random() -> impl FnMut() -> u8 {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        }
    }

    #[test]
    fn other_protocols_are_not_ours() {
        let bytes = [0u8; 64];
        for number in 0..=255 {
            let carrier = Carrier::of(number, &&bytes[..]);
            assert_eq!(
                (number, carrier.is_some()),
                (number, number == 50 || number == 51)
            );
        }
    }

    /// Whatever arrives, parsing ends with a verdict and reads nothing out of bounds.
    #[test]
    fn no_bytes_upset_a_parser() {
        let mut random = random();
        // Miri is some thousand times slower.
        for round in 0..if cfg!(miri) { 400 } else { 20_000usize } {
            let mut buffer = [0u8; 80].map(|_| random());
            let bytes = &mut buffer[..round % 80];
            if let Some(ports) = bytes.get_mut(2..4) {
                ports.copy_from_slice(&[500u16, 4500][round % 2].to_be_bytes());
            }
            for carrier in [Carrier::Udp, Carrier::Esp, Carrier::Ah, Carrier::Tcp] {
                let _ = carrier.parse(&&*bytes);
            }
        }
    }
}
