// SPDX-License-Identifier: GPL-2.0

//! The sweep: frees what is dead and gives the table the size it needs, as deferred work.

use super::table::Entries;
use crate::{
    kapi::{
        rcu::Guard,
        table::{Table, STRIPES},
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
                    if entry.lingers(now) {
                        self.retire(entry);
                        return;
                    }
                    let expired = entry.has_expired(now);
                    if self.remove(&guard, entry) && expired {
                        self.stats.count(Event::Expired);
                    }
                });
            }
            drop(guard);
            breathe();
        }
        self.sweep_templates();
    }

    /// Removes what ties nobody any more.
    fn sweep_templates(&self) {
        for first in (0..self.templates.size()).step_by(BATCH) {
            let guard = Guard::new();
            let now = time::jiffies();
            for bucket in first..first + BATCH {
                self.templates.visit(&guard, bucket, |template| {
                    if !template.is_alive(now) && self.templates.remove(&guard, template) {
                        template.server.account.tie(-1);
                    }
                });
            }
            drop(guard);
            breathe();
        }
    }

    /// Whether there is anything to sweep or to make smaller.
    fn is_idle(&self) -> bool {
        let is_idle = |count, size| count == 0 && size <= STRIPES;
        is_idle(self.table.count(), self.size())
            && is_idle(self.templates.count(), self.templates.size())
    }
}

impl Task for Entries {
    fn run(&self) -> Option<u64> {
        self.sweep();
        fit(&self.table);
        fit(&self.templates);
        (!self.is_idle()).then_some(time::from_seconds(PERIOD))
    }
}

/// Has one bucket for each object, or up to eight.
fn fit<T: Send + Sync + 'static, const N: usize>(table: &Table<T, N>) {
    let (count, size) = (table.count(), table.size());
    if count > size || (count < size / 8 && size > STRIPES) {
        // Without the memory for it, the table serves on as it is, and the next sweep tries again.
        let _ = table.resize(count * 2);
    }
}
