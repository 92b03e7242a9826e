// SPDX-License-Identifier: GPL-2.0

//! Data packets, ESP as it is or in UDP (pure): most of all packets, and easily told from the others.

use super::{isakmp::UDP_LEN, number, Payload, Ports};
use crate::{addr::Transport, ike};

/// Bytes of ESP that are there at least: SPI and sequence number.
const ESP_LEN: usize = 8;

/// A data packet. Whatever is none may still be one for [`super::Carrier`], which looks at
/// everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// ESP on IP.
    Esp,
    /// ESP in UDP on port 4500, and its SPI.
    InUdp(Ports, u32),
}

impl Data {
    /// The data packet that a packet of this `protocol` is, if it is one.
    #[inline(always)]
    pub fn of(protocol: u8, payload: &impl Payload) -> Option<Self> {
        match protocol {
            number::UDP => in_udp(payload),
            number::ESP => {
                let [a, b, c, d, ..] = payload.array::<ESP_LEN>(0)?;
                (u32::from_be_bytes([a, b, c, d]) != 0).then_some(Data::Esp)
            }
            _ => None,
        }
    }
}

#[inline(always)]
fn in_udp(payload: &impl Payload) -> Option<Data> {
    let header = payload.array::<{ UDP_LEN + ESP_LEN }>(0)?;
    let [udp @ .., a, b, c, d, _, _, _, _] = header;
    let [source, destination, len, _] = words(udp);
    let spi = u32::from_be_bytes([a, b, c, d]);
    let ports = Ports {
        transport: Transport::Udp,
        source,
        destination,
    };
    let len = usize::from(len);
    let is_whole = header.len() <= len && len <= payload.available();
    (ports.destination == ike::NATT_PORT && is_whole && spi != 0).then_some(Data::InUdp(ports, spi))
}

/// The words of four numbers in network byte order, taken out of a register rather than memory.
#[inline(always)]
fn words(bytes: [u8; 8]) -> [u16; 4] {
    let word = u64::from_be_bytes(bytes);
    [48, 32, 16, 0].map(|shift| u16::try_from((word >> shift) & 0xffff).unwrap_or(0))
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_data))]
mod tests {
    use super::super::{
        isakmp::tests::datagram,
        tests::{random, Packet},
        Carrier, Traffic,
    };
    use super::*;

    const ESP: [u8; 9] = [1, 2, 3, 4, 0, 0, 0, 1, 9];

    /// What it is for [`Carrier`], which looks at everything.
    fn traffic(protocol: u8, bytes: &[u8]) -> Option<Traffic> {
        Carrier::of(protocol, &bytes)?.parse(&bytes).ok()
    }

    #[test]
    fn data_is_what_it_is_for_the_parsers() {
        assert_eq!(Data::of(number::ESP, &&ESP[..]), Some(Data::Esp));
        let packet = datagram(4500, &ESP);
        match (
            Data::of(number::UDP, &&packet[..]),
            traffic(number::UDP, &packet),
        ) {
            (Some(Data::InUdp(ports, spi)), Some(Traffic::EspInUdp(same, 0x0102_0304))) => {
                assert_eq!((ports, spi), (same, 0x0102_0304));
            }
            other => panic!("{other:?}"),
        }
    }

    /// Whatever arrives, nothing is taken for data that the parsers take for anything else.
    #[test]
    fn nothing_else_is_data() {
        let mut random = random();
        let mut seen = 0;
        for round in 0..if cfg!(miri) { 400 } else { 20_000usize } {
            // Bytes that are zero, and lengths that are right, are rare among random ones.
            let mut buffer = [0u8; 40].map(|_| random() & random() & random());
            let bytes = &mut buffer[..round % 40];
            if let Some(ports) = bytes.get_mut(2..6) {
                ports.copy_from_slice(&[0x11, 0x94, 0, random() % 40]);
            }
            for protocol in [number::UDP, number::ESP, number::AH, number::TCP] {
                let Some(data) = Data::of(protocol, &&*bytes) else {
                    continue;
                };
                seen += 1;
                match (data, traffic(protocol, bytes)) {
                    (Data::Esp, Some(Traffic::Esp(_))) => {}
                    (Data::InUdp(ports, spi), Some(Traffic::EspInUdp(same, other))) => {
                        assert_eq!((ports, spi), (same, other));
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        assert!(seen > 100);
    }

    #[test]
    fn what_is_not_simple_is_left_to_the_parsers() {
        for content in [&[0; 12][..], &[0xff], &ESP[..7]] {
            assert_eq!(Data::of(number::UDP, &&datagram(4500, content)[..]), None);
        }
        let drafts = Packet::new(&[0; 8]).and(&ESP);
        assert_eq!(Data::of(number::UDP, &&datagram(500, &drafts)[..]), None);
        assert_eq!(Data::of(number::ESP, &&[0; 8][..]), None);
        assert_eq!(Data::of(number::ESP, &&ESP[..7]), None);
        assert_eq!(Data::of(number::AH, &&[1; 40][..]), None);
    }
}
