// SPDX-License-Identifier: GPL-2.0
//! Flags of the spec. A bit that this version does not know is shown by its place, as ipvsadm does:
//! flag-3 is the third.

use serde::{Serialize, Serializer};

use crate::uapi;

const SCHEDULER_FLAGS: [(u32, &str); 2] = [
    (uapi::IPVS_IPSEC_SCHEDULER_FLAGS_FALLBACK, "fallback"),
    (uapi::IPVS_IPSEC_SCHEDULER_FLAGS_PORT, "port"),
];

const TUNNEL_FLAGS: [(u32, &str); 1] = [(uapi::IPVS_IPSEC_TUNNEL_FLAGS_CSUM, "csum")];

/// Schedulers whose flags ipvsadm gives a name that begins with theirs.
const WITH_FLAGS: [&str; 2] = ["sh", "mh"];

/// Options of a scheduler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SchedulerFlags(pub(crate) u32);

impl SchedulerFlags {
    /// The flag of that name, and the scheduler whose it is if the name says so.
    pub(crate) fn from_name(name: &str) -> Option<(Self, Option<&'static str>)> {
        let (scheduler, short) = WITH_FLAGS
            .iter()
            .find_map(|scheduler| {
                let short = name.strip_prefix(scheduler)?.strip_prefix('-')?;
                Some((Some(*scheduler), short))
            })
            .unwrap_or((None, name));
        let (bit, _) = SCHEDULER_FLAGS.iter().find(|(_, known)| *known == short)?;
        Some((SchedulerFlags(*bit), scheduler))
    }

    /// What stands in parentheses behind a scheduler's name; nothing if no flag is set.
    pub(crate) fn words(self, scheduler: &str) -> String {
        let names = names(self.0, &SCHEDULER_FLAGS);
        if WITH_FLAGS.contains(&scheduler) {
            let named = names.iter().map(|name| format!("{scheduler}-{name}"));
            named.collect::<Vec<_>>().join(",")
        } else {
            names.join(",")
        }
    }
}

impl Serialize for SchedulerFlags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(names(self.0, &SCHEDULER_FLAGS))
    }
}

/// Options of a tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TunnelFlags(pub(crate) u32);

impl Serialize for TunnelFlags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(names(self.0, &TUNNEL_FLAGS))
    }
}

/// Names of the bits that are set.
fn names(bits: u32, known: &[(u32, &str)]) -> Vec<String> {
    (0..u32::BITS)
        .map(|place| (place, 1 << place))
        .filter(|(_, bit)| bits & bit != 0)
        .map(
            |(place, bit)| match known.iter().find(|(known, _)| *known == bit) {
                Some((_, name)) => (*name).to_owned(),
                None => format!("flag-{}", place + 1),
            },
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheduler_s_name_goes_before() {
        let both = SchedulerFlags(3);
        assert_eq!(both.words("sh"), "sh-fallback,sh-port");
        assert_eq!(both.words("mh"), "mh-fallback,mh-port");
        assert_eq!(both.words("rr"), "fallback,port");
        assert_eq!(SchedulerFlags(1).words("sh"), "sh-fallback");
        assert_eq!(SchedulerFlags(2).words("sh"), "sh-port");
        assert_eq!(SchedulerFlags(0).words("sh"), "");
    }

    #[test]
    fn names_both_ways() {
        for (name, bit, scheduler) in [
            ("fallback", 1, None),
            ("port", 2, None),
            ("sh-fallback", 1, Some("sh")),
            ("sh-port", 2, Some("sh")),
            ("mh-fallback", 1, Some("mh")),
            ("mh-port", 2, Some("mh")),
        ] {
            let found = SchedulerFlags::from_name(name).unwrap();
            assert_eq!(found, (SchedulerFlags(bit), scheduler));
            assert_eq!(found.0.words(scheduler.unwrap_or("")), name);
        }
        for name in ["", "sh", "sh-", "shport", "rr-port", "sh-mh-port", "PORT"] {
            assert_eq!(SchedulerFlags::from_name(name), None, "{name}");
        }
    }

    #[test]
    fn strangers_have_a_place() {
        assert_eq!(
            SchedulerFlags(6 | (1 << 31)).words("mh"),
            "mh-port,mh-flag-3,mh-flag-32"
        );
        let json = |flags| serde_json::to_string(&flags).unwrap();
        assert_eq!(json(TunnelFlags(3)), r#"["csum","flag-2"]"#);
        assert_eq!(json(TunnelFlags(0)), "[]");
    }
}
