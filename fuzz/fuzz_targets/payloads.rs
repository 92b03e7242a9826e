// SPDX-License-Identifier: GPL-2.0

//! The payloads of an IKE message, walked by the module and, in plainer words, by this file.

#![no_main]

#[path = "../../tests/pure/watched.rs"]
mod watched;

use libfuzzer_sys::fuzz_target;
use pure::ike::{
    header::{self, Fault, Header},
    payload::{self, Chain},
};
use watched::Watched;

/// Whether `body` begins with a chain of payloads, the first of which is of this kind.
fn walk(mut kind: u8, mut body: &[u8], is_ikev2: bool) -> bool {
    for _ in 0..payload::MAX {
        if kind == 0 {
            return true;
        }
        let &[next, _, l0, l1, ..] = body else {
            return false;
        };
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        if len < 4 || len > body.len() {
            return false;
        }
        if is_ikev2 && (kind == 46 || kind == 53) {
            return true;
        }
        (kind, body) = (next, &body[len..]);
    }
    kind == 0
}

fuzz_target!(|message: &[u8]| {
    let Some(header) = message.first_chunk::<{ header::LEN }>() else {
        return;
    };
    let chain = Chain::of(header);
    let packet = Watched::new(message);
    let result = chain.check(&packet, 0);
    assert!(packet.end() <= message.len());
    if Header::parse(Some(header), message.len()).is_err() {
        return;
    }
    let [.., l0, l1, l2, l3] = *header;
    let len = usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).unwrap();
    let is_ikev2 = header[17] >> 4 == 2;
    let is_encrypted = !is_ikev2 && header[19] & 1 != 0;
    let good = is_encrypted || walk(header[16], &message[header::LEN..len], is_ikev2);
    assert_eq!(result, if good { Ok(()) } else { Err(Fault::Payload) });
});
