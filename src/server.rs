// SPDX-License-Identifier: GPL-2.0

//! A real server of a service.

use crate::{addr::Addr, ike::state::State, kapi::route, stats::Volume};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

/// A real server. Its entries keep it, so that it outlives its removal from the service.
pub(crate) struct Server {
    /// Its address (RIP).
    pub(crate) address: Addr,
    /// What went to it.
    pub(crate) volume: Volume,
    /// The way to it.
    pub(crate) route: route::Cache,
    established: Atomic<i32>,
    initial: Atomic<i32>,
    removed: Atomic<bool>,
}

impl Server {
    /// A server without entries. Sleeps.
    pub(crate) fn new(address: Addr) -> Result<Arc<Self>> {
        let server = Server {
            address,
            volume: Volume::new()?,
            route: route::Cache::new()?,
            established: Atomic::new(0),
            initial: Atomic::new(0),
            removed: Atomic::new(false),
        };
        Ok(Arc::new(server, GFP_KERNEL)?)
    }

    /// Whether the administrator has removed it: its entries are dead.
    #[inline]
    pub(crate) fn is_removed(&self) -> bool {
        self.removed.load(Relaxed)
    }

    /// Removes it for good.
    pub(crate) fn remove(&self) {
        self.removed.store(true, Relaxed);
    }

    /// Number of its entries in a state.
    pub(crate) fn entries(&self, state: State) -> u32 {
        u32::try_from(self.tally(state).load(Relaxed)).unwrap_or(0)
    }

    /// Counts an entry that entered a state.
    pub(crate) fn enter(&self, state: State) {
        self.tally(state).add(1, Relaxed);
    }

    /// Counts an entry that left a state.
    pub(crate) fn leave(&self, state: State) {
        self.tally(state).add(-1, Relaxed);
    }

    fn tally(&self, state: State) -> &Atomic<i32> {
        match state {
            State::Initial => &self.initial,
            State::Established => &self.established,
        }
    }
}
