// SPDX-License-Identifier: GPL-2.0

//! Netfilter hooks.
//!
//! C header: [`include/linux/netfilter.h`](srctree/include/linux/netfilter.h)

use super::{
    bindings,
    rcu::Guard,
    skb::{self, Packet, Verdict},
    Net,
};
use crate::addr::Family;
use core::{cell::UnsafeCell, ptr::NonNull};
use kernel::{
    error::to_result,
    num::casts::u32_as_usize,
    prelude::*,
    sync::atomic::{Atomic, Full},
};

/// Who looks at packets. Softirq, or with softirqs off; under RCU, which the guard proves.
pub(crate) trait Handler: Send + Sync {
    /// A packet for this host passes LOCAL_IN, after the filter of INPUT has.
    fn local_in(&self, guard: &Guard, packet: Packet<'_>) -> Verdict;

    /// A packet for another host passes FORWARD, after the filter of FORWARD has.
    fn forward(&self, guard: &Guard, packet: Packet<'_>) -> Verdict;

    /// A packet was handed in by a device that the handler has a hook at (`device.rs`).
    fn ingress(&self, guard: &Guard, packet: Packet<'_>) -> Verdict;

    /// Whether a packet whose IP header names this protocol has to be looked at in FORWARD and
    /// LOCAL_OUT; what passes there is mostly not ours. Asked first, it costs the others least.
    fn heeds(&self, protocol: u8) -> bool;

    /// A packet of this host passes LOCAL_OUT, before the filter of OUTPUT.
    fn local_out(&self, guard: &Guard, packet: Packet<'_>) -> Verdict;
}

/// Number of hooks.
const HOOKS: usize = 6;

/// The hooks of one handler in one namespace.
///
/// # Invariants
///
/// `ops` is only written before the hooks are registered.
pub(crate) struct Hooks {
    ops: UnsafeCell<[bindings::nf_hook_ops; HOOKS]>,
    registered: Atomic<i32>,
}

// SAFETY: By the type invariant, and `registered` lets only one caller register or unregister.
unsafe impl Send for Hooks {}
// SAFETY: As above.
unsafe impl Sync for Hooks {}

impl Hooks {
    /// Hooks that are not registered.
    pub(crate) fn new() -> Self {
        Hooks {
            ops: UnsafeCell::new(Default::default()),
            registered: Atomic::new(0),
        }
    }

    /// Registers the hooks for `handler`. Sleeps.
    ///
    /// # Safety
    ///
    /// `handler` and `self` must stay where they are until a grace period after
    /// [`Hooks::unregister`]. Called once at most.
    pub(super) unsafe fn register<H: Handler>(&self, net: Net<'_>, handler: *const H) -> Result {
        let ops = self.ops.get();
        for (op, place) in (0..HOOKS).zip(places::<H>()) {
            // SAFETY: By the safety requirements nobody else has seen `ops` yet.
            unsafe {
                (*ops)[op] = bindings::nf_hook_ops {
                    hook: Some(place.function),
                    priv_: handler.cast_mut().cast(),
                    pf: place.family,
                    hooknum: place.number,
                    priority: place.priority,
                    ..Default::default()
                };
            }
        }
        // SAFETY: By the safety requirements `ops` and what it points to live long enough.
        to_result(unsafe { bindings::nf_register_net_hooks(net.as_ptr(), ops.cast(), COUNT) })?;
        self.registered.store(1, kernel::sync::atomic::Release);
        Ok(())
    }

    /// Unregisters the hooks, if they are registered. Packets may be on their way through them
    /// until a grace period has passed.
    ///
    /// # Safety
    ///
    /// `net` is the namespace the hooks are registered in.
    pub(super) unsafe fn unregister(&self, net: Net<'_>) {
        if self.registered.xchg(0, Full) != 0 {
            // SAFETY: They are registered in this namespace, and we are the one to unregister.
            unsafe {
                bindings::nf_unregister_net_hooks(net.as_ptr(), self.ops.get().cast(), COUNT)
            };
        }
    }
}

const COUNT: c_uint = 6;
const _: () = assert!(u32_as_usize(COUNT) == HOOKS);

type Function = unsafe extern "C" fn(
    *mut c_void,
    *mut bindings::sk_buff,
    *const bindings::nf_hook_state,
) -> c_uint;

/// Where a function is hooked in.
struct Place {
    function: Function,
    family: u8,
    number: c_uint,
    priority: c_int,
}

/// All hooks, at the places where ip_vs has its own, and just before these.
fn places<H: Handler>() -> [Place; HOOKS] {
    let [v4, v6] = [bindings::NFPROTO_IPV4, bindings::NFPROTO_IPV6].map(|pf| pf.to_le_bytes()[0]);
    let place = |function, family, number, priority| Place {
        function,
        family,
        number,
        priority,
    };
    let local_in = bindings::NF_INET_LOCAL_IN;
    let forward = bindings::NF_INET_FORWARD;
    let local_out = bindings::NF_INET_LOCAL_OUT;
    let (before_nat, after_nat) = (bindings::NF_IP_PRI_NAT_SRC, bindings::NF_IP_PRI_NAT_DST);
    // ip_vs has no name for the priority of its hooks in FORWARD, 99 and 100.
    [
        place(called::<H, LocalIn, false>, v4, local_in, before_nat - 3),
        place(called::<H, LocalIn, true>, v6, local_in, before_nat - 3),
        place(called::<H, Forward, false>, v4, forward, 98),
        place(called::<H, Forward, true>, v6, forward, 98),
        place(called::<H, LocalOut, false>, v4, local_out, after_nat + 1),
        place(called::<H, LocalOut, true>, v6, local_out, after_nat + 1),
    ]
}

/// A hook, and which functions of a handler it calls.
trait Hook {
    /// See [`Handler::heeds`].
    fn heeds<H: Handler>(handler: &H, protocol: u8) -> bool;

    fn call<H: Handler>(handler: &H, guard: &Guard, packet: Packet<'_>) -> Verdict;
}

struct LocalIn;
struct Forward;
struct LocalOut;

impl Hook for LocalIn {
    #[inline(always)]
    fn heeds<H: Handler>(_: &H, _: u8) -> bool {
        true
    }

    #[inline(always)]
    fn call<H: Handler>(handler: &H, guard: &Guard, packet: Packet<'_>) -> Verdict {
        handler.local_in(guard, packet)
    }
}

impl Hook for Forward {
    #[inline(always)]
    fn heeds<H: Handler>(handler: &H, protocol: u8) -> bool {
        handler.heeds(protocol)
    }

    #[inline(always)]
    fn call<H: Handler>(handler: &H, guard: &Guard, packet: Packet<'_>) -> Verdict {
        handler.forward(guard, packet)
    }
}

impl Hook for LocalOut {
    #[inline(always)]
    fn heeds<H: Handler>(handler: &H, protocol: u8) -> bool {
        handler.heeds(protocol)
    }

    #[inline(always)]
    fn call<H: Handler>(handler: &H, guard: &Guard, packet: Packet<'_>) -> Verdict {
        handler.local_out(guard, packet)
    }
}

const fn family<const IPV6: bool>() -> Family {
    if IPV6 {
        Family::V6
    } else {
        Family::V4
    }
}

/// Called by netfilter.
///
/// # Safety
///
/// `private` is the handler of [`Hooks::register`], and `skb` and `state` are a packet of IPv6, or
/// IPv4, on its way through the hook.
unsafe extern "C" fn called<H: Handler, K: Hook, const IPV6: bool>(
    private: *mut c_void,
    skb: *mut bindings::sk_buff,
    state: *const bindings::nf_hook_state,
) -> c_uint {
    // SAFETY: The handler outlives the hooks by a grace period, and hooks run under RCU.
    let handler = unsafe { &*private.cast_const().cast::<H>() };
    let Some(skb) = NonNull::new(skb) else {
        return Verdict::ACCEPT.code();
    };
    // SAFETY: IP has checked the header.
    if !K::heeds(handler, unsafe {
        skb::named_protocol(skb, family::<IPV6>())
    }) {
        return Verdict::ACCEPT.code();
    }
    // SAFETY: As required of the caller.
    unsafe { handle::<H, K, IPV6>(handler, skb, state) }
}

/// Handles a packet that has to be looked at.
///
/// # Safety
///
/// As [`called`].
#[inline(never)]
unsafe fn handle<H: Handler, K: Hook, const IPV6: bool>(
    handler: &H,
    skb: NonNull<bindings::sk_buff>,
    state: *const bindings::nf_hook_state,
) -> c_uint {
    let family = family::<IPV6>();
    // SAFETY: `state` is valid during the call.
    let Some(net) = NonNull::new(unsafe { (*state).net }) else {
        return Verdict::ACCEPT.code();
    };
    // SAFETY: The packet is valid.
    if unsafe { bindings::ipvs_ipsec_skb_ipvs_property(skb.as_ptr()) } {
        // It has been on its way through here, or through ip_vs.
        return Verdict::ACCEPT.code();
    }
    // SAFETY: The namespace outlives the packet's way through it.
    let net = unsafe { Net::from_raw(net) };
    // SAFETY: Hooks run under RCU.
    let guard = unsafe { Guard::within() };
    // SAFETY: A hook owns its packet until it answers, and IP has checked the header.
    match unsafe { Packet::from_hook(skb, net, family) } {
        Some(packet) => K::call(handler, &guard, packet).code(),
        None => Verdict::ACCEPT.code(),
    }
}
