// SPDX-License-Identifier: GPL-2.0

//! Neighbours on a link, to which packets go without more ado.
//!
//! C header: [`include/net/neighbour.h`](srctree/include/net/neighbour.h)

use super::{
    bindings,
    net::in6_addr,
    rcu::Guard,
    route::Route,
    skb::{Packet, Verdict},
};
use crate::addr::Addr;
use core::{marker::PhantomData, ptr::NonNull};

/// A neighbour whose link-layer header is known.
///
/// # Invariants
///
/// It is alive as long as the guard, and the packet that it was looked up for has room for the
/// header.
pub(crate) struct Neighbour<'g> {
    neigh: NonNull<bindings::neighbour>,
    _guard: PhantomData<&'g Guard>,
}

impl<'g> Neighbour<'g> {
    /// The next hop of `packet` on its way to `host` by `route`. `None` if the kernel does not know
    /// for certain that it is there, or has to do more than to put a header before the packet.
    #[inline(always)]
    pub(crate) fn of(
        _: &'g Guard,
        route: &Route,
        host: &Addr,
        packet: &Packet<'_>,
    ) -> Option<Self> {
        // SAFETY: The route is valid and of the host's family.
        let neigh = unsafe {
            match host {
                Addr::V4(host) => {
                    bindings::ipvs_ipsec_neigh4(route.as_ptr(), u32::from_ne_bytes(*host))
                }
                Addr::V6(host) => bindings::ipvs_ipsec_neigh6(route.as_ptr(), &in6_addr(*host)),
            }
        };
        let neigh = NonNull::new(neigh)?;
        // INVARIANT: It was found under RCU, and the packet is asked about its room.
        // SAFETY: Both are valid.
        unsafe { bindings::ipvs_ipsec_neigh_takes(neigh.as_ptr(), packet.as_ptr()) }.then_some(
            Neighbour {
                neigh,
                _guard: PhantomData,
            },
        )
    }

    /// Sends the packet that it was looked up for there.
    #[inline(always)]
    pub(crate) fn send(self, packet: Packet<'_>) -> Verdict {
        packet.give(|skb, transport| {
            // SAFETY: By the type invariant. The packet is ours to give.
            unsafe { bindings::ipvs_ipsec_neigh_send(self.neigh.as_ptr(), skb, transport) };
        })
    }
}
