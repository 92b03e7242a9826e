// SPDX-License-Identifier: GPL-2.0
//! What names a service: a virtual address, or a firewall mark and a family.

use std::net::IpAddr;
use std::str::FromStr;

use netlink_packet_core::DecodeError;
use serde::{Serialize, Serializer};

use crate::netlink::Request;
use crate::uapi;

/// Family of a service by mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    fn number(self) -> u32 {
        match self {
            Family::Ipv4 => libc::AF_INET.unsigned_abs(),
            Family::Ipv6 => libc::AF_INET6.unsigned_abs(),
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        [Family::Ipv4, Family::Ipv6]
            .into_iter()
            .find(|family| family.number() == number)
    }
}

/// As `ip -json` calls the families.
impl Serialize for Family {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Family::Ipv4 => "inet",
            Family::Ipv6 => "inet6",
        })
    }
}

/// The word SERVICE of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub(crate) enum ServiceKey {
    /// Packets to an address.
    Address { address: IpAddr },
    /// Packets with a mark.
    Mark {
        #[serde(rename = "fwmark")]
        mark: u32,
        family: Family,
    },
}

impl ServiceKey {
    /// The family of the service's packets.
    pub(crate) fn family(self) -> Family {
        match self {
            ServiceKey::Address { address } if address.is_ipv4() => Family::Ipv4,
            ServiceKey::Address { .. } => Family::Ipv6,
            ServiceKey::Mark { family, .. } => family,
        }
    }

    /// Names the service in a request about services.
    pub(crate) fn in_service(self, request: Request) -> Request {
        match self {
            ServiceKey::Address { address } => {
                request.address(uapi::IPVS_IPSEC_A_SERVICE_ADDRESS, address)
            }
            ServiceKey::Mark { mark, family } => request
                .u32(uapi::IPVS_IPSEC_A_SERVICE_MARK, mark)
                .u32(uapi::IPVS_IPSEC_A_SERVICE_FAMILY, family.number()),
        }
    }

    /// Names the service in a request about its servers.
    pub(crate) fn in_server(self, request: Request) -> Request {
        match self {
            ServiceKey::Address { address } => {
                request.address(uapi::IPVS_IPSEC_A_SERVER_SERVICE, address)
            }
            ServiceKey::Mark { mark, family } => request
                .u32(uapi::IPVS_IPSEC_A_SERVER_MARK, mark)
                .u32(uapi::IPVS_IPSEC_A_SERVER_FAMILY, family.number()),
        }
    }
}

impl FromStr for ServiceKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (family, number) = match text.split_once(':') {
            Some(("fwmark", number)) => (Family::Ipv4, number),
            Some(("fwmark6", number)) => (Family::Ipv6, number),
            _ => {
                let address = text.parse().map_err(|_| {
                    "not an IPv4 or IPv6 address, fwmark:N or fwmark6:N (names are not resolved)"
                })?;
                return Ok(ServiceKey::Address { address });
            }
        };
        let mark = mark(number).ok_or("a firewall mark is a number from 1 to 4294967295")?;
        Ok(ServiceKey::Mark { mark, family })
    }
}

/// 0 is what a packet has that was not marked.
fn mark(text: &str) -> Option<u32> {
    decimal_or_hex(text).filter(|mark| *mark > 0)
}

/// A number without sign: decimal, or hexadecimal after 0x.
pub(crate) fn decimal_or_hex(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    if digits.starts_with('+') {
        return None; // which Rust would take for a number
    }
    u32::from_str_radix(digits, radix).ok()
}

/// What the kernel tells of a service's key.
#[derive(Debug, Default)]
pub(super) struct KeyParts {
    pub(super) address: Option<IpAddr>,
    pub(super) mark: Option<u32>,
    pub(super) family: Option<u32>,
}

impl KeyParts {
    /// The key, without which the rest means nothing.
    pub(super) fn whole(&self) -> Result<ServiceKey, DecodeError> {
        match (self.address, self.mark, self.family) {
            (Some(address), ..) => Ok(ServiceKey::Address { address }),
            (None, Some(mark), Some(number)) => match Family::from_number(number) {
                Some(family) => Ok(ServiceKey::Mark { mark, family }),
                None => Err(DecodeError::from(format!("service of family {number}"))),
            },
            _ => Err(DecodeError::from(
                "service without address, or mark and family",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{SERVER, SERVICE};

    fn marked(mark: u32, family: Family) -> ServiceKey {
        ServiceKey::Mark { mark, family }
    }

    #[test]
    fn words() {
        for (word, key) in [
            (
                "192.0.2.1",
                ServiceKey::Address {
                    address: [192, 0, 2, 1].into(),
                },
            ),
            (
                "2001:db8::1",
                ServiceKey::Address {
                    address: "2001:db8::1".parse().unwrap(),
                },
            ),
            ("fwmark:1", marked(1, Family::Ipv4)),
            ("fwmark6:1", marked(1, Family::Ipv6)),
            ("fwmark:4294967295", marked(u32::MAX, Family::Ipv4)),
            ("fwmark:0xfFfFffff", marked(u32::MAX, Family::Ipv4)),
            ("fwmark6:0X1f", marked(31, Family::Ipv6)),
            ("fwmark:010", marked(10, Family::Ipv4)),
        ] {
            assert_eq!(word.parse(), Ok(key), "{word}");
        }
    }

    #[test]
    fn marks_have_a_range() {
        for word in [
            "fwmark:0",
            "fwmark:0x0",
            "fwmark6:0",
            "fwmark:4294967296",
            "fwmark:0x100000000",
            "fwmark:",
            "fwmark:0x",
            "fwmark:+1",
            "fwmark:0x+1",
            "fwmark:-1",
            "fwmark: 1",
            "fwmark:1/2",
            "fwmark:ff",
            "fwmark6:1:2",
        ] {
            assert_eq!(
                word.parse::<ServiceKey>(),
                Err("a firewall mark is a number from 1 to 4294967295"),
                "{word}"
            );
        }
    }

    #[test]
    fn anything_else_is_no_service() {
        for word in ["1", "fwmark", "fwmark1", "FWMARK:1", "fwmark4:1", "mark:1"] {
            let error = word.parse::<ServiceKey>().unwrap_err();
            assert!(
                error.starts_with("not an IPv4 or IPv6 address, fwmark:N"),
                "{word}"
            );
        }
    }

    #[test]
    fn a_family_has_the_kernel_s_number() {
        let sent = |word: &str| {
            let key: ServiceKey = word.parse().unwrap();
            let service = key.in_service(Request::new(1, &SERVICE)).attributes();
            assert_eq!(
                service,
                key.in_server(Request::new(5, &SERVER)).attributes(),
                "both sets begin with the same three"
            );
            service
        };
        let number = |number: u32| number.to_ne_bytes();
        assert_eq!(sent("192.0.2.1"), [8, 0, 1, 0, 192, 0, 2, 1]);
        assert_eq!(
            sent("fwmark:0x102"),
            [[8, 0, 2, 0], number(258), [8, 0, 3, 0], number(2)].concat()
        );
        assert_eq!(
            sent("fwmark6:7"),
            [[8, 0, 2, 0], number(7), [8, 0, 3, 0], number(10)].concat()
        );
    }

    #[test]
    fn the_kernel_s_parts() {
        let parts = |address: Option<IpAddr>, mark, family| {
            KeyParts {
                address,
                mark,
                family,
            }
            .whole()
        };
        assert_eq!(
            parts(None, Some(7), Some(2)).unwrap(),
            marked(7, Family::Ipv4)
        );
        assert_eq!(
            parts(None, Some(7), Some(10)).unwrap(),
            marked(7, Family::Ipv6)
        );
        let address = IpAddr::from([192, 0, 2, 1]);
        for (mark, family) in [(None, Some(2)), (Some(0), None), (Some(0), Some(2))] {
            assert_eq!(
                parts(Some(address), mark, family).unwrap(),
                ServiceKey::Address { address },
                "an address comes first"
            );
        }
        assert!(parts(None, Some(7), Some(3)).is_err());
        assert!(parts(None, Some(7), None).is_err());
        assert!(parts(None, None, Some(2)).is_err());
    }

    #[test]
    fn families() {
        for (word, family) in [
            ("192.0.2.1", Family::Ipv4),
            ("2001:db8::1", Family::Ipv6),
            ("fwmark:1", Family::Ipv4),
            ("fwmark6:1", Family::Ipv6),
        ] {
            assert_eq!(word.parse::<ServiceKey>().unwrap().family(), family);
        }
    }
}
