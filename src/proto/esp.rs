// SPDX-License-Identifier: GPL-2.0

//! ESP (pure). RFC 4303.

use super::{Payload, Protocol, Traffic};
use crate::reason::Reason;

/// Encapsulating Security Payload.
pub(super) struct Esp;

impl Protocol for Esp {
    #[inline]
    fn parse(payload: &impl Payload) -> Result<Traffic, Reason> {
        check(payload, 0).map(|()| Traffic::Esp)
    }
}

/// Checks the header that begins at `offset`: SPI, which zero is none of (RFC 4303 section 2.1),
/// and sequence number.
#[inline]
pub(super) fn check(payload: &impl Payload, offset: usize) -> Result<(), Reason> {
    match payload.array::<8>(offset) {
        None | Some([0, 0, 0, 0, ..]) => Err(Reason::EspMalformed),
        Some(_) => Ok(()),
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_esp))]
mod tests {
    use super::*;

    #[test]
    fn the_header_must_be_whole_and_the_spi_not_zero() {
        assert_eq!(Esp::parse(&&[0, 0, 0, 1, 0, 0, 0, 1][..]), Ok(Traffic::Esp));
        assert_eq!(
            Esp::parse(&&[0, 0, 0, 1, 0, 0, 0][..]),
            Err(Reason::EspMalformed)
        );
        assert_eq!(Esp::parse(&&[0; 40][..]), Err(Reason::EspMalformed));
        assert_eq!(Esp::parse(&&[][..]), Err(Reason::EspMalformed));
    }
}
