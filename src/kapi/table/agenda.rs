// SPDX-License-Identifier: GPL-2.0

//! When the buckets of a table want a visit, kept for batches of them, so that whoever looks after
//! the objects passes by where there is nothing to do.

use super::chain::flags;
use crate::kapi::once;
use kernel::{
    alloc::AllocError,
    prelude::*,
    sync::atomic::{Atomic, Full, Relaxed},
};

/// Buckets of a batch.
pub(super) const BATCH: usize = 64;

/// A time that does not come.
pub(crate) const NEVER: u64 = u64::MAX;

/// Times a CPU tries to enter an earlier time while others do.
const TRIES: usize = 8;

/// The earliest time at which an object of a batch wants a visit, for each batch.
pub(super) struct Agenda(KVVec<Atomic<u64>>);

impl Agenda {
    /// For so many buckets, each of which wants a visit at once. Sleeps.
    pub(super) fn new(buckets: usize) -> Result<Self, AllocError> {
        let count = buckets.div_ceil(BATCH);
        let mut times = KVVec::with_capacity(count, flags())?;
        for _ in 0..count {
            times.push(Atomic::new(0), flags())?;
        }
        Ok(Agenda(times))
    }

    /// Number of batches.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Has a bucket visited at `time` or before.
    pub(super) fn enter(&self, bucket: usize, time: u64) {
        let Some(entered) = self.0.get(bucket / BATCH) else {
            return;
        };
        for _ in 0..TRIES {
            let old = once::read(entered);
            // ORDERING: Full, after the object was linked: who takes the time finds the object.
            if old <= time || entered.cmpxchg(old, time, Full).is_ok() {
                return;
            }
        }
        // One visit too many does no harm.
        entered.store(0, Relaxed);
    }

    /// Whether a batch wants a visit at `now`.
    pub(super) fn is_due(&self, batch: usize, now: u64) -> bool {
        let entered = self.0.get(batch);
        entered.is_some_and(|entered| entered.load(Relaxed) <= now)
    }

    /// A batch is being visited: whatever wants another visit says so from now on.
    pub(super) fn clear(&self, batch: usize) {
        if let Some(entered) = self.0.get(batch) {
            // ORDERING: Before its objects are looked at. Pairs with the exchange in `enter`.
            entered.xchg(NEVER, Full);
        }
    }
}
