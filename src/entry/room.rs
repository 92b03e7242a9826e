// SPDX-License-Identifier: GPL-2.0

//! How many entries there may be: in a namespace, and in all but the first of them together.
//!
//! An unprivileged user may make namespaces, each with a director, and the memory that packets take
//! is charged to nobody. So all but the first share a bound, which leaves the first alone.

use super::table::Entries;
use crate::sysctl;
use kernel::sync::atomic::{Atomic, Relaxed};

/// Most entries in the first namespace.
const ENTRIES_MAX: usize = 1 << 22;

/// Entries and templates in all namespaces but the first.
static SHARED: Atomic<i64> = Atomic::new(0);

/// Where entries count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// In the first namespace, for itself.
    First,
    /// In another, with those of all others.
    Other,
}

impl Entries {
    /// Whether there is room for one more, where there are `count` of a kind in the namespace: entries
    /// that are alive, or templates. What has ended, and is kept for answers (nat), takes nobody's
    /// place in its own namespace, but counts in what namespaces share.
    pub(super) fn has_room(&self, count: usize) -> bool {
        match self.share {
            Share::First => count < ENTRIES_MAX,
            Share::Other => {
                let shared = usize::try_from(SHARED.load(Relaxed)).unwrap_or(0);
                count < sysctl::netns_entries_max() && shared < sysctl::netns_entries_max_total()
            }
        }
    }

    /// Counts entries or templates that are made, or go.
    pub(super) fn occupy(&self, n: i64) {
        if self.share == Share::Other {
            SHARED.add(n, Relaxed);
        }
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        let left = self.table.count() + self.templates.count();
        self.occupy(-i64::try_from(left).unwrap_or(0));
    }
}
