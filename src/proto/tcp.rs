// SPDX-License-Identifier: GPL-2.0

//! IKE and ESP in TCP, port 4500 (pure). RFC 9329.
//!
//! A stream begins with a prefix; then come messages, each after its length and, if it is IKE, the
//! marker that it has in UDP too. The director sees segments, and reads what stands at the beginning
//! of one. What does not begin there belongs to the flow all the same.

use super::{natt, Payload, Ports, Protocol, Traffic};
use crate::{
    addr::Transport,
    ike::{
        self,
        header::{self, Header},
    },
    reason::Reason,
};

/// Bytes of a TCP header without options.
const LEN: usize = 20;

/// What a stream begins with (RFC 9329 section 4).
const PREFIX: [u8; 6] = *b"IKETCP";

/// Bytes of the length before a message, which counts itself.
const LENGTH_LEN: usize = 2;

/// Flags in the fourteenth byte of the header.
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// What the director wants to know of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Whether it begins a connection.
    pub begins: bool,
    /// The header of the IKE message that it begins with, if it does.
    pub message: Option<Header>,
}

/// TCP on the port of IKE.
pub(super) struct Tcp;

impl Protocol for Tcp {
    #[inline]
    fn claims(payload: &impl Payload) -> bool {
        let ports = Ports::of(Transport::Tcp, payload);
        ports.is_some_and(|ports| ports.destination == ike::NATT_PORT)
    }

    fn parse(payload: &impl Payload) -> Result<Traffic, Reason> {
        let header: [u8; LEN] = payload.array(0).ok_or(Reason::Truncated)?;
        let ports = Ports::of(Transport::Tcp, payload).ok_or(Reason::Truncated)?;
        let len = header_len(&header);
        if !(LEN..=payload.available()).contains(&len) {
            return Err(Reason::Truncated);
        }
        let [_, _, _, _, _, _, _, _, _, _, _, _, _, flags, ..] = header;
        let segment = Segment {
            begins: flags & (SYN | ACK) == SYN,
            message: message(payload, len),
        };
        Ok(Traffic::Tcp(ports, segment))
    }
}

/// Whether a segment comes from the port of IKE.
#[inline]
pub(super) fn claims_reply(payload: &impl Payload) -> bool {
    let ports = Ports::of(Transport::Tcp, payload);
    ports.is_some_and(|ports| ports.source == ike::NATT_PORT)
}

/// The header of the IKE message that a segment from the port of IKE begins with.
pub(super) fn reply(payload: &impl Payload) -> Option<Header> {
    let header: [u8; LEN] = payload.array(0)?;
    claims_reply(payload)
        .then(|| message(payload, header_len(&header)))
        .flatten()
}

fn header_len(header: &[u8; LEN]) -> usize {
    let [_, _, _, _, _, _, _, _, _, _, _, _, words, ..] = header;
    usize::from(words >> 4) * 4
}

/// The header of the IKE message that what is carried from `offset` on begins with. The message
/// itself may go on in other segments.
fn message(payload: &impl Payload, offset: usize) -> Option<Header> {
    let begin = match payload.array(offset) {
        Some(PREFIX) => offset + PREFIX.len(),
        _ => offset,
    };
    let len = usize::from(u16::from_be_bytes(payload.array(begin)?));
    let marker = begin + LENGTH_LEN;
    if natt::is_esp(payload, marker) {
        return None;
    }
    let len = len.checked_sub(LENGTH_LEN + natt::MARKER_LEN)?;
    let bytes = payload.array::<{ header::LEN }>(marker + natt::MARKER_LEN)?;
    Header::parse(Some(&bytes), len).ok()
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_tcp))]
mod tests {
    use super::super::{tests::Packet, Carrier};
    use super::*;

    const IKE: [u8; 28] = [
        7, 7, 7, 7, 7, 7, 7, 7, 9, 9, 9, 9, 9, 9, 9, 9, //
        33, 0x20, 35, 0x08, 0, 0, 0, 0, 0, 0, 0, 28,
    ];

    fn segment(flags: u8, content: &[u8]) -> Packet {
        Packet::new(&[0x30, 0x39, 0x11, 0x94])
            .and(&[0; 8])
            .and(&[0x50, flags, 0, 0, 0, 0, 0, 0])
            .and(content)
    }

    fn parse(packet: &[u8]) -> Segment {
        match Carrier::Tcp.parse(&packet) {
            Ok(Traffic::Tcp(_, segment)) => segment,
            other => panic!("{other:?}"),
        }
    }

    fn framed() -> Packet {
        Packet::new(&[0, 34, 0, 0, 0, 0]).and(&IKE)
    }

    #[test]
    fn only_port_4500_is_claimed() {
        let mut packet = segment(SYN, &[]);
        assert_eq!(Carrier::of(6, &&packet[..]), Some(Carrier::Tcp));
        packet[3] = 0x95;
        assert_eq!(Carrier::of(6, &&packet[..]), None);
    }

    #[test]
    fn a_connection_begins_with_syn_alone() {
        for (flags, begins) in [
            (SYN, true),
            (SYN | 0xc0, true),
            (SYN | ACK, false),
            (ACK, false),
            (0, false),
        ] {
            assert_eq!((flags, parse(&segment(flags, &[])).begins), (flags, begins));
        }
    }

    #[test]
    fn ike_at_the_beginning_is_read() {
        let first = Packet::new(&PREFIX).and(&framed());
        for content in [&framed()[..], &first[..]] {
            let message = parse(&segment(ACK, content)).message;
            assert_eq!(
                message.map(|header| header.responder_spi),
                Some(0x0909_0909_0909_0909)
            );
        }
    }

    #[test]
    fn a_message_may_go_on_in_the_next_segment() {
        let mut long = framed();
        long[1] = 234; // of which 34 bytes are here
        long[33] = 228;
        assert!(parse(&segment(ACK, &long)).message.is_some());
        long[33] = 229; // more than the frame has
        assert!(parse(&segment(ACK, &long)).message.is_none());
    }

    #[test]
    fn all_else_is_just_a_segment() {
        let esp = Packet::new(&[0, 34, 1, 2, 3, 4]).and(&IKE);
        let cut = framed();
        for content in [
            &esp[..],
            &[],
            &PREFIX,
            &[0],
            &cut[..33],
            &[0xff; 40],
            &[0; 40],
        ] {
            assert_eq!(parse(&segment(ACK, content)).message, None);
        }
    }

    #[test]
    fn the_header_must_be_whole() {
        let mut packet = segment(ACK, &framed());
        assert_eq!(Carrier::Tcp.parse(&&packet[..19]), Err(Reason::Truncated));
        packet[12] = 0x40;
        assert_eq!(Carrier::Tcp.parse(&&packet[..]), Err(Reason::Truncated));
        packet[12] = 0xf0;
        assert_eq!(Carrier::Tcp.parse(&&packet[..54]), Err(Reason::Truncated));
    }

    #[test]
    fn a_reply_is_read_likewise() {
        let mut packet = segment(ACK, &framed());
        assert_eq!(reply(&&packet[..]), None);
        packet[..2].copy_from_slice(&[0x11, 0x94]);
        assert!(reply(&&packet[..]).is_some());
    }
}
