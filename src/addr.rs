// SPDX-License-Identifier: GPL-2.0

//! Network addresses and flows of either family (pure).

use crate::proto::number;
use core::fmt;

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    const AF_INET: u32 = 2;
    const AF_INET6: u32 = 10;

    /// The family whose address family number in Linux is `number`.
    pub fn from_number(number: u32) -> Option<Self> {
        match number {
            Self::AF_INET => Some(Family::V4),
            Self::AF_INET6 => Some(Family::V6),
            _ => None,
        }
    }

    /// Its address family number in Linux.
    pub fn number(self) -> u32 {
        match self {
            Family::V4 => Self::AF_INET,
            Family::V6 => Self::AF_INET6,
        }
    }

    /// Length of an address in bits.
    pub fn bits(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }
}

/// An IPv4 or IPv6 address, in network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Addr {
    /// IPv4.
    V4([u8; 4]),
    /// IPv6.
    V6([u8; 16]),
}

impl Addr {
    /// The address that `bytes` spell: 4 are IPv4, 16 are IPv6, all else is no address.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if let Ok(v4) = bytes.try_into() {
            Some(Addr::V4(v4))
        } else {
            bytes.try_into().ok().map(Addr::V6)
        }
    }

    /// The address in network byte order.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Addr::V4(bytes) => bytes,
            Addr::V6(bytes) => bytes,
        }
    }

    /// The family it belongs to.
    #[inline]
    pub fn family(&self) -> Family {
        match self {
            Addr::V4(_) => Family::V4,
            Addr::V6(_) => Family::V6,
        }
    }

    /// Whether the address never leaves a host.
    #[inline(always)]
    pub fn is_loopback(&self) -> bool {
        match self {
            Addr::V4([first, ..]) => *first == 127,
            Addr::V6(bytes) => u128::from_be_bytes(*bytes) == 1,
        }
    }

    /// The address with all bits cleared but the first `bits`.
    pub fn prefix(&self, bits: u8) -> Addr {
        let bits = u32::from(bits);
        match *self {
            Addr::V4(bytes) => {
                let mask = u32::MAX.checked_shr(bits).map_or(u32::MAX, |host| !host);
                Addr::V4((u32::from_be_bytes(bytes) & mask).to_be_bytes())
            }
            Addr::V6(bytes) => {
                let mask = u128::MAX.checked_shr(bits).map_or(u128::MAX, |host| !host);
                Addr::V6((u128::from_be_bytes(bytes) & mask).to_be_bytes())
            }
        }
    }

    /// Whether one host can own the address: not unspecified, not multicast, not broadcast.
    #[inline(always)]
    pub fn is_unicast(&self) -> bool {
        match self {
            Addr::V4([first, ..]) => (1..224).contains(first),
            Addr::V6(bytes @ [first, ..]) => *first != 0xff && bytes.iter().any(|b| *b != 0),
        }
    }

    /// Whether a router may send on what comes from the address: it is one host's, and means
    /// that host on other links too (RFC 1122 section 3.2.1.3; RFC 4291 sections 2.5.2, 2.5.3,
    /// 2.5.6 and 2.7).
    #[inline(always)]
    pub fn may_be_forwarded(&self) -> bool {
        let is_link_local = match self {
            Addr::V4(_) => false,
            Addr::V6([first, second, ..]) => *first == 0xfe && second & 0xc0 == 0x80,
        };
        self.is_unicast() && !self.is_loopback() && !is_link_local
    }

    /// Two words that tell the address from every other of its family, for hashing.
    pub fn words(&self) -> [u64; 2] {
        match *self {
            Addr::V4(bytes) => [0, u64::from(u32::from_be_bytes(bytes))],
            Addr::V6([a, b, c, d, e, f, g, h, low @ ..]) => [
                u64::from_be_bytes([a, b, c, d, e, f, g, h]),
                u64::from_be_bytes(low),
            ],
        }
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Addr::V4(bytes) => core::net::Ipv4Addr::from(bytes).fmt(f),
            Addr::V6(bytes) => core::net::Ipv6Addr::from(bytes).fmt(f),
        }
    }
}

/// What carries a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP (RFC 9329).
    Tcp,
}

impl Transport {
    /// What has this IP protocol number.
    #[inline]
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            number::UDP => Some(Transport::Udp),
            number::TCP => Some(Transport::Tcp),
            _ => None,
        }
    }

    /// Its IP protocol number.
    #[inline]
    pub fn number(self) -> u8 {
        match self {
            Transport::Udp => number::UDP,
            Transport::Tcp => number::TCP,
        }
    }
}

/// UDP/CIP:CPORT -> VIP:VPORT, what an entry stands for; or the same in TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// What carries it.
    pub transport: Transport,
    /// Address of the initiator (CIP).
    pub client: Addr,
    /// Its port.
    pub client_port: u16,
    /// Address of the virtual service (VIP).
    pub vip: Addr,
    /// Port at the service: [`crate::ike::PORT`] or [`crate::ike::NATT_PORT`].
    pub vip_port: u16,
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_addr))]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_other_lengths_are_no_address() {
        for len in 0..20 {
            let bytes = [1u8; 20];
            let addr = Addr::from_bytes(&bytes[..len]);
            assert_eq!((len, addr.is_some()), (len, len == 4 || len == 16));
            if let Some(addr) = addr {
                assert_eq!(addr.as_bytes(), &bytes[..len]);
            }
        }
    }

    #[test]
    fn unicast() {
        let v6 = |first, last| {
            let mut bytes = [0; 16];
            bytes[0] = first;
            bytes[15] = last;
            Addr::V6(bytes)
        };
        assert!(Addr::V4([192, 0, 2, 1]).is_unicast());
        assert!(!Addr::V4([0, 0, 0, 0]).is_unicast());
        assert!(!Addr::V4([224, 0, 0, 1]).is_unicast());
        assert!(!Addr::V4([255; 4]).is_unicast());
        assert!(v6(0x20, 1).is_unicast());
        assert!(!v6(0, 0).is_unicast());
        assert!(!v6(0xff, 2).is_unicast());
    }

    #[test]
    fn prefixes() {
        let v4 = Addr::V4([192, 0, 2, 255]);
        assert_eq!(v4.prefix(32), v4);
        assert_eq!(v4.prefix(25), Addr::V4([192, 0, 2, 128]));
        assert_eq!(v4.prefix(24), Addr::V4([192, 0, 2, 0]));
        assert_eq!(v4.prefix(0), Addr::V4([0; 4]));
        let v6 = Addr::V6([0xff; 16]);
        assert_eq!(v6.prefix(128), v6);
        let mut half = [0xff; 16];
        half[8..].fill(0);
        assert_eq!(v6.prefix(64), Addr::V6(half));
        assert_eq!(v6.prefix(0), Addr::V6([0; 16]));
    }

    #[test]
    fn loopback() {
        let mut one = [0; 16];
        one[15] = 1;
        assert!(Addr::V6(one).is_loopback());
        assert!(!Addr::V6([0; 16]).is_loopback());
        assert!(Addr::V4([127, 9, 9, 9]).is_loopback());
        assert!(!Addr::V4([128, 0, 0, 1]).is_loopback());
        assert!(!Addr::V6(one).may_be_forwarded());
        assert!(!Addr::V6([0; 16]).may_be_forwarded());
        assert!(!Addr::V4([127, 9, 9, 9]).may_be_forwarded());
        assert!(!Addr::V4([0, 9, 9, 9]).may_be_forwarded());
        assert!(Addr::V4([128, 0, 0, 1]).may_be_forwarded());
    }

    #[test]
    fn words_tell_addresses_apart() {
        assert_eq!(Addr::V4([1, 2, 3, 4]).words(), [0, 0x0102_0304]);
        let mut bytes = [0; 16];
        bytes[7] = 1;
        bytes[15] = 2;
        assert_eq!(Addr::V6(bytes).words(), [1, 2]);
    }
}
