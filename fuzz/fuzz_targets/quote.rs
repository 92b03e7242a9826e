// SPDX-License-Identifier: GPL-2.0

//! An ICMP message of either family, and the packet it quotes.
//!
//! The lowest bit of an input's first byte is the family.

#![no_main]

#[path = "../../tests/pure/watched.rs"]
mod watched;

use libfuzzer_sys::fuzz_target;
use pure::{
    addr::{Addr, Family},
    proto::quote::{ICMP_LEN, Quote},
};
use watched::Watched;

fuzz_target!(|input: &[u8]| {
    let Some((&first, bytes)) = input.split_first() else {
        return;
    };
    let family = if first & 1 == 0 {
        Family::V4
    } else {
        Family::V6
    };
    let icmp = Watched::new(bytes);
    let Some(quote) = Quote::of(family, &icmp) else {
        return;
    };
    assert!(icmp.end() <= bytes.len());
    assert_eq!(quote.network, ICMP_LEN);
    let (version, least) = match (quote.source, quote.destination) {
        (Addr::V4(_), Addr::V4(_)) => (4, 20),
        (Addr::V6(_), Addr::V6(_)) => (6, 40),
        mixed => panic!("two families: {mixed:?}"),
    };
    assert_eq!(bytes[quote.network] >> 4, version);
    assert!(quote.transport >= quote.network + least);
    let ports = quote.ports(&icmp);
    let has_ports = matches!(quote.protocol, 6 | 17);
    assert_eq!(
        ports.is_some(),
        has_ports && quote.transport + 4 <= bytes.len()
    );
});
