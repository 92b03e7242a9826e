// SPDX-License-Identifier: GPL-2.0

//! The chain of payloads in an ISAKMP or IKE message (pure).
//!
//! RFC 2408 section 3.2, RFC 7296 section 3.2.

use super::header::{self, Fault};
use crate::proto::Payload;

/// Bytes of the header each payload begins with.
pub const LEN: usize = 4;

/// Most payloads of a message. An initiator sends about twenty, if it tells many vendors' IDs.
pub const MAX: usize = 128;

/// "Next payload" of the last one.
const NONE: u8 = 0;

/// Payloads with others inside, encrypted: SK (RFC 7296 section 3.14) and SKF (RFC 7383 section
/// 2.5). Each is the last of its message, and its "next payload" is the first one inside.
const SEALED: [u8; 2] = [46, 53];

/// A chain, before it has been walked.
#[derive(Clone, Copy, Debug)]
pub struct Chain {
    /// Type of the first payload; `NONE` if there is none that can be read.
    first: u8,
    /// Bytes of the message behind its header.
    len: usize,
    /// Types of payload that are the end of a chain.
    sealed: &'static [u8],
}

impl Chain {
    /// The chain that a header announces. `Header::parse` has found the header good.
    pub fn of(header: &[u8; header::LEN]) -> Self {
        let [.., first, version, _exchange, flags, _, _, _, _, l0, l1, l2, l3] = *header;
        let len = usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        let isakmp = version >> 4 == 1;
        let encrypted = isakmp && flags & header::FLAG_ENCRYPTION != 0;
        Chain {
            first: if encrypted { NONE } else { first },
            len: len.saturating_sub(header::LEN),
            sealed: if isakmp { &[] } else { &SEALED },
        }
    }

    /// Walks the payloads of the message that begins at `offset` of its datagram, and checks that
    /// each lies within the message.
    ///
    /// What follows the last one is let pass. No RFC forbids it, and libreswan makes messages of
    /// IKEv1 a multiple of 4 bytes long ("ikepad").
    pub fn check(&self, datagram: &impl Payload, offset: usize) -> Result<(), Fault> {
        let mut kind = self.first;
        let mut at = offset.saturating_add(header::LEN);
        let mut left = self.len;
        let mut steps = 0..MAX;
        while kind != NONE {
            steps.next().ok_or(Fault::Payload)?;
            let [next, _, l0, l1] = datagram.array::<LEN>(at).ok_or(Fault::Payload)?;
            let len = usize::from(u16::from_be_bytes([l0, l1]));
            if !(LEN..=left).contains(&len) {
                return Err(Fault::Payload);
            }
            if self.sealed.contains(&kind) {
                break;
            }
            kind = next;
            at = at.saturating_add(len);
            left -= len;
        }
        Ok(())
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_ike_payload))]
mod tests {
    use super::*;
    use crate::proto::tests::Packet;

    const V1: u8 = 0x10;
    const V2: u8 = 0x20;

    /// A message whose length field is right until more is put behind it.
    fn message(version: u8, flags: u8, first: u8, body: &[u8]) -> Packet {
        let len = u8::try_from(header::LEN + body.len()).unwrap();
        Packet::new(&[7; 16])
            .and(&[first, version, 34, flags, 0, 0, 0, 0, 0, 0, 0, len])
            .and(body)
    }

    fn walk(message: &[u8]) -> Result<(), Fault> {
        let header = message.first_chunk().unwrap();
        Chain::of(header).check(&message, 0)
    }

    #[test]
    fn a_chain_is_walked_to_its_end() {
        let body = [
            40, 0, 0, 8, 1, 2, 3, 4, // SA, then
            43, 0, 0, 5, 1, // a nonce of an odd length, then
            0, 0, 0, 4, // a vendor's ID without content
        ];
        for version in [V1, V2] {
            assert_eq!(walk(&message(version, 0, 33, &body)), Ok(()));
        }
        // One more than is left.
        for (place, len) in [(3, 18), (11, 10), (16, 5)] {
            let mut long = message(V2, 0, 33, &body);
            long[header::LEN + place] = len;
            assert_eq!((place, walk(&long)), (place, Err(Fault::Payload)));
        }
    }

    #[test]
    fn a_message_may_have_no_payloads() {
        for version in [V1, V2] {
            assert_eq!(walk(&message(version, 0, 0, &[])), Ok(()));
            assert_eq!(walk(&message(version, 0, 33, &[])), Err(Fault::Payload));
        }
    }

    #[test]
    fn a_payload_is_no_shorter_than_its_header() {
        for len in 0..=5 {
            let result = walk(&message(V2, 0, 40, &[0, 0, 0, len, 1]));
            assert_eq!((len, result.is_ok()), (len, len >= 4));
        }
        for len in 0..4 {
            let result = walk(&message(V2, 0, 40, &[0, 0, 0, 4][..len]));
            assert_eq!((len, result), (len, Err(Fault::Payload)));
        }
    }

    #[test]
    fn the_message_ends_the_chain_and_not_the_datagram() {
        let datagram = message(V2, 0, 40, &[0, 0, 0, 5]).and(&[1]);
        assert_eq!(walk(&datagram), Err(Fault::Payload));
        let datagram = message(V2, 0, 40, &[33, 0, 0, 4]).and(&[0, 0, 0, 4]);
        assert_eq!(walk(&datagram), Err(Fault::Payload));
    }

    #[test]
    fn padding_is_let_pass() {
        for version in [V1, V2] {
            let padded = message(version, 0, 13, &[0, 0, 0, 5, 1, 0, 0, 0]);
            assert_eq!(walk(&padded), Ok(()));
            assert_eq!(walk(&message(version, 0, 0, &[9, 9])), Ok(()));
        }
    }

    #[test]
    fn encrypted_payloads_of_ikev2_end_the_chain() {
        for kind in SEALED {
            // A notification before it; what it names next is inside, and noise for us.
            let body = [kind, 0, 0, 4, 35, 0, 0, 8, 0xff, 0xff, 0xff, 0xff];
            assert_eq!(walk(&message(V2, 0, 41, &body)), Ok(()));
            assert_eq!(walk(&message(V1, 0, 41, &body)), Err(Fault::Payload));
            let mut long = message(V2, 0, 41, &body);
            long[header::LEN + 7] = 9;
            assert_eq!(walk(&long), Err(Fault::Payload));
        }
    }

    #[test]
    fn encrypted_messages_of_isakmp_are_not_entered() {
        assert_eq!(walk(&message(V1, 0x01, 8, &[0xff; 16])), Ok(()));
        assert_eq!(
            walk(&message(V1, 0x02, 8, &[0xff; 16])),
            Err(Fault::Payload)
        );
        // The flag has no meaning in IKEv2.
        assert_eq!(
            walk(&message(V2, 0x01, 41, &[0xff; 16])),
            Err(Fault::Payload)
        );
    }

    #[test]
    fn a_chain_has_a_bound() {
        let mut bytes = [0; header::LEN + (MAX + 1) * LEN];
        for (count, good) in [(1, true), (MAX, true), (MAX + 1, false)] {
            let len = header::LEN + count * LEN;
            bytes[16..18].copy_from_slice(&[43, V2]);
            bytes[24..28].copy_from_slice(&u32::try_from(len).unwrap().to_be_bytes());
            for payload in bytes[header::LEN..len].chunks_exact_mut(LEN) {
                payload.copy_from_slice(&[43, 0, 0, 4]);
            }
            bytes[len - LEN] = NONE;
            assert_eq!((count, walk(&bytes[..len]).is_ok()), (count, good));
        }
    }
}
