// SPDX-License-Identifier: GPL-2.0
//! What is printed of the entries that the kernel tells.

use super::*;
use crate::netlink::script::{self, answer, attributes, done, refused};
use netlink_packet_core::NLM_F_DUMP_INTR;

const UDP: u32 = 17;
const TCP: u32 = 6;

/// An entry; `numbers` are protocol, method, state, and milliseconds until its timer ends.
fn entry(
    (client, port): (&[u8], u16),
    (service, service_port): (&[u8], u16),
    server: &[u8],
    numbers: [u32; 4],
) -> Vec<u8> {
    let [protocol, method, state, expires] = numbers.map(u32::to_ne_bytes);
    attributes(&[
        (1, client),
        (2, &port.to_be_bytes()),
        (3, service),
        (4, &service_port.to_be_bytes()),
        (5, &protocol),
        (6, server),
        (7, &method),
        (8, &state),
        (9, &expires),
    ])
}

fn four() -> Vec<Vec<u8>> {
    let v6 = [
        0x20, 1, 0xd, 0xb8, 0x10, 0, 0x20, 0, 0x30, 0, 0x40, 0, 0x50, 0, 0x60, 0,
    ];
    let (vip, rip) = ([192, 0, 2, 1], [10, 0, 0, 11]);
    let (seven, eight) = ([198, 51, 100, 7], [198, 51, 100, 8]);
    let established = entry((&seven, 500), (&vip, 500), &rip, [UDP, 3, 1, 28_798_999]);
    let initial = entry(
        (&eight, 62001),
        (&vip, 500),
        &[10, 0, 0, 12],
        [UDP, 0, 0, 9_001],
    );
    let soft = entry(
        (&seven, 40123),
        (&[192, 0, 2, 2], 4500),
        &rip,
        [TCP, 3, 1, 0],
    );
    let nearly = entry((&v6, 500), (&v6, 500), &v6, [UDP, 2, 1, 999]);
    vec![
        [answer(0, &established), answer(0, &initial)].concat(),
        [answer(0, &soft), answer(0, &nearly)].concat(),
        done(0, &[]),
    ]
}

fn which(client: Option<&str>, service: Option<&str>) -> Which {
    Which {
        client: client.map(|address| address.parse().unwrap()),
        service: service.map(|address| address.parse().unwrap()),
    }
}

fn text(which: Which, answers: Vec<Vec<u8>>) -> String {
    let mut out = Vec::new();
    print(&mut script::connection(answers), which, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn json(which: Which, answers: Vec<Vec<u8>>) -> String {
    let mut out = Vec::new();
    print_json(&mut script::connection(answers), which, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_table() {
    assert_eq!(
        text(Which::default(), four()),
        "\
IPsec Virtual Server entries
pro expire state       source             virtual            destination        forward
UDP 479:58 ESTABLISHED 198.51.100.7:500   192.0.2.1:500      10.0.0.11          Route
UDP 00:09  INITIAL     198.51.100.8:62001 192.0.2.1:500      10.0.0.12          Masq
TCP soft   ESTABLISHED 198.51.100.7:40123 192.0.2.2:4500     10.0.0.11          Route
UDP 00:00  ESTABLISHED [2001:db8:1000:2000:3000:4000:5000:6000]:500 [2001:db8:1000:2000:3000:4000:5000:6000]:500 \
2001:db8:1000:2000:3000:4000:5000:6000 Tunnel
"
    );
}

#[test]
fn an_empty_table() {
    assert_eq!(
        text(Which::default(), vec![done(0, &[])]),
        concat!(
            "IPsec Virtual Server entries\n",
            "pro expire state       source             virtual            destination        forward\n"
        )
    );
    assert_eq!(json(Which::default(), vec![done(0, &[])]), "[]\n");
}

#[test]
fn only_what_is_meant() {
    for (client, service, expected) in [
        (Some("198.51.100.7"), None, 2),
        (None, Some("192.0.2.1"), 2),
        (Some("198.51.100.7"), Some("192.0.2.1"), 1),
        (Some("2001:db8:1000:2000:3000:4000:5000:6000"), None, 1),
        (Some("198.51.100.9"), None, 0),
        (Some("192.0.2.1"), None, 0),
    ] {
        let which = which(client, service);
        assert_eq!(text(which, four()).lines().count(), 2 + expected);
        let entries: Vec<serde_json::Value> = serde_json::from_str(&json(which, four())).unwrap();
        assert_eq!(entries.len(), expected);
        for (key, wanted) in [("client", client), ("service", service)] {
            if let Some(wanted) = wanted {
                assert!(entries.iter().all(|entry| entry[key] == wanted));
            }
        }
    }
}

#[test]
fn json_is_an_array_with_an_entry_a_line() {
    let printed = json(Which::default(), four());
    assert_eq!(printed.lines().count(), 6);
    let entries: Vec<serde_json::Value> = serde_json::from_str(&printed).unwrap();
    assert_eq!(entries.len(), 4);
    assert_eq!(entries[1]["client_port"], 62001);
    assert_eq!(entries[1]["state"], "initial");
    assert_eq!(entries[1]["method"], "nat");
    assert_eq!(entries[0]["expires_ms"], 28_798_999);
    assert_eq!(entries[2]["expires_ms"], 0);
    assert_eq!(entries[2]["protocol"], "tcp");
    assert_eq!(entries[3]["protocol"], "udp");
    assert_eq!(entries[3]["responder_spi"], "0000000000000000");
}

#[test]
fn a_refusal_prints_nothing() {
    let refuse = || script::connection(vec![refused(libc::EPERM, &[])]);
    let mut out = Vec::new();
    assert!(print(&mut refuse(), Which::default(), &mut out).is_err());
    assert!(print_json(&mut refuse(), Which::default(), &mut out).is_err());
    assert!(out.is_empty());
}

#[test]
fn a_dump_that_breaks_leaves_the_array_open() {
    let mut answers = four();
    *answers.last_mut().unwrap() = done(libc::ENOMEM, &[]);
    let mut out = Vec::new();
    let mut kernel = script::connection(answers);
    let error = print_json(&mut kernel, Which::default(), &mut out).unwrap_err();
    assert_eq!(error.to_string(), "Cannot allocate memory");
    assert!(serde_json::from_slice::<serde_json::Value>(&out).is_err());
}

/// A pipe that nobody reads.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_goes_away_ends_it() {
    let mut kernel = script::connection(four());
    let error = print(&mut kernel, Which::default(), &mut Closed).unwrap_err();
    assert!(error.is_broken_pipe(), "{error:?}");
    let mut kernel = script::connection(four());
    let error = print_json(&mut kernel, Which::default(), &mut Closed).unwrap_err();
    assert!(error.is_broken_pipe(), "{error:?}");
}

#[test]
fn a_changing_table_is_told() {
    let one = entry(
        (&[1, 1, 1, 1], 1),
        (&[2, 2, 2, 2], 500),
        &[3, 3, 3, 3],
        [UDP, 3, 0, 0],
    );
    let answers = vec![answer(NLM_F_DUMP_INTR, &one), done(0, &[])];
    let mut kernel = script::connection(answers);
    assert!(print(&mut kernel, Which::default(), &mut Vec::new()).unwrap());
}
