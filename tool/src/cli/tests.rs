// SPDX-License-Identifier: GPL-2.0
//! Command lines, right and wrong.

use super::*;
use clap::error::ErrorKind;

fn words(words: &str) -> Result<Cli, clap::Error> {
    parse(format!("ipvs-ipsec {words}").split_whitespace())
}

fn refusal(line: &str) -> clap::Error {
    let error = words(line).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{line}");
    error
}

#[test]
fn grammar_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn the_issue_s_grammar() {
    for line in [
        "service add 192.0.2.1",
        "service add 192.0.2.1 --scheduler rr",
        "service set 2001:db8::1 -s wrr",
        "service del 192.0.2.1",
        "service add fwmark:1",
        "service set fwmark6:0xff -s sh -b sh-fallback,sh-port",
        "service delete fwmark:1",
        "service add 192.0.2.1 -p -M 24 -s mh --sched-flags mh-port",
        "service set 192.0.2.1 -b sh-port",
        "service add 192.0.2.1 -s sh -b none",
        "service set 2001:db8::1 --persistent 60 --netmask /64",
        "server add 192.0.2.1 10.0.0.11 --method dr --weight 3",
        "server add 192.0.2.1 10.0.0.11 -m nat",
        "server add fwmark6:1 2001:db8::11 -m nat --encap -x 100 -y 75",
        "server add 192.0.2.1 2001:db8::11 -m tun",
        "server add 192.0.2.1 2001:db8::11 -m tun --tun-type gre --tun-nocsum",
        "server add 192.0.2.1 10.0.0.11 -m tun --tun-type gue --tun-port 1 --tun-csum",
        "server add 192.0.2.1 10.0.0.11 --no-encap",
        "server set 192.0.2.1 10.0.0.11 --tun-port 6080",
        "server set 192.0.2.1 10.0.0.11 --tun-csum",
        "server set 192.0.2.1 10.0.0.11 --encap",
        "server set 192.0.2.1 10.0.0.11 --u-threshold 0 --l-threshold 0",
        "server set 192.0.2.1 10.0.0.11 -w 0",
        "server set 192.0.2.1 10.0.0.11 -w 65535",
        "server del 192.0.2.1 10.0.0.11",
        "list",
        "list 192.0.2.1 --stats",
        "list fwmark:1 --rate",
        "list --thresholds",
        "list --drops fwmark6:1",
        "ls -j",
        "entry list --json",
        "-j entry show",
        "flush",
        "stats",
        "stats -a --json",
    ] {
        words(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
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

#[test]
fn a_listing_has_one_view() {
    for (line, expected) in [
        ("list", View::Configured),
        ("list --stats", View::Stats),
        ("list --rate", View::Rate),
        ("list --thresholds", View::Thresholds),
        ("list --drops", View::Drops),
    ] {
        match words(line).unwrap().command {
            Command::List { show, .. } => assert_eq!(show.view(), expected),
            _ => panic!("{line}"),
        }
    }
}

#[test]
fn help_names_what_there_is() {
    for (line, told) in [
        (
            "service add --help",
            &[
                "rr wrr lc wlc sed nq sh mh fo ovf twos",
                "chooses wlc",
                "sh-fallback, sh-port, mh-fallback, mh-port",
                "-p, --persistent [<SECONDS>]",
                "300",
                "2678400",
                "-M, --netmask <MASK>",
                "fwmark:N",
                "fwmark6:N",
            ][..],
        ),
        (
            "server set --help",
            &[
                "-x, --u-threshold <N>",
                "-y, --l-threshold <N>",
                "--tun-type <TYPE>",
                "--tun-port <PORT>",
                "--tun-csum",
                "--tun-nocsum",
                "--encap",
                "--no-encap",
            ],
        ),
        (
            "list --help",
            &["--stats", "--rate", "--thresholds", "--drops", "[SERVICE]"],
        ),
    ] {
        let error = words(line).unwrap_err();
        assert_eq!(error.exit_code(), 0, "{line}");
        for word in told {
            assert!(error.to_string().contains(word), "{line}: {word}\n{error}");
        }
    }
}

/// Long and short names of all options below a command.
fn options(command: &clap::Command) -> Vec<(String, Option<char>)> {
    let own = command.get_arguments().filter_map(|option| {
        let long = option.get_long()?;
        Some((long.to_owned(), option.get_short()))
    });
    let below = command.get_subcommands().flat_map(options);
    own.chain(below).collect()
}

#[test]
fn the_manual_page_tells_every_option() {
    let page = include_str!("../../../Documentation/ipvs-ipsec.8");
    let all = options(&Cli::command());
    assert!(all.len() > 20, "{all:?}");
    for (long, short) in all {
        let told = match short {
            Some(short) => format!("Fl {short} , Fl Fl {long}"),
            None => format!("Fl Fl {long}"),
        };
        let items = page.lines().filter(|line| line.starts_with(".It "));
        assert!(
            items
                .into_iter()
                .any(|line| format!("{line} ").contains(&format!("{told} "))),
            "{told}"
        );
    }
}
