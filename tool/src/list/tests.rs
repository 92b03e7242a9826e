// SPDX-License-Identifier: GPL-2.0
//! What is printed when the kernel answers so and so.

use super::collect::{Listing, collect};
use super::*;
use crate::netlink::script::{self, acknowledged, answer, attribute, attributes, done};
use crate::uapi;

/// An answer of numbers, after the attributes that are none.
fn told(others: &[(u16, &[u8])], numbers: &[(u16, u32)], drops: &[u8]) -> Vec<u8> {
    let mut bytes = attributes(others);
    for (kind, number) in numbers {
        bytes.extend(attribute(*kind, &number.to_ne_bytes()));
    }
    bytes.extend(drops);
    answer(0, &bytes)
}

fn drops(kind: u16, reasons: &[(u16, u32)]) -> Vec<u8> {
    let nested: Vec<u8> = reasons
        .iter()
        .flat_map(|(reason, packets)| attribute(*reason, &packets.to_ne_bytes()))
        .collect();
    attribute(kind | 0x8000, &nested)
}

/// Three services: of an address with all that can be said, and of a mark in both families.
fn services() -> Vec<u8> {
    let address = told(
        &[
            (1, &[192, 0, 2, 1]),
            (4, b"sh\0"),
            (14, &12_345_678_900u64.to_ne_bytes()),
        ],
        &[
            (5, 3),
            (6, 300),
            (7, 24),
            (8, 20),
            (9, 3600),
            (10, 100),
            (12, 7),
            (13, 70),
            (15, 60),
            (16, 6000),
            (17, 1),
            (18, 2),
            (19, 3),
            (20, 4),
            (21, 5),
        ],
        &drops(
            22,
            &[
                (uapi::IPVS_IPSEC_A_COUNTERS_DROP_NO_SERVER, 5),
                (uapi::IPVS_IPSEC_A_COUNTERS_DROP_NO_MEMORY, 0),
                (uapi::IPVS_IPSEC_A_COUNTERS_DROP_TABLE_FULL, 123),
            ],
        ),
    );
    let mark = told(
        &[(4, b"wlc\0")],
        &[(2, 1), (3, 2), (6, 60), (7, 32), (10, 5)],
        &[],
    );
    let mark6 = told(
        &[(4, b"mh\0")],
        &[(2, 1), (3, 10), (5, 2), (6, 9), (7, 64)],
        &[],
    );
    [address, mark, mark6].concat()
}

/// A server of each method, and of each service.
fn servers() -> Vec<u8> {
    let v6 = [
        0x20, 1, 0xd, 0xb8, 0x10, 0, 0x20, 0, 0x30, 0, 0x40, 0, 0x50, 0, 0x60, 0,
    ];
    let nat = told(
        &[
            (1, &[192, 0, 2, 1]),
            (4, &[10, 0, 0, 11]),
            (13, &(0xa1u64 << 56).to_be_bytes()),
            (14, &(0xffu64 << 56).to_be_bytes()),
        ],
        &[
            (5, 0),
            (6, 65535),
            (10, 1),
            (11, 100),
            (12, 75),
            (15, 0xc100_0000),
            (16, 0xc1ff_ffff),
            (17, 2),
            (18, 1),
            (19, 4),
            (20, 116),
            (21, 117),
            (22, 118),
            (23, 119),
            (24, 120),
            (25, 21),
            (26, 22),
            (27, 23),
            (28, 24),
            (29, 25),
        ],
        &drops(30, &[(uapi::IPVS_IPSEC_A_COUNTERS_DROP_MTU, 3)]),
    );
    let dr = told(
        &[(1, &[192, 0, 2, 1]), (4, &[10, 0, 0, 12])],
        &[(5, 3), (6, 1), (15, 256), (16, 511)],
        &[],
    );
    let local = told(
        &[(4, &[10, 0, 0, 13])],
        &[(2, 1), (3, 2), (5, 1), (6, 1)],
        &[],
    );
    let tun = told(
        &[(4, &v6), (8, &6080u16.to_be_bytes())],
        &[(2, 1), (3, 10), (5, 2), (6, 0), (7, 2), (9, 1)],
        &[],
    );
    [nat, dr, local, tun].concat()
}

fn listing(services: Vec<u8>, servers: Vec<u8>) -> Listing {
    let status = attributes(&[(1, b"0.1.0\0"), (2, &4096u32.to_ne_bytes())]);
    let mut answers = vec![answer(0, &status), acknowledged(&[])];
    for dump in [services, servers] {
        if !dump.is_empty() {
            answers.push(dump);
        }
        answers.push(done(0, &[]));
    }
    let (listing, settled) = collect(&mut script::connection(answers), None).unwrap();
    assert!(settled);
    listing
}

fn text(listing: &Listing, view: View) -> String {
    let mut out = Vec::new();
    listing.print(&mut out, view).unwrap();
    String::from_utf8(out).unwrap()
}

fn full(view: View) -> String {
    text(&listing(services(), servers()), view)
}

#[test]
fn an_empty_table_is_three_lines() {
    let empty = listing(Vec::new(), Vec::new());
    assert_eq!(
        text(&empty, View::Configured),
        "\
IPsec Virtual Server version 0.1.0 (size=4096)
Prot LocalAddress Scheduler Flags
  -> RemoteAddress                Forward Weight ActiveConn InActConn
"
    );
    for view in [
        View::Stats,
        View::Rate,
        View::Thresholds,
        View::Spis,
        View::Drops,
    ] {
        assert_eq!(text(&empty, view).lines().count(), 3);
    }
}

#[test]
fn what_is_configured() {
    assert_eq!(
        full(View::Configured),
        "\
IPsec Virtual Server version 0.1.0 (size=4096)
Prot LocalAddress Scheduler Flags
  -> RemoteAddress                Forward Weight ActiveConn InActConn
IPSEC 192.0.2.1 sh (sh-fallback,sh-port) persistent 300 mask 255.255.255.0 \
initial-timeout 20 established-timeout 3600 soft-entries 100
  -> 10.0.0.11                    Masq    65535  2          1
  -> 10.0.0.12                    Route   1      0          0
FWM  1 wlc persistent 60 soft-entries 5
  -> 10.0.0.13                    Local   1      0          0
FWM  1 IPv6 mh (mh-port) persistent 9 mask 64
  -> 2001:db8:1000:2000:3000:4000:5000:6000 Tunnel  0      0          0
"
    );
}

/// The mask is told as ipvsadm tells it, and only where there is persistence.
#[test]
fn masks() {
    for (family, seconds, length, expected) in [
        (2, 300, 1, "FWM  9 rr persistent 300 mask 128.0.0.0"),
        (2, 300, 31, "FWM  9 rr persistent 300 mask 255.255.255.254"),
        (2, 300, 32, "FWM  9 rr persistent 300"),
        (2, 0, 24, "FWM  9 rr"),
        (10, 300, 1, "FWM  9 IPv6 rr persistent 300 mask 1"),
        (10, 300, 32, "FWM  9 IPv6 rr persistent 300 mask 32"),
        (10, 300, 127, "FWM  9 IPv6 rr persistent 300 mask 127"),
        (10, 300, 128, "FWM  9 IPv6 rr persistent 300"),
    ] {
        let service = told(
            &[(4, b"rr\0")],
            &[(2, 9), (3, family), (6, seconds), (7, length)],
            &[],
        );
        let text = text(&listing(service, Vec::new()), View::Configured);
        assert_eq!(text.lines().last().unwrap(), expected);
    }
}

#[test]
fn what_was_counted() {
    assert_eq!(
        full(View::Stats),
        "\
IPsec Virtual Server version 0.1.0 (size=4096)
Prot LocalAddress                    Conns   InPkts  OutPkts  InBytes OutBytes
  -> RemoteAddress
IPSEC 192.0.2.1                          7       70       60 12345678900     6000
  -> 10.0.0.11                         116      117      119      118      120
  -> 10.0.0.12                           0        0        0        0        0
FWM  1                                   0        0        0        0        0
  -> 10.0.0.13                           0        0        0        0        0
FWM  1 IPv6                              0        0        0        0        0
  -> 2001:db8:1000:2000:3000:4000:5000:6000        0        0        0        0        0
"
    );
}

#[test]
fn what_is_counted_in_a_second() {
    assert_eq!(
        full(View::Rate),
        "\
IPsec Virtual Server version 0.1.0 (size=4096)
Prot LocalAddress                      CPS    InPPS   OutPPS    InBPS   OutBPS
  -> RemoteAddress
IPSEC 192.0.2.1                          1        2        3        4        5
  -> 10.0.0.11                          21       22       23       24       25
  -> 10.0.0.12                           0        0        0        0        0
FWM  1                                   0        0        0        0        0
  -> 10.0.0.13                           0        0        0        0        0
FWM  1 IPv6                              0        0        0        0        0
  -> 2001:db8:1000:2000:3000:4000:5000:6000        0        0        0        0        0
"
    );
}

#[test]
fn thresholds() {
    assert_eq!(
        full(View::Thresholds),
        "\
IPsec Virtual Server version 0.1.0 (size=4096)
Prot LocalAddress                 Uthreshold Lthreshold ActiveConn InActConn
  -> RemoteAddress
IPSEC 192.0.2.1 sh (sh-fallback,sh-port) persistent 300 mask 255.255.255.0 \
initial-timeout 20 established-timeout 3600 soft-entries 100
  -> 10.0.0.11                    100        75         2          1
  -> 10.0.0.12                    0          0          0          0
FWM  1 wlc persistent 60 soft-entries 5
  -> 10.0.0.13                    0          0          0          0
FWM  1 IPv6 mh (mh-port) persistent 9 mask 64
  -> 2001:db8:1000:2000:3000:4000:5000:6000 0          0          0          0
"
    );
}

#[test]
fn spis() {
    assert_eq!(
        full(View::Spis),
        "\
IPsec Virtual Server version 0.1.0 (size=4096)
Prot LocalAddress                 IkeLabel           IkeMask            EspSpis
  -> RemoteAddress
IPSEC 192.0.2.1 sh (sh-fallback,sh-port) persistent 300 mask 255.255.255.0 \
initial-timeout 20 established-timeout 3600 soft-entries 100
  -> 10.0.0.11                    0xa100000000000000 0xff00000000000000 0xc1000000-0xc1ffffff
  -> 10.0.0.12                    none               none               0x00000100-0x000001ff
FWM  1 wlc persistent 60 soft-entries 5
  -> 10.0.0.13                    none               none               none
FWM  1 IPv6 mh (mh-port) persistent 9 mask 64
  -> 2001:db8:1000:2000:3000:4000:5000:6000 none               none               none
"
    );
}

#[test]
fn reasons_for_drops() {
    assert_eq!(
        full(View::Drops),
        "\
IPsec Virtual Server version 0.1.0 (size=4096)
Prot LocalAddress                  Packets Reason
  -> RemoteAddress
IPSEC 192.0.2.1                          5 drop-no-server
                                       123 drop-table-full
  -> 10.0.0.11                           3 drop-mtu
  -> 10.0.0.12                           0
FWM  1                                   0
  -> 10.0.0.13                           0
FWM  1 IPv6                              0
  -> 2001:db8:1000:2000:3000:4000:5000:6000        0
"
    );
}

#[test]
fn json_holds_everything() {
    let json = serde_json::to_value(listing(services(), servers())).unwrap();
    assert_eq!(json["version"], "0.1.0");
    assert_eq!(json["table_size"], 4096);
    let services = json["services"].as_array().unwrap();
    let mut address = services[0].clone();
    let servers = address.as_object_mut().unwrap().remove("servers");
    assert_eq!(
        address,
        serde_json::json!({
            "address": "192.0.2.1", "scheduler": "sh", "scheduler_flags": ["fallback", "port"],
            "persistence_timeout": 300, "persistence_prefix": 24,
            "initial_timeout": 20, "established_timeout": 3600, "soft_entries": 100,
            "conns": 7, "in_packets": 70, "in_bytes": 12_345_678_900u64, "out_packets": 60,
            "out_bytes": 6000, "cps": 1, "in_pps": 2, "out_pps": 3, "in_bps": 4, "out_bps": 5,
            "drops": {"drop_no_server": 5, "drop_no_memory": 0, "drop_table_full": 123}
        })
    );
    let nat = serde_json::json!({
        "address": "10.0.0.11", "method": "nat", "weight": 65535, "encap": true,
        "upper_threshold": 100, "lower_threshold": 75,
        "ike_label": "0xa100000000000000", "ike_mask": "0xff00000000000000",
        "esp_spi_min": "0xc1000000", "esp_spi_max": "0xc1ffffff",
        "established": 2, "initial": 1, "persistent": 4,
        "conns": 116, "in_packets": 117, "in_bytes": 118, "out_packets": 119,
        "out_bytes": 120, "cps": 21, "in_pps": 22, "out_pps": 23, "in_bps": 24,
        "out_bps": 25, "drops": {"drop_mtu": 3}
    });
    let dr = serde_json::json!({
        "address": "10.0.0.12", "method": "dr", "weight": 1, "encap": false,
        "upper_threshold": 0, "lower_threshold": 0,
        "ike_label": "0x0000000000000000", "ike_mask": "0x0000000000000000",
        "esp_spi_min": "0x00000100", "esp_spi_max": "0x000001ff",
        "established": 0, "initial": 0, "persistent": 0,
        "conns": 0, "in_packets": 0, "in_bytes": 0, "out_packets": 0,
        "out_bytes": 0, "cps": 0, "in_pps": 0, "out_pps": 0, "in_bps": 0,
        "out_bps": 0, "drops": {}
    });
    assert_eq!(servers.unwrap(), serde_json::json!([nat, dr]));
    let key = |service: usize, name: &str| services[service][name].clone();
    assert_eq!(
        (key(1, "fwmark"), key(1, "family")),
        (1.into(), "inet".into())
    );
    assert_eq!(
        (key(2, "fwmark"), key(2, "family")),
        (1.into(), "inet6".into())
    );
    assert!(key(1, "address").is_null() && key(0, "fwmark").is_null());
    assert_eq!(
        key(2, "servers")[0]["tunnel"],
        serde_json::json!({"type": "gue", "port": 6080, "flags": ["csum"]})
    );
}
