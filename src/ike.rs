// SPDX-License-Identifier: GPL-2.0

//! IKE as a director sees it (pure): its ports, its messages, and the two states of an entry.

pub mod header;
pub mod payload;
pub mod state;

/// UDP port of ISAKMP and IKE (RFC 2408 section 2.5.1, RFC 7296 section 2).
pub const PORT: u16 = 500;

/// UDP port of IKE and of ESP in UDP when NAT is traversed (RFC 3947, RFC 3948).
pub const NATT_PORT: u16 = 4500;
