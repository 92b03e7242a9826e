// SPDX-License-Identifier: GPL-2.0
//! SPIs on the command line, written as in strongSwan's configuration.

use std::num::IntErrorKind;

use crate::model::decimal_or_hex;

/// The least SPI of ESP and AH that is not reserved (RFC 4303 section 2.1).
const SPI_MIN: u32 = 256;

/// What --ike-label asks for: bits, or none any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label(pub(crate) Option<u64>);

/// What --esp-spis asks for; no range is 0 to 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EspSpis {
    pub(crate) min: u32,
    pub(crate) max: u32,
}

/// Bits of an IKE SPI. Without 0x strongSwan would take them for decimal.
pub(super) fn bits(text: &str) -> Result<u64, &'static str> {
    let digits = text.strip_prefix("0x").or(text.strip_prefix("0X"));
    let digits = digits.filter(|digits| !digits.starts_with('+'));
    match digits.map(|digits| u64::from_str_radix(digits, 16)) {
        Some(Ok(bits)) => Ok(bits),
        Some(Err(error)) if *error.kind() == IntErrorKind::PosOverflow => Err("more than 64 bits"),
        _ => Err("not a hexadecimal number such as 0xa100000000000000"),
    }
}

/// Bits of an IKE SPI, or none.
pub(super) fn label(text: &str) -> Result<Label, &'static str> {
    match text {
        "none" => Ok(Label(None)),
        _ => bits(text).map(|bits| Label(Some(bits))),
    }
}

/// A range of SPIs of ESP and AH, or none.
pub(super) fn esp_spis(text: &str) -> Result<EspSpis, &'static str> {
    if text == "none" {
        return Ok(EspSpis { min: 0, max: 0 });
    }
    let ends = text
        .split_once('-')
        .and_then(|(min, max)| Some((decimal_or_hex(min)?, decimal_or_hex(max)?)));
    match ends {
        None => Err("not a range MIN-MAX of numbers of 32 bits, such as 0xc1000000-0xc1ffffff"),
        Some((min, max)) if min > max => Err("the first SPI is greater than the last"),
        Some((min, _)) if min < SPI_MIN => Err("SPIs below 256 are reserved"),
        Some((min, max)) => Ok(EspSpis { min, max }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_masks_are_hexadecimal() {
        for (text, expected) in [
            ("0x0", 0),
            ("0xa100000000000000", 0xa1 << 56),
            ("0XA1", 0xa1),
            ("0x000000000000000000a1", 0xa1),
            ("0xffffffffffffffff", u64::MAX),
        ] {
            assert_eq!(bits(text), Ok(expected), "{text}");
            assert_eq!(label(text), Ok(Label(Some(expected))), "{text}");
        }
        assert_eq!(label("none"), Ok(Label(None)));
        assert!(bits("none").is_err());
        assert_eq!(bits("0x10000000000000000"), Err("more than 64 bits"));
        for text in [
            "", "0", "a1", "161", "0x", "0x+1", "0x-1", "0xg", "-0x1", " 0x1", "0x1 ",
        ] {
            let error = label(text).unwrap_err();
            assert!(error.starts_with("not a hexadecimal number"), "{text}");
        }
    }

    #[test]
    fn ranges() {
        for (text, min, max) in [
            ("256-256", 256, 256),
            ("0xc1000000-0xc1ffffff", 0xc100_0000, 0xc1ff_ffff),
            ("0x100-4294967295", 256, u32::MAX),
            ("none", 0, 0),
        ] {
            assert_eq!(esp_spis(text), Ok(EspSpis { min, max }), "{text}");
        }
        for (text, error) in [
            ("0x200-0x100", "the first SPI is greater than the last"),
            ("255-300", "SPIs below 256 are reserved"),
            ("0-0", "SPIs below 256 are reserved"),
        ] {
            assert_eq!(esp_spis(text), Err(error), "{text}");
        }
        for text in [
            "",
            "-",
            "256",
            "256-",
            "-256",
            "256-+300",
            "256-0x100000000",
            "c1000000-c1ffffff",
            "256-300-400",
            "256 - 300",
            "None",
        ] {
            let error = esp_spis(text).unwrap_err();
            assert!(error.starts_with("not a range MIN-MAX"), "{text}");
        }
    }
}
