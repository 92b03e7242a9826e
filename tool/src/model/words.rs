// SPDX-License-Identifier: GPL-2.0
//! Numbers of the spec that have a name. A number that this version does not know is shown as a
//! number.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::uapi;

/// Number, name in the spec and on the command line, ipvsadm's word.
const METHODS: [(u32, &str, &str); 4] = [
    (uapi::IPVS_IPSEC_METHOD_NAT, "nat", "Masq"),
    (uapi::IPVS_IPSEC_METHOD_LOCAL, "local", "Local"),
    (uapi::IPVS_IPSEC_METHOD_TUN, "tun", "Tunnel"),
    (uapi::IPVS_IPSEC_METHOD_DR, "dr", "Route"),
];

/// Number and name in the spec and on the command line.
const TUNNEL_TYPES: [(u32, &str); 3] = [
    (uapi::IPVS_IPSEC_TUNNEL_TYPE_IPIP, "ipip"),
    (uapi::IPVS_IPSEC_TUNNEL_TYPE_GRE, "gre"),
    (uapi::IPVS_IPSEC_TUNNEL_TYPE_GUE, "gue"),
];

/// Number and name in the spec.
const STATES: [(u32, &str); 2] = [
    (uapi::IPVS_IPSEC_STATE_INITIAL, "initial"),
    (uapi::IPVS_IPSEC_STATE_ESTABLISHED, "established"),
];

/// IP protocol and its name.
const PROTOCOLS: [(u32, &str); 2] = [
    (libc::IPPROTO_UDP.unsigned_abs(), "udp"),
    (libc::IPPROTO_TCP.unsigned_abs(), "tcp"),
];

/// How packets reach a real server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Method(pub(crate) u32);

impl Method {
    pub(crate) const NAT: Self = Method(uapi::IPVS_IPSEC_METHOD_NAT);
    pub(crate) const TUN: Self = Method(uapi::IPVS_IPSEC_METHOD_TUN);

    /// What can be said on the command line.
    pub(crate) fn names() -> [&'static str; METHODS.len()] {
        METHODS.map(|(_, name, _)| name)
    }

    /// The method of that name.
    pub(crate) fn from_name(name: &str) -> Result<Self, &'static str> {
        let found = METHODS.iter().find(|(_, known, _)| *known == name);
        found
            .map(|(number, ..)| Method(*number))
            .ok_or("no such method")
    }

    /// What stands in a listing's column Forward.
    pub(crate) fn forward(self) -> String {
        let found = METHODS.iter().find(|(number, ..)| *number == self.0);
        found.map_or_else(|| self.to_string(), |(_, _, word)| (*word).to_owned())
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match METHODS.iter().find(|(number, ..)| *number == self.0) {
            Some((_, name, _)) => f.write_str(name),
            None => write!(f, "method-{}", self.0),
        }
    }
}

impl Serialize for Method {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What method tun puts around a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TunnelType(pub(crate) u32);

impl TunnelType {
    pub(crate) const IPIP: Self = TunnelType(uapi::IPVS_IPSEC_TUNNEL_TYPE_IPIP);
    pub(crate) const GUE: Self = TunnelType(uapi::IPVS_IPSEC_TUNNEL_TYPE_GUE);

    /// What can be said on the command line.
    pub(crate) fn names() -> [&'static str; TUNNEL_TYPES.len()] {
        TUNNEL_TYPES.map(|(_, name)| name)
    }

    /// The type of that name.
    pub(crate) fn from_name(name: &str) -> Result<Self, &'static str> {
        let found = TUNNEL_TYPES.iter().find(|(_, known)| *known == name);
        found
            .map(|(number, _)| TunnelType(*number))
            .ok_or("no such type of tunnel")
    }
}

impl fmt::Display for TunnelType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match TUNNEL_TYPES.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "tunnel-type-{}", self.0),
        }
    }
}

impl Serialize for TunnelType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// State of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State(pub(crate) u32);

impl State {
    pub(crate) const ESTABLISHED: Self = State(uapi::IPVS_IPSEC_STATE_ESTABLISHED);
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match STATES.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "state-{}", self.0),
        }
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// IP protocol of an entry's flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Protocol(pub(crate) u32);

impl Protocol {
    pub(crate) const UDP: Self = Protocol(libc::IPPROTO_UDP.unsigned_abs());
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match PROTOCOLS.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "protocol-{}", self.0),
        }
    }
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_go_both_ways() {
        for name in Method::names() {
            assert_eq!(Method::from_name(name).unwrap().to_string(), name);
        }
        let words = Method::names().map(|name| Method::from_name(name).unwrap().forward());
        assert_eq!(Method::names(), ["nat", "local", "tun", "dr"]);
        assert_eq!(words, ["Masq", "Local", "Tunnel", "Route"]);
        assert!(Method::from_name("gre").is_err());
    }

    #[test]
    fn tunnels_go_both_ways() {
        assert_eq!(TunnelType::names(), ["ipip", "gre", "gue"]);
        for (number, name) in (0..).zip(TunnelType::names()) {
            assert_eq!(TunnelType::from_name(name), Ok(TunnelType(number)));
            assert_eq!(TunnelType(number).to_string(), name);
        }
        assert!(TunnelType::from_name("vxlan").is_err());
    }

    #[test]
    fn protocols_have_the_numbers_of_ip() {
        assert_eq!(Protocol(17).to_string(), "udp");
        assert_eq!(Protocol(6).to_string(), "tcp");
    }

    #[test]
    fn strangers_are_numbers() {
        assert_eq!(TunnelType(9).to_string(), "tunnel-type-9");
        assert_eq!(Method(9).to_string(), "method-9");
        assert_eq!(Method(9).forward(), "method-9");
        assert_eq!(State(9).to_string(), "state-9");
        assert_eq!(Protocol(9).to_string(), "protocol-9");
    }
}
