// SPDX-License-Identifier: GPL-2.0

//! The sweep: frees what is dead and gives the table the size it needs, as deferred work.

use super::{
    soft::Overdue,
    table::{Entries, EntryNode, Sought},
    Ended, LINGER,
};
use crate::{
    kapi::{
        rcu::Guard,
        table::{Sizes, Table, NEVER, STRIPES},
        time,
        work::{breathe, interruptions, Task},
    },
    stats::Event,
};
use kernel::{
    sync::atomic::{Atomic, Full, Relaxed},
    time::{Instant, Monotonic},
};

/// Milliseconds between two sweeps.
const PERIOD: u64 = 250;

/// Sweeps from one look at what persistence knows to the next.
const TEMPLATE_PASSES: u64 = 4;

/// Microseconds after which the sweep lets others have the CPU.
const STEP: u64 = 200;

/// Buckets of templates swept before others may have the CPU.
const TEMPLATE_BATCH: usize = 64;

/// Sweeps that look at every entry when a server was removed. The second finds what packets that
/// were on their way have made meanwhile.
const FULL_SWEEPS: u32 = 2;

/// Jiffies between two sweeps.
pub(crate) fn period() -> u64 {
    time::from_milliseconds(PERIOD)
}

/// Sweeps for which a greatest value counts, and then once more for as many.
const WINDOW: u64 = 40;

/// The greatest value of late.
struct Recent {
    now: Atomic<u32>,
    before: Atomic<u32>,
}

impl Recent {
    fn none() -> Self {
        Recent {
            now: Atomic::new(0),
            before: Atomic::new(0),
        }
    }

    fn greatest(&self) -> u32 {
        self.now.load(Relaxed).max(self.before.load(Relaxed))
    }

    /// Only the sweep calls this, and the next.
    fn note(&self, value: u64) {
        let value = u32::try_from(value).unwrap_or(u32::MAX);
        self.now.store(self.now.load(Relaxed).max(value), Relaxed);
    }

    fn grow_old(&self) {
        self.before.store(self.now.load(Relaxed), Relaxed);
        self.now.store(0, Relaxed);
    }
}

/// How the sweep goes.
pub(crate) struct Pace {
    /// Sweeps so far.
    passes: Atomic<u64>,
    /// Sweeps to come that look at every entry.
    full: Atomic<u32>,
    /// Microseconds.
    step: Recent,
    /// Milliseconds.
    lag: Recent,
}

impl Pace {
    pub(super) fn new() -> Self {
        Pace {
            passes: Atomic::new(0),
            full: Atomic::new(0),
            step: Recent::none(),
            lag: Recent::none(),
        }
    }

    /// Microseconds for which a CPU was kept at most of late.
    pub(crate) fn longest_step(&self) -> u32 {
        self.step.greatest()
    }

    /// Milliseconds by which an entry outlived its timer at most of late.
    pub(crate) fn longest_lag(&self) -> u32 {
        self.lag.greatest()
    }

    /// Only the sweep calls this.
    fn note_step(&self, step: &Step) {
        if step.is_whole() {
            self.step.note(step.microseconds());
        }
    }

    /// Begins a sweep. Returns its number, and whether it looks at every entry.
    fn begin(&self) -> (u64, bool) {
        let left = self.full.load(Relaxed);
        // Who has just asked for more finds the number changed.
        if left > 0 {
            let _ = self.full.cmpxchg(left, left - 1, Full);
        }
        let pass = self.passes.load(Relaxed) + 1;
        self.passes.store(pass, Relaxed);
        if pass % WINDOW == 0 {
            self.step.grow_old();
            self.lag.grow_old();
        }
        (pass, left > 0)
    }
}

impl Entries {
    /// Has the next sweeps look at every entry: a server was removed.
    pub(crate) fn sweep_all(&self) {
        self.pace.full.xchg(FULL_SWEEPS, Full);
    }

    /// Removes the dead.
    pub(super) fn sweep(&self) {
        let (pass, is_full) = self.pace.begin();
        let mut step = Step::begin();
        let mut pause = || {
            if step.microseconds() >= STEP {
                self.pace.note_step(&step);
                breathe();
                step = Step::begin();
            }
        };
        for batch in 0.. {
            match self.table.is_due(batch, time::jiffies()) {
                None => break,
                Some(is_due) if is_due || is_full => {
                    let see = |guard: &Guard, entry: &EntryNode| self.see(guard, entry, pass);
                    self.table.see(batch, see, &mut pause);
                }
                Some(_) => pause(),
            }
        }
        self.pace.note_step(&step);
        breathe();
        if pass % TEMPLATE_PASSES == 0 {
            self.sweep_templates();
        }
    }

    /// Looks after an entry in this pass. Returns when it wants to be looked after again.
    fn see(&self, guard: &Guard, entry: &EntryNode, pass: u64) -> u64 {
        let now = time::jiffies();
        let account = &entry.server.account;
        if let Some(since) = entry.clock.gone_since() {
            let until = since + time::from_seconds(LINGER);
            if until > now {
                return until;
            }
            self.take_out(guard, entry);
            return NEVER;
        }
        if account.is_dead() {
            self.remove(guard, entry);
            return NEVER;
        }
        let Some(ended) = entry.clock.ended(now) else {
            return entry.clock.deadline();
        };
        match ended.overdue() {
            Some(since) if account.common.soft.limit() > 0 => {
                let sought = Sought {
                    flow: entry.flow(),
                    hash: entry.first_hash(),
                };
                self.see_overdue(guard, entry, Overdue { since, sought }, (pass, now))
            }
            _ if self.expire(guard, entry, ended) => {
                let late = now.saturating_sub(ended.since());
                self.pace.lag.note(time::to_milliseconds(late));
                NEVER
            }
            _ => entry.clock.deadline(),
        }
    }

    /// Looks after an entry of a service that lets some outlive their timers: for each that is too
    /// much, one has to go.
    fn see_overdue(
        &self,
        guard: &Guard,
        entry: &EntryNode,
        overdue: Overdue,
        (pass, now): (u64, u64),
    ) -> u64 {
        match entry.server.account.common.soft.keep(pass, overdue) {
            None => now,
            Some(gone) if gone == overdue => {
                if self.expire(guard, entry, Ended::established(gone.since)) {
                    NEVER
                } else {
                    entry.clock.deadline()
                }
            }
            Some(gone) => {
                self.expire_other(guard, &gone, now);
                now
            }
        }
    }

    /// Removes an entry whose timer was seen to have ended; `false` if it was restarted meanwhile, or
    /// somebody else has removed the entry.
    pub(super) fn expire(&self, guard: &Guard, entry: &EntryNode, ended: Ended) -> bool {
        let now = time::jiffies();
        let Some(state) = entry.clock.retire_ended(ended, now) else {
            return false;
        };
        self.forget(guard, entry, state, now);
        self.stats.count(Event::Expired);
        true
    }

    /// Removes another entry, unless it has been heard of meanwhile.
    fn expire_other(&self, guard: &Guard, gone: &Overdue, now: u64) {
        if let Some(entry) = self.find(guard, &gone.sought, now) {
            self.expire(guard, entry, Ended::established(gone.since));
        }
    }

    /// Removes what ties nobody any more.
    pub(super) fn sweep_templates(&self) {
        for first in (0..self.templates.size()).step_by(TEMPLATE_BATCH) {
            let guard = Guard::new();
            let now = time::jiffies();
            for bucket in first..first + TEMPLATE_BATCH {
                self.templates.visit(&guard, bucket, |template| {
                    if !template.is_alive(now) && self.templates.remove(&guard, template) {
                        self.occupy(-1);
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
        let none = Sizes { near: 0, far: 0 };
        let least = |sizes: Sizes| sizes.near <= STRIPES && sizes.far <= STRIPES;
        self.table.counts() == none
            && least(self.table.sizes())
            && self.templates.counts() == none
            && least(self.templates.sizes())
    }
}

impl Task for Entries {
    fn run(&self) -> Option<u64> {
        self.sweep();
        fit(&self.table);
        fit(&self.templates);
        self.fit_sightings();
        (!self.is_idle()).then(period)
    }
}

/// What is done before others may have the CPU.
struct Step {
    since: Instant<Monotonic>,
    interruptions: u64,
}

impl Step {
    fn begin() -> Self {
        Step {
            since: Instant::now(),
            interruptions: interruptions(),
        }
    }

    fn microseconds(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_micros_ceil()).unwrap_or(0)
    }

    /// Whether nobody else has had the CPU since it began.
    fn is_whole(&self) -> bool {
        self.interruptions == interruptions()
    }
}

/// Has one bucket for each object, or up to eight.
fn fit<T, F, const N: usize, const M: usize>(table: &Table<T, F, N, M>)
where
    T: Send + Sync + 'static,
    F: Send + Sync + 'static,
{
    let (counts, sizes) = (table.counts(), table.sizes());
    let wanted = Sizes {
        near: fitting(counts.near, sizes.near),
        far: fitting(counts.far, sizes.far),
    };
    if wanted != sizes {
        // Without the memory for it, the table serves on as it is, and the next sweep tries again.
        let _ = table.resize(wanted);
    }
}

/// The number of buckets for so many objects, which have `size` of them.
fn fitting(count: usize, size: usize) -> usize {
    if count > size {
        count
    } else if count < size / 8 && size > STRIPES {
        count * 2
    } else {
        size
    }
}
