// SPDX-License-Identifier: GPL-2.0

//! What strongSwan sends (ktests/corpus.py) must be found good, to the last packet.

use crate::{
    pcap::{self, Packet},
    watched::Watched,
};
use pure::proto::{Carrier, Traffic};
use std::collections::BTreeMap;

/// What a packet is to the director.
fn kind(packet: &Packet) -> String {
    let payload = Watched::new(&packet.payload);
    let carrier = Carrier::of(packet.protocol, &payload).unwrap();
    match carrier.parse(&payload).unwrap() {
        Traffic::Ike(ports, header) => {
            let begin = if ports.destination == 4500 { 12 } else { 8 };
            let message = &packet.payload[begin..];
            assert_eq!(message[..8], header.initiator_spi.to_be_bytes());
            assert_eq!(message[8..16], header.responder_spi.to_be_bytes());
            format!("IKE exchange {} on {}", message[18], ports.destination)
        }
        Traffic::Keepalive(_) => "keepalive".into(),
        Traffic::EspInUdp(..) => "ESP in UDP".into(),
        Traffic::Esp(_) => "ESP".into(),
        Traffic::Ah(_) => "AH".into(),
        Traffic::Tcp(..) => "TCP".into(),
    }
}

fn check(packets: &[Packet], expected: &[(&str, usize)]) {
    let mut found = BTreeMap::new();
    for packet in packets {
        *found.entry(kind(packet)).or_insert(0) += 1;
    }
    let expected = expected.iter().map(|(kind, n)| (kind.to_string(), *n));
    assert_eq!(found, expected.collect());
}

#[test]
fn what_initiators_send() {
    check(
        &pcap::read("initiators.pcap"),
        &[
            ("AH", 2),
            ("ESP", 6),
            ("ESP in UDP", 4),
            ("IKE exchange 2 on 4500", 2),
            ("IKE exchange 2 on 500", 4),
            ("IKE exchange 32 on 4500", 2),
            ("IKE exchange 32 on 500", 2),
            ("IKE exchange 34 on 500", 4),
            ("IKE exchange 35 on 4500", 3),
            ("IKE exchange 35 on 500", 1),
            ("IKE exchange 36 on 4500", 6),
            ("IKE exchange 36 on 500", 2),
            ("IKE exchange 37 on 4500", 6),
            ("IKE exchange 37 on 500", 2),
            ("IKE exchange 5 on 4500", 2),
            ("IKE exchange 5 on 500", 2),
            ("IKE exchange 6 on 4500", 2),
            ("IKE exchange 6 on 500", 2),
            ("keepalive", 2),
        ],
    );
}

/// A gateway's answers have the ports of its VIP on the other side, and the form of what it gets.
#[test]
fn what_gateways_answer() {
    let mut answers = pcap::read("responders.pcap");
    for answer in &mut answers {
        if answer.protocol == 17 {
            let (source, rest) = answer.payload.split_at_mut(2);
            source.swap_with_slice(&mut rest[..2]);
        }
    }
    check(
        &answers,
        &[
            ("AH", 2),
            ("ESP", 6),
            ("ESP in UDP", 4),
            ("IKE exchange 2 on 4500", 2),
            ("IKE exchange 2 on 500", 4),
            ("IKE exchange 32 on 4500", 2),
            ("IKE exchange 32 on 500", 2),
            ("IKE exchange 34 on 500", 4),
            ("IKE exchange 35 on 4500", 3),
            ("IKE exchange 35 on 500", 1),
            ("IKE exchange 36 on 4500", 6),
            ("IKE exchange 36 on 500", 2),
            ("IKE exchange 37 on 4500", 6),
            ("IKE exchange 37 on 500", 2),
            ("IKE exchange 6 on 4500", 2),
            ("IKE exchange 6 on 500", 2),
        ],
    );
}
