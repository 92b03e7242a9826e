// SPDX-License-Identifier: GPL-2.0

//! Datagrams of one flow that a device, GRO or a socket has merged into one packet (pure).

use super::{isakmp::UDP_LEN, Payload, Ports};
use crate::{addr::Transport, ike};

/// Bytes of ESP that are there at least: SPI and sequence number.
const ESP_LEN: usize = 8;

/// Whether merged datagrams are ESP of one SA, so that what is done with the first is right for all.
/// `size` is what each of them carries, but for the last, which may carry less; `udp` is one header,
/// and what they carry behind it.
pub fn is_one_sa(udp: &impl Payload, size: usize) -> bool {
    let ports = Ports::of(Transport::Udp, udp);
    let is_natt = ports.is_some_and(|ports| {
        // On port 500 little is ESP, and that behind a marker.
        let both = [ports.source, ports.destination];
        both.contains(&ike::NATT_PORT) && !both.contains(&ike::PORT)
    });
    let spi = |begin| {
        let esp = udp.array::<ESP_LEN>(begin);
        esp.map(|[a, b, c, d, ..]| [a, b, c, d])
    };
    let first = spi(UDP_LEN);
    is_natt
        && size >= ESP_LEN
        && first.is_some_and(|spi| spi != [0; 4])
        && (UDP_LEN..udp.available())
            .step_by(size)
            .all(|begin| spi(begin) == first)
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_merged))]
mod tests {
    use super::super::{isakmp::tests::datagram, tests::Packet};
    use super::*;

    const ESP: [u8; 10] = [1, 2, 3, 4, 0, 0, 0, 1, 9, 9];

    fn is_one(port: u16, content: &[u8]) -> bool {
        is_one_sa(&&datagram(port, content)[..], ESP.len())
    }

    #[test]
    fn esp_of_one_spi_is() {
        let three = Packet::new(&ESP).and(&ESP).and(&ESP);
        assert!(is_one(4500, &three));
        // The last may be shorter, but is ESP.
        assert!(is_one(4500, &three[..28]));
        assert!(!is_one(4500, &three[..27]));
        assert!(!is_one(4500, &three[..21]));
        assert!(!is_one(500, &three));
        assert!(!is_one(4501, &three));
    }

    #[test]
    fn whatever_is_among_it_is_not() {
        for other in [[0; 10], [0xff; 10], [1, 2, 3, 5, 0, 0, 0, 1, 9, 9]] {
            assert!(!is_one(4500, &Packet::new(&other).and(&ESP)));
            assert!(!is_one(4500, &Packet::new(&ESP).and(&other)));
            assert!(!is_one(4500, &Packet::new(&ESP).and(&ESP).and(&other)));
        }
        assert!(!is_one(4500, &[0; 20]));
    }

    #[test]
    fn no_size_upsets_it() {
        let two = datagram(4500, &Packet::new(&ESP).and(&ESP));
        for size in 0..40 {
            // All that begins with the SPI: one datagram, or two.
            let is_one = size == 10 || size >= 20;
            assert_eq!((size, is_one_sa(&&two[..], size)), (size, is_one));
        }
        assert!(!is_one_sa(&&two[..7], 10));
        assert!(!is_one_sa(&&two[..3], 10));
    }
}
