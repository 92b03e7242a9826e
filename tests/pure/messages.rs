// SPDX-License-Identifier: GPL-2.0

//! Well-formed datagrams with ISAKMP and IKE, by the dice.

use proptest::{collection::vec, prelude::*, sample::select};
use pure::ike::{header, header::Header, payload, NATT_PORT, PORT};

const ISAKMP: u8 = 1;
const ISAKMP_EXCHANGES: [u8; 8] = [1, 2, 3, 4, 5, 6, 32, 33];
const ISAKMP_BEGINS: [u8; 4] = [1, 2, 3, 4];
const IKEV2_EXCHANGES: [u8; 11] = [34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44];
const IKEV2_BEGINS: [u8; 2] = [34, 38];

/// A datagram, and what is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) datagram: Vec<u8>,
    pub(crate) header: Header,
    pub(crate) ports: (u16, u16),
    /// Where the IKE message begins.
    pub(crate) message: usize,
    /// Where each payload that is to be walked begins.
    pub(crate) payloads: Vec<usize>,
}

impl Sent {
    /// The same with another length of UDP, IKE or payload.
    pub(crate) fn with(&self, place: usize, field: &[u8]) -> Vec<u8> {
        let mut datagram = self.datagram.clone();
        datagram[place..place + field.len()].copy_from_slice(field);
        datagram
    }
}

/// A UDP datagram.
pub(crate) fn datagram(ports: (u16, u16), content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + content.len()).unwrap();
    let fields = [ports.0, ports.1, len, 0];
    let header = fields.iter().flat_map(|field| field.to_be_bytes());
    header.chain(content.iter().copied()).collect()
}

/// What a message is made of.
#[derive(Clone, Debug)]
struct Parts {
    version: u8,
    exchange: u8,
    header: Header,
    /// Those that nobody has encrypted.
    payloads: Vec<(u8, Vec<u8>)>,
    encrypted: Encrypted,
    padding: Vec<u8>,
}

/// What comes last, and cannot be read.
#[derive(Clone, Debug)]
enum Encrypted {
    Nothing,
    /// The whole message; its payloads are noise.
    Isakmp(Vec<u8>),
    /// A payload of this type; the type of the first one inside is noise, too.
    Ikev2(u8, u8, Vec<u8>),
}

impl Parts {
    fn sent(&self, ports: (u16, u16)) -> Sent {
        let message = if ports.1 == NATT_PORT { 12 } else { 8 };
        let mut chain: Vec<(u8, &[u8])> = Vec::new();
        let mut last = 0;
        let mut flags = 0x08;
        let mut first = None;
        let mut rest = &self.padding;
        if let Encrypted::Isakmp(noise) = &self.encrypted {
            (flags, first, rest) = (0x01, Some(8), noise);
        } else {
            chain.extend(
                self.payloads
                    .iter()
                    .map(|(kind, content)| (*kind, &content[..])),
            );
        }
        if let Encrypted::Ikev2(kind, inside, noise) = &self.encrypted {
            chain.push((*kind, noise));
            last = *inside;
        }

        let mut body = Vec::new();
        let mut payloads = Vec::new();
        for (index, (_, content)) in chain.iter().enumerate() {
            payloads.push(message + header::LEN + body.len());
            let next = chain.get(index + 1).map_or(last, |(kind, _)| *kind);
            let len = u16::try_from(payload::LEN + content.len()).unwrap();
            body.extend([next, 0]);
            body.extend(len.to_be_bytes());
            body.extend(*content);
        }
        body.extend(rest);

        let first = first.unwrap_or(chain.first().map_or(0, |(kind, _)| *kind));
        let len = u32::try_from(header::LEN + body.len()).unwrap();
        let mut content = vec![0; message - 8];
        content.extend(self.header.initiator_spi.to_be_bytes());
        content.extend(self.header.responder_spi.to_be_bytes());
        content.extend([first, self.version << 4, self.exchange, flags]);
        content.extend([0; 4]);
        content.extend(len.to_be_bytes());
        content.extend(body);
        Sent {
            datagram: datagram(ports, &content),
            header: self.header,
            ports,
            message,
            payloads,
        }
    }
}

fn noise(len: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..len)
}

/// Payloads of any type that is not the end of a chain.
fn payloads() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let kind = any::<u8>().prop_filter("one more", |kind| ![0, 46, 53].contains(kind));
    vec((kind, noise(40)), 0..20)
}

fn encrypted(version: u8) -> BoxedStrategy<Encrypted> {
    let end = if version == ISAKMP {
        noise(100).prop_map(Encrypted::Isakmp).boxed()
    } else {
        (select(&[46, 53][..]), any::<u8>(), noise(100))
            .prop_map(|(kind, inside, noise)| Encrypted::Ikev2(kind, inside, noise))
            .boxed()
    };
    prop_oneof![Just(Encrypted::Nothing), end].boxed()
}

/// Version, exchange and responder SPI that go together.
fn kinds() -> impl Strategy<Value = (u8, u8, u64)> {
    let later = 1..=u64::MAX;
    prop_oneof![
        (Just(1), select(&ISAKMP_BEGINS[..]), Just(0)),
        (Just(1), select(&ISAKMP_EXCHANGES[..]), later.clone()),
        (Just(2), select(&IKEV2_BEGINS[..]), Just(0)),
        (Just(2), select(&IKEV2_EXCHANGES[..]), later),
        (1..=2u8, 240..=255u8, any::<u64>()),
    ]
}

prop_compose! {
    /// Any well-formed message of either version, on either port.
    pub(crate) fn messages()(
        kind in kinds(),
    )(
        (version, exchange, responder_spi) in Just(kind),
        initiator_spi in 1..=u64::MAX,
        payloads in payloads(),
        encrypted in encrypted(kind.0),
        padding in noise(4),
        source in any::<u16>(),
        port in select(&[PORT, NATT_PORT][..]),
    ) -> Sent {
        // The generator's messages have the flag of the initiator, where there is one.
        let is_aside = exchange >= 240;
        let header = Header { initiator_spi, responder_spi, from_responder: false, is_aside };
        let parts = Parts { version, exchange, header, payloads, encrypted, padding };
        parts.sent((source, port))
    }
}
