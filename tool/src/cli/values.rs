// SPDX-License-Identifier: GPL-2.0
//! Single words of the command line become values.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use crate::model::{SchedulerFlags, ServiceKey};
use crate::uapi;

/// What -b asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FlagList {
    pub(crate) flags: SchedulerFlags,
    /// The scheduler to which the names of the flags belong, if one says so.
    pub(super) scheduler: Option<&'static str>,
}

/// What -M asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Netmask {
    /// Of the prefix.
    pub(crate) length: u32,
    /// It was written as an IPv4 mask.
    pub(super) dotted: bool,
}

pub(super) fn address(text: &str) -> Result<IpAddr, &'static str> {
    text.parse()
        .map_err(|_| "not an IPv4 or IPv6 address (names are not resolved)")
}

/// A number in decimal, without sign.
pub(super) fn number(text: &str, range: RangeInclusive<u32>) -> Result<u32, String> {
    decimal(text)
        .filter(|number| range.contains(number))
        .ok_or_else(|| format!("not a number from {} to {}", range.start(), range.end()))
}

fn decimal(text: &str) -> Option<u32> {
    // Rust takes +1 for a number.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// UDP port of a tunnel.
pub(super) fn port(text: &str) -> Result<u16, String> {
    let number = number(text, 1..=u16::MAX.into())?;
    u16::try_from(number).map_err(|error| error.to_string())
}

/// Seconds of persistence. The option's value may be missing, and then the next word is taken for
/// it.
pub(super) fn seconds(text: &str) -> Result<u32, String> {
    let most = uapi::IPVS_IPSEC_PERSISTENCE_TIMEOUT_MAX;
    number(text, 0..=most).map_err(|_| {
        let hint = match text.parse::<ServiceKey>() {
            Ok(_) => "; SERVICE goes before -p",
            Err(_) => "",
        };
        format!("not a number of seconds from 0 to {most}{hint}")
    })
}

/// Which schedulers there are is the module's knowledge; only what cannot be sent is refused here.
pub(super) fn scheduler(text: &str) -> Result<String, String> {
    let room = usize::try_from(uapi::IPVS_IPSEC_SCHEDULER_NAME_LEN).unwrap_or(usize::MAX);
    if text.len() < room {
        Ok(text.to_owned())
    } else {
        Err(format!("longer than {} characters", room.saturating_sub(1)))
    }
}

/// Which devices there are the kernel knows; what none can be called is refused here
/// (dev_valid_name() in net/core/dev.c).
pub(super) fn device(text: &str) -> Result<String, &'static str> {
    let wrong = |byte: u8| byte == b'/' || byte == b':' || byte.is_ascii_whitespace();
    if (1..libc::IF_NAMESIZE).contains(&text.len())
        && text != "."
        && text != ".."
        && !text.bytes().any(wrong)
    {
        Ok(text.to_owned())
    } else {
        Err("not a name that a device can have")
    }
}

/// Flags of a scheduler, in their long names, which are ipvsadm's, or short.
pub(super) fn flags(text: &str) -> Result<FlagList, String> {
    let mut list = FlagList::default();
    if text == "none" {
        return Ok(list);
    }
    for name in text.split(',') {
        let (flag, scheduler) = SchedulerFlags::from_name(name).ok_or_else(|| {
            format!(
                "no flag '{name}': there are sh-fallback, sh-port, mh-fallback, mh-port, fallback \
                 and port, or none alone"
            )
        })?;
        match (list.scheduler, scheduler) {
            (Some(one), Some(other)) if one != other => {
                return Err(format!("flags of both {one} and {other}"));
            }
            _ => {}
        }
        list.flags.0 |= flag.0;
        list.scheduler = list.scheduler.or(scheduler);
    }
    Ok(list)
}

/// A prefix's length with or without a slash, or an IPv4 mask.
pub(super) fn netmask(text: &str) -> Result<Netmask, &'static str> {
    let length = decimal(text.strip_prefix('/').unwrap_or(text));
    let mask = match (length, text.parse::<Ipv4Addr>()) {
        (Some(length), _) => Netmask {
            length,
            dotted: false,
        },
        (None, Ok(mask)) => Netmask {
            length: ones(mask.to_bits()).ok_or("ones and zeros of the mask are mixed")?,
            dotted: true,
        },
        (None, Err(_)) => return Err("not a prefix length or an IPv4 mask"),
    };
    if (1..=128).contains(&mask.length) {
        Ok(mask)
    } else {
        Err("a prefix length is from 1 to 32, or to 128 with IPv6")
    }
}

/// How many ones a mask begins with, if no other follows.
fn ones(mask: u32) -> Option<u32> {
    let ones = mask.leading_ones();
    (ones == mask.count_ones()).then_some(ones)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifteen_characters_are_a_name() {
        assert_eq!(
            scheduler("abcdefghijklmno").as_deref(),
            Ok("abcdefghijklmno")
        );
        assert_eq!(
            scheduler("abcdefghijklmnop").unwrap_err(),
            "longer than 15 characters"
        );
    }

    #[test]
    fn names_of_devices() {
        for text in ["eth0", "in", "abcdefghijklmno", "br-lan.7", "..."] {
            assert_eq!(device(text).as_deref(), Ok(text));
        }
        for text in ["", "abcdefghijklmnop", ".", "..", "a/b", "eth0:1", "a b"] {
            assert_eq!(
                device(text),
                Err("not a name that a device can have"),
                "{text}"
            );
        }
    }

    #[test]
    fn numbers_have_a_range() {
        assert_eq!(number("0", 0..=5), Ok(0));
        assert_eq!(number("5", 0..=5), Ok(5));
        for text in ["6", "-1", "+1", "", "x", "0x1", " 1", "1s", "99999999999"] {
            assert_eq!(
                number(text, 0..=5).unwrap_err(),
                "not a number from 0 to 5",
                "{text}"
            );
        }
        assert_eq!((port("1"), port("65535")), (Ok(1), Ok(65535)));
        for text in ["0", "65536"] {
            assert_eq!(port(text).unwrap_err(), "not a number from 1 to 65535");
        }
    }

    #[test]
    fn seconds_are_31_days_at_most() {
        assert_eq!(seconds("2678400"), Ok(2_678_400));
        assert_eq!(
            seconds("2678401").unwrap_err(),
            "not a number of seconds from 0 to 2678400"
        );
        assert_eq!(
            seconds("fwmark:1").unwrap_err(),
            "not a number of seconds from 0 to 2678400; SERVICE goes before -p"
        );
    }

    #[test]
    fn lists_of_flags() {
        let list = |text| flags(text).map(|list| (list.flags.0, list.scheduler));
        assert_eq!(list("none"), Ok((0, None)));
        assert_eq!(list("port,fallback"), Ok((3, None)));
        assert_eq!(list("port,sh-fallback"), Ok((3, Some("sh"))));
        assert_eq!(list("mh-fallback,port"), Ok((3, Some("mh"))));
        assert_eq!(
            list("sh-port,mh-fallback").unwrap_err(),
            "flags of both sh and mh"
        );
        for text in [
            "",
            "port,",
            ",",
            "none,port",
            "port,none",
            "rr-port",
            "PORT",
        ] {
            let error = list(text).unwrap_err();
            assert!(error.starts_with("no flag '"), "{text}: {error}");
        }
        assert!(
            list("port,ports")
                .unwrap_err()
                .starts_with("no flag 'ports'")
        );
    }

    #[test]
    fn masks() {
        let mask = |text| netmask(text).map(|mask| (mask.length, mask.dotted));
        for (text, length, dotted) in [
            ("1", 1, false),
            ("24", 24, false),
            ("/24", 24, false),
            ("/128", 128, false),
            ("255.255.255.255", 32, true),
            ("255.255.240.0", 20, true),
            ("128.0.0.0", 1, true),
        ] {
            assert_eq!(mask(text), Ok((length, dotted)), "{text}");
        }
        for (text, error) in [
            ("0", "a prefix length is from 1 to 32, or to 128 with IPv6"),
            (
                "0.0.0.0",
                "a prefix length is from 1 to 32, or to 128 with IPv6",
            ),
            (
                "/129",
                "a prefix length is from 1 to 32, or to 128 with IPv6",
            ),
            ("255.0.255.0", "ones and zeros of the mask are mixed"),
            ("0.0.0.255", "ones and zeros of the mask are mixed"),
            ("/255.0.0.0", "not a prefix length or an IPv4 mask"),
            ("//24", "not a prefix length or an IPv4 mask"),
            ("+24", "not a prefix length or an IPv4 mask"),
            ("", "not a prefix length or an IPv4 mask"),
            ("ffff::", "not a prefix length or an IPv4 mask"),
            ("255.255.255", "not a prefix length or an IPv4 mask"),
        ] {
            assert_eq!(mask(text), Err(error), "{text}");
        }
    }
}
