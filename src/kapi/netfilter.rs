// SPDX-License-Identifier: GPL-2.0

//! Netfilter hooks.
//!
//! C header: [`include/linux/netfilter.h`](srctree/include/linux/netfilter.h)

use super::{
    bindings,
    skb::{Packet, Verdict},
    Net,
};
use core::{cell::UnsafeCell, ptr::NonNull};
use kernel::{
    error::to_result,
    prelude::*,
    sync::atomic::{Atomic, Full},
};

/// Who looks at packets.
pub(crate) trait Handler: Send + Sync {
    /// An IPv4 packet for this host passes LOCAL_IN, after the filter of INPUT has. Softirq.
    fn local_in(&self, packet: Packet<'_>) -> Verdict;
}

/// The hooks of one handler in one namespace.
///
/// # Invariants
///
/// `ops` is only written before the hooks are registered.
pub(crate) struct Hooks {
    ops: UnsafeCell<[bindings::nf_hook_ops; 1]>,
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
            ops: UnsafeCell::new([bindings::nf_hook_ops::default()]),
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
        let ops = self.ops.get().cast::<bindings::nf_hook_ops>();
        // SAFETY: By the safety requirements nobody else has seen `ops` yet.
        let op = unsafe { &mut *ops };
        op.hook = Some(local_in::<H>);
        op.priv_ = handler.cast_mut().cast();
        op.pf = PF_IPV4;
        op.hooknum = LOCAL_IN;
        // After packet filtering, as ip_vs does it, and just before ip_vs.
        op.priority = PRIORITY;
        // SAFETY: By the safety requirements `ops` and what it points to live long enough.
        to_result(unsafe { bindings::nf_register_net_hooks(net.as_ptr(), ops, 1) })?;
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
            unsafe { bindings::nf_unregister_net_hooks(net.as_ptr(), self.ops.get().cast(), 1) };
        }
    }
}

const PF_IPV4: u8 = bindings::NFPROTO_IPV4.to_le_bytes()[0];
const LOCAL_IN: c_uint = bindings::NF_INET_LOCAL_IN;
const PRIORITY: c_int = bindings::NF_IP_PRI_NAT_SRC - 3;

/// Called by netfilter.
///
/// # Safety
///
/// `private` is the handler of [`Hooks::register`], and `skb` and `state` are a packet on its way
/// through the hook.
unsafe extern "C" fn local_in<H: Handler>(
    private: *mut c_void,
    skb: *mut bindings::sk_buff,
    state: *const bindings::nf_hook_state,
) -> c_uint {
    // SAFETY: The handler outlives the hooks by a grace period, and hooks run under RCU.
    let handler = unsafe { &*private.cast_const().cast::<H>() };
    // SAFETY: `state` is valid during the call.
    let net = NonNull::new(unsafe { (*state).net });
    let (Some(skb), Some(net)) = (NonNull::new(skb), net) else {
        return bindings::NF_ACCEPT;
    };
    // SAFETY: The namespace outlives the packet's way through it.
    let net = unsafe { Net::from_raw(net) };
    // SAFETY: A hook owns its packet until it answers, and IPv4 has checked the header.
    let packet = unsafe { Packet::from_hook(skb, net) };
    handler.local_in(packet).code()
}
