// SPDX-License-Identifier: GPL-2.0
//! Command lines that are wrong, and why.

use super::words;
use crate::cli::parse;
use clap::error::ErrorKind;

fn refusal(line: &str) -> clap::Error {
    let error = words(line).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{line}");
    error
}

#[test]
fn wrong_usage() {
    for line in [
        "",
        "service",
        "service add",
        "service del 192.0.2.1 -s rr",
        "server add 192.0.2.1",
        "server add 192.0.2.1 fwmark:1",
        "server add 192.0.2.1 10.0.0.11 -w 1 -w 2",
        "server del 192.0.2.1 10.0.0.11 -x 1",
        "list 192.0.2.1 192.0.2.2",
        "entry list 192.0.2.1",
        "entry flush --service fwmark:1",
        "entry flush all",
        "fastpath",
        "fastpath add",
        "fastpath add eth0 eth1",
        "fastpath del",
        "fastpath list eth0",
        "flush now",
    ] {
        refusal(line);
    }
}

/// Wrong values and options that do not go together, each with its reason.
#[test]
fn wrong_usage_is_explained() {
    for (line, reason) in [
        (
            "service add fwmark:0",
            "a firewall mark is a number from 1 to 4294967295",
        ),
        (
            "service add mark:1",
            "not an IPv4 or IPv6 address, fwmark:N or fwmark6:N",
        ),
        (
            "list fwmark6:x",
            "a firewall mark is a number from 1 to 4294967295",
        ),
        (
            "service add 192.0.2.1 -s abcdefghijklmnop",
            "longer than 15 characters",
        ),
        ("service add 192.0.2.1 -b sh-ports", "no flag 'sh-ports'"),
        (
            "service set 192.0.2.1 -b sh-port,mh-port",
            "flags of both sh and mh",
        ),
        (
            "service add 192.0.2.1 -b sh-port",
            "--sched-flags names flags of scheduler sh, which needs '--scheduler sh'",
        ),
        (
            "service set 192.0.2.1 -s mh -b sh-port",
            "--sched-flags names flags of scheduler sh",
        ),
        (
            "service add 192.0.2.1 -p 2678401",
            "not a number of seconds from 0 to 2678400",
        ),
        ("service add -p 192.0.2.1", "SERVICE goes before -p"),
        (
            "service add 192.0.2.1 -M 255.0.255.0",
            "ones and zeros of the mask are mixed",
        ),
        (
            "service add 192.0.2.1 -M 33",
            "--netmask of an IPv4 service is at most 32",
        ),
        (
            "service set fwmark:1 -M /64",
            "--netmask of an IPv4 service is at most 32",
        ),
        (
            "service set fwmark6:1 -M 255.255.255.0",
            "--netmask of an IPv6 service is a prefix length",
        ),
        (
            "server add 192.0.2.1 10.0.0.11 -m masq",
            "[possible values: nat, local, tun, dr]",
        ),
        (
            "server add 192.0.2.1 10.0.0.11 -w 65536",
            "not a number from 0 to 65535",
        ),
        (
            "server add 192.0.2.1 10.0.0.11 -w x",
            "not a number from 0 to 65535",
        ),
        (
            "server add 192.0.2.1 10.0.0.11 -x 4294967296",
            "not a number from 0 to 4294967295",
        ),
        (
            "server set 192.0.2.1 10.0.0.11 -y x",
            "not a number from 0 to 4294967295",
        ),
        (
            "server add 192.0.2.1 10.0.0.11 -m tun --tun-type vxlan",
            "[possible values: ipip, gre, gue]",
        ),
        (
            "server set 192.0.2.1 10.0.0.11 --tun-port 0",
            "not a number from 1 to 65535",
        ),
        (
            "server set 192.0.2.1 10.0.0.11 --tun-csum --tun-nocsum",
            "'--tun-csum' cannot be used with '--tun-nocsum'",
        ),
        (
            "server set 192.0.2.1 10.0.0.11 --encap --no-encap",
            "'--encap' cannot be used with '--no-encap'",
        ),
        (
            "server add 192.0.2.1 10.0.0.11 --tun-type gre",
            "--tun-type needs '--method tun'",
        ),
        (
            "server set 192.0.2.1 10.0.0.11 -m nat --tun-port 6080",
            "--tun-port needs '--method tun'",
        ),
        (
            "server set 192.0.2.1 10.0.0.11 -m dr --tun-csum",
            "--tun-csum needs '--method tun'",
        ),
        (
            "server set 192.0.2.1 10.0.0.11 -m dr --tun-nocsum",
            "--tun-nocsum needs '--method tun'",
        ),
        (
            "server add 192.0.2.1 10.0.0.11 --encap",
            "--encap needs '--method nat'",
        ),
        (
            "server set 192.0.2.1 10.0.0.11 -m tun --encap",
            "--encap needs '--method nat'",
        ),
        (
            "server add 192.0.2.1 10.0.0.11 -m tun --tun-port 6080",
            "--tun-port needs '--tun-type gue'",
        ),
        (
            "server set 192.0.2.1 10.0.0.11 --tun-type gre --tun-port 6080",
            "--tun-port needs '--tun-type gue'",
        ),
        (
            "server add 192.0.2.1 10.0.0.11 -m tun --tun-csum",
            "--tun-csum needs '--tun-type gre' or 'gue'",
        ),
        (
            "server set 192.0.2.1 10.0.0.11 --tun-type ipip --tun-nocsum",
            "--tun-nocsum needs '--tun-type gre' or 'gue'",
        ),
        (
            "service add 192.0.2.1 --initial-timeout 3601",
            "not a number from 0 to 3600",
        ),
        (
            "service set 192.0.2.1 --established-timeout 2592001",
            "not a number from 0 to 2592000",
        ),
        (
            "service set 192.0.2.1 --soft-entries 65537",
            "not a number from 0 to 65536",
        ),
        (
            "server add 192.0.2.1 10.0.0.11 --ike-label 0xa1",
            "--ike-label needs --ike-mask",
        ),
        (
            "server add 192.0.2.1 10.0.0.11 --ike-mask 0xff",
            "--ike-mask needs --ike-label",
        ),
        (
            "server set 192.0.2.1 10.0.0.11 --ike-label 0x1a1 --ike-mask 0xff",
            "--ike-label has bits that --ike-mask lacks",
        ),
        (
            "server set 192.0.2.1 10.0.0.11 --ike-label none --ike-mask 0xff",
            "--ike-mask contradicts '--ike-label none'",
        ),
        (
            "server set 192.0.2.1 10.0.0.11 --ike-label a1 --ike-mask 0xff",
            "not a hexadecimal number such as 0xa100000000000000",
        ),
        (
            "server set 192.0.2.1 10.0.0.11 --ike-mask none",
            "not a hexadecimal number such as 0xa100000000000000",
        ),
        (
            "server set 192.0.2.1 10.0.0.11 --esp-spis 0xc1000000",
            "not a range MIN-MAX",
        ),
        (
            "server set 192.0.2.1 10.0.0.11 --esp-spis 512-256",
            "the first SPI is greater than the last",
        ),
        (
            "server set 192.0.2.1 10.0.0.11 --esp-spis 1-256",
            "SPIs below 256 are reserved",
        ),
        (
            "entry list --client vpn.example.org",
            "names are not resolved",
        ),
        (
            "entry list --client 198.51.100.7 --service 2001:db8::1",
            "--client and --service are addresses of different families",
        ),
        (
            "entry flush --client 2001:db8::7 --service 192.0.2.1",
            "--client and --service are addresses of different families",
        ),
        ("fastpath add eth0:1", "not a name that a device can have"),
        (
            "list --stats --rate",
            "'--stats' cannot be used with '--rate'",
        ),
        (
            "list --drops --thresholds",
            "'--drops' cannot be used with '--thresholds'",
        ),
    ] {
        let error = refusal(line).to_string();
        assert!(error.contains(reason), "{line}: {error}");
    }
}

#[test]
fn the_usage_shown_is_the_subcommand_s() {
    let error = refusal("service add 192.0.2.1 -M 33").to_string();
    assert!(
        error.contains("Usage: ipvs-ipsec service add [OPTIONS] <SERVICE>"),
        "{error}"
    );
    let error = refusal("server set 192.0.2.1 10.0.0.11 -m dr --encap").to_string();
    assert!(
        error.contains("Usage: ipvs-ipsec server set [OPTIONS] <SERVICE> <RIP>"),
        "{error}"
    );
}

#[test]
fn names_are_not_resolved_and_it_is_said() {
    for word in [
        "vpn.example.org",
        "192.0.2",
        "192.0.2.1/32",
        "192.0.2.1:500",
        "fe80::1%eth0",
        "",
    ] {
        for line in [
            &["ipvs-ipsec", "service", "add", word][..],
            &["ipvs-ipsec", "server", "add", "192.0.2.1", word],
            &["ipvs-ipsec", "list", word],
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ValueValidation);
            assert!(
                error.to_string().contains("names are not resolved"),
                "{error}"
            );
        }
    }
}
