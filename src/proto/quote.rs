// SPDX-License-Identifier: GPL-2.0

//! The packet that an ICMP error quotes (pure). RFC 792, RFC 4443 section 3.

use super::{number, Payload, Ports};
use crate::{
    addr::{Addr, Family, Transport},
    ipv6,
};

/// Bytes of an ICMP header, which the quotation follows.
pub const ICMP_LEN: usize = 8;

/// A quotation, as far as it goes. Its offsets count from the ICMP header on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Source address of the packet that is quoted.
    pub source: Addr,
    /// Its destination address.
    pub destination: Addr,
    /// Its IP protocol number.
    pub protocol: u8,
    /// Where its IP header begins.
    pub network: usize,
    /// Where what follows the IP header begins.
    pub transport: usize,
}

/// Whether a packet of this `protocol` is ICMP of its family.
#[inline]
pub fn is_icmp(family: Family, protocol: u8) -> bool {
    match family {
        Family::V4 => protocol == number::ICMP,
        Family::V6 => protocol == number::ICMPV6,
    }
}

/// Whether a message of ICMP is an error, which quotes a packet.
fn is_error(family: Family, icmp: &impl Payload) -> bool {
    icmp.array(0).is_some_and(|[kind]| match family {
        // Unreachable, source quench, time exceeded, parameter problem.
        Family::V4 => matches!(kind, 3 | 4 | 11 | 12),
        Family::V6 => kind < 128,
    })
}

impl Quote {
    /// The quotation in an ICMP message, if that is an error and quotes a packet from its
    /// beginning on.
    pub fn of(family: Family, icmp: &impl Payload) -> Option<Self> {
        is_error(family, icmp)
            .then(|| Self::read(family, icmp, ICMP_LEN))
            .flatten()
    }

    /// The quotation in an ICMP message, if that is an error and quotes a fragment that is not the
    /// first: it has no transport header.
    pub fn of_later_fragment(family: Family, icmp: &impl Payload) -> Option<Self> {
        let (quote, is_later) = is_error(family, icmp)
            .then(|| Self::read_any(family, icmp, ICMP_LEN))
            .flatten()?;
        is_later.then_some(quote)
    }

    /// Reads the packet of `family` that is quoted at `network`.
    pub fn read(family: Family, icmp: &impl Payload, network: usize) -> Option<Self> {
        let (quote, is_later) = Self::read_any(family, icmp, network)?;
        (!is_later).then_some(quote)
    }

    /// The same, and whether it is a fragment that is not the first.
    fn read_any(family: Family, icmp: &impl Payload, network: usize) -> Option<(Self, bool)> {
        match family {
            Family::V4 => Self::read_v4(icmp, network),
            Family::V6 => Self::read_v6(icmp, network),
        }
    }

    fn read_v4(icmp: &impl Payload, network: usize) -> Option<(Self, bool)> {
        let header: [u8; 20] = icmp.array(network)?;
        let [version_len, _, _, _, _, _, f0, f1, _, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] =
            header;
        let len = usize::from(version_len & 0xf) * 4;
        let offset = u16::from_be_bytes([f0, f1]) & 0x1fff;
        let quote = Quote {
            source: Addr::V4([s0, s1, s2, s3]),
            destination: Addr::V4([d0, d1, d2, d3]),
            protocol,
            network,
            transport: network + len,
        };
        (version_len >> 4 == 4 && len >= header.len()).then_some((quote, offset != 0))
    }

    fn read_v6(icmp: &impl Payload, network: usize) -> Option<(Self, bool)> {
        let [first]: [u8; 1] = icmp.array(network)?;
        let source = icmp.array(network + 8)?;
        let destination = icmp.array(network + 24)?;
        let upper = ipv6::upper(&From {
            payload: icmp,
            begin: network,
        })?;
        let quote = Quote {
            source: Addr::V6(source),
            destination: Addr::V6(destination),
            protocol: upper.protocol,
            network,
            transport: network + upper.offset,
        };
        (first >> 4 == 6).then_some((quote, upper.is_later_fragment))
    }

    /// The ports of the packet that is quoted.
    pub fn ports(&self, icmp: &impl Payload) -> Option<Ports> {
        let transport = Transport::from_number(self.protocol)?;
        let header = From {
            payload: icmp,
            begin: self.transport,
        };
        Ports::of(transport, &header)
    }
}

/// A payload from `begin` on.
struct From<'a, P> {
    payload: &'a P,
    begin: usize,
}

impl<P: Payload> Payload for From<'_, P> {
    fn available(&self) -> usize {
        self.payload.available().saturating_sub(self.begin)
    }

    fn copy(&self, offset: usize, to: &mut [u8]) -> bool {
        let offset = self.begin.checked_add(offset);
        offset.is_some_and(|offset| self.payload.copy(offset, to))
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_quote))]
mod tests {
    use super::super::tests::Packet;
    use super::*;

    fn v4(kind: u8, fragment: u8) -> Packet {
        Packet::new(&[kind, 0, 0, 0, 0, 0, 0, 0])
            .and(&[0x46, 0, 0, 100, 0, 0, 0, fragment, 64, 17, 0, 0])
            .and(&[192, 0, 2, 1, 198, 51, 100, 1])
            .and(&[1, 1, 1, 1])
            .and(&[1, 244, 17, 148, 0, 8, 0, 0])
    }

    #[test]
    fn ipv4_with_options() {
        let packet = v4(3, 0);
        let quote = Quote::of(Family::V4, &&packet[..]).unwrap();
        assert_eq!(quote.source, Addr::V4([192, 0, 2, 1]));
        assert_eq!(quote.destination, Addr::V4([198, 51, 100, 1]));
        assert_eq!((quote.protocol, quote.transport), (17, 32));
        let ports = quote.ports(&&packet[..]).unwrap();
        assert_eq!((ports.source, ports.destination), (500, 4500));
    }

    #[test]
    fn only_errors_quote() {
        for kind in 0..=255 {
            let errors = [3, 4, 11, 12].contains(&kind);
            let quote = Quote::of(Family::V4, &&v4(kind, 0)[..]);
            assert_eq!((kind, quote.is_some()), (kind, errors));
        }
    }

    #[test]
    fn later_fragments_tell_their_addresses_only() {
        for (fragment, is_later) in [(0, false), (1, true)] {
            let packet = v4(3, fragment);
            let quote = Quote::of(Family::V4, &&packet[..]);
            let later = Quote::of_later_fragment(Family::V4, &&packet[..]);
            assert_eq!((quote.is_none(), later.is_some()), (is_later, is_later));
            let source = quote.or(later).map(|quote| quote.source);
            assert_eq!(source, Some(Addr::V4([192, 0, 2, 1])));
        }
        assert_eq!(Quote::of_later_fragment(Family::V4, &&v4(8, 1)[..]), None);
    }

    #[test]
    fn every_cut_is_survived() {
        let packet = v4(3, 0);
        for len in 0..packet.len() {
            let cut = &&packet[..len];
            let quote = Quote::of(Family::V4, cut);
            assert_eq!((len, quote.is_some()), (len, len >= 28));
            let ports = quote.and_then(|quote| quote.ports(cut));
            assert_eq!((len, ports.is_some()), (len, len >= 36));
        }
    }

    #[test]
    fn ipv6_behind_extension_headers() {
        let packet = Packet::new(&[2, 0, 0, 0, 0, 0, 5, 220])
            .and(&[0x60, 0, 0, 0, 0, 16, 60, 64])
            .and(&[0x20; 16])
            .and(&[0x30; 16])
            .and(&[50, 0, 0, 0, 0, 0, 0, 0])
            .and(&[0, 0, 0, 1, 0, 0, 0, 1]);
        let quote = Quote::of(Family::V6, &&packet[..]).unwrap();
        assert_eq!(quote.source, Addr::V6([0x20; 16]));
        assert_eq!(quote.destination, Addr::V6([0x30; 16]));
        assert_eq!((quote.protocol, quote.transport), (50, 56));
        for len in 0..packet.len() {
            let quote = Quote::of(Family::V6, &&packet[..len]);
            assert_eq!((len, quote.is_some()), (len, len >= 50));
        }
        assert_eq!(Quote::of(Family::V4, &&packet[..]), None);
    }
}
