// SPDX-License-Identifier: GPL-2.0

//! Network namespaces.
//!
//! C header: [`include/net/net_namespace.h`](srctree/include/net/net_namespace.h)

use super::bindings;
use core::ptr::NonNull;

/// An address of IPv6 as C wants it, aligned.
#[inline(always)]
pub(super) fn in6_addr(bytes: [u8; 16]) -> bindings::in6_addr {
    bindings::in6_addr {
        in6_u: bindings::in6_addr__bindgen_ty_1 { u6_addr8: bytes },
    }
}

/// A network namespace, `struct net`, that the holder knows to be alive.
///
/// # Invariants
///
/// The namespace outlives `'a`.
#[derive(Clone, Copy)]
pub(crate) struct Net<'a>(
    NonNull<bindings::net>,
    core::marker::PhantomData<&'a bindings::net>,
);

impl Net<'_> {
    /// Wraps a pointer that C handed out.
    ///
    /// # Safety
    ///
    /// The namespace must outlive the lifetime of the result.
    pub(super) unsafe fn from_raw(net: NonNull<bindings::net>) -> Self {
        // INVARIANT: By the safety requirements.
        Net(net, core::marker::PhantomData)
    }

    /// Whether there are policies of IPsec for its packets.
    #[inline(always)]
    pub(crate) fn has_xfrm(self) -> bool {
        // SAFETY: The namespace is alive.
        unsafe { bindings::ipvs_ipsec_net_has_xfrm(self.as_ptr()) }
    }

    /// Whether it is the first one, which is there from the start.
    pub(crate) fn is_first(self) -> bool {
        // SAFETY: The namespace is alive.
        unsafe { bindings::ipvs_ipsec_net_is_init(self.as_ptr()) }
    }

    pub(super) fn as_ptr(self) -> *mut bindings::net {
        self.0.as_ptr()
    }
}
