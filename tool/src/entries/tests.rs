// SPDX-License-Identifier: GPL-2.0
//! What is printed of the entries that the kernel tells.

use super::*;
use crate::netlink::script::{self, answer, attributes, done, refused};
use netlink_packet_core::NLM_F_DUMP_INTR;

fn entry(
    client: &[u8],
    port: u16,
    service: &[u8],
    server: &[u8],
    method: u32,
    state: u32,
    expires: u32,
) -> Vec<u8> {
    attributes(&[
        (1, client),
        (2, &port.to_be_bytes()),
        (3, service),
        (4, &500u16.to_be_bytes()),
        (5, server),
        (6, &method.to_ne_bytes()),
        (7, &state.to_ne_bytes()),
        (8, &expires.to_ne_bytes()),
    ])
}

fn three() -> Vec<Vec<u8>> {
    let v6 = [
        0x20, 1, 0xd, 0xb8, 0x10, 0, 0x20, 0, 0x30, 0, 0x40, 0, 0x50, 0, 0x60, 0,
    ];
    vec![
        [
            answer(
                0,
                &entry(
                    &[198, 51, 100, 7],
                    500,
                    &[192, 0, 2, 1],
                    &[10, 0, 0, 11],
                    3,
                    1,
                    28_798_999,
                ),
            ),
            answer(
                0,
                &entry(
                    &[198, 51, 100, 8],
                    62001,
                    &[192, 0, 2, 1],
                    &[10, 0, 0, 12],
                    0,
                    0,
                    9_001,
                ),
            ),
        ]
        .concat(),
        answer(0, &entry(&v6, 500, &v6, &v6, 2, 1, 999)),
        done(0, &[]),
    ]
}

fn text(answers: Vec<Vec<u8>>) -> String {
    let mut out = Vec::new();
    print(&mut script::connection(answers), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn json(answers: Vec<Vec<u8>>) -> String {
    let mut out = Vec::new();
    print_json(&mut script::connection(answers), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_table() {
    assert_eq!(
        text(three()),
        "\
IPsec Virtual Server entries
pro expire state       source             virtual            destination        forward
UDP 479:58 ESTABLISHED 198.51.100.7:500   192.0.2.1:500      10.0.0.11          Route
UDP 00:09  INITIAL     198.51.100.8:62001 192.0.2.1:500      10.0.0.12          Masq
UDP 00:00  ESTABLISHED [2001:db8:1000:2000:3000:4000:5000:6000]:500 [2001:db8:1000:2000:3000:4000:5000:6000]:500 \
2001:db8:1000:2000:3000:4000:5000:6000 Tunnel
"
    );
}

#[test]
fn an_empty_table() {
    assert_eq!(
        text(vec![done(0, &[])]),
        concat!(
            "IPsec Virtual Server entries\n",
            "pro expire state       source             virtual            destination        forward\n"
        )
    );
    assert_eq!(json(vec![done(0, &[])]), "[]\n");
}

#[test]
fn json_is_an_array_with_an_entry_a_line() {
    let printed = json(three());
    assert_eq!(printed.lines().count(), 5);
    let entries: Vec<serde_json::Value> = serde_json::from_str(&printed).unwrap();
    assert_eq!(entries.len(), 3);
    assert_eq!(entries[1]["client_port"], 62001);
    assert_eq!(entries[1]["state"], "initial");
    assert_eq!(entries[1]["method"], "nat");
    assert_eq!(entries[0]["expires_ms"], 28_798_999);
    assert_eq!(entries[2]["responder_spi"], "0000000000000000");
}

#[test]
fn a_refusal_prints_nothing() {
    let mut out = Vec::new();
    assert!(
        print(
            &mut script::connection(vec![refused(libc::EPERM, &[])]),
            &mut out
        )
        .is_err()
    );
    assert!(
        print_json(
            &mut script::connection(vec![refused(libc::EPERM, &[])]),
            &mut out
        )
        .is_err()
    );
    assert!(out.is_empty());
}

#[test]
fn a_dump_that_breaks_leaves_the_array_open() {
    let mut answers = three();
    *answers.last_mut().unwrap() = done(libc::ENOMEM, &[]);
    let mut out = Vec::new();
    let error = print_json(&mut script::connection(answers), &mut out).unwrap_err();
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
    let error = print(&mut script::connection(three()), &mut Closed).unwrap_err();
    assert!(error.is_broken_pipe(), "{error:?}");
    let error = print_json(&mut script::connection(three()), &mut Closed).unwrap_err();
    assert!(error.is_broken_pipe(), "{error:?}");
}

#[test]
fn a_changing_table_is_told() {
    let answers = vec![
        answer(
            NLM_F_DUMP_INTR,
            &entry(&[1, 1, 1, 1], 1, &[2, 2, 2, 2], &[3, 3, 3, 3], 3, 0, 0),
        ),
        done(0, &[]),
    ];
    assert!(print(&mut script::connection(answers), &mut Vec::new()).unwrap());
}
