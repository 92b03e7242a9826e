// SPDX-License-Identifier: GPL-2.0
//! Names of attributes. They are cut from the names of the constants that were generated from the
//! netlink spec, so that none is typed twice: IPVS_IPSEC_A_COUNTERS_DROP_TTL is called drop-ttl.

use crate::uapi;

/// One attribute set of the spec.
#[derive(Debug)]
pub(crate) struct AttributeSet {
    prefix: &'static str,
    /// What an attribute is called that a newer module may send.
    stranger: &'static str,
    constants: &'static [(u16, &'static str)],
}

impl AttributeSet {
    /// The spec's name of an attribute.
    pub(crate) fn name(&self, number: u16) -> String {
        match self.constants.iter().find(|(known, _)| *known == number) {
            Some((_, constant)) => constant
                .strip_prefix(self.prefix)
                .unwrap_or(constant)
                .to_ascii_lowercase()
                .replace('_', "-"),
            None => format!("{}-{number}", self.stranger),
        }
    }
}

macro_rules! attribute_set {
    ($prefix:literal, $stranger:literal, $($constant:ident),* $(,)?) => {
        AttributeSet {
            prefix: $prefix,
            stranger: $stranger,
            constants: &[$((uapi::$constant, stringify!($constant))),*],
        }
    };
}

/// Attributes of a service.
pub(crate) const SERVICE: AttributeSet = attribute_set!(
    "IPVS_IPSEC_A_SERVICE_",
    "attribute",
    IPVS_IPSEC_A_SERVICE_ADDRESS,
    IPVS_IPSEC_A_SERVICE_MARK,
    IPVS_IPSEC_A_SERVICE_FAMILY,
    IPVS_IPSEC_A_SERVICE_SCHEDULER,
    IPVS_IPSEC_A_SERVICE_SCHEDULER_FLAGS,
    IPVS_IPSEC_A_SERVICE_PERSISTENCE_TIMEOUT,
    IPVS_IPSEC_A_SERVICE_PERSISTENCE_PREFIX,
    IPVS_IPSEC_A_SERVICE_INITIAL_TIMEOUT,
    IPVS_IPSEC_A_SERVICE_ESTABLISHED_TIMEOUT,
    IPVS_IPSEC_A_SERVICE_SOFT_ENTRIES,
    IPVS_IPSEC_A_SERVICE_SERVERS,
    IPVS_IPSEC_A_SERVICE_CONNS,
    IPVS_IPSEC_A_SERVICE_IN_PACKETS,
    IPVS_IPSEC_A_SERVICE_IN_BYTES,
    IPVS_IPSEC_A_SERVICE_OUT_PACKETS,
    IPVS_IPSEC_A_SERVICE_OUT_BYTES,
    IPVS_IPSEC_A_SERVICE_CPS,
    IPVS_IPSEC_A_SERVICE_IN_PPS,
    IPVS_IPSEC_A_SERVICE_OUT_PPS,
    IPVS_IPSEC_A_SERVICE_IN_BPS,
    IPVS_IPSEC_A_SERVICE_OUT_BPS,
    IPVS_IPSEC_A_SERVICE_DROPS,
);

/// Attributes of a server.
pub(crate) const SERVER: AttributeSet = attribute_set!(
    "IPVS_IPSEC_A_SERVER_",
    "attribute",
    IPVS_IPSEC_A_SERVER_SERVICE,
    IPVS_IPSEC_A_SERVER_MARK,
    IPVS_IPSEC_A_SERVER_FAMILY,
    IPVS_IPSEC_A_SERVER_ADDRESS,
    IPVS_IPSEC_A_SERVER_METHOD,
    IPVS_IPSEC_A_SERVER_WEIGHT,
    IPVS_IPSEC_A_SERVER_TUNNEL_TYPE,
    IPVS_IPSEC_A_SERVER_TUNNEL_PORT,
    IPVS_IPSEC_A_SERVER_TUNNEL_FLAGS,
    IPVS_IPSEC_A_SERVER_ENCAP,
    IPVS_IPSEC_A_SERVER_UPPER_THRESHOLD,
    IPVS_IPSEC_A_SERVER_LOWER_THRESHOLD,
    IPVS_IPSEC_A_SERVER_IKE_LABEL,
    IPVS_IPSEC_A_SERVER_IKE_MASK,
    IPVS_IPSEC_A_SERVER_ESP_SPI_MIN,
    IPVS_IPSEC_A_SERVER_ESP_SPI_MAX,
    IPVS_IPSEC_A_SERVER_ESTABLISHED,
    IPVS_IPSEC_A_SERVER_INITIAL,
    IPVS_IPSEC_A_SERVER_PERSISTENT,
    IPVS_IPSEC_A_SERVER_CONNS,
    IPVS_IPSEC_A_SERVER_IN_PACKETS,
    IPVS_IPSEC_A_SERVER_IN_BYTES,
    IPVS_IPSEC_A_SERVER_OUT_PACKETS,
    IPVS_IPSEC_A_SERVER_OUT_BYTES,
    IPVS_IPSEC_A_SERVER_CPS,
    IPVS_IPSEC_A_SERVER_IN_PPS,
    IPVS_IPSEC_A_SERVER_OUT_PPS,
    IPVS_IPSEC_A_SERVER_IN_BPS,
    IPVS_IPSEC_A_SERVER_OUT_BPS,
    IPVS_IPSEC_A_SERVER_DROPS,
);

/// Attributes of an entry.
pub(crate) const ENTRY: AttributeSet = attribute_set!(
    "IPVS_IPSEC_A_ENTRY_",
    "attribute",
    IPVS_IPSEC_A_ENTRY_CLIENT,
    IPVS_IPSEC_A_ENTRY_CLIENT_PORT,
    IPVS_IPSEC_A_ENTRY_SERVICE,
    IPVS_IPSEC_A_ENTRY_SERVICE_PORT,
    IPVS_IPSEC_A_ENTRY_PROTOCOL,
    IPVS_IPSEC_A_ENTRY_SERVER,
    IPVS_IPSEC_A_ENTRY_METHOD,
    IPVS_IPSEC_A_ENTRY_STATE,
    IPVS_IPSEC_A_ENTRY_EXPIRES,
    IPVS_IPSEC_A_ENTRY_INITIATOR_SPI,
    IPVS_IPSEC_A_ENTRY_RESPONDER_SPI,
);

/// Attributes of a device with a fast path.
pub(crate) const FASTPATH: AttributeSet = attribute_set!(
    "IPVS_IPSEC_A_FASTPATH_",
    "attribute",
    IPVS_IPSEC_A_FASTPATH_IFINDEX,
);

/// For requests that carry no attributes.
pub(crate) const NONE: AttributeSet = attribute_set!("", "attribute",);

/// The counters.
pub(crate) const COUNTERS: AttributeSet = attribute_set!(
    "IPVS_IPSEC_A_COUNTERS_",
    "counter",
    IPVS_IPSEC_A_COUNTERS_IKE,
    IPVS_IPSEC_A_COUNTERS_ESP,
    IPVS_IPSEC_A_COUNTERS_AH,
    IPVS_IPSEC_A_COUNTERS_ESP_IN_UDP,
    IPVS_IPSEC_A_COUNTERS_KEEPALIVE,
    IPVS_IPSEC_A_COUNTERS_TCP,
    IPVS_IPSEC_A_COUNTERS_ICMP,
    IPVS_IPSEC_A_COUNTERS_OUT,
    IPVS_IPSEC_A_COUNTERS_ENTRIES_CREATED,
    IPVS_IPSEC_A_COUNTERS_ENTRIES_ESTABLISHED,
    IPVS_IPSEC_A_COUNTERS_ENTRIES_EXPIRED,
    IPVS_IPSEC_A_COUNTERS_ENTRIES_MOVED,
    IPVS_IPSEC_A_COUNTERS_ENTRIES_FLUSHED,
    IPVS_IPSEC_A_COUNTERS_ROUTED_BY_SPI,
    IPVS_IPSEC_A_COUNTERS_FASTPATH,
    IPVS_IPSEC_A_COUNTERS_UNREACH_SENT,
    IPVS_IPSEC_A_COUNTERS_DROP_TRUNCATED,
    IPVS_IPSEC_A_COUNTERS_DROP_IKE_SHORT,
    IPVS_IPSEC_A_COUNTERS_DROP_IKE_VERSION,
    IPVS_IPSEC_A_COUNTERS_DROP_IKE_LENGTH,
    IPVS_IPSEC_A_COUNTERS_DROP_IKE_EXCHANGE,
    IPVS_IPSEC_A_COUNTERS_DROP_IKE_SPI,
    IPVS_IPSEC_A_COUNTERS_DROP_IKE_PAYLOAD,
    IPVS_IPSEC_A_COUNTERS_DROP_IKE_NO_ENTRY,
    IPVS_IPSEC_A_COUNTERS_DROP_IKE_RESPONDER_SPI,
    IPVS_IPSEC_A_COUNTERS_DROP_ESP_MALFORMED,
    IPVS_IPSEC_A_COUNTERS_DROP_AH_MALFORMED,
    IPVS_IPSEC_A_COUNTERS_DROP_ESP_NO_ENTRY,
    IPVS_IPSEC_A_COUNTERS_DROP_AH_NO_ENTRY,
    IPVS_IPSEC_A_COUNTERS_DROP_ESP_IN_UDP_NO_ENTRY,
    IPVS_IPSEC_A_COUNTERS_DROP_KEEPALIVE_NO_ENTRY,
    IPVS_IPSEC_A_COUNTERS_DROP_TCP_NO_ENTRY,
    IPVS_IPSEC_A_COUNTERS_DROP_NOT_ESTABLISHED,
    IPVS_IPSEC_A_COUNTERS_DROP_NO_SERVER,
    IPVS_IPSEC_A_COUNTERS_DROP_TABLE_FULL,
    IPVS_IPSEC_A_COUNTERS_DROP_NO_MEMORY,
    IPVS_IPSEC_A_COUNTERS_DROP_NO_ROUTE,
    IPVS_IPSEC_A_COUNTERS_DROP_TTL,
    IPVS_IPSEC_A_COUNTERS_DROP_MTU,
    IPVS_IPSEC_A_COUNTERS_DROP_AH_NAT,
    IPVS_IPSEC_A_COUNTERS_DROP_SOURCE,
    IPVS_IPSEC_A_COUNTERS_DROP_LOCAL,
    IPVS_IPSEC_A_COUNTERS_DROP_PATH_MTU,
    IPVS_IPSEC_A_COUNTERS_DROP_REPLY_REMOVED,
);

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = include_str!("../../Documentation/netlink/specs/ipvs-ipsec.yaml");

    /// The names of one attribute set in the spec, whose indentation is what the YNL tools' style
    /// asks for.
    fn spec_names(set: &str) -> Vec<&str> {
        let sets = SPEC.split("\nattribute-sets:\n").nth(1).unwrap();
        let sets = sets.split("\noperations:\n").next().unwrap();
        let start = format!("name: {set}\n");
        let this = sets.split("\n  -\n").find(|part| {
            part.trim_start_matches([' ', '-', '\n'])
                .starts_with(&start)
        });
        this.unwrap()
            .lines()
            .filter_map(|line| line.strip_prefix("        name: "))
            .collect()
    }

    #[test]
    fn the_spec_s_names_and_numbers_and_all_of_them() {
        for (set, name, last) in [
            (&SERVICE, "service", uapi::IPVS_IPSEC_A_SERVICE_MAX),
            (&SERVER, "server", uapi::IPVS_IPSEC_A_SERVER_MAX),
            (&ENTRY, "entry", uapi::IPVS_IPSEC_A_ENTRY_MAX),
            (&FASTPATH, "fastpath", uapi::IPVS_IPSEC_A_FASTPATH_MAX),
            (&COUNTERS, "counters", uapi::IPVS_IPSEC_A_COUNTERS_MAX),
        ] {
            let names: Vec<String> = (1..=last).map(|number| set.name(number)).collect();
            assert_eq!(names, spec_names(name), "{name}");
        }
    }

    #[test]
    fn the_manual_page_tells_every_counter() {
        let page = include_str!("../../Documentation/ipvs-ipsec.8");
        let section = page.split("\n.Sh COUNTERS\n").nth(1).unwrap();
        let section = section.split("\n.Sh ").next().unwrap();
        let told: Vec<&str> = section
            .lines()
            .filter_map(|line| line.strip_prefix(".It "))
            .collect();
        assert_eq!(told, spec_names("counters"));
    }

    #[test]
    fn strangers_have_a_number() {
        assert_eq!(COUNTERS.name(999), "counter-999");
        assert_eq!(SERVICE.name(999), "attribute-999");
        assert_eq!(NONE.name(1), "attribute-1");
    }
}
