// SPDX-License-Identifier: GPL-2.0

//! AH (pure). RFC 4302.

use super::{Payload, Protocol, Traffic};
use crate::reason::Reason;

/// Bytes of the header without its integrity check value.
const LEN: usize = 12;

/// Authentication Header.
pub(super) struct Ah;

impl Protocol for Ah {
    #[inline]
    fn parse(payload: &impl Payload) -> Result<Traffic, Reason> {
        let Some([_next, words, _, _, spi @ .., _, _, _, _]) = payload.array::<LEN>(0) else {
            return Err(Reason::AhMalformed);
        };
        // In words of 4 bytes, minus 2 (RFC 4302 section 2.2).
        let len = (usize::from(words) + 2) * 4;
        if spi == [0; 4] || !(LEN..=payload.available()).contains(&len) {
            return Err(Reason::AhMalformed);
        }
        Ok(Traffic::Ah(u32::from_be_bytes(spi)))
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_ah))]
mod tests {
    use super::*;

    fn header(words: u8, spi: u8) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[1] = words;
        bytes[7] = spi;
        bytes
    }

    #[test]
    fn the_header_must_be_whole_and_the_spi_not_zero() {
        assert_eq!(Ah::parse(&&header(4, 1)[..]), Ok(Traffic::Ah(1)));
        assert_eq!(Ah::parse(&&header(1, 2)[..]), Ok(Traffic::Ah(2)));
        assert_eq!(Ah::parse(&&header(4, 0)[..]), Err(Reason::AhMalformed));
        assert_eq!(Ah::parse(&&header(4, 1)[..11]), Err(Reason::AhMalformed));
    }

    #[test]
    fn the_length_field_is_held_against_what_arrived() {
        assert_eq!(Ah::parse(&&header(0, 1)[..]), Err(Reason::AhMalformed));
        assert_eq!(Ah::parse(&&header(5, 1)[..]), Err(Reason::AhMalformed));
        assert_eq!(Ah::parse(&&header(255, 1)[..]), Err(Reason::AhMalformed));
    }
}
