// SPDX-License-Identifier: GPL-2.0

//! A real server of a service.

use crate::{
    addr::Addr,
    ike::state::State,
    kapi::{
        ident::Idents,
        netfilter::HookLevel,
        once,
        route::{self, Towards},
        skb::Shim,
        Net,
    },
    sched::Load,
    service::Common,
    spi::Names,
    stats::Volume,
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

/// How packets reach a server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// Address translation; with `encap` ESP reaches the server in UDP.
    Nat { encap: bool },
    /// The server is this host.
    Local,
    /// Tunnel.
    Tun(Shim),
    /// Direct routing.
    Dr,
}

/// A server that is to be added to a service.
pub(crate) struct NewServer {
    /// Its address (RIP).
    pub(crate) address: Addr,
    /// How packets reach it.
    pub(crate) method: Method,
    /// Its weight, 0 to 65,535.
    pub(crate) weight: u32,
    /// How many entries it may have.
    pub(crate) limits: Limits,
    /// Which SPIs it chooses.
    pub(crate) names: Names,
}

/// A real server, and the way to it. Its entries keep it, so that it outlives its removal from the
/// service, and a change of the method.
pub(crate) struct Server {
    /// Its address (RIP).
    pub(crate) address: Addr,
    /// How packets reach it.
    pub(crate) method: Method,
    /// The way to it.
    pub(crate) route: route::Cache,
    /// Identifications of packets to it that are this host's own.
    pub(crate) idents: Idents,
    /// Its account.
    pub(crate) account: Arc<Account>,
}

impl Server {
    /// Whether it gets ESP in UDP.
    #[inline]
    pub(crate) fn wants_encap(&self) -> bool {
        matches!(self.method, Method::Nat { encap: true })
    }

    /// Whether its address is translated.
    #[inline]
    pub(crate) fn is_translated(&self) -> bool {
        matches!(self.method, Method::Nat { .. })
    }

    /// Whether whatever it answers passes the director.
    #[inline]
    pub(crate) fn sees_replies(&self) -> bool {
        matches!(self.method, Method::Nat { .. } | Method::Local)
    }

    /// Returns which hooks see what it answers, and errors about what it got. A host that has the
    /// server's address answers itself.
    pub(crate) fn hook_level(&self, net: Net<'_>) -> HookLevel {
        if self.sees_replies() || net.has_address(&self.address) {
            HookLevel::LocalOut
        } else {
            HookLevel::Forward
        }
    }

    /// Whether data packets of its entries may take the short way (`express.rs`).
    #[inline]
    pub(crate) fn takes_express(&self) -> bool {
        once::read(&self.account.common.express) && !self.wants_encap()
    }

    /// A server without entries. Sleeps.
    pub(crate) fn new(address: Addr, method: Method, common: Arc<Common>) -> Result<Arc<Self>> {
        let account = Account {
            volume: Volume::new()?,
            common,
            established: Atomic::new(0),
            initial: Atomic::new(0),
            persistent: Atomic::new(0),
            limits: Atomic::new(0),
            overloaded: Atomic::new(false),
            state: Atomic::new(IN_SERVICE),
        };
        Self::with(address, method, Arc::new(account, GFP_KERNEL_ACCOUNT)?)
    }

    /// The same server, to be reached by another method. Entries go on as they began. Sleeps.
    pub(crate) fn with_method(&self, method: Method) -> Result<Arc<Self>> {
        Self::with(self.address, method, self.account.clone())
    }

    fn with(address: Addr, method: Method, account: Arc<Account>) -> Result<Arc<Self>> {
        let towards = match method {
            Method::Dr => Towards::Another,
            _ => Towards::Host,
        };
        let server = Server {
            address,
            method,
            route: route::Cache::new(address, towards)?,
            idents: Idents::new()?,
            account,
        };
        Ok(Arc::new(server, GFP_KERNEL_ACCOUNT)?)
    }
}

/// Numbers of entries at which a server takes no more, and takes some again. After `u_threshold`
/// and `l_threshold` of `struct ip_vs_dest`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// From this on it takes none; 0 is no limit.
    pub(crate) upper: u32,
    /// Below this it takes some again; 0 is three quarters of the upper one.
    pub(crate) lower: u32,
}

impl Limits {
    fn word(self) -> u64 {
        u64::from(self.upper) << 32 | u64::from(self.lower)
    }

    fn from_word(word: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = word.to_be_bytes();
        Limits {
            upper: u32::from_be_bytes([a, b, c, d]),
            lower: u32::from_be_bytes([e, f, g, h]),
        }
    }
}

const IN_SERVICE: i32 = 0;
const REMOVED: i32 = 1;
const DEAD: i32 = 2;

/// What is counted of a server.
pub(crate) struct Account {
    /// What went to it, and came from it.
    pub(crate) volume: Volume,
    /// What it has in common with the other servers of its service.
    pub(crate) common: Arc<Common>,
    established: Atomic<i32>,
    initial: Atomic<i32>,
    persistent: Atomic<i32>,
    limits: Atomic<u64>,
    overloaded: Atomic<bool>,
    state: Atomic<i32>,
}

impl Account {
    /// Whether the administrator has removed the server, and its entries are dead.
    #[inline]
    pub(crate) fn is_dead(&self) -> bool {
        once::read(&self.state) == DEAD
    }

    /// Whether the administrator has removed the server.
    pub(crate) fn is_removed(&self) -> bool {
        self.state.load(Relaxed) != IN_SERVICE
    }

    /// Removes the server for good. Its entries die with it, or live on.
    pub(crate) fn remove(&self, with_entries: bool) {
        let state = if with_entries { DEAD } else { REMOVED };
        self.state.store(state, Relaxed);
    }

    /// Number of its entries in a state.
    pub(crate) fn entries(&self, state: State) -> u32 {
        count(self.tally(state))
    }

    /// Its entries in both states.
    pub(crate) fn load(&self) -> Load {
        Load {
            established: self.entries(State::Established),
            initial: self.entries(State::Initial),
        }
    }

    /// Number of initiators that persistence ties to it.
    pub(crate) fn persistent(&self) -> u32 {
        count(&self.persistent)
    }

    /// Counts initiators that persistence ties to it, or does no longer.
    pub(crate) fn tie(&self, n: i32) {
        self.persistent.add(n, Relaxed);
    }

    /// Counts a new entry.
    pub(crate) fn count_conn(&self) {
        self.volume.count_conn();
        self.common.volume.count_conn();
    }

    /// Where packets count that go to the server, or come from it: for itself, and for its service.
    #[inline]
    pub(crate) fn volumes(&self) -> [&Volume; 2] {
        [&self.volume, &self.common.volume]
    }

    /// Counts an entry that entered a state.
    pub(crate) fn enter(&self, state: State) {
        self.tally(state).add(1, Relaxed);
        let limits = self.limits();
        if limits.upper != 0 && self.total() >= limits.upper {
            self.overloaded.store(true, Relaxed);
        }
    }

    /// Counts an entry that left a state.
    pub(crate) fn leave(&self, state: State) {
        self.tally(state).add(-1, Relaxed);
        if self.overloaded.load(Relaxed) && self.has_room(self.limits()) {
            self.overloaded.store(false, Relaxed);
        }
    }

    /// Counts an entry that went over to another state. It makes no room by that.
    pub(crate) fn advance(&self, from: State, to: State) {
        self.tally(to).add(1, Relaxed);
        self.tally(from).add(-1, Relaxed);
    }

    /// Whether it has had as many entries as it may, and has not lost enough since.
    pub(crate) fn is_overloaded(&self) -> bool {
        once::read(&self.overloaded)
    }

    /// How many entries it may have.
    pub(crate) fn limits(&self) -> Limits {
        Limits::from_word(once::read(&self.limits))
    }

    /// Changes how many entries it may have.
    pub(crate) fn set_limits(&self, limits: Limits) {
        if limits == self.limits() {
            // A server that was full takes no more for that.
            return;
        }
        self.limits.store(limits.word(), Relaxed);
        let is_full = limits.upper != 0 && self.total() >= limits.upper;
        self.overloaded.store(is_full, Relaxed);
    }

    fn has_room(&self, limits: Limits) -> bool {
        let total = u64::from(self.total());
        match limits {
            Limits { upper: 0, .. } => true,
            Limits { upper, lower: 0 } => total * 4 < u64::from(upper) * 3,
            Limits { lower, .. } => total < u64::from(lower),
        }
    }

    fn total(&self) -> u32 {
        let load = self.load();
        load.established.saturating_add(load.initial)
    }

    fn tally(&self, state: State) -> &Atomic<i32> {
        match state {
            State::Initial => &self.initial,
            State::Established => &self.established,
        }
    }
}

fn count(tally: &Atomic<i32>) -> u32 {
    u32::try_from(tally.load(Relaxed)).unwrap_or(0)
}
