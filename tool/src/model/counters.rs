// SPDX-License-Identifier: GPL-2.0
//! The counters of a network namespace.

use netlink_packet_core::DecodeError;
use serde::{Serialize, Serializer};

use super::{each, parse_uint};
use crate::names::COUNTERS;

/// Counters in the order in which the kernel tells them: the spec's.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters(Vec<(String, u64)>);

impl Counters {
    /// Reads the nested attributes.
    pub(super) fn decode(attributes: &[u8]) -> Result<Self, DecodeError> {
        let mut counters = Counters::default();
        each(attributes, |kind, attribute| {
            counters
                .0
                .push((COUNTERS.name(kind), parse_uint(attribute.value())?));
            Ok(())
        })?;
        Ok(counters)
    }

    /// Name and value of what was forwarded, made or answered.
    pub(crate) fn events(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0
            .iter()
            .filter(|(name, _)| !is_drop(name))
            .map(|(name, value)| (name.as_str(), *value))
    }

    /// Name and value of the reasons why packets were dropped.
    pub(crate) fn drops(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0
            .iter()
            .filter(|(name, _)| is_drop(name))
            .map(|(name, value)| (name.as_str(), *value))
    }
}

fn is_drop(name: &str) -> bool {
    name.starts_with("drop-")
}

/// An object; keys have underscores as all others do.
impl Serialize for Counters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            self.0
                .iter()
                .map(|(name, value)| (name.replace('-', "_"), value)),
        )
    }
}
