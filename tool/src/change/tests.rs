// SPDX-License-Identifier: GPL-2.0
//! What command lines make the command send.

use super::*;
use crate::cli::{self, Command, EntryCommand};
use crate::netlink::script::attributes;

fn request(words: &str) -> Request {
    match cli::parse(words.split_whitespace()).unwrap().command {
        Command::Service(command) => service(&command),
        Command::Server(command) => server(&command),
        Command::Entry(EntryCommand::Flush { which }) => entry_flush(which),
        _ => panic!("{words}: not a change"),
    }
}

/// What follows the service in a request: number and value of each attribute.
#[track_caller]
fn says(words: &str, key: usize, expected: &[(u16, &[u8])]) {
    let sent = request(words).attributes();
    assert_eq!(sent[key..], attributes(expected), "{words}");
}

#[track_caller]
fn service_says(options: &str, kind: u16, value: &[u8]) {
    for verb in ["add", "set"] {
        let words = format!("ipvs-ipsec service {verb} 192.0.2.1 {options}");
        let sent = request(&words).attributes();
        assert!(
            sent[8..].ends_with(&attributes(&[(kind, value)])),
            "{words}"
        );
    }
}

#[test]
fn commands_have_their_numbers() {
    for (words, number) in [
        ("service add 192.0.2.1", 1),
        ("service set 192.0.2.1", 2),
        ("service del 192.0.2.1", 3),
        ("server add 192.0.2.1 10.0.0.11", 5),
        ("server set 192.0.2.1 10.0.0.11", 6),
        ("server del 192.0.2.1 10.0.0.11", 7),
        ("entry flush", 10),
    ] {
        assert_eq!(request(&format!("ipvs-ipsec {words}")).command(), number);
    }
    assert_eq!(flush().command(), 12);
    assert_eq!(fastpath_add(1).command(), 13);
    assert_eq!(fastpath_del(1).command(), 14);
}

#[test]
fn only_what_was_said_is_sent() {
    let address = (1, &[192, 0, 2, 1][..]);
    for verb in ["add", "set", "del"] {
        says(
            &format!("ipvs-ipsec service {verb} 192.0.2.1"),
            0,
            &[address],
        );
        says(
            &format!("ipvs-ipsec server {verb} 192.0.2.1 10.0.0.11"),
            0,
            &[address, (4, &[10, 0, 0, 11])],
        );
    }
}

#[test]
fn a_mark_goes_in_place_of_the_address() {
    let key: [(u16, &[u8]); 2] = [(2, &9u32.to_ne_bytes()), (3, &10u32.to_ne_bytes())];
    for verb in ["add", "set", "del"] {
        says(&format!("ipvs-ipsec service {verb} fwmark6:9"), 0, &key);
        says(
            &format!("ipvs-ipsec server {verb} fwmark6:9 10.0.0.11"),
            0,
            &[key[0], key[1], (4, &[10, 0, 0, 11])],
        );
    }
}

#[test]
fn strings_end_in_nul_and_are_padded() {
    let service = request("ipvs-ipsec service set 2001:db8::1 -s wlc");
    assert_eq!(
        service.attributes()[20..],
        [8, 0, 4, 0, b'w', b'l', b'c', 0]
    );
    let service = request("ipvs-ipsec service set 2001:db8::1 -s rr");
    assert_eq!(service.attributes()[20..], [7, 0, 4, 0, b'r', b'r', 0, 0]);
}

#[test]
fn scheduler_flags() {
    for (options, flags) in [
        ("-s sh -b sh-fallback", 1u32),
        ("-s sh -b sh-port", 2),
        ("-s sh -b sh-port,sh-fallback", 3),
        ("-s mh -b mh-fallback,port", 3),
        ("-s mh --sched-flags mh-port", 2),
        ("-b fallback", 1),
        ("-b port,port", 2),
        ("-b none", 0),
    ] {
        service_says(options, 5, &flags.to_ne_bytes());
    }
}

#[test]
fn persistence() {
    for (options, seconds) in [
        ("-p", 300u32),
        ("--persistent", 300),
        ("-p 0", 0),
        ("-p60", 60),
        (
            "--persistent=2678400",
            uapi::IPVS_IPSEC_PERSISTENCE_TIMEOUT_MAX,
        ),
        ("-p -s rr", 300),
    ] {
        // The scheduler is sent first, wherever it stood.
        service_says(options, 6, &seconds.to_ne_bytes());
    }
    for (options, length) in [
        ("-M 24", 24u32),
        ("-M /24", 24),
        ("-M 255.255.255.0", 24),
        ("--netmask 255.255.255.255", 32),
        ("-p -M 128.0.0.0", 1),
    ] {
        service_says(options, 7, &length.to_ne_bytes());
    }
    says(
        "ipvs-ipsec service set fwmark6:1 -M /128 -p 9",
        16,
        &[(6, &9u32.to_ne_bytes()), (7, &128u32.to_ne_bytes())],
    );
}

#[test]
fn lives_of_entries() {
    for (options, kind, value) in [
        ("--initial-timeout 0", 8, 0u32),
        ("--initial-timeout 3600", 8, 3600),
        ("--established-timeout 0", 9, 0),
        ("--established-timeout 2592000", 9, 2_592_000),
        ("--soft-entries 0", 10, 0),
        ("--soft-entries 65536", 10, 65536),
    ] {
        service_says(options, kind, &value.to_ne_bytes());
    }
    says(
        "ipvs-ipsec service set 192.0.2.1 --soft-entries 5 --established-timeout 60 -p 9",
        8,
        &[
            (6, &9u32.to_ne_bytes()),
            (9, &60u32.to_ne_bytes()),
            (10, &5u32.to_ne_bytes()),
        ],
    );
}

#[test]
fn spis_of_a_server() {
    let spi = |spi: u64| spi.to_be_bytes();
    let number = |number: u32| number.to_ne_bytes();
    for verb in ["add", "set"] {
        let says = |options: &str, expected: &[(u16, &[u8])]| {
            let words = format!("ipvs-ipsec server {verb} 192.0.2.1 10.0.0.11 {options}");
            says(&words, 16, expected);
        };
        says(
            "--ike-label 0xa100000000000000 --ike-mask 0xff00000000000000",
            &[(13, &spi(0xa1 << 56)), (14, &spi(0xff << 56))],
        );
        says("--ike-label none", &[(13, &spi(0)), (14, &spi(0))]);
        says(
            "--esp-spis 0xc1000000-0xc1ffffff",
            &[(15, &number(0xc100_0000)), (16, &number(0xc1ff_ffff))],
        );
        says("--esp-spis none", &[(15, &number(0)), (16, &number(0))]);
    }
    // What was configured before is the kernel's to look at.
    says(
        "ipvs-ipsec server set 192.0.2.1 10.0.0.11 --ike-label 0x1",
        16,
        &[(13, &spi(1))],
    );
    says(
        "ipvs-ipsec server set 192.0.2.1 10.0.0.11 --ike-mask 0x3",
        16,
        &[(14, &spi(3))],
    );
}

#[test]
fn entries_to_be_removed() {
    let (client, service) = ((1, &[198, 51, 100, 7][..]), (3, &[192, 0, 2, 1][..]));
    says("ipvs-ipsec entry flush", 0, &[]);
    says("ipvs-ipsec entry flush --client 198.51.100.7", 0, &[client]);
    says("ipvs-ipsec entry flush --service 192.0.2.1", 0, &[service]);
    says(
        "ipvs-ipsec entry flush --service 192.0.2.1 --client 198.51.100.7",
        0,
        &[client, service],
    );
}

#[test]
fn a_device_goes_by_its_index() {
    for request in [fastpath_add(7), fastpath_del(7)] {
        assert_eq!(
            request.attributes(),
            attributes(&[(1, &7u32.to_ne_bytes())])
        );
    }
}

#[test]
fn numbers_of_a_server() {
    let number = |number: u32| number.to_ne_bytes();
    for (options, kind, value) in [
        ("-m nat", 5, 0),
        ("--method local", 5, 1),
        ("-m tun", 5, 2),
        ("-m dr", 5, 3),
        ("-w 0", 6, 0),
        ("--weight 65535", 6, 65535),
        ("-x 4294967295", 11, u32::MAX),
        ("--u-threshold 100", 11, 100),
        ("-y 0", 12, 0),
        ("--l-threshold 75", 12, 75),
        ("--tun-type ipip", 7, 0),
        ("--tun-type gre", 7, 1),
        ("--tun-type gue", 7, 2),
        ("--tun-csum", 9, 1),
        ("--tun-nocsum", 9, 0),
        ("--encap", 10, 1),
        ("--no-encap", 10, 0),
    ] {
        says(
            &format!("ipvs-ipsec server set 192.0.2.1 10.0.0.11 {options}"),
            16,
            &[(kind, &number(value))],
        );
    }
}

#[test]
fn a_new_server_with_all_of_it() {
    let number = |number: u32| number.to_ne_bytes();
    says(
        "ipvs-ipsec server add 192.0.2.1 2001:db8::11 -m tun --tun-type gue --tun-port 6081 --tun-csum",
        28,
        &[
            (5, &number(2)),
            (7, &number(2)),
            (9, &number(1)),
            (8, &[0x17, 0xc1]),
        ],
    );
    says(
        "ipvs-ipsec server add 192.0.2.1 10.0.0.11 -m nat --encap -w 3 -x 10 -y 5",
        16,
        &[
            (5, &number(0)),
            (6, &number(3)),
            (11, &number(10)),
            (12, &number(5)),
            (10, &number(1)),
        ],
    );
}
