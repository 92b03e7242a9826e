// SPDX-License-Identifier: GPL-2.0

//! Packets that are several datagrams: merged by GRO, or by a socket with `UDP_SEGMENT`.
//!
//! C headers: [`include/net/gso.h`](srctree/include/net/gso.h),
//! [`include/linux/netfilter.h`](srctree/include/linux/netfilter.h)

use super::{fields, Packet, Verdict};
use crate::{
    kapi::bindings,
    proto::{number, Payload},
};
use core::{mem::ManuallyDrop, ptr::NonNull};
use kernel::prelude::*;

/// Bytes of a UDP header.
const UDP_LEN: usize = 8;

/// How datagrams were merged.
#[derive(Clone, Copy)]
pub(crate) struct Merged {
    /// Bytes that each of them carries; the last may carry less.
    pub(crate) size: usize,
    /// Each still has its own headers, of which only the first's can be changed.
    pub(crate) is_list: bool,
}

/// Whether a packet is to be cut into segments, and so may be several.
///
/// # Safety
///
/// `skb` is valid.
#[inline(always)]
pub(in crate::kapi) unsafe fn is_gso(skb: NonNull<bindings::sk_buff>) -> bool {
    // SAFETY: `skb` is valid.
    unsafe { fields::gso_size(skb) != 0 }
}

impl Packet<'_> {
    /// How the datagrams were merged that the packet is; `None` for one that is one packet.
    pub(in crate::kapi) fn merged(&self) -> Option<Merged> {
        // SAFETY: `skb` is valid.
        let (size, kind) = unsafe { (fields::gso_size(self.skb), fields::gso_type(self.skb)) };
        let (size, is) = (usize::from(size), |flag| kind & flag != 0);
        // All else is one packet to us: a stream, a large datagram that will be cut into fragments.
        let is_merged = self.protocol == number::UDP
            && size != 0
            && is(bindings::IPVS_IPSEC_GSO_UDP_L4)
            && self.available() > UDP_LEN + size;
        is_merged.then_some(Merged {
            size,
            is_list: is(bindings::IPVS_IPSEC_GSO_FRAGLIST),
        })
    }

    /// Takes the packet apart. Without the memory for it the caller has the packet back.
    pub(in crate::kapi) fn segment(self) -> Result<Segments, Self> {
        // SAFETY: `skb` is valid and ours, and in a hook, whose data begin with the network header.
        // On success it is taken over.
        let first = unsafe { bindings::ipvs_ipsec_skb_segment(self.as_ptr()) };
        if first.is_null() {
            return Err(self);
        }
        let _gone = ManuallyDrop::new(self);
        // INVARIANT: They have just been made for us.
        Ok(Segments(first))
    }
}

/// Packets that were one, in order.
///
/// # Invariants
///
/// The first of a list of packets that are ours; null at its end.
pub(in crate::kapi) struct Segments(*mut bindings::sk_buff);

impl Iterator for Segments {
    /// It is the caller's.
    type Item = NonNull<bindings::sk_buff>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = NonNull::new(self.0)?;
        // INVARIANT: The rest of the list is one, too.
        // SAFETY: By the type invariant the packet is valid.
        self.0 = unsafe { bindings::ipvs_ipsec_skb_unlink_first(first.as_ptr()) };
        Some(first)
    }
}

impl Drop for Segments {
    fn drop(&mut self) {
        for skb in self {
            // SAFETY: The packet is ours.
            unsafe { bindings::ipvs_ipsec_kfree_skb(skb.as_ptr()) };
        }
    }
}

impl Verdict {
    /// Does what netfilter does with a packet: one that is accepted goes on behind the hook whose
    /// `private` this is.
    ///
    /// # Safety
    ///
    /// This is the answer about `skb`, which is ours and in the hook of `state`, under RCU and with
    /// softirqs off.
    pub(in crate::kapi) unsafe fn carry_out(
        self,
        skb: NonNull<bindings::sk_buff>,
        state: *const bindings::nf_hook_state,
        private: *const c_void,
    ) {
        // SAFETY: By the safety requirements; either call takes over `skb`.
        unsafe {
            match self.0 {
                bindings::NF_ACCEPT => {
                    bindings::ipvs_ipsec_nf_go_on(skb.as_ptr(), state, private);
                }
                bindings::NF_DROP => bindings::ipvs_ipsec_kfree_skb(skb.as_ptr()),
                _ => {}
            }
        }
    }
}
