// SPDX-License-Identifier: GPL-2.0

//! Registers and unregisters the hooks of a namespace, as its configuration wants them.
//!
//! C header: [`include/linux/netfilter.h`](srctree/include/linux/netfilter.h)

use super::{places, HOOKS};
use crate::kapi::{
    bindings,
    pernet::{Home, PerNet},
    work::{Deferred, Task},
    Net,
};
use core::{mem::ManuallyDrop, pin::Pin, ptr::NonNull};
use kernel::{error::to_result, new_mutex, prelude::*, sync::Mutex};

/// How many of the hooks are registered. Each level has those of the one before, too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HookLevel {
    /// None: no service is configured.
    None,
    /// LOCAL_IN and FORWARD: what initiators send, and what other hosts answer.
    Forward,
    /// LOCAL_OUT: what this host answers itself, and its errors about translated packets.
    LocalOut,
}

impl HookLevel {
    /// Number of hooks, a pair for the two families at each place.
    const fn count(self) -> usize {
        match self {
            HookLevel::None => 0,
            HookLevel::Forward => 4,
            HookLevel::LocalOut => HOOKS,
        }
    }
}

/// What netfilter has of the hooks.
///
/// # Invariants
///
/// The first `level.count()` hooks of `ops` are registered, in the namespace of the state that this
/// is part of, with that state as their handler.
struct Registered {
    ops: KBox<[bindings::nf_hook_ops; HOOKS]>,
    level: HookLevel,
    /// The namespace goes; nothing is registered any more.
    is_closed: bool,
}

// SAFETY: Any thread may register and unregister hooks.
unsafe impl Send for Registered {}

impl Registered {
    /// Registers the hooks up to `level`, or unregisters those beyond it.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; the level is the old one then.
    fn set(&mut self, net: Net<'_>, level: HookLevel) -> Result {
        let (old, new) = (self.level.count(), level.count());
        let count = c_uint::try_from(old.abs_diff(new))?;
        let ops = self.ops.as_ptr().wrapping_add(old.min(new));
        if old < new {
            // SAFETY: By the type invariant these are not registered. They live, as does the
            // handler, for a grace period after they were unregistered, or are by this function when
            // it fails.
            to_result(unsafe { bindings::nf_register_net_hooks(net.as_ptr(), ops, count) })?;
        } else {
            // SAFETY: By the type invariant these are registered.
            unsafe { bindings::nf_unregister_net_hooks(net.as_ptr(), ops, count) };
        }
        self.level = level;
        Ok(())
    }
}

/// The hooks of the state of a namespace, of which they are part.
#[pin_data]
pub(crate) struct Hooks<T: PerNet> {
    #[pin]
    fitting: Deferred<Fitting<T>>,
    #[pin]
    registered: Mutex<Registered>,
}

/// Has a state look which hooks it wants.
struct Fitting<T: PerNet>(Home<T>);

impl<T: PerNet> Task for Fitting<T> {
    fn run(&self) -> Option<u64> {
        self.0.state()?.get_ref().fit_hooks()
    }
}

impl<T: PerNet> Hooks<T> {
    /// Hooks that are not registered. Sleeps.
    pub(crate) fn new(home: Home<T>) -> impl PinInit<Self, Error> {
        let none = || -> Result<Registered> {
            // INVARIANT: None is registered.
            Ok(Registered {
                ops: KBox::new(
                    [bindings::nf_hook_ops::default(); HOOKS],
                    GFP_KERNEL_ACCOUNT,
                )?,
                level: HookLevel::None,
                is_closed: false,
            })
        };
        try_pin_init!(Hooks {
            fitting <- Deferred::new(Ok(Fitting(home))),
            registered <- new_mutex!(none()?),
        })
    }

    /// The namespace that they are in.
    pub(crate) fn net(&self) -> Net<'_> {
        self.fitting.0.net()
    }

    /// How many are registered. Sleeps.
    pub(crate) fn level(&self) -> HookLevel {
        self.registered.lock().level
    }

    /// Registers the hooks up to `level`, unless there are as many, until what is returned is dropped;
    /// or for good, if it is [kept](Raised::keep). Sleeps.
    ///
    /// # Errors
    ///
    /// As [`Hooks::set_level`].
    pub(crate) fn raise(&self, level: HookLevel) -> Result<Raised<'_, T>> {
        let old = self.level();
        if level > old {
            self.set_level(level)?;
        }
        Ok(Raised { hooks: self, old })
    }

    /// Registers the hooks up to `level`, or unregisters those beyond it, through which packets may
    /// be on their way until a grace period has passed. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `ESHUTDOWN` while the namespace goes. The level is the old one then.
    pub(crate) fn set_level(&self, level: HookLevel) -> Result {
        let mut registered = self.registered.lock();
        let home = &self.fitting.0;
        let state = home.state().filter(|_| !registered.is_closed);
        let state = state.ok_or(ESHUTDOWN)?;
        let (net, old) = (home.net(), registered.level);
        if old == HookLevel::None {
            fill(&mut registered.ops, state);
        }
        registered.set(net, level)?;
        // Those at the ingress of devices come with the first of the others, and go with the last.
        match (old, level) {
            (HookLevel::None, HookLevel::None) => Ok(()),
            (HookLevel::None, _) => state.devices().activate(net).or_else(|error| {
                registered.set(net, old)?;
                Err(error)
            }),
            (_, HookLevel::None) => {
                state.devices().deactivate(net);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Has the state look which hooks it wants: in `jiffies`, or when it is going to anyway.
    pub(crate) fn fit_in(&self, jiffies: u64) {
        self.fitting.arm(jiffies);
    }

    /// Has the state look now which hooks it wants. Does not sleep.
    pub(in crate::kapi) fn fit_now(&self) {
        self.fitting.kick();
    }

    /// Unregisters all hooks for good; they may run until a grace period has passed. Sleeps.
    pub(in crate::kapi) fn close(&self) {
        self.fitting.disable();
        let mut registered = self.registered.lock();
        registered.is_closed = true;
        // To unregister does not fail.
        let _ = registered.set(self.fitting.0.net(), HookLevel::None);
    }
}

/// Hooks that were registered for a change that is not made yet.
pub(crate) struct Raised<'a, T: PerNet> {
    hooks: &'a Hooks<T>,
    old: HookLevel,
}

impl<T: PerNet> Raised<'_, T> {
    /// The change is made.
    pub(crate) fn keep(self) {
        let _kept = ManuallyDrop::new(self);
    }
}

impl<T: PerNet> Drop for Raised<'_, T> {
    fn drop(&mut self) {
        // To unregister does not fail.
        let _ = self.hooks.set_level(self.old);
    }
}

/// Writes the hooks of a state, none of which is registered.
fn fill<T: PerNet>(ops: &mut [bindings::nf_hook_ops; HOOKS], state: Pin<&T>) {
    let handler: NonNull<T> = NonNull::from(state.get_ref());
    for (op, place) in ops.iter_mut().zip(places::<T>()) {
        *op = bindings::nf_hook_ops {
            hook: Some(place.function),
            priv_: handler.as_ptr().cast(),
            pf: place.family,
            hooknum: place.number,
            priority: place.priority,
            ..Default::default()
        };
    }
}
