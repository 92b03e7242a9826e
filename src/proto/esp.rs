// SPDX-License-Identifier: GPL-2.0

//! ESP (pure). RFC 4303.

use super::{Payload, Protocol, Traffic};
use crate::reason::Reason;

/// Encapsulating Security Payload.
pub(super) struct Esp;

impl Protocol for Esp {
    #[inline]
    fn parse(payload: &impl Payload) -> Result<Traffic, Reason> {
        spi(payload, 0).map(Traffic::Esp)
    }
}

/// The SPI in the header that begins at `offset` and has a sequence number behind it. Zero is no
/// SPI (RFC 4303 section 2.1).
#[inline]
pub(super) fn spi(payload: &impl Payload, offset: usize) -> Result<u32, Reason> {
    match payload.array::<8>(offset) {
        None | Some([0, 0, 0, 0, ..]) => Err(Reason::EspMalformed),
        Some([a, b, c, d, ..]) => Ok(u32::from_be_bytes([a, b, c, d])),
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_esp))]
mod tests {
    use super::*;

    #[test]
    fn the_header_must_be_whole_and_the_spi_not_zero() {
        assert_eq!(
            Esp::parse(&&[1, 2, 3, 4, 0, 0, 0, 1][..]),
            Ok(Traffic::Esp(0x0102_0304))
        );
        assert_eq!(
            Esp::parse(&&[0, 0, 0, 1, 0, 0, 0][..]),
            Err(Reason::EspMalformed)
        );
        assert_eq!(Esp::parse(&&[0; 40][..]), Err(Reason::EspMalformed));
        assert_eq!(Esp::parse(&&[][..]), Err(Reason::EspMalformed));
    }
}
