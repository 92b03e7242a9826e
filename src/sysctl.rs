// SPDX-License-Identifier: GPL-2.0

//! /proc/sys/net/ipvs_ipsec: what an administrator may tune. Documentation/sysctl.rst tells how.

use crate::{
    ike::state::State,
    kapi::{
        sysctl::{Setting, Shared, Table},
        time, Net,
    },
};
use kernel::{prelude::*, sync::atomic::Atomic};

const INITIAL_TIMEOUT: usize = 0;
const ESTABLISHED_TIMEOUT: usize = 1;
const EXPIRE_NODEST_CONN: usize = 2;
const SLOPPY: usize = 3;
const ESP_REFRESHES: usize = 4;
const TCP_TIMEOUT: usize = 5;

/// Seconds in an hour and in thirty days.
const HOUR: c_int = 3600;
const MONTH: c_int = 30 * 24 * HOUR;

static SETTINGS: [Setting; 6] = [
    Setting {
        name: c"isakmp_initial_timeout",
        default: 10,
        min: &1,
        max: &HOUR,
    },
    Setting {
        name: c"isakmp_established_timeout",
        default: 8 * HOUR,
        min: &1,
        max: &MONTH,
    },
    Setting {
        name: c"expire_nodest_conn",
        default: 1,
        min: &0,
        max: &1,
    },
    Setting {
        name: c"sloppy",
        default: 0,
        min: &0,
        max: &1,
    },
    Setting {
        name: c"esp_refreshes",
        default: 0,
        min: &0,
        max: &1,
    },
    Setting {
        name: c"tcp_timeout",
        default: 900,
        min: &1,
        max: &MONTH,
    },
];

/// Bounds for all namespaces but the first, each for itself and together (`entry/room.rs`).
static SHARED: [Shared; 2] = [
    Shared {
        name: c"netns_entries_max",
        value: Atomic::new(1 << 18),
        min: &0,
        max: &ENTRIES_MAX,
    },
    Shared {
        name: c"netns_entries_max_total",
        value: Atomic::new(1 << 20),
        min: &0,
        max: &ENTRIES_MAX,
    },
];
const ENTRIES_MAX: c_int = 1 << 22;

/// Most entries of a namespace that is not the first.
pub(crate) fn netns_entries_max() -> usize {
    let [each, _] = &SHARED;
    usize::try_from(each.get()).unwrap_or(0)
}

/// Most entries of all these namespaces together.
pub(crate) fn netns_entries_max_total() -> usize {
    let [_, total] = &SHARED;
    usize::try_from(total.get()).unwrap_or(0)
}

/// The settings of a namespace.
pub(crate) struct Settings(Table<{ SETTINGS.len() }>);

impl Settings {
    /// The defaults. Sleeps.
    pub(crate) fn new(net: Net<'_>) -> Result<Self> {
        Table::new(net, c"net/ipvs_ipsec", &SETTINGS, &SHARED).map(Settings)
    }

    /// How long an entry lives in a state without being heard of, in jiffies.
    #[inline]
    pub(crate) fn timeout(&self, state: State) -> u64 {
        jiffies(match state {
            State::Initial => self.0.get::<INITIAL_TIMEOUT>(),
            State::Established => self.0.get::<ESTABLISHED_TIMEOUT>(),
        })
    }

    /// How long an established entry of TCP lives at most without being heard of, in jiffies.
    pub(crate) fn tcp_timeout(&self) -> u64 {
        jiffies(self.0.get::<TCP_TIMEOUT>())
    }

    /// Whether an IKE message from the middle of an exchange may make an entry.
    pub(crate) fn is_sloppy(&self) -> bool {
        self.0.get::<SLOPPY>() != 0
    }

    /// Whether ESP and AH restart the timer.
    #[inline]
    pub(crate) fn esp_refreshes(&self) -> bool {
        self.0.get::<ESP_REFRESHES>() != 0
    }

    /// Whether entries go at once when their server is removed.
    pub(crate) fn expires_with_server(&self) -> bool {
        self.0.get::<EXPIRE_NODEST_CONN>() != 0
    }
}

fn jiffies(seconds: c_int) -> u64 {
    time::from_seconds(u64::try_from(seconds).unwrap_or(0))
}
