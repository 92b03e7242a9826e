// SPDX-License-Identifier: GPL-2.0
//! The module's status in this network namespace.

use netlink_packet_core::{DecodeError, parse_string, parse_u32};
use serde::Serialize;

use super::{Counters, each};
use crate::error::Result;
use crate::names::NONE;
use crate::netlink::{Connection, Request, Wire};
use crate::uapi;

/// Version, table and counters.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Status {
    pub(crate) version: String,
    pub(crate) table_size: u32,
    pub(crate) entries: u32,
    pub(crate) initial: u32,
    pub(crate) sweep_step_us: u32,
    pub(crate) sweep_lag_ms: u32,
    pub(crate) counters: Counters,
}

impl Status {
    /// Asks the kernel.
    pub(crate) fn get<W: Wire>(kernel: &mut Connection<W>) -> Result<Self> {
        kernel.get(
            &Request::new(uapi::IPVS_IPSEC_CMD_STATUS_GET, &NONE),
            Self::decode,
        )
    }

    /// Reads the attributes of one message.
    fn decode(attributes: &[u8]) -> std::result::Result<Self, DecodeError> {
        let mut status = Status::default();
        each(attributes, |kind, attribute| {
            let value = attribute.value();
            match kind {
                uapi::IPVS_IPSEC_A_STATUS_VERSION => status.version = parse_string(value)?,
                uapi::IPVS_IPSEC_A_STATUS_TABLE_SIZE => status.table_size = parse_u32(value)?,
                uapi::IPVS_IPSEC_A_STATUS_ENTRIES => status.entries = parse_u32(value)?,
                uapi::IPVS_IPSEC_A_STATUS_INITIAL => status.initial = parse_u32(value)?,
                uapi::IPVS_IPSEC_A_STATUS_SWEEP_STEP => status.sweep_step_us = parse_u32(value)?,
                uapi::IPVS_IPSEC_A_STATUS_SWEEP_LAG => status.sweep_lag_ms = parse_u32(value)?,
                uapi::IPVS_IPSEC_A_STATUS_COUNTERS => status.counters = Counters::decode(value)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(status)
    }

    /// The first line of a listing.
    pub(crate) fn title(&self) -> String {
        format!(
            "IPsec Virtual Server version {} (size={})",
            self.version, self.table_size
        )
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::netlink::script::{self, acknowledged, answer, attributes};

    /// A status-get reply.
    pub(crate) fn example() -> Vec<u8> {
        let counters = attributes(&[
            (uapi::IPVS_IPSEC_A_COUNTERS_IKE, &16u32.to_ne_bytes()),
            (uapi::IPVS_IPSEC_A_COUNTERS_ESP, &(1u64 << 33).to_ne_bytes()),
            (
                uapi::IPVS_IPSEC_A_COUNTERS_DROP_IKE_SHORT,
                &0u32.to_ne_bytes(),
            ),
            (
                uapi::IPVS_IPSEC_A_COUNTERS_DROP_ESP_NO_ENTRY,
                &5u32.to_ne_bytes(),
            ),
            (999, &1u32.to_ne_bytes()),
        ]);
        attributes(&[
            (1, b"0.1.0\0"),
            (2, &4096u32.to_ne_bytes()),
            (3, &12u32.to_ne_bytes()),
            (4, &1u32.to_ne_bytes()),
            (5, &250u32.to_ne_bytes()),
            (6, &1004u32.to_ne_bytes()),
            (7 | 0x8000, &counters),
            (55, b"tomorrow"),
        ])
    }

    #[test]
    fn status_and_nested_counters() {
        let mut kernel = script::connection(vec![answer(0, &example()), acknowledged(&[])]);
        let status = Status::get(&mut kernel).unwrap();
        assert_eq!(
            status.title(),
            "IPsec Virtual Server version 0.1.0 (size=4096)"
        );
        assert_eq!(
            serde_json::to_string(&status).unwrap(),
            concat!(
                r#"{"version":"0.1.0","table_size":4096,"entries":12,"initial":1,"#,
                r#""sweep_step_us":250,"sweep_lag_ms":1004,"counters":{"#,
                r#""ike":16,"esp":8589934592,"drop_ike_short":0,"drop_esp_no_entry":5,"counter_999":1}}"#
            )
        );
    }
}
