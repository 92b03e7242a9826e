// SPDX-License-Identifier: GPL-2.0

//! Which server of a service an SPI names.

use super::Member;
use crate::{
    error::Refusal,
    spi::{by_label, by_range, Label, Range},
};
use kernel::prelude::*;

/// The names of a service's servers, and their places in its roster.
pub(super) struct Directory {
    /// Sorted.
    labels: KVec<(Label, usize)>,
    /// Sorted.
    ranges: KVec<(Range, usize)>,
}

impl Directory {
    /// That of these servers, whose names must not overlap. Sleeps.
    pub(super) fn of(members: &KVec<Member>) -> Result<Self, Refusal> {
        let places = || members.iter().enumerate();
        Ok(Directory {
            labels: sorted(
                places().filter_map(|(place, member)| Some((member.names.ike?, place))),
            )?,
            ranges: sorted(
                places().filter_map(|(place, member)| Some((member.names.esp?, place))),
            )?,
        })
    }

    /// Whether no server has a name.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.ranges.is_empty()
    }

    /// The place of the server that an IKE SPI names.
    pub(super) fn by_ike(&self, spi: u64) -> Option<usize> {
        by_label(&self.labels, spi).copied()
    }

    /// The place of the server that an SPI of ESP or AH names.
    #[inline]
    pub(super) fn by_esp(&self, spi: u32) -> Option<usize> {
        by_range(&self.ranges, spi).copied()
    }
}

/// Names in their order. (`core` has sorting of its own, which can panic.)
fn sorted<T: Ord>(
    names: impl Iterator<Item = (T, usize)> + Clone,
) -> Result<KVec<(T, usize)>, Refusal> {
    let mut sorted = KVec::with_capacity(names.clone().count(), GFP_KERNEL_ACCOUNT)?;
    for name in names {
        let place = sorted.partition_point(|other| *other < name);
        let inserted = sorted.insert_within_capacity(place, name);
        inserted.map_err(|_| Refusal::NoMemory)?;
    }
    Ok(sorted)
}
