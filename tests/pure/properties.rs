// SPDX-License-Identifier: GPL-2.0

//! What holds for all packets, tried with some thousands of them.

use crate::{
    messages::{datagram, messages, Sent},
    watched::Watched,
};
use proptest::{collection::vec, prelude::*, sample::select};
use pure::{
    addr::{Addr, Family},
    ike::{header, payload, NATT_PORT, PORT},
    ipv6,
    proto::{quote::Quote, Carrier, Traffic},
    reason::Reason,
};

const CARRIERS: [Carrier; 4] = [Carrier::Udp, Carrier::Esp, Carrier::Ah, Carrier::Tcp];

fn verdict(carrier: Carrier, bytes: &[u8]) -> Result<Traffic, Reason> {
    carrier.parse(&Watched::new(bytes))
}

fn udp(bytes: &[u8]) -> Result<Traffic, Reason> {
    verdict(Carrier::Udp, bytes)
}

/// The UDP length, if there is one.
fn udp_len(bytes: &[u8]) -> Option<usize> {
    let field = bytes.get(4..6)?.try_into().unwrap();
    Some(usize::from(u16::from_be_bytes(field)))
}

/// A datagram of which a few bytes are no longer as they were.
fn nearly_good() -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (messages(), changes).prop_map(|(sent, changes)| {
        let mut bytes = sent.datagram;
        for (index, byte) in changes {
            // Most bytes are content, which nobody reads.
            let place = index.index(bytes.len().min(64));
            bytes[place] = byte;
        }
        bytes
    })
}

fn anything() -> impl Strategy<Value = Vec<u8>> {
    let noise = || vec(any::<u8>(), 0..200);
    let port = select(&[PORT, NATT_PORT][..]);
    let to_ike = (noise(), port).prop_map(|(content, port)| datagram((7, port), &content));
    prop_oneof![noise(), to_ike, nearly_good()]
}

fn is_the_message(sent: &Sent, traffic: Traffic) -> bool {
    matches!(traffic, Traffic::Ike(ports, header)
        if header == sent.header && (ports.source, ports.destination) == sent.ports)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1024,
        // A finding becomes a test of its own; there is no file of them.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_bytes_get_one_verdict(bytes in anything()) {
        for carrier in CARRIERS {
            let watched = Watched::new(&bytes);
            let first = carrier.parse(&watched);
            prop_assert!(watched.end() <= bytes.len());
            prop_assert_eq!(first, verdict(carrier, &bytes));
        }
    }

    #[test]
    fn nothing_behind_a_datagram_counts(bytes in anything(), more in vec(any::<u8>(), 0..50)) {
        let Some(len) = udp_len(&bytes).filter(|len| (8..=bytes.len()).contains(len)) else {
            return Ok(());
        };
        let longer = [&bytes[..], &more].concat();
        let watched = Watched::new(&longer);
        prop_assert_eq!(Carrier::Udp.parse(&watched), udp(&bytes));
        prop_assert!(watched.end() <= len);
    }

    #[test]
    fn well_formed_messages_are_taken_for_what_they_are(sent in messages()) {
        prop_assert!(is_the_message(&sent, udp(&sent.datagram).unwrap()), "{:?}", sent);
    }

    /// Neither does a shorter one pass that says it is whole.
    #[test]
    fn what_is_cut_off_is_refused(sent in messages(), cut in any::<prop::sample::Index>()) {
        let cut = cut.index(sent.datagram.len());
        prop_assert_eq!(udp(&sent.datagram[..cut]), Err(Reason::Truncated));
        if let Some(content) = sent.datagram[..cut].get(8..) {
            prop_assert!(udp(&datagram(sent.ports, content)).is_err());
        }
    }

    /// If its header says no more than is there, it may pass; but as nothing else.
    #[test]
    fn a_shorter_message_is_no_other(sent in messages(), cut in any::<prop::sample::Index>()) {
        let begin = sent.message + header::LEN;
        let end = begin + cut.index(sent.datagram.len() - begin + 1);
        let len = u32::try_from(end - sent.message).unwrap();
        let shorter = sent.with(sent.message + 24, &len.to_be_bytes());
        match udp(&datagram(sent.ports, &shorter[8..end])) {
            Ok(traffic) => prop_assert!(is_the_message(&sent, traffic)),
            Err(reason) => prop_assert_eq!(reason, Reason::IkePayload),
        }
    }

    #[test]
    fn wrong_udp_lengths_are_refused(sent in messages(), field in any::<u16>()) {
        let right = usize::from(field) == sent.datagram.len();
        let verdict = udp(&sent.with(4, &field.to_be_bytes()));
        prop_assert_eq!(verdict.is_ok(), right);
    }

    #[test]
    fn wrong_ike_lengths_are_refused(sent in messages(), over in 1..=u32::MAX, under in 0..28u32) {
        let len = u32::try_from(sent.datagram.len() - sent.message).unwrap();
        for field in [under, len.saturating_add(over)] {
            let verdict = udp(&sent.with(sent.message + 24, &field.to_be_bytes()));
            prop_assert_eq!(verdict, Err(Reason::IkeLength));
        }
    }

    #[test]
    fn wrong_payload_lengths_are_refused(
        sent in messages(),
        which in any::<prop::sample::Index>(),
        over in 1..=u16::MAX,
        under in 0..4u16,
    ) {
        if sent.payloads.is_empty() {
            return Ok(());
        }
        let begin = sent.payloads[which.index(sent.payloads.len())];
        let left = u16::try_from(sent.datagram.len() - begin).unwrap();
        for field in [under, left.saturating_add(over)] {
            let verdict = udp(&sent.with(begin + 2, &field.to_be_bytes()));
            prop_assert_eq!(verdict, Err(Reason::IkePayload));
        }
    }

    #[test]
    fn a_chain_may_be_so_long(count in 1..300usize) {
        let mut message = vec![7; 16];
        let len = header::LEN + count * payload::LEN;
        message.extend([43, 0x20, 34, 8, 0, 0, 0, 0]);
        message.extend(u32::try_from(len).unwrap().to_be_bytes());
        message.extend([43, 0, 0, 4].repeat(count - 1));
        message.extend([0, 0, 0, 4]);
        let good = udp(&datagram((500, PORT), &message)).is_ok();
        prop_assert_eq!(good, count <= payload::MAX);
    }

    #[test]
    fn a_quoted_ipv4_packet_is_found(
        kind in select(&[3u8, 4, 11, 12][..]),
        options in vec(any::<[u8; 4]>(), 0..=10),
        source: [u8; 4],
        destination: [u8; 4],
        protocol in prop_oneof![select(&[6u8, 17][..]), any::<u8>()],
        content in vec(any::<u8>(), 0..40),
    ) {
        let words = u8::try_from(5 + options.len()).unwrap();
        let mut icmp = vec![kind, 0, 0, 0, 0, 0, 0, 0, 0x40 | words];
        icmp.extend([0; 8]);
        icmp.extend([protocol, 0, 0]);
        icmp.extend([source, destination].concat());
        icmp.extend(options.concat());
        let transport = icmp.len();
        icmp.extend(&content);
        let quote = Quote::of(Family::V4, &Watched::new(&icmp)).unwrap();
        prop_assert_eq!(quote.source, Addr::V4(source));
        prop_assert_eq!(quote.destination, Addr::V4(destination));
        prop_assert_eq!((quote.protocol, quote.transport), (protocol, transport));
        let ports = quote.ports(&Watched::new(&icmp));
        let has_ports = matches!(protocol, 6 | 17);
        prop_assert_eq!(ports.is_some(), has_ports && content.len() >= 4);
    }

    #[test]
    fn what_ipv6_carries_is_found(
        headers in vec((select(&[0u8, 43, 60][..]), 0..4u8), 0..12),
        protocol in select(&[17u8, 50, 51, 58, 59][..]),
    ) {
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, 0, 64];
        packet.extend([0; 32]);
        let mut named_at = 6;
        for (kind, units) in &headers {
            packet[named_at] = *kind;
            named_at = packet.len();
            packet.extend([0, *units]);
            packet.extend(vec![0; usize::from(*units) * 8 + 6]);
        }
        packet[named_at] = protocol;
        match ipv6::upper(&Watched::new(&packet)) {
            Some(upper) => {
                prop_assert!(headers.len() <= 8);
                prop_assert_eq!((upper.protocol, upper.offset), (protocol, packet.len()));
                prop_assert_eq!((upper.named_at, upper.is_later_fragment), (named_at, false));
            }
            None => prop_assert!(headers.len() > 8),
        }
    }

    #[test]
    fn any_icmp_is_survived(mut icmp in vec(any::<u8>(), 0..120), version in select(&[4u8, 6][..])) {
        if let Some([kind, .., first]) = icmp.get_mut(..9) {
            *kind &= 3;
            *first = (*first & 0xf) | (version << 4);
        }
        for family in [Family::V4, Family::V6] {
            let watched = Watched::new(&icmp);
            let quote = Quote::of(family, &watched);
            if let Some(quote) = quote {
                prop_assert!(watched.end() <= icmp.len() && quote.transport > quote.network);
                let _ = quote.ports(&watched);
            }
            prop_assert_eq!(quote, Quote::of(family, &watched));
        }
    }
}
