// SPDX-License-Identifier: GPL-2.0
//! The command itself, as a shell sees it: what it prints where, and its exit status. Nothing here
//! needs the module; what needs it is tested in a guest (ktests/).

#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

fn run(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ipvs-ipsec"))
        .args(words)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn version() {
    for flag in ["-V", "--version"] {
        let output = run(&[flag]);
        assert_eq!(
            text(&output.stdout),
            concat!("ipvs-ipsec ", env!("CARGO_PKG_VERSION"), "\n")
        );
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn help_names_every_command() {
    let output = run(&["--help"]);
    for word in [
        "service",
        "server",
        "list",
        "entry",
        "fastpath",
        "stats",
        "flush",
        "--json",
        "ipvs-ipsec(8)",
    ] {
        assert!(text(&output.stdout).contains(word), "{word}");
    }
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn wrong_usage_is_2_and_prints_nothing_on_standard_output() {
    for words in [
        &[][..],
        &["service", "add"],
        &["list", "example.org"],
        &["list", "fwmark:0"],
        &["list", "--stats", "--rate"],
        &["service", "add", "192.0.2.1", "-M", "33"],
        &["server", "add", "192.0.2.1", "10.0.0.11", "--encap"],
        &["fastpath", "add"],
        &["--no-such-option"],
    ] {
        let output = run(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(output.stdout.is_empty());
        assert!(!output.stderr.is_empty());
    }
}

/// The kernel can only say that it does not know the family, as long as the module is not loaded
/// here.
#[test]
fn without_the_module_it_says_so() {
    if std::path::Path::new("/sys/module/ip_vs_ipsec").exists() {
        return;
    }
    for words in [
        &["list"][..],
        &["-j", "stats"],
        &["service", "add", "192.0.2.1"],
        &["service", "set", "fwmark:1", "-p"],
        &["list", "--drops", "fwmark6:1"],
        &["entry", "flush", "--client", "198.51.100.7"],
        &["fastpath", "add", "lo"],
        &["fastpath", "list"],
        &["flush"],
    ] {
        let output = run(words);
        assert_eq!(
            text(&output.stderr),
            "ipvs-ipsec: the kernel module ip_vs_ipsec is not loaded (modprobe ip_vs_ipsec)\n"
        );
        assert!(output.stdout.is_empty());
        assert_eq!(output.status.code(), Some(1));
    }
}
