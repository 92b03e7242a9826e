// SPDX-License-Identifier: GPL-2.0

//! A packet of any protocol, to an address of a service or from one of its servers.
//!
//! The first byte of an input is the IP protocol number.

#![no_main]

#[path = "../../tests/pure/watched.rs"]
mod watched;

use libfuzzer_sys::fuzz_target;
use pure::addr::Transport;
use pure::proto::{Carrier, Data, Ports, Traffic, ike_reply, is_esp_in_udp, merged::is_one_sa};
use watched::Watched;

fuzz_target!(|input: &[u8]| {
    let Some((&protocol, bytes)) = input.split_first() else {
        return;
    };
    let packet = Watched::new(bytes);
    let _ = is_esp_in_udp(&packet);
    let _ = is_one_sa(&packet, protocol.into());
    let _ = Carrier::of_reply(protocol, &packet);
    if let Some(transport) = Transport::from_number(protocol) {
        let _ = ike_reply(transport, &packet);
    }
    let Some(carrier) = Carrier::of(protocol, &packet) else {
        return;
    };
    let packet = Watched::new(bytes);
    let verdict = carrier.parse(&packet);
    assert!(packet.end() <= bytes.len());
    // Nothing is taken for data by a look at its beginning that is something else.
    if let Some(data) = Data::of(protocol, &Watched::new(bytes)) {
        assert_eq!(
            Ok(data),
            verdict.map(|traffic| match traffic {
                Traffic::EspInUdp(ports, spi) => Data::InUdp(ports, spi),
                Traffic::Esp(_) => Data::Esp,
                other => panic!("{other:?}"),
            })
        );
    }
    let Ok(traffic) = verdict else {
        return;
    };
    assert!(matches!(
        (carrier, traffic),
        (
            Carrier::Udp,
            Traffic::Ike(..) | Traffic::Keepalive(_) | Traffic::EspInUdp(..)
        ) | (Carrier::Esp, Traffic::Esp(_))
            | (Carrier::Ah, Traffic::Ah(_))
            | (Carrier::Tcp, Traffic::Tcp(..))
    ));
    if let Traffic::Ike(ports, header) = traffic {
        assert_eq!(Some(ports), Ports::of(Transport::Udp, &packet));
        let begin = if ports.destination == 4500 { 12 } else { 8 };
        let spis = [header.initiator_spi, header.responder_spi]
            .map(u64::to_be_bytes)
            .concat();
        assert_eq!(bytes[begin..begin + 16], spis);
        assert!(packet.end() <= usize::from(u16::from_be_bytes([bytes[4], bytes[5]])));
    }
    // What a packet is does not depend on what is behind it. A segment has no length of its own.
    if carrier == Carrier::Tcp {
        return;
    }
    let longer = [bytes, &[0xa5; 64]].concat();
    assert_eq!(carrier.parse(&Watched::new(&longer)), verdict);
});
