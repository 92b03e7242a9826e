// SPDX-License-Identifier: GPL-2.0

//! Netfilter hooks.
//!
//! C header: [`include/linux/netfilter.h`](srctree/include/linux/netfilter.h)

mod hooks;

pub(crate) use hooks::{HookLevel, Hooks};

use super::{
    bindings,
    lock::BhGuard,
    rcu::Guard,
    skb::{self, Merged, Packet, Verdict},
    Net,
};
use crate::addr::Family;
use core::ptr::NonNull;
use kernel::prelude::*;

/// Who looks at packets. Softirq, or with softirqs off; under RCU, which the guard proves.
pub(crate) trait Handler: Send + Sync {
    /// A packet for this host passes LOCAL_IN, after the filter of INPUT has.
    fn local_in(&self, guard: &Guard, packet: Packet<'_>) -> Verdict;

    /// A packet for another host passes FORWARD, after the filter of FORWARD has.
    fn forward(&self, guard: &Guard, packet: Packet<'_>) -> Verdict;

    /// A packet was handed in by a device that the handler has a hook at (`device.rs`).
    fn ingress(&self, guard: &Guard, packet: Packet<'_>) -> Verdict;

    /// Returns whether FORWARD and LOCAL_OUT must look at a packet whose IP header names this
    /// protocol. What passes there is mostly not ours: asked first, this costs the others least.
    fn wants(&self, protocol: u8) -> bool;

    /// Returns whether datagrams that were merged into one packet may be handled as one, by the
    /// first of them; else each is handled as a packet. Servers send them if `is_reply`, initiators
    /// if not. Those that are not ours stay merged.
    fn takes_as_one(&self, packet: &Packet<'_>, merged: Merged, is_reply: bool) -> bool;

    /// A packet of this host passes LOCAL_OUT, before the filter of OUTPUT.
    fn local_out(&self, guard: &Guard, packet: Packet<'_>) -> Verdict;

    /// Drops a packet that was merged from several and cannot be taken apart, for want of memory.
    fn lose(&self, packet: Packet<'_>);
}

/// Number of hooks, a pair for each place.
const HOOKS: usize = 6;

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
    /// Whether what passes comes from servers.
    const IS_REPLY: bool;

    /// See [`Handler::wants`].
    fn wants<H: Handler>(handler: &H, protocol: u8) -> bool;

    fn call<H: Handler>(handler: &H, guard: &Guard, packet: Packet<'_>) -> Verdict;
}

struct LocalIn;
struct Forward;
struct LocalOut;

impl Hook for LocalIn {
    const IS_REPLY: bool = false;

    #[inline(always)]
    fn wants<H: Handler>(_: &H, _: u8) -> bool {
        true
    }

    #[inline(always)]
    fn call<H: Handler>(handler: &H, guard: &Guard, packet: Packet<'_>) -> Verdict {
        handler.local_in(guard, packet)
    }
}

impl Hook for Forward {
    const IS_REPLY: bool = true;

    #[inline(always)]
    fn wants<H: Handler>(handler: &H, protocol: u8) -> bool {
        handler.wants(protocol)
    }

    #[inline(always)]
    fn call<H: Handler>(handler: &H, guard: &Guard, packet: Packet<'_>) -> Verdict {
        handler.forward(guard, packet)
    }
}

impl Hook for LocalOut {
    const IS_REPLY: bool = true;

    #[inline(always)]
    fn wants<H: Handler>(handler: &H, protocol: u8) -> bool {
        handler.wants(protocol)
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
/// `private` is the handler that [`Hooks`] were registered with, and `skb` and `state` are a packet
/// of IPv6, or IPv4, on its way through the hook.
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
    if !K::wants(handler, unsafe {
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
    // Softirqs are on for packets of processes, and for those that have come back from NFQUEUE.
    let _bh = BhGuard::unless_in_softirq();
    // SAFETY: Hooks run under RCU.
    let guard = unsafe { Guard::within() };
    // SAFETY: The packet is valid.
    if unsafe { skb::is_gso(skb) } {
        // SAFETY: As required of the caller.
        return unsafe { handle_gso::<H, K>(handler, &guard, skb, (net, family), state) }.code();
    }
    // SAFETY: A hook owns its packet until it answers, and IP has checked the header. Softirqs are off
    // until then.
    match unsafe { Packet::from_hook(skb, net, family) } {
        Some(packet) => K::call(handler, &guard, packet).code(),
        None => Verdict::ACCEPT.code(),
    }
}

/// Handles a packet that may be several: each of the datagrams that it was merged from, in order, as
/// a packet of its own, unless they can be handled as one. Apart from the rest, so that a packet which
/// is one stays in registers there.
///
/// # Safety
///
/// As [`called`]; the packet is of this namespace and family.
#[cold]
#[inline(never)]
unsafe fn handle_gso<H: Handler, K: Hook>(
    handler: &H,
    guard: &Guard,
    skb: NonNull<bindings::sk_buff>,
    (net, family): (Net<'_>, Family),
    state: *const bindings::nf_hook_state,
) -> Verdict {
    // SAFETY: A hook owns its packet until it answers, and IP has checked the header.
    let Some(packet) = (unsafe { Packet::from_hook(skb, net, family) }) else {
        return Verdict::ACCEPT;
    };
    let merged = packet.merged();
    if merged.is_none_or(|merged| handler.takes_as_one(&packet, merged, K::IS_REPLY)) {
        return K::call(handler, guard, packet);
    }
    match packet.segment() {
        Ok(segments) => {
            for skb in segments {
                // SAFETY: The packet is ours, and its header as that of the one that IP has checked.
                // Softirqs are off, as they were for that one.
                let segment = unsafe { Packet::from_hook(skb, net, family) };
                let verdict = match segment {
                    Some(segment) => K::call(handler, guard, segment),
                    None => Verdict::ACCEPT,
                };
                // SAFETY: The answer is about this packet. We are in the hook, which is registered
                // with the handler.
                unsafe { verdict.carry_out(skb, state, core::ptr::from_ref(handler).cast()) };
            }
        }
        Err(packet) => handler.lose(packet),
    }
    Packet::stolen()
}
