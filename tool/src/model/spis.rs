// SPDX-License-Identifier: GPL-2.0
//! SPIs that name a real server.

use std::fmt::LowerHex;

use serde::{Serialize, Serializer};

/// What a server's own SPIs have in common. They are told as the command line and strongSwan take
/// them, with 0x.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Spis {
    #[serde(serialize_with = "hex")]
    pub(crate) ike_label: u64,
    /// 0 if IKE SPIs do not name the server.
    #[serde(serialize_with = "hex")]
    pub(crate) ike_mask: u64,
    #[serde(serialize_with = "hex")]
    pub(crate) esp_spi_min: u32,
    /// 0 if SPIs of ESP and AH do not name the server.
    #[serde(serialize_with = "hex")]
    pub(crate) esp_spi_max: u32,
}

impl Spis {
    /// What stands in a listing: label, mask and range.
    pub(crate) fn words(&self) -> [String; 3] {
        let none = || "none".to_owned();
        let [label, mask] = if self.ike_mask == 0 {
            [none(), none()]
        } else {
            [with_0x(&self.ike_label), with_0x(&self.ike_mask)]
        };
        let range = if self.esp_spi_max == 0 {
            none()
        } else {
            format!(
                "{}-{}",
                with_0x(&self.esp_spi_min),
                with_0x(&self.esp_spi_max)
            )
        };
        [label, mask, range]
    }
}

/// All digits, so that equal places stand below each other.
fn with_0x<T: LowerHex>(spi: &T) -> String {
    let digits = 2 * size_of::<T>();
    format!("0x{spi:0digits$x}")
}

fn hex<T: LowerHex, S: Serializer>(spi: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&with_0x(spi))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_json() {
        let spis = Spis {
            ike_label: 0x0a << 56,
            ike_mask: 0xff << 56,
            esp_spi_min: 0x100,
            esp_spi_max: 0xc1ff_ffff,
        };
        assert_eq!(
            spis.words(),
            [
                "0x0a00000000000000",
                "0xff00000000000000",
                "0x00000100-0xc1ffffff"
            ]
        );
        assert_eq!(
            serde_json::to_string(&spis).unwrap(),
            concat!(
                r#"{"ike_label":"0x0a00000000000000","ike_mask":"0xff00000000000000","#,
                r#""esp_spi_min":"0x00000100","esp_spi_max":"0xc1ffffff"}"#
            )
        );
        assert_eq!(Spis::default().words(), ["none"; 3]);
    }

    #[test]
    fn a_label_of_zeros_is_one() {
        let spis = Spis {
            ike_mask: 3,
            ..Spis::default()
        };
        let [label, mask, range] = spis.words();
        assert_eq!(label, "0x0000000000000000");
        assert_eq!(mask, "0x0000000000000003");
        assert_eq!(range, "none");
    }
}
