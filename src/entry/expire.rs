// SPDX-License-Identifier: GPL-2.0

//! The sweep: frees what is dead and gives the table the size it needs, as deferred work.

use super::table::Entries;
use crate::{
    kapi::{
        rcu::Guard,
        table::STRIPES,
        time,
        work::{breathe, Task},
    },
    stats::Event,
};

/// Buckets swept before others may have the CPU.
const BATCH: usize = 64;

/// Seconds between two sweeps.
pub(crate) const PERIOD: u64 = 1;

impl Entries {
    /// Removes the dead.
    pub(super) fn sweep(&self) {
        for first in (0..self.size()).step_by(BATCH) {
            let guard = Guard::new();
            let now = time::jiffies();
            for bucket in first..first + BATCH {
                self.table.visit(&guard, bucket, |entry| {
                    if entry.state(now).is_some() {
                        return;
                    }
                    let expired = entry.remaining(now) == 0;
                    if self.remove(&guard, entry) && expired {
                        self.stats.count(Event::Expired);
                    }
                });
            }
            drop(guard);
            breathe();
        }
    }

    /// Has one bucket for each entry, or up to eight.
    fn fit(&self) {
        let (count, size) = (self.count(), self.size());
        if count > size || (count < size / 8 && size > STRIPES) {
            // Without the memory for it, the table serves on as it is, and the next sweep tries
            // again.
            let _ = self.table.resize(count * 2);
        }
    }
}

impl Task for Entries {
    fn run(&self) -> Option<u64> {
        self.sweep();
        self.fit();
        (self.count() > 0 || self.size() > STRIPES).then_some(time::from_seconds(PERIOD))
    }
}
