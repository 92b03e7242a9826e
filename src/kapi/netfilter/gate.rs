// SPDX-License-Identifier: GPL-2.0

//! Hooks that are there only while something can come of them.
//!
//! A hook costs whatever passes it, most of which is not ours. What is looked for in FORWARD and
//! LOCAL_OUT has to do with packets that were forwarded: so these hooks come with the first of them,
//! and go when there is nothing left to look for. Registering sleeps, hence that packet waits, and
//! then goes on from where it was.

use super::{
    super::{
        bindings,
        lock::SoftirqsOff,
        once,
        rcu::{self, Guard},
        skb::{Packet, Queue, Verdict},
        time,
        work::{Deferred, Task},
        Net,
    },
    places, Handler, HOOKS,
};
use core::{cell::UnsafeCell, ptr::NonNull};
use kernel::{
    error::to_result,
    prelude::*,
    sync::{
        atomic::{Atomic, Full, Relaxed, Release},
        barrier::smp_mb,
    },
};

/// Seconds from one look whether the hooks are still needed to the next, and looks that must find
/// that they are not.
const PERIOD: u64 = 1;
const LOOKS: i32 = 5;

/// How far hooks reach. Each has those of the one before, too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// LOCAL_IN.
    In,
    /// FORWARD: what others answer.
    Forward,
    /// LOCAL_OUT: what this host answers.
    Out,
}

impl Reach {
    /// How many pairs of hooks, for the two families.
    const fn pairs(self) -> i32 {
        match self {
            Reach::In => 1,
            Reach::Forward => 2,
            Reach::Out => 3,
        }
    }
}

const _: () = assert!(HOOKS == 6);

/// The hooks of one handler in one namespace.
pub(crate) type Hooks<H> = Deferred<Gate<H>>;

/// Where the hooks are, and whose.
struct Home<H> {
    net: NonNull<bindings::net>,
    handler: NonNull<H>,
}

/// What [`Hooks`] work on.
///
/// # Invariants
///
/// `ops` and `home` are only written before any hook is registered; the first `pairs` pairs of `ops`
/// are registered. What waits is of the namespace of `home`, and nothing does without.
pub(crate) struct Gate<H> {
    ops: UnsafeCell<[bindings::nf_hook_ops; HOOKS]>,
    home: UnsafeCell<Option<Home<H>>>,
    /// Pairs of hooks that are registered. Only the task changes it, and who has cancelled that.
    pairs: Atomic<i32>,
    /// As many as packets may count on.
    open: Atomic<i32>,
    /// Whether a packet waits for all hooks.
    all: Atomic<i32>,
    /// Whether none may be registered any more.
    closed: Atomic<i32>,
    /// Whether packets that have waited go on. Only the task changes it.
    serving: Atomic<i32>,
    /// Looks in a row that found nothing to look for. Only the task uses it.
    idle: Atomic<i32>,
    waiting: Queue,
}

// SAFETY: By the type invariant; all else is made to be shared, as a handler is.
unsafe impl<H: Handler> Send for Gate<H> {}
// SAFETY: As above.
unsafe impl<H: Handler> Sync for Gate<H> {}

impl<H> Gate<H> {
    /// The namespace, and the handler; `None` before the first hook is registered.
    fn home(&self) -> Option<(Net<'_>, &H)> {
        // SAFETY: By the type invariant it does not change. Both outlive the hooks.
        unsafe {
            (*self.home.get())
                .as_ref()
                .map(|home| (Net::from_raw(home.net), home.handler.as_ref()))
        }
    }

    /// Drops what waits. Does not look at the handler, which may be about to go.
    fn forget(&self) {
        // SAFETY: By the type invariant it does not change.
        if let Some(home) = unsafe { (*self.home.get()).as_ref() } {
            // SAFETY: By the type invariant the packets are of this namespace, which outlives us.
            while unsafe { self.waiting.pop(Net::from_raw(home.net)) }.is_some() {}
        }
    }
}

impl<H: Handler> Gate<H> {
    /// Hooks that are not registered. Sleeps.
    pub(crate) fn new() -> impl Init<Self, Error> {
        try_init!(Gate {
            ops: UnsafeCell::new(Default::default()),
            home: UnsafeCell::new(None),
            pairs: Atomic::new(0),
            open: Atomic::new(0),
            all: Atomic::new(0),
            closed: Atomic::new(0),
            serving: Atomic::new(0),
            idle: Atomic::new(0),
            waiting: Queue::new()?,
        })
    }

    /// Whether the hooks reach as far as that, and do so as long as the handler has something to look
    /// for. Asked under the guard under which it gets that.
    #[inline]
    pub(crate) fn is_open(&self, _: &Guard, reach: Reach) -> bool {
        once::read(&self.open) >= reach.pairs()
    }

    /// Whether packets wait, or are about to go on, that came before what comes now.
    #[cold]
    pub(crate) fn is_behind(&self) -> bool {
        let waiting = self.waiting.len();
        // Who does not see the last one wait sees that it goes on: pairs with the queue's lock, which
        // `serve` takes in between.
        smp_mb(Full);
        waiting > 0 || self.serving.load(Relaxed) != 0
    }

    /// Has hooks reach as far as that at least. Sleeps.
    fn raise(&self, net: Net<'_>, reach: Reach) -> Result {
        loop {
            let pairs = self.pairs.load(Relaxed);
            if pairs >= reach.pairs() {
                return Ok(());
            }
            // SAFETY: By the type invariant this pair is not registered, and lives long enough.
            to_result(unsafe {
                bindings::nf_register_net_hooks(net.as_ptr(), self.pair(pairs), 2)
            })?;
            self.pairs.store(pairs + 1, Relaxed);
        }
    }

    /// Has hooks reach no further than so many pairs. Packets may be on their way through the others
    /// until a grace period has passed. Sleeps.
    fn lower(&self, net: Net<'_>, to: i32) {
        loop {
            let pairs = self.pairs.load(Relaxed) - 1;
            if pairs < to {
                return;
            }
            // SAFETY: By the type invariant this pair is registered.
            unsafe { bindings::nf_unregister_net_hooks(net.as_ptr(), self.pair(pairs), 2) };
            self.pairs.store(pairs, Relaxed);
        }
    }

    /// The operations of a pair, which there must be.
    fn pair(&self, number: i32) -> *const bindings::nf_hook_ops {
        let ops: *const bindings::nf_hook_ops = self.ops.get().cast();
        ops.wrapping_add(usize::try_from(number).unwrap_or(0) * 2)
    }

    /// Registers what packets wait for, and lets them go on. Without the memory for it they are lost.
    fn serve(&self, net: Net<'_>, handler: &H) {
        let count = self.waiting.len();
        let reach = if self.all.xchg(0, Full) != 0 {
            Reach::Out
        } else if count > 0 {
            Reach::Forward
        } else {
            Reach::In
        };
        let raised = self.raise(net, reach);
        // Whoever sees it, and is answered for what he lets pass, finds the hooks there.
        self.open.store(self.pairs.load(Relaxed), Release);
        self.serving.store(1, Relaxed);
        for _ in 0..count {
            // SAFETY: By the type invariant the packets are of this namespace.
            let Some((packet, _device)) = (unsafe { self.waiting.pop(net) }) else {
                break;
            };
            let _softirqs = SoftirqsOff::new();
            let guard = Guard::new();
            if raised.is_ok() {
                let skb = packet.as_ptr();
                let verdict = handler.resume(&guard, packet);
                // SAFETY: The packet was ours, and is as the verdict says.
                unsafe { verdict.obey(skb) };
            } else {
                handler.lose(packet);
            }
        }
        self.serving.store(0, Release);
    }

    /// Unregisters what only costs. Who asks [`Gate::is_open`] from here on waits; who did before has
    /// something to look for after a grace period.
    fn relax(&self, net: Net<'_>, handler: &H) {
        self.open.store(Reach::In.pairs(), Relaxed);
        rcu::synchronize();
        if handler.is_idle() {
            // The kernel drops what waits for user space (NFQUEUE) in a namespace that a hook leaves,
            // one more reason not to do so often.
            self.lower(net, Reach::In.pairs());
        } else {
            self.open.store(self.pairs.load(Relaxed), Release);
        }
    }
}

impl<H: Handler> Task for Gate<H> {
    fn run(&self) -> Option<u64> {
        let (net, handler) = self.home()?;
        if self.closed.load(Relaxed) != 0 {
            self.forget();
            return None;
        }
        self.serve(net, handler);
        let idle = if handler.is_idle() {
            self.idle.load(Relaxed) + 1
        } else {
            0
        };
        self.idle.store(idle, Relaxed);
        if idle >= LOOKS {
            self.idle.store(0, Relaxed);
            self.relax(net, handler);
        }
        let is_raised = self.pairs.load(Relaxed) > Reach::In.pairs();
        is_raised.then(|| time::from_seconds(PERIOD))
    }
}

impl<H> Drop for Gate<H> {
    fn drop(&mut self) {
        // What has come since the hooks were unregistered, on its way through them.
        self.forget();
    }
}

impl<H: Handler> Hooks<H> {
    /// Has a packet that passes LOCAL_IN wait until hooks reach as far as that; then the handler gets
    /// it again. The caller has it back if too many wait.
    #[cold]
    pub(crate) fn wait<'a>(&self, packet: Packet<'a>, reach: Reach) -> Result<Verdict, Packet<'a>> {
        // The task sees both that are written before it is kicked.
        if reach == Reach::Out {
            self.all.store(1, Relaxed);
        }
        self.waiting.push(packet)?;
        self.kick();
        Ok(Packet::stolen())
    }

    /// Registers the hooks in LOCAL_IN for `handler`. Sleeps.
    ///
    /// # Safety
    ///
    /// `handler` and `self` must stay where they are until a grace period after
    /// [`Hooks::unregister`], and the namespace longer. Called once at most.
    pub(in crate::kapi) unsafe fn register(&self, net: Net<'_>, handler: NonNull<H>) -> Result {
        let ops = self.ops.get();
        for (op, place) in (0..HOOKS).zip(places::<H>()) {
            // SAFETY: By the safety requirements nobody else has seen `ops` yet.
            unsafe {
                (*ops)[op] = bindings::nf_hook_ops {
                    hook: Some(place.function),
                    priv_: handler.as_ptr().cast(),
                    pf: place.family,
                    hooknum: place.number,
                    priority: place.priority,
                    ..Default::default()
                };
            }
        }
        let home = NonNull::new(net.as_ptr()).map(|net| Home { net, handler });
        // SAFETY: As above.
        unsafe { *self.home.get() = home };
        self.raise(net, Reach::In)?;
        self.open.store(Reach::In.pairs(), Release);
        Ok(())
    }

    /// Unregisters all hooks. Packets may be on their way through them until a grace period has
    /// passed. Sleeps.
    pub(in crate::kapi) fn unregister(&self) {
        // Where the task runs after it was cancelled, it sees this.
        self.closed.store(1, Relaxed);
        self.cancel();
        if let Some((net, _)) = self.home() {
            self.lower(net, 0);
        }
        self.forget();
    }
}
