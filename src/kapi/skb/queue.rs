// SPDX-License-Identifier: GPL-2.0

//! Packets that wait for something, longer than a hook may.
//!
//! C header: [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h)

use super::{fields, Packet};
use crate::{
    addr::Family,
    kapi::{bindings, Net},
};
use core::{mem::ManuallyDrop, ptr::NonNull};
use kernel::{num::casts::u32_as_usize, prelude::*, types::Opaque};

/// Most packets that wait at a time: a few milliseconds of a flood, and as many MiB.
const MOST: usize = 8192;

/// Packets that wait, the longest first.
///
/// # Invariants
///
/// The list is initialised, and stays where it is. Its packets are ours, of one namespace, and have
/// a reference to their route and to their device.
pub(in crate::kapi) struct Queue(Pin<KBox<Opaque<bindings::sk_buff_head>>>);

// SAFETY: The list has a lock of its own.
unsafe impl Send for Queue {}
// SAFETY: As above.
unsafe impl Sync for Queue {}

/// The device that a packet came in by.
///
/// # Invariants
///
/// We own a reference to it.
pub(in crate::kapi) struct Device(NonNull<bindings::net_device>);

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::ipvs_ipsec_dev_put(self.0.as_ptr()) };
    }
}

impl Queue {
    /// Where no packet waits. Sleeps.
    pub(in crate::kapi) fn new() -> Result<Self> {
        let empty = Opaque::ffi_init(|list| {
            // SAFETY: `list` is memory for a list that stays where it is.
            unsafe { bindings::ipvs_ipsec_skb_queue_init(list) };
        });
        // INVARIANT: Just initialised, in a box that is pinned.
        KBox::pin_init(empty, GFP_KERNEL).map(Queue)
    }

    /// How many wait.
    pub(in crate::kapi) fn len(&self) -> usize {
        // SAFETY: By the type invariant.
        u32_as_usize(unsafe { bindings::ipvs_ipsec_skb_queue_len(self.0.get()) })
    }

    /// Has a packet wait that passes LOCAL_IN; the caller has it back if too many do.
    pub(in crate::kapi) fn push<'a>(&self, packet: Packet<'a>) -> Result<(), Packet<'a>> {
        if self.len() >= MOST {
            return Err(packet);
        }
        // SAFETY: `skb` is valid and ours, and has a route and a device where it is.
        if !unsafe { bindings::ipvs_ipsec_skb_keep(packet.as_ptr()) } {
            return Err(packet);
        }
        let skb = ManuallyDrop::new(packet).as_ptr();
        // INVARIANT: It has just been given its references.
        // SAFETY: By the type invariant; the list takes over the packet.
        unsafe { bindings::skb_queue_tail(self.0.get(), skb) };
        Ok(())
    }

    /// The packet that has waited longest, and its device, which it may be used with.
    ///
    /// # Safety
    ///
    /// The packets are of this namespace.
    pub(in crate::kapi) unsafe fn pop<'a>(&self, net: Net<'a>) -> Option<(Packet<'a>, Device)> {
        loop {
            // SAFETY: By the type invariant.
            let skb = NonNull::new(unsafe { bindings::skb_dequeue(self.0.get()) })?;
            // SAFETY: By the type invariant it is a valid packet of IP with a device; the list has handed it over.
            let (packet, device) = unsafe {
                let family = match *fields::network_header(skb) >> 4 {
                    6 => Family::V6,
                    _ => Family::V4,
                };
                let device = NonNull::new(bindings::ipvs_ipsec_skb_dev(skb.as_ptr()));
                (Packet::from_hook(skb, net, family), device)
            };
            // INVARIANT: The packet had a reference to it, which is ours now.
            match (packet, device.map(Device)) {
                (Some(packet), Some(device)) => return Some((packet, device)),
                // SAFETY: The packet is ours. Its headers were whole when it came.
                (None, _) => unsafe { bindings::ipvs_ipsec_kfree_skb(skb.as_ptr()) },
                (Some(_), None) => {}
            }
        }
    }
}
