// SPDX-License-Identifier: GPL-2.0

//! The module's pure code as a crate of its own, for `cargo test`, miri and fuzzers.
//!
//! The same files are modules of the kernel module (`ip_vs_ipsec_main.rs`).

#![cfg_attr(not(test), no_std)]
#![cfg_attr(
    test,
    allow(
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used,
        missing_docs
    )
)]

pub mod addr;
pub mod checksum;
pub mod ident;
pub mod ike;
pub mod ipv6;
pub mod proto;
pub mod reason;
pub mod sched;
pub mod siphash;
pub mod spi;
