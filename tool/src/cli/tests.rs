// SPDX-License-Identifier: GPL-2.0
//! Command lines that are right, and what is told of them.

mod wrong;

use super::*;

fn words(words: &str) -> Result<Cli, clap::Error> {
    parse(format!("ipvs-ipsec {words}").split_whitespace())
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
        "service add 192.0.2.1 --initial-timeout 20 --established-timeout 3600",
        "service set fwmark:1 --soft-entries 100",
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
        "server add 192.0.2.1 10.0.0.11 --ike-label 0xa1 --ike-mask 0xff --esp-spis 256-511",
        "server add 192.0.2.1 10.0.0.11 --ike-label 0x0 --ike-mask 0x0",
        "server add 192.0.2.1 10.0.0.11 --ike-label none --esp-spis none",
        "server set 192.0.2.1 10.0.0.11 --ike-label 0xa1",
        "server set 192.0.2.1 10.0.0.11 --ike-mask 0xff",
        "server del 192.0.2.1 10.0.0.11",
        "list",
        "list 192.0.2.1 --stats",
        "list fwmark:1 --rate",
        "list --thresholds",
        "list --drops fwmark6:1",
        "list --spis 192.0.2.1",
        "ls -j",
        "entry list --json",
        "-j entry show",
        "entry list --client 198.51.100.7 --service 192.0.2.1",
        "entry ls --client 2001:db8::7",
        "entry flush",
        "entry flush --client 198.51.100.7",
        "entry flush --service 2001:db8::1",
        "fastpath add eth0",
        "fastpath del eth0",
        "fastpath delete br-lan.7",
        "fastpath list --json",
        "fastpath ls",
        "-j fastpath show",
        "flush",
        "stats",
        "stats -a --json",
    ] {
        words(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn a_listing_has_one_view() {
    for (line, expected) in [
        ("list", View::Configured),
        ("list --stats", View::Stats),
        ("list --rate", View::Rate),
        ("list --thresholds", View::Thresholds),
        ("list --spis", View::Spis),
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
                "--initial-timeout <SECONDS>",
                "3600",
                "--established-timeout <SECONDS>",
                "2592000",
                "--soft-entries <N>",
                "65536",
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
                "--ike-label <HEX>",
                "--ike-mask <HEX>",
                "--esp-spis <MIN-MAX>",
            ],
        ),
        ("entry --help", &["list", "flush"]),
        (
            "entry flush --help",
            &["--client <ADDRESS>", "--service <ADDRESS>"],
        ),
        ("fastpath --help", &["add", "del", "list"]),
        ("fastpath add --help", &["<DEVICE>", "firewall"]),
        (
            "list --help",
            &[
                "--stats",
                "--rate",
                "--thresholds",
                "--spis",
                "--drops",
                "[SERVICE]",
            ],
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
