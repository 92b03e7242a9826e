// SPDX-License-Identifier: GPL-2.0

//! The extension headers of IPv6 (pure). RFC 8200 section 4.

use crate::proto::Payload;

/// Bytes of the IPv6 header.
pub const HEADER_LEN: usize = 40;

/// Where the header says what follows it.
const NEXT_HEADER: usize = 6;

/// Most extension headers that are passed over. RFC 8200 section 4.1 has seven.
const MAX_HEADERS: usize = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

/// What follows the extension headers. AH counts as such: it is what we look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper {
    /// IP protocol number.
    pub protocol: u8,
    /// Where it begins, from the IPv6 header on.
    pub offset: usize,
    /// Where the number stands, for ICMP to point at.
    pub named_at: usize,
    /// Whether this is a fragment other than the first, without the beginning of what follows.
    pub is_later_fragment: bool,
}

/// Walks the extension headers of a packet that begins with its IPv6 header. `None` if they are
/// cut short, or too many.
pub fn upper(packet: &impl Payload) -> Option<Upper> {
    let [protocol] = packet.array(NEXT_HEADER)?;
    let mut upper = Upper {
        protocol,
        offset: HEADER_LEN,
        named_at: NEXT_HEADER,
        is_later_fragment: false,
    };
    for _ in 0..=MAX_HEADERS {
        let len = match upper.protocol {
            HOP_BY_HOP | ROUTING | DESTINATION => {
                let [units] = packet.array(upper.offset.checked_add(1)?)?;
                (usize::from(units) + 1) * 8
            }
            FRAGMENT => {
                let field = u16::from_be_bytes(packet.array(upper.offset.checked_add(2)?)?);
                upper.is_later_fragment |= field >> 3 != 0;
                8
            }
            _ => return Some(upper),
        };
        [upper.protocol] = packet.array(upper.offset)?;
        upper.named_at = upper.offset;
        upper.offset = upper.offset.checked_add(len)?;
        if upper.is_later_fragment {
            return Some(upper);
        }
    }
    None
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_ipv6))]
mod tests {
    use super::*;
    use crate::proto::tests::Packet;

    fn header(next: u8) -> Packet {
        let mut bytes = [0; HEADER_LEN];
        bytes[NEXT_HEADER] = next;
        Packet::new(&bytes)
    }

    fn walk(packet: &Packet) -> Option<Upper> {
        upper(&&packet[..])
    }

    #[test]
    fn without_extension_headers() {
        let upper = walk(&header(50)).unwrap();
        assert_eq!((upper.protocol, upper.offset), (50, 40));
        assert_eq!((upper.named_at, upper.is_later_fragment), (6, false));
    }

    /// ip_vs takes AH for an extension header and looks behind it.
    #[test]
    fn ah_behind_others_is_found() {
        let packet = header(HOP_BY_HOP)
            .and(&[ROUTING, 0, 0, 0, 0, 0, 0, 0])
            .and(&[DESTINATION, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
            .and(&[51, 0, 0, 0, 0, 0, 0, 0])
            .and(&[17, 4]);
        let upper = walk(&packet).unwrap();
        assert_eq!((upper.protocol, upper.offset), (51, 72));
        assert_eq!(upper.named_at, 64);
    }

    #[test]
    fn fragments() {
        let first = header(FRAGMENT).and(&[17, 0, 0, 1, 0, 0, 0, 0]);
        assert!(!walk(&first).unwrap().is_later_fragment);
        let later = header(FRAGMENT).and(&[17, 0, 0, 8, 0, 0, 0, 0]);
        let later = walk(&later).unwrap();
        assert!(later.is_later_fragment);
        assert_eq!(later.protocol, 17);
    }

    #[test]
    fn what_is_cut_short_or_endless_is_nothing() {
        assert_eq!(walk(&Packet::new(&[0; 6])), None);
        assert_eq!(walk(&header(HOP_BY_HOP)), None);
        assert_eq!(walk(&header(HOP_BY_HOP).and(&[50])), None);
        let mut packet = header(DESTINATION);
        for _ in 0..9 {
            packet = packet.and(&[DESTINATION, 0, 0, 0, 0, 0, 0, 0]);
        }
        assert_eq!(walk(&packet), None);
        let eight = |last| {
            let packet = header(DESTINATION);
            let packet = (0..7).fold(packet, |packet, _| {
                packet.and(&[DESTINATION, 0, 0, 0, 0, 0, 0, 0])
            });
            packet.and(&[last, 0, 0, 0, 0, 0, 0, 0])
        };
        assert_eq!(walk(&eight(50)).unwrap().protocol, 50);
    }
}
