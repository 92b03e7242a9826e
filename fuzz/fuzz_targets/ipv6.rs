// SPDX-License-Identifier: GPL-2.0

//! An IPv6 packet and its extension headers.

#![no_main]

#[path = "../../tests/pure/watched.rs"]
mod watched;

use libfuzzer_sys::fuzz_target;
use pure::ipv6;
use watched::Watched;

fuzz_target!(|bytes: &[u8]| {
    let packet = Watched::new(bytes);
    let Some(upper) = ipv6::upper(&packet) else {
        return;
    };
    assert!(packet.end() <= bytes.len());
    assert_eq!(bytes[upper.named_at], upper.protocol);
    assert!(upper.offset >= ipv6::HEADER_LEN && upper.offset > upper.named_at);
    // Extension headers end where something else begins, or is said to in another fragment.
    assert!(upper.is_later_fragment || ![0, 43, 44, 60].contains(&upper.protocol));
});
