// SPDX-License-Identifier: GPL-2.0

//! The header every ISAKMP and IKE message begins with (pure).
//!
//! RFC 2408 section 3.1, RFC 7296 section 3.1.

use core::ops::RangeInclusive;

/// Bytes of the header.
pub const LEN: usize = 28;

/// Why a message is no IKE that may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Shorter than the header.
    Short,
    /// Major version other than 1 (ISAKMP) and 2 (IKEv2).
    Version,
    /// The length field is below that of the header, or above what arrived.
    Length,
    /// An exchange type that is neither registered for this version nor private, or one that nobody
    /// begins without the responder's SPI.
    Exchange,
    /// The initiator SPI is zero.
    Spi,
    /// A payload shorter than its header, longer than what is left of the message, or one too many.
    Payload,
}

/// What the director needs to know of a well-formed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// SPI of the initiator ("cookie" in ISAKMP); never zero.
    pub initiator_spi: u64,
    /// SPI of the responder; zero in the first message of an IKE SA.
    pub responder_spi: u64,
    /// Whether it comes from the end that did not begin the IKE SA, as IKEv2 tells (RFC 7296
    /// section 3.1, flag I). ISAKMP does not.
    pub from_responder: bool,
    /// Whether it says nothing about the IKE SA: of a private exchange, or a notification in clear
    /// whose sender does not know the responder's SPI. It passes where there is an IKE SA, and moves
    /// nothing.
    pub is_aside: bool,
}

impl Header {
    /// Reads the header of a message of which `arrived` bytes came in, and checks it.
    ///
    /// `bytes` is the beginning of the message, or `None` if it is shorter than the header.
    pub fn parse(bytes: Option<&[u8; LEN]>, arrived: usize) -> Result<Self, Fault> {
        let [i0, i1, i2, i3, i4, i5, i6, i7, // initiator SPI
            r0, r1, r2, r3, r4, r5, r6, r7, // responder SPI
            _next_payload, version, exchange, flags,
            _, _, _, _, // message ID
            l0, l1, l2, l3] = *bytes.ok_or(Fault::Short)?;
        let mut header = Header {
            initiator_spi: u64::from_be_bytes([i0, i1, i2, i3, i4, i5, i6, i7]),
            responder_spi: u64::from_be_bytes([r0, r1, r2, r3, r4, r5, r6, r7]),
            from_responder: version >> 4 == 2 && flags & FLAG_INITIATOR == 0,
            is_aside: PRIVATE_EXCHANGES.contains(&exchange),
        };
        let known = match version >> 4 {
            1 => ISAKMP_EXCHANGES,
            2 => IKEV2_EXCHANGES,
            _ => return Err(Fault::Version),
        };
        // The length field has 32 bits, as usize on every machine this is built for or fewer.
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        if !usize::try_from(length).is_ok_and(|length| (LEN..=arrived).contains(&length)) {
            return Err(Fault::Length);
        }
        let known = known.iter().find(|known| known.number == exchange);
        if known.is_none() && !header.is_aside {
            return Err(Fault::Exchange);
        }
        if header.initiator_spi == 0 {
            return Err(Fault::Spi);
        }
        if let (0, Some(known)) = (header.responder_spi, known) {
            header.is_aside = known.notifies && flags & FLAG_ENCRYPTION == 0;
            if !known.begins && !header.is_aside {
                return Err(Fault::Exchange);
            }
        }
        Ok(header)
    }

    /// Whether it begins an IKE SA.
    #[inline]
    pub fn is_first(&self) -> bool {
        self.responder_spi == 0 && !self.from_responder && !self.is_aside
    }

    /// The SPI that its receiver has chosen, 0 if its sender does not know that. In ISAKMP the
    /// receiver is taken for the responder.
    #[inline]
    pub fn receiver_spi(&self) -> u64 {
        if self.from_responder {
            self.initiator_spi
        } else {
            self.responder_spi
        }
    }

    /// Whether `spi`, which is not 0, is that of either end.
    #[inline]
    pub fn shows(&self, spi: u64) -> bool {
        self.responder_spi == spi || self.initiator_spi == spi
    }
}

/// The original initiator sends this message (RFC 7296 section 3.1).
const FLAG_INITIATOR: u8 = 0x08;

/// All that follows the header of ISAKMP is encrypted (RFC 2408 section 3.1).
pub(super) const FLAG_ENCRYPTION: u8 = 0x01;

/// A registered exchange type, and what an initiator does with it that does not know the responder's
/// SPI.
struct Exchange {
    number: u8,
    /// Whether it begins an IKE SA.
    begins: bool,
    /// Whether it notifies, in clear, of what is wrong with the one that it has begun.
    notifies: bool,
}

const fn begins(number: u8) -> Exchange {
    Exchange {
        number,
        begins: true,
        notifies: false,
    }
}

const fn later(number: u8) -> Exchange {
    Exchange {
        number,
        begins: false,
        notifies: false,
    }
}

const fn notifies(number: u8) -> Exchange {
    Exchange {
        number,
        begins: false,
        notifies: true,
    }
}

/// For private use in either version, as Windows' AuthIP does.
const PRIVATE_EXCHANGES: RangeInclusive<u8> = 240..=255;

/// IANA "Internet Key Exchange (IKE) Attributes" and RFC 2408 section 3.1, RFC 2409.
const ISAKMP_EXCHANGES: &[Exchange] = &[
    begins(1),   // Base
    begins(2),   // Identity Protection, Main Mode
    begins(3),   // Authentication Only
    begins(4),   // Aggressive
    notifies(5), // Informational
    later(6),    // Transaction
    later(32),   // Quick Mode
    later(33),   // New Group Mode
];

/// IANA "Internet Key Exchange Version 2 (IKEv2) Parameters".
const IKEV2_EXCHANGES: &[Exchange] = &[
    begins(34), // IKE_SA_INIT
    later(35),  // IKE_AUTH
    later(36),  // CREATE_CHILD_SA
    later(37),  // INFORMATIONAL
    begins(38), // IKE_SESSION_RESUME
    later(39),  // GSA_AUTH
    later(40),  // GSA_REGISTRATION
    later(41),  // GSA_REKEY
    later(42),  // GSA_INBAND_REKEY
    later(43),  // IKE_INTERMEDIATE
    later(44),  // IKE_FOLLOWUP_KE
];

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_ike_header))]
mod tests {
    use super::*;

    fn message(version: u8, exchange: u8, responder_spi: u64) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(&0x1122_3344_5566_7788u64.to_be_bytes());
        bytes[8..16].copy_from_slice(&responder_spi.to_be_bytes());
        bytes[17] = version;
        bytes[18] = exchange;
        bytes[19] = FLAG_INITIATOR;
        bytes[24..].copy_from_slice(&28u32.to_be_bytes());
        bytes
    }

    #[test]
    fn a_first_message_is_read() {
        let header = Header::parse(Some(&message(0x20, 34, 0)), LEN);
        assert_eq!(
            header,
            Ok(Header {
                initiator_spi: 0x1122_3344_5566_7788,
                responder_spi: 0,
                from_responder: false,
                is_aside: false,
            })
        );
    }

    #[test]
    fn a_short_message_is_refused() {
        assert_eq!(Header::parse(None, 27), Err(Fault::Short));
    }

    #[test]
    fn only_major_versions_one_and_two_pass() {
        for version in 0..=255u8 {
            let exchange = if version >> 4 == 1 { 2 } else { 34 };
            let result = Header::parse(Some(&message(version, exchange, 0)), LEN);
            let wrong = !matches!(version >> 4, 1 | 2);
            assert_eq!(
                (version, result.err()),
                (version, wrong.then_some(Fault::Version))
            );
        }
    }

    #[test]
    fn the_length_field_is_held_against_what_arrived() {
        for (field, arrived, good) in [
            (27, 100, false),
            (28, 28, true),
            (28, 100, true),
            (100, 100, true),
            (101, 100, false),
            (u32::MAX, 100, false),
            (0, 28, false),
        ] {
            let mut bytes = message(0x20, 34, 0);
            bytes[24..].copy_from_slice(&field.to_be_bytes());
            let result = Header::parse(Some(&bytes), arrived);
            assert_eq!(
                (field, result.err()),
                (field, (!good).then_some(Fault::Length))
            );
        }
    }

    #[test]
    fn exchanges_belong_to_their_version() {
        assert!(Header::parse(Some(&message(0x10, 2, 0)), LEN).is_ok());
        assert_eq!(
            Header::parse(Some(&message(0x10, 34, 0)), LEN),
            Err(Fault::Exchange)
        );
        assert_eq!(
            Header::parse(Some(&message(0x20, 2, 0)), LEN),
            Err(Fault::Exchange)
        );
        assert_eq!(
            Header::parse(Some(&message(0x20, 45, 7)), LEN),
            Err(Fault::Exchange)
        );
    }

    #[test]
    fn only_some_exchanges_begin_an_ike_sa() {
        for exchange in 0..=255 {
            let first = Header::parse(Some(&message(0x20, exchange, 0)), LEN);
            let begins = first.is_ok_and(|header| header.is_first());
            assert_eq!(
                (exchange, begins),
                (exchange, exchange == 34 || exchange == 38)
            );
            let later = Header::parse(Some(&message(0x20, exchange, 7)), LEN);
            let moves = later.is_ok_and(|header| !header.is_aside);
            assert_eq!((exchange, moves), (exchange, (34..=44).contains(&exchange)));
        }
    }

    #[test]
    fn private_exchanges_pass_and_begin_nothing() {
        for exchange in 0..=255 {
            let is_private = (240..=255).contains(&exchange);
            for (version, responder_spi) in [(0x10, 0), (0x10, 7), (0x20, 0), (0x20, 7)] {
                let header = Header::parse(Some(&message(version, exchange, responder_spi)), LEN);
                let aside = header.is_ok_and(|header| header.is_aside && !header.is_first());
                // The other one that has this form.
                let notifies = (version, exchange, responder_spi) == (0x10, 5, 0);
                assert_eq!((exchange, aside), (exchange, is_private || notifies));
            }
        }
    }

    #[test]
    fn a_notification_without_responder_spi_is_in_clear() {
        let mut bytes = message(0x10, 5, 0);
        bytes[19] = 0;
        let header = Header::parse(Some(&bytes), LEN);
        assert!(header.is_ok_and(|header| header.is_aside && !header.is_first()));
        bytes[19] = FLAG_ENCRYPTION;
        assert_eq!(Header::parse(Some(&bytes), LEN), Err(Fault::Exchange));
        // With it, it is like any other message of an IKE SA.
        bytes[15] = 7;
        let header = Header::parse(Some(&bytes), LEN);
        assert!(header.is_ok_and(|header| !header.is_aside));
        assert_eq!(
            Header::parse(Some(&message(0x20, 37, 0)), LEN),
            Err(Fault::Exchange)
        );
    }

    #[test]
    fn ikev2_tells_which_end_began_the_ike_sa() {
        let parse = |version, exchange, responder_spi, flags| {
            let mut bytes = message(version, exchange, responder_spi);
            bytes[19] = flags;
            Header::parse(Some(&bytes), LEN).unwrap()
        };
        assert_eq!(parse(0x20, 35, 7, FLAG_INITIATOR).receiver_spi(), 7);
        let of_responder = parse(0x20, 35, 7, 0x20).receiver_spi();
        assert_eq!(of_responder, 0x1122_3344_5566_7788);
        // In ISAKMP this bit has no meaning.
        assert_eq!(parse(0x10, 5, 7, 1).receiver_spi(), 7);
        // One that answers with a COOKIE has no SPI yet, and begins nothing.
        assert!(parse(0x20, 34, 0, FLAG_INITIATOR).is_first());
        assert!(!parse(0x20, 34, 0, 0x20).is_first());
    }

    #[test]
    fn a_zero_initiator_spi_is_refused() {
        let mut bytes = message(0x20, 34, 7);
        bytes[..8].fill(0);
        assert_eq!(Header::parse(Some(&bytes), LEN), Err(Fault::Spi));
    }
}
