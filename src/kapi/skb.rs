// SPDX-License-Identifier: GPL-2.0

//! Packets on a netfilter hook.
//!
//! C header: [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h)

use super::{bindings, route::Route, Net};
use crate::{addr::Addr, proto::Payload};
use core::{mem::ManuallyDrop, ptr::NonNull};
use kernel::{num::casts::u32_as_usize, prelude::*};

/// An IPv4 packet that a hook owns, and must give back as a [`Verdict`]; dropped, it is freed.
///
/// # Invariants
///
/// We own the `sk_buff`. Its network header is a whole IPv4 header in linear memory.
pub(crate) struct Packet<'a> {
    skb: NonNull<bindings::sk_buff>,
    net: Net<'a>,
    /// Offset of the network header from the beginning of the data.
    network: usize,
    /// Offset of what follows it.
    transport: usize,
}

/// What a hook answers; tells who owns the packet from here on.
pub(crate) struct Verdict(c_uint);

impl Verdict {
    /// The number that `struct nf_hook_ops` wants.
    pub(super) fn code(self) -> c_uint {
        self.0
    }
}

impl<'a> Packet<'a> {
    /// Takes a packet from a hook of family IPv4.
    ///
    /// # Safety
    ///
    /// The caller owns `skb`, which the IPv4 stack has checked (`ip_rcv_core`), and hands over.
    #[inline]
    pub(super) unsafe fn from_hook(skb: NonNull<bindings::sk_buff>, net: Net<'a>) -> Self {
        // SAFETY: `skb` is valid.
        let network = unsafe { bindings::ipvs_ipsec_skb_network_offset(skb.as_ptr()) };
        let network = usize::try_from(network).unwrap_or(0);
        // SAFETY: `skb` is valid and has an IPv4 header.
        let header = unsafe { &*bindings::ipvs_ipsec_ip_hdr(skb.as_ptr()) };
        // INVARIANT: By the safety requirements.
        Packet {
            skb,
            net,
            network,
            transport: network + usize::from(header.ihl()) * 4,
        }
    }

    #[inline]
    pub(super) fn as_ptr(&self) -> *mut bindings::sk_buff {
        self.skb.as_ptr()
    }

    #[inline]
    fn header(&self) -> &bindings::iphdr {
        // SAFETY: By the type invariant the header is there.
        unsafe { &*bindings::ipvs_ipsec_ip_hdr(self.as_ptr()) }
    }

    /// The namespace the packet is in.
    #[inline]
    pub(crate) fn net(&self) -> Net<'a> {
        self.net
    }

    /// IP protocol number.
    #[inline]
    pub(crate) fn protocol(&self) -> u8 {
        self.header().protocol
    }

    /// Source address.
    #[inline]
    pub(crate) fn source(&self) -> Addr {
        // SAFETY: The union holds the same address in either form.
        Addr::V4(unsafe { self.header().__bindgen_anon_1.addrs.saddr }.to_ne_bytes())
    }

    /// Destination address.
    #[inline]
    pub(crate) fn destination(&self) -> Addr {
        // SAFETY: The union holds the same address in either form.
        Addr::V4(unsafe { self.header().__bindgen_anon_1.addrs.daddr }.to_ne_bytes())
    }

    /// Time to live.
    #[inline]
    pub(crate) fn ttl(&self) -> u8 {
        self.header().ttl
    }

    /// Whether routers must not fragment the packet.
    #[inline]
    pub(crate) fn is_unfragmentable(&self) -> bool {
        u32::from(u16::from_be(self.header().frag_off)) & bindings::IP_DF != 0
    }

    /// Length of the packet with its network header, in bytes.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        // SAFETY: `skb` is valid.
        let len = unsafe { (*self.as_ptr()).len };
        u32_as_usize(len).saturating_sub(self.network)
    }

    /// Whether a link of this `mtu` carries the packet, or the parts it is going to be cut into.
    #[inline]
    pub(crate) fn fits(&self, mtu: u32) -> bool {
        let skb = self.as_ptr();
        self.len() <= u32_as_usize(mtu)
            // SAFETY: `skb` is valid; for one with segments the length of each is asked for.
            || unsafe {
                bindings::ipvs_ipsec_skb_is_gso(skb)
                    && bindings::skb_gso_validate_network_len(skb, mtu)
            }
    }

    /// Lets the packet live one hop less.
    ///
    /// # Errors
    ///
    /// `ENOMEM` when the packet is shared and cannot be copied.
    #[inline]
    pub(crate) fn decrease_ttl(&mut self) -> Result {
        let len = c_uint::try_from(self.transport).unwrap_or(c_uint::MAX);
        // SAFETY: `skb` is valid and ours. The header stays whole and linear.
        kernel::error::to_result(unsafe { bindings::skb_ensure_writable(self.as_ptr(), len) })?;
        // SAFETY: The header is there, and now ours alone.
        unsafe { bindings::ipvs_ipsec_ip_decrease_ttl(bindings::ipvs_ipsec_ip_hdr(self.as_ptr())) };
        Ok(())
    }

    /// Lets the packet go on its way through the hook.
    #[inline]
    pub(crate) fn accept(self) -> Verdict {
        let _gone = ManuallyDrop::new(self);
        Verdict(bindings::NF_ACCEPT)
    }

    /// Has netfilter drop the packet.
    #[inline]
    pub(crate) fn drop(self) -> Verdict {
        let _gone = ManuallyDrop::new(self);
        Verdict(bindings::NF_DROP)
    }

    /// Sends the packet along `route`, through the OUTPUT chains, as `ip_vs_send_or_cont` does.
    pub(crate) fn send(self, route: Route) -> Verdict {
        let net = self.net;
        let skb = ManuallyDrop::new(self).as_ptr();
        // SAFETY: `skb` is valid and ours; it takes over the reference of the route. The last call
        // takes over `skb`.
        unsafe {
            bindings::ipvs_ipsec_skb_dst_drop(skb);
            bindings::ipvs_ipsec_skb_dst_set(skb, route.into_raw());
            // ip_fragment shall not answer in our place: the sender has been told.
            bindings::ipvs_ipsec_skb_set_ignore_df(skb);
            // Neither ip_vs nor connection tracking shall see the packet once more.
            bindings::ipvs_ipsec_skb_set_ipvs_property(skb);
            bindings::ipvs_ipsec_skb_untrack(skb);
            // A socket that early demultiplexing found is not the packet's.
            bindings::ipvs_ipsec_skb_orphan(skb);
            bindings::ipvs_ipsec_skb_forward_csum(skb);
            bindings::ipvs_ipsec_skb_clear_tstamp(skb);
            bindings::ipvs_ipsec_local_out4(net.as_ptr(), skb);
        }
        Verdict(bindings::NF_STOLEN)
    }
}

impl Drop for Packet<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the packet is ours.
        unsafe { bindings::ipvs_ipsec_kfree_skb(self.as_ptr()) };
    }
}

impl Payload for Packet<'_> {
    #[inline]
    fn available(&self) -> usize {
        (self.network + self.len()).saturating_sub(self.transport)
    }

    #[inline]
    fn copy(&self, offset: usize, to: &mut [u8]) -> bool {
        let position = self.transport.checked_add(offset);
        let (Some(Ok(position)), Ok(len)) = (position.map(c_int::try_from), to.len().try_into())
        else {
            return false;
        };
        let buffer = to.as_mut_ptr();
        // SAFETY: `skb` is valid and `buffer` is as long as we say.
        let from = unsafe {
            bindings::ipvs_ipsec_skb_header_pointer(self.as_ptr(), position, len, buffer.cast())
        };
        let from = from.cast::<u8>();
        if !from.is_null() && from != buffer {
            // SAFETY: What is not in `buffer` is in the packet, where there are as many bytes.
            unsafe { buffer.copy_from_nonoverlapping(from, to.len()) };
        }
        !from.is_null()
    }
}
