// SPDX-License-Identifier: GPL-2.0

//! Reads the captures of ktests/corpus.py, as `write_pcap` of ktests/kt/packets.py writes them.

use std::{collections::HashMap, fs, path::Path};

/// What an IPv4 packet carries, after its fragments have been put together.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) protocol: u8,
    pub(crate) payload: Vec<u8>,
}

/// The packets of a file. All are IPv4 without options; fragments are in order.
pub(crate) fn read(name: &str) -> Vec<Packet> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("ktests/corpus")
        .join(name);
    let bytes = fs::read(file).unwrap();
    let mut records = &bytes[24..];
    let mut pieces: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    let mut packets = Vec::new();
    while !records.is_empty() {
        let len = u32::from_le_bytes(records[8..12].try_into().unwrap());
        let (record, rest) = records[16..].split_at(usize::try_from(len).unwrap());
        records = rest;
        let (header, payload) = record.split_at(20);
        assert_eq!(header[0], 0x45);
        let fragment = u16::from_be_bytes([header[6], header[7]]);
        let (more, offset) = (fragment & 0x2000 != 0, usize::from(fragment & 0x1fff) * 8);
        // Addresses and identification; all are UDP.
        let key = [&header[4..6], &header[12..]].concat();
        let mut whole = pieces.remove(&key).unwrap_or_default();
        assert_eq!(whole.len(), offset, "{name}: fragments are not in order");
        whole.extend(payload);
        if more {
            pieces.insert(key, whole);
        } else {
            let protocol = header[9];
            packets.push(Packet {
                protocol,
                payload: whole,
            });
        }
    }
    assert!(pieces.is_empty(), "{name}: fragments are missing");
    packets
}
