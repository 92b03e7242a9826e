// SPDX-License-Identifier: GPL-2.0

//! IPv6 fragments reassembled before any hook sees them.
//!
//! IPv4 does so for packets that are for this host, IPv6 only behind the hooks. The module that
//! does it, nf_defrag_ipv6, is found at run time, as net/netfilter/nf_bpf_link.c does, so that we
//! load without it.
//!
//! C header: [`include/linux/netfilter.h`](srctree/include/linux/netfilter.h)

use super::{bindings, Net};
use core::ptr::NonNull;
use kernel::{error::to_result, prelude::*};

/// A namespace reassembles the fragments of IPv6 that arrive.
///
/// # Invariants
///
/// We hold a reference to the module of `hook`, which is enabled in the namespace `net` that
/// outlives this.
pub(crate) struct Ipv6 {
    hook: NonNull<bindings::nf_defrag_hook>,
    net: NonNull<bindings::net>,
}

// SAFETY: Enabling and disabling may be done by any thread.
unsafe impl Send for Ipv6 {}
// SAFETY: There is nothing to do with a shared reference.
unsafe impl Sync for Ipv6 {}

impl Ipv6 {
    /// Has fragments reassembled from here on. Loads the module that does it. Sleeps.
    ///
    /// The result belongs into the state of the namespace, which is dropped before the namespace.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is no such module, `ENOMEM`.
    pub(crate) fn enable(net: Net<'_>) -> Result<Self> {
        // SAFETY: No requirements but process context, for the second.
        let hook = unsafe {
            let mut hook = bindings::ipvs_ipsec_defrag6_get();
            if hook.is_null() {
                bindings::ipvs_ipsec_request_module(c"nf_defrag_ipv6".as_char_ptr());
                hook = bindings::ipvs_ipsec_defrag6_get();
            }
            hook
        };
        let hook = NonNull::new(hook.cast_mut()).ok_or(ENOENT)?;
        // SAFETY: The hook's module cannot go: we hold a reference. The namespace is alive.
        let enabled = unsafe {
            let enable = (*hook.as_ptr()).enable;
            to_result(enable.map_or(EINVAL.to_errno(), |enable| enable(net.as_ptr())))
        };
        if let Err(error) = enabled {
            // SAFETY: The reference is ours.
            unsafe { bindings::ipvs_ipsec_module_put((*hook.as_ptr()).owner) };
            return Err(error);
        }
        let net = NonNull::new(net.as_ptr()).ok_or(EINVAL)?;
        // INVARIANT: Just enabled.
        Ok(Ipv6 { hook, net })
    }
}

impl Drop for Ipv6 {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe {
            let hook = self.hook.as_ref();
            if let Some(disable) = hook.disable {
                disable(self.net.as_ptr());
            }
            bindings::ipvs_ipsec_module_put(hook.owner);
        }
    }
}
