// SPDX-License-Identifier: GPL-2.0

//! Routes to hosts.
//!
//! C headers: [`include/net/route.h`](srctree/include/net/route.h),
//! [`include/net/dst_cache.h`](srctree/include/net/dst_cache.h)

use super::{bindings, Net};
use core::{mem::ManuallyDrop, ptr::NonNull};
use kernel::{error::from_err_ptr, prelude::*, types::Opaque};

/// A route to an IPv4 host.
///
/// # Invariants
///
/// We own a reference to the `rtable`.
pub(crate) struct Route(NonNull<bindings::rtable>);

impl Route {
    /// Looks up the route to `host`, which the packet is not addressed to.
    fn look_up(net: Net<'_>, host: [u8; 4]) -> Result<Self> {
        let mut flow = bindings::flowi4 {
            __fl_common: bindings::flowi_common {
                // The packet keeps its destination: the next hop must be the host itself or a
                // gateway to it, whatever the packet says.
                flowic_flags: FLAG_KNOWN_NH,
                ..Default::default()
            },
            daddr: u32::from_ne_bytes(host),
            ..Default::default()
        };
        // SAFETY: `net` is alive, and the flow is only used during the call.
        let route = unsafe { bindings::ipvs_ipsec_ip_route_output_key(net.as_ptr(), &mut flow) };
        let route = NonNull::new(from_err_ptr(route)?).ok_or(ENETUNREACH)?;
        // INVARIANT: The look-up took a reference for us.
        Ok(Route(route))
    }

    /// Whether it leads to this host itself.
    #[inline]
    pub(crate) fn is_local(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::ipvs_ipsec_rt_is_local(self.0.as_ptr()) }
    }

    /// Size of the largest packet that passes, in bytes.
    #[inline]
    pub(crate) fn mtu(&self) -> u32 {
        // SAFETY: By the type invariant.
        unsafe { bindings::ipvs_ipsec_dst_mtu(self.0.as_ptr()) }
    }

    /// The `rtable` with our reference to it.
    #[inline]
    pub(super) fn into_raw(self) -> *mut bindings::rtable {
        ManuallyDrop::new(self).0.as_ptr()
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        // SAFETY: By the type invariant we own a reference.
        unsafe { bindings::ipvs_ipsec_ip_rt_put(self.0.as_ptr()) };
    }
}

const FLAG_KNOWN_NH: u8 = {
    assert!(bindings::FLOWI_FLAG_KNOWN_NH <= 0xff);
    bindings::FLOWI_FLAG_KNOWN_NH.to_le_bytes()[0]
};

/// The last route to a host, remembered by each CPU.
///
/// # Invariants
///
/// The cache is initialised.
pub(crate) struct Cache(Opaque<bindings::dst_cache>);

// SAFETY: `struct dst_cache` keeps its routes per CPU.
unsafe impl Send for Cache {}
// SAFETY: As above.
unsafe impl Sync for Cache {}

impl Cache {
    /// An empty cache. Sleeps.
    pub(crate) fn new() -> Result<Self> {
        let cache = Opaque::uninit();
        // SAFETY: `cache` is memory for a `dst_cache`, which may be moved: it is a pointer to
        // per-CPU memory and a time stamp.
        let error = unsafe { bindings::ipvs_ipsec_dst_cache_init(cache.get()) };
        kernel::error::to_result(error)?;
        // INVARIANT: Just initialised.
        Ok(Cache(cache))
    }

    /// The route to `host`, always the same one for a cache. For softirq context.
    ///
    /// # Errors
    ///
    /// Those of the look-up: `ENETUNREACH`, `EHOSTUNREACH`, `EINVAL`, `EACCES`, `ENOMEM`.
    #[inline]
    pub(crate) fn route(&self, net: Net<'_>, host: [u8; 4]) -> Result<Route> {
        let mut source = 0;
        // SAFETY: By the type invariant. Hooks run in softirq or with it off.
        let route = unsafe { bindings::dst_cache_get_ip4(self.0.get(), &mut source) };
        if let Some(route) = NonNull::new(route) {
            // INVARIANT: The cache took a reference for us.
            return Ok(Route(route));
        }
        let route = Route::look_up(net, host)?;
        // SAFETY: As above; the cache takes a reference of its own.
        unsafe { bindings::ipvs_ipsec_dst_cache_set_ip4(self.0.get(), route.0.as_ptr()) };
        Ok(route)
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, and nobody uses it any more.
        unsafe { bindings::dst_cache_destroy(self.0.get()) };
    }
}
