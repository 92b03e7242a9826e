// SPDX-License-Identifier: GPL-2.0
//! What a service and a server count alike.

use netlink_packet_core::DecodeError;
use serde::Serialize;

use super::parse_uint;
use crate::names::AttributeSet;

/// Entries, packets and bytes since the service or server was added, and now in a second.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Traffic {
    pub(crate) conns: u64,
    pub(crate) in_packets: u64,
    pub(crate) in_bytes: u64,
    pub(crate) out_packets: u64,
    pub(crate) out_bytes: u64,
    pub(crate) cps: u64,
    pub(crate) in_pps: u64,
    pub(crate) out_pps: u64,
    pub(crate) in_bps: u64,
    pub(crate) out_bps: u64,
}

impl Traffic {
    /// Reads an attribute, if it is one of these. Both sets of attributes use the same names.
    pub(super) fn take(
        &mut self,
        set: &AttributeSet,
        kind: u16,
        value: &[u8],
    ) -> Result<(), DecodeError> {
        let counter = match set.name(kind).as_str() {
            "conns" => &mut self.conns,
            "in-packets" => &mut self.in_packets,
            "in-bytes" => &mut self.in_bytes,
            "out-packets" => &mut self.out_packets,
            "out-bytes" => &mut self.out_bytes,
            "cps" => &mut self.cps,
            "in-pps" => &mut self.in_pps,
            "out-pps" => &mut self.out_pps,
            "in-bps" => &mut self.in_bps,
            "out-bps" => &mut self.out_bps,
            _ => return Ok(()),
        };
        *counter = parse_uint(value)?;
        Ok(())
    }
}
