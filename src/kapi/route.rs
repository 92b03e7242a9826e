// SPDX-License-Identifier: GPL-2.0

//! Routes to hosts.
//!
//! C headers: [`include/net/route.h`](srctree/include/net/route.h),
//! [`include/net/ip6_route.h`](srctree/include/net/ip6_route.h),
//! [`include/net/dst_cache.h`](srctree/include/net/dst_cache.h)

use super::{bindings, lock::BhDisabled, net::in6_addr, Net};
use crate::addr::{Addr, Family};
use core::{mem::ManuallyDrop, ptr::NonNull};
use kernel::{
    error::{from_err_ptr, to_result},
    prelude::*,
    types::Opaque,
};

/// A route to a host.
///
/// # Invariants
///
/// We own a reference to the `dst_entry`, which is a `rtable` or a `rt6_info` as `family` says.
pub(crate) struct Route {
    dst: NonNull<bindings::dst_entry>,
    family: Family,
}

impl Route {
    /// The route to a host.
    pub(super) fn to(net: Net<'_>, host: &Addr) -> Result<Self> {
        match *host {
            Addr::V4(host) => Self::look_up_v4(net, host, 0).map(|(route, _)| route),
            Addr::V6(host) => Self::look_up_v6(net, host, 0).map(|(route, _)| route),
        }
    }

    /// Looks up the route to an IPv4 host, and the address that a packet of ours would come from.
    fn look_up_v4(net: Net<'_>, host: [u8; 4], flags: u8) -> Result<(Self, u32)> {
        let mut flow = bindings::flowi4 {
            __fl_common: bindings::flowi_common {
                flowic_flags: flags,
                ..Default::default()
            },
            daddr: u32::from_ne_bytes(host),
            ..Default::default()
        };
        // SAFETY: `net` is alive, and the flow is only used during the call.
        let route = unsafe { bindings::ipvs_ipsec_ip_route_output_key(net.as_ptr(), &mut flow) };
        let route = NonNull::new(from_err_ptr(route)?).ok_or(ENETUNREACH)?;
        // SAFETY: The route is valid.
        let dst =
            unsafe { NonNull::new_unchecked(bindings::ipvs_ipsec_rtable_dst(route.as_ptr())) };
        // INVARIANT: The look-up took a reference for us.
        let route = Route {
            dst,
            family: Family::V4,
        };
        Ok((route, flow.saddr))
    }

    /// Looks up the route to an IPv6 host, and the address that a packet of ours would come from;
    /// unspecified if there is none.
    fn look_up_v6(net: Net<'_>, host: [u8; 16], flags: u8) -> Result<(Self, [u8; 16])> {
        let mut flow = bindings::flowi6 {
            __fl_common: bindings::flowi_common {
                flowic_flags: flags,
                ..Default::default()
            },
            daddr: in6_addr(host),
            ..Default::default()
        };
        // SAFETY: `net` is alive, and the flow is only used during the call.
        let dst = unsafe { bindings::ipvs_ipsec_ip6_route_output(net.as_ptr(), &mut flow) };
        // INVARIANT: The look-up took a reference for us.
        let route = Route {
            dst: NonNull::new(dst).ok_or(ENETUNREACH)?,
            family: Family::V6,
        };
        // SAFETY: The route is valid.
        to_result(unsafe { bindings::ipvs_ipsec_dst_error(dst) })?;
        let mut source = in6_addr([0; 16]);
        // SAFETY: All are valid; the addresses are only used during the call.
        unsafe {
            let found =
                bindings::ipvs_ipsec_ip6_get_saddr(net.as_ptr(), dst, &flow.daddr, &mut source);
            let none = [0; 16];
            Ok((
                route,
                if found == 0 {
                    source.in6_u.u6_addr8
                } else {
                    none
                },
            ))
        }
    }

    /// Whether it leads to this host itself.
    #[inline]
    pub(crate) fn is_local(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::ipvs_ipsec_dst_is_local(self.dst.as_ptr(), self.family == Family::V6) }
    }

    /// Size of the largest packet that passes, in bytes.
    #[inline]
    pub(crate) fn mtu(&self) -> u32 {
        // SAFETY: By the type invariant.
        unsafe { bindings::ipvs_ipsec_dst_mtu(self.dst.as_ptr()) }
    }

    /// The `dst_entry`.
    pub(super) fn as_ptr(&self) -> *mut bindings::dst_entry {
        self.dst.as_ptr()
    }

    /// The `dst_entry` with our reference to it.
    #[inline]
    pub(super) fn into_raw(self) -> *mut bindings::dst_entry {
        ManuallyDrop::new(self).dst.as_ptr()
    }
}

impl Drop for Route {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant we own a reference.
        unsafe { bindings::dst_release(self.dst.as_ptr()) };
    }
}

const FLAG_KNOWN_NH: u8 = {
    assert!(bindings::FLOWI_FLAG_KNOWN_NH <= 0xff);
    bindings::FLOWI_FLAG_KNOWN_NH.to_le_bytes()[0]
};

/// What packets that take a route are addressed to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Towards {
    /// The host itself.
    Host,
    /// Somebody else: the next hop must be the host or a gateway to it, whatever the packet says.
    Another,
}

/// The last route to a host, remembered by each CPU.
///
/// # Invariants
///
/// The cache is initialised, and all routes in it are of the family of `host`.
pub(crate) struct Cache {
    cache: Opaque<bindings::dst_cache>,
    host: Addr,
    towards: Towards,
}

// SAFETY: `struct dst_cache` keeps its routes per CPU.
unsafe impl Send for Cache {}
// SAFETY: As above.
unsafe impl Sync for Cache {}

impl Cache {
    /// An empty cache for routes to `host`. Sleeps.
    pub(crate) fn new(host: Addr, towards: Towards) -> Result<Self> {
        let cache = Opaque::uninit();
        // SAFETY: `cache` is memory for a `dst_cache`, which may be moved: it is a pointer to
        // per-CPU memory and a time stamp.
        to_result(unsafe { bindings::ipvs_ipsec_dst_cache_init(cache.get()) })?;
        // INVARIANT: Just initialised, and empty.
        Ok(Cache {
            cache,
            host,
            towards,
        })
    }

    /// The route to the host.
    ///
    /// # Errors
    ///
    /// As [`Cache::route_and_source_v4`].
    #[inline(always)]
    pub(crate) fn route(&self, bh: BhDisabled<'_>, net: Net<'_>) -> Result<Route> {
        // SAFETY: By the type invariant, with softirqs off as `bh` proves.
        let found = unsafe { bindings::dst_cache_get(self.cache.get()) };
        match NonNull::new(found) {
            // INVARIANT: The cache took a reference for us.
            Some(dst) => Ok(Route {
                dst,
                family: self.host.family(),
            }),
            None => self.look_up(bh, net),
        }
    }

    /// The route to the host, looked up if the cache has none.
    #[cold]
    fn look_up(&self, bh: BhDisabled<'_>, net: Net<'_>) -> Result<Route> {
        match self.host {
            Addr::V4(host) => self
                .route_and_source_v4(bh, net, host)
                .map(|(route, _)| route),
            Addr::V6(host) => self
                .route_and_source_v6(bh, net, host)
                .map(|(route, _)| route),
        }
    }

    /// The route to the host, which is this one, and the source of a packet that this host itself
    /// would send.
    ///
    /// # Errors
    ///
    /// Those of the look-up: `ENETUNREACH`, `EHOSTUNREACH`, `EINVAL`, `EACCES`, `ENOMEM`.
    #[inline(always)]
    pub(crate) fn route_and_source_v4(
        &self,
        bh: BhDisabled<'_>,
        net: Net<'_>,
        host: [u8; 4],
    ) -> Result<(Route, [u8; 4])> {
        let family = Family::V4;
        let mut source = 0;
        // SAFETY: By the type invariant, with softirqs off as the token proves.
        let found = unsafe { bindings::dst_cache_get_ip4(self.cache.get(), &mut source) };
        match NonNull::new(found) {
            Some(route) => {
                // INVARIANT: The cache took a reference for us.
                // SAFETY: The route is valid.
                let dst = unsafe {
                    NonNull::new_unchecked(bindings::ipvs_ipsec_rtable_dst(route.as_ptr()))
                };
                Ok((Route { dst, family }, source.to_ne_bytes()))
            }
            None => self.look_up_v4(bh, net, host),
        }
    }

    #[cold]
    fn look_up_v4(
        &self,
        _: BhDisabled<'_>,
        net: Net<'_>,
        host: [u8; 4],
    ) -> Result<(Route, [u8; 4])> {
        let (route, source) = Route::look_up_v4(net, host, self.flags())?;
        let dst = route.dst.as_ptr();
        // SAFETY: By the type invariant, with softirqs off; the cache takes a reference of its own.
        unsafe { bindings::dst_cache_set_ip4(self.cache.get(), dst, source) };
        Ok((route, source.to_ne_bytes()))
    }

    /// The same for a host of IPv6.
    ///
    /// # Errors
    ///
    /// As [`Cache::route_and_source_v4`].
    pub(crate) fn route_and_source_v6(
        &self,
        _: BhDisabled<'_>,
        net: Net<'_>,
        host: [u8; 16],
    ) -> Result<(Route, [u8; 16])> {
        let family = Family::V6;
        let mut source = in6_addr([0; 16]);
        // SAFETY: By the type invariant, with softirqs off as the token proves.
        let found = unsafe { bindings::dst_cache_get_ip6(self.cache.get(), &mut source) };
        if let Some(dst) = NonNull::new(found) {
            // SAFETY: All forms of the union hold the same address.
            let source = unsafe { source.in6_u.u6_addr8 };
            // INVARIANT: The cache took a reference for us.
            return Ok((Route { dst, family }, source));
        }
        let (route, address) = Route::look_up_v6(net, host, self.flags())?;
        source.in6_u.u6_addr8 = address;
        // A copy (ip6_pol_route makes one for FLOWI_FLAG_KNOWN_NH to a host on the link) keeps what
        // it was copied from, and that the device: who remembered it would keep the device from
        // going.
        // SAFETY: As above; the cache takes a reference of its own.
        unsafe {
            if !bindings::ipvs_ipsec_rt6_is_copy(route.dst.as_ptr()) {
                bindings::dst_cache_set_ip6(self.cache.get(), route.dst.as_ptr(), &source);
            }
        }
        Ok((route, address))
    }

    fn flags(&self) -> u8 {
        match self.towards {
            Towards::Host => 0,
            Towards::Another => FLAG_KNOWN_NH,
        }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, and nobody uses it any more.
        unsafe { bindings::dst_cache_destroy(self.cache.get()) };
    }
}
