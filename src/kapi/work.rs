// SPDX-License-Identifier: GPL-2.0

//! Work that is done later, in process context, and cancelled before what it works on goes.
//!
//! The kernel crate's `Work` cannot be cancelled, so that it could outlive the module.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use super::bindings;
use core::{marker::PhantomPinned, ops::Deref};
use kernel::{num::casts::usize_as_u64, prelude::*, types::Opaque};

/// Something that has work to do from time to time.
pub(crate) trait Task: Send + Sync {
    /// Does it. May sleep. Returns in how many jiffies there will be more, if there will.
    fn run(&self) -> Option<u64>;
}

/// A task and the work item that runs it.
///
/// # Invariants
///
/// `work` is initialised with `run::<T>`, and does not run any more once this is dropped.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub(crate) struct Deferred<T: Task> {
    // The first field: `run` casts.
    #[pin]
    work: Opaque<bindings::delayed_work>,
    task: T,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: The work item may be queued and cancelled from any context; `Task` is `Send` and `Sync`.
unsafe impl<T: Task> Send for Deferred<T> {}
// SAFETY: As above.
unsafe impl<T: Task> Sync for Deferred<T> {}

impl<T: Task> Deferred<T> {
    /// A task that is not due.
    pub(crate) fn new(task: impl Init<T, Error>) -> impl PinInit<Self, Error> {
        // INVARIANT: The work item is initialised with `run::<T>`.
        try_pin_init!(Self {
            work <- Opaque::ffi_init(|work| {
                // SAFETY: `work` is memory for a work item that stays where it is.
                unsafe { bindings::ipvs_ipsec_init_delayed_work(work, Some(run::<T>)) }
            }),
            task <- task,
            _pin: PhantomPinned,
        })
    }

    /// Has the task run in `jiffies`, if it is not due yet.
    pub(crate) fn arm(&self, jiffies: u64) {
        let jiffies = jiffies.try_into().unwrap_or(c_ulong::MAX);
        // SAFETY: By the type invariant the work item is initialised.
        unsafe { bindings::ipvs_ipsec_queue_delayed_work(self.work.get(), jiffies) };
    }

    /// Has the task run as soon as possible.
    pub(crate) fn kick(&self) {
        // SAFETY: By the type invariant the work item is initialised.
        unsafe { bindings::ipvs_ipsec_mod_delayed_work(self.work.get(), 0) };
    }

    /// Disables the task, so that arming it has no effect. Waits until it has ended. Sleeps.
    pub(crate) fn disable(&self) {
        // SAFETY: By the type invariant the work item is initialised.
        unsafe { bindings::disable_delayed_work_sync(self.work.get()) };
    }
}

impl<T: Task> Deref for Deferred<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.task
    }
}

#[pinned_drop]
impl<T: Task> PinnedDrop for Deferred<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant the work item is initialised. It re-arms itself only,
        // which this call forbids, and nobody else can: we have exclusive access.
        unsafe { bindings::cancel_delayed_work_sync(self.work.get()) };
    }
}

/// Called by the work queue.
///
/// # Safety
///
/// `work` is the `work.work` of a `Deferred<T>`.
unsafe extern "C" fn run<T: Task>(work: *mut bindings::work_struct) {
    // SAFETY: `work` is the first field of `struct delayed_work`, which is the first of
    // `Deferred`. It is alive: its drop waits for us.
    let deferred = unsafe { &*work.cast::<Deferred<T>>() };
    if let Some(jiffies) = deferred.task.run() {
        deferred.arm(jiffies);
    }
}

/// Lets others have the CPU if they are waiting.
pub(crate) fn breathe() {
    // SAFETY: No requirements but process context, where tasks run.
    unsafe { bindings::ipvs_ipsec_cond_resched() };
}

/// A number that is another after others had the CPU, be they tasks or softirqs.
pub(crate) fn interruptions() -> u64 {
    // SAFETY: No requirements; the counts are the current task's own, and the CPU's.
    usize_as_u64(unsafe { bindings::ipvs_ipsec_interruptions() })
}
