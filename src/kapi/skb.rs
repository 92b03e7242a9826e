// SPDX-License-Identifier: GPL-2.0

//! Packets on a netfilter hook.
//!
//! C header: [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h)

mod fields;
mod ingress;
mod merged;
mod rewrite;
mod wrap;

pub(super) use merged::is_gso;
pub(crate) use merged::Merged;
pub(crate) use wrap::Shim;

use super::{bindings, lock::BhDisabled, route::Route, Net};
use crate::{
    addr::{Addr, Family, Transport},
    ike::header::Header,
    ipv6,
    proto::{self, Payload, Ports},
};
use core::{mem::ManuallyDrop, ptr::NonNull};
use kernel::{num::casts::u32_as_usize, prelude::*};

/// A packet that a hook owns, and must give back as a [`Verdict`]; dropped, it is freed.
///
/// # Invariants
///
/// We own the `sk_buff`. Its network header is a whole IP header of the family in linear memory,
/// and its data begin there or before. Softirqs are off as long as this lives.
pub(crate) struct Packet<'a> {
    skb: NonNull<bindings::sk_buff>,
    net: Net<'a>,
    family: Family,
    /// IP protocol number of what follows the network header.
    protocol: u8,
    /// Offset of the network header from the beginning of the data.
    network: usize,
    /// Offset of what follows it.
    transport: usize,
}

/// Largest length an IPv4 header can tell, or an IPv6 header of what follows it.
const MAX_LEN: usize = 0xffff;

/// What a hook answers; tells who owns the packet from here on.
pub(crate) struct Verdict(c_uint);

impl Verdict {
    /// The packet goes its way; for what is none that we know.
    pub(super) const ACCEPT: Self = Verdict(bindings::NF_ACCEPT);

    /// The number that `struct nf_hook_ops` wants.
    pub(super) fn code(self) -> c_uint {
        self.0
    }
}

/// The protocol that the network header of a packet names, which in IPv6 may be that of an
/// extension header.
///
/// # Safety
///
/// `skb` is valid and has a network header of this family.
#[inline(always)]
pub(super) unsafe fn named_protocol(skb: NonNull<bindings::sk_buff>, family: Family) -> u8 {
    // SAFETY: By the safety requirements.
    unsafe {
        let [protocol] = match family {
            Family::V4 => fields::network_bytes(skb, fields::ipv4::PROTOCOL),
            Family::V6 => fields::network_bytes(skb, fields::ipv6::NEXTHDR),
        };
        protocol
    }
}

/// Bytes of a packet, from some place on.
struct Bytes {
    skb: NonNull<bindings::sk_buff>,
    begin: usize,
}

impl<'a> Packet<'a> {
    /// Takes a packet from a hook of `family`. `None`, and the caller still has it, if its headers
    /// cannot be followed to their end.
    ///
    /// # Safety
    ///
    /// The caller owns `skb`, whose network header the IP stack has checked (`ip_rcv_core`,
    /// `ip6_rcv_core`), and hands over. Softirqs are off until the packet is answered.
    #[inline(always)]
    pub(super) unsafe fn from_hook(
        skb: NonNull<bindings::sk_buff>,
        net: Net<'a>,
        family: Family,
    ) -> Option<Self> {
        // SAFETY: `skb` is valid.
        let network = unsafe { fields::network_offset(skb) };
        let (protocol, len) = match family {
            Family::V4 => {
                // SAFETY: `skb` is valid and has an IPv4 header.
                let ([first], [protocol]) = unsafe {
                    (
                        fields::network_bytes(skb, 0),
                        fields::network_bytes(skb, fields::ipv4::PROTOCOL),
                    )
                };
                (protocol, usize::from(first & 0xf) * 4)
            }
            Family::V6 => {
                let upper = ipv6::upper(&Bytes {
                    skb,
                    begin: network,
                })?;
                if upper.is_later_fragment {
                    return None;
                }
                (upper.protocol, upper.offset)
            }
        };
        // INVARIANT: By the safety requirements.
        Some(Packet {
            skb,
            net,
            family,
            protocol,
            network,
            transport: network + len,
        })
    }

    #[inline]
    pub(super) fn as_ptr(&self) -> *mut bindings::sk_buff {
        self.skb.as_ptr()
    }

    /// `N` bytes of the network header, from `AT` on; only if the packet is IPv4.
    #[inline(always)]
    fn ipv4<const AT: usize, const N: usize>(&self) -> [u8; N] {
        const { assert!(AT + N <= fields::ipv4::LEN) };
        // SAFETY: By the type invariant the header is there.
        unsafe { fields::network_bytes(self.skb, AT) }
    }

    /// `N` bytes of the network header, from `AT` on; only if the packet is IPv6.
    #[inline(always)]
    fn ipv6<const AT: usize, const N: usize>(&self) -> [u8; N] {
        const { assert!(AT + N <= fields::ipv6::LEN) };
        // SAFETY: By the type invariant the header is there.
        unsafe { fields::network_bytes(self.skb, AT) }
    }

    /// Softirqs are off while there is a packet.
    #[inline(always)]
    pub(crate) fn bh_disabled(&self) -> BhDisabled<'_> {
        // SAFETY: By the type invariant.
        unsafe { BhDisabled::assume() }
    }

    /// The namespace the packet is in.
    #[inline]
    pub(crate) fn net(&self) -> Net<'a> {
        self.net
    }

    /// Its family.
    #[inline]
    pub(crate) fn family(&self) -> Family {
        self.family
    }

    /// IP protocol number of what follows the network header.
    #[inline]
    pub(crate) fn protocol(&self) -> u8 {
        self.protocol
    }

    /// Whether it is a fragment. Those of IPv6 are reassembled before they come here.
    #[inline]
    pub(crate) fn is_fragment(&self) -> bool {
        self.has_fragment_bits(bindings::IP_OFFSET | bindings::IP_MF)
    }

    /// The IKE message that it is a server's reply with, if it is one.
    pub(crate) fn ike_reply(&self) -> Option<Header> {
        proto::ike_reply(self.transport()?, self)
    }

    /// The ports of a packet that has some.
    pub(crate) fn ports(&self) -> Option<Ports> {
        Ports::of(self.transport()?, self)
    }

    /// What carries it, if it begins with the header of that.
    #[inline]
    fn transport(&self) -> Option<Transport> {
        Transport::from_number(self.protocol).filter(|_| !self.is_later_fragment())
    }

    /// Whether it is a fragment that has not the beginning of what follows the network header.
    fn is_later_fragment(&self) -> bool {
        self.has_fragment_bits(bindings::IP_OFFSET)
    }

    #[inline(always)]
    fn has_fragment_bits(&self, bits: u32) -> bool {
        self.family == Family::V4
            && u32::from(u16::from_be_bytes(
                self.ipv4::<{ fields::ipv4::FRAG_OFF }, 2>(),
            )) & bits
                != 0
    }

    /// The firewall mark.
    #[inline(always)]
    pub(crate) fn mark(&self) -> u32 {
        // SAFETY: `skb` is valid.
        unsafe { fields::mark(self.skb) }
    }

    /// Source address.
    #[inline(always)]
    pub(crate) fn source(&self) -> Addr {
        match self.family {
            Family::V4 => Addr::V4(self.ipv4::<{ fields::ipv4::SADDR }, 4>()),
            Family::V6 => Addr::V6(self.ipv6::<{ fields::ipv6::SADDR }, 16>()),
        }
    }

    /// Destination address.
    #[inline(always)]
    pub(crate) fn destination(&self) -> Addr {
        match self.family {
            Family::V4 => Addr::V4(self.ipv4::<{ fields::ipv4::DADDR }, 4>()),
            Family::V6 => Addr::V6(self.ipv6::<{ fields::ipv6::DADDR }, 16>()),
        }
    }

    /// Time to live, or hop limit.
    #[inline(always)]
    pub(crate) fn ttl(&self) -> u8 {
        let [ttl] = match self.family {
            Family::V4 => self.ipv4::<{ fields::ipv4::TTL }, 1>(),
            Family::V6 => self.ipv6::<{ fields::ipv6::HOP_LIMIT }, 1>(),
        };
        ttl
    }

    /// Differentiated services field.
    pub(crate) fn traffic_class(&self) -> u8 {
        match self.family {
            Family::V4 => {
                let [tos] = self.ipv4::<{ fields::ipv4::TOS }, 1>();
                tos
            }
            Family::V6 => {
                // Four bits of version stand before it, and the flow label behind it.
                let [a, b] = self.ipv6::<0, 2>();
                a << 4 | b >> 4
            }
        }
    }

    /// Whether routers must not fragment the packet.
    #[inline(always)]
    pub(crate) fn is_unfragmentable(&self) -> bool {
        match self.family {
            Family::V4 => self.has_fragment_bits(bindings::IP_DF),
            Family::V6 => true,
        }
    }

    /// Whether the packet's route ends on this host.
    pub(crate) fn is_for_us(&self) -> bool {
        // SAFETY: `skb` is valid, and has a route in the hooks that we are in.
        unsafe { bindings::ipvs_ipsec_skb_is_local(self.as_ptr(), self.family == Family::V6) }
    }

    /// Length of the packet with its network header, in bytes.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        // SAFETY: `skb` is valid.
        let len = unsafe { (*self.as_ptr()).len };
        u32_as_usize(len).saturating_sub(self.network)
    }

    /// Length of its network header, in bytes.
    #[inline(always)]
    pub(crate) fn header_len(&self) -> usize {
        self.transport - self.network
    }

    /// Whether a link of this `mtu` carries the packet, or the parts it is going to be cut into.
    #[inline(always)]
    pub(crate) fn fits(&self, mtu: u32) -> bool {
        let (skb, is_ipv6) = (self.as_ptr(), self.family == Family::V6);
        let is_short = self.len() <= u32_as_usize(mtu);
        if is_ipv6 || !is_short {
            // Reassembled here, it will be cut again as it was, with DF or without: its source has
            // cut it. The fragments of IPv6 have a header more.
            // SAFETY: `skb` is valid and on a hook of this family.
            let fragment = unsafe { bindings::ipvs_ipsec_frag_max_size(skb, is_ipv6) };
            if fragment != 0 {
                return fragment <= mtu;
            }
        }
        is_short
            // SAFETY: `skb` is valid; for one with segments the length of each is asked for.
            || unsafe {
                bindings::ipvs_ipsec_skb_is_gso(skb)
                    && bindings::skb_gso_validate_network_len(skb, mtu)
            }
    }

    /// Whether its length can still be told if it becomes `more` bytes longer. Segments are cut
    /// before they are sent.
    pub(crate) fn can_grow(&self, more: usize) -> bool {
        // SAFETY: `skb` is valid.
        self.len() + more <= MAX_LEN || unsafe { bindings::ipvs_ipsec_skb_is_gso(self.as_ptr()) }
    }

    /// Where the number of its protocol stands in the packet.
    pub(super) fn protocol_named_at(&self) -> u32 {
        let begin = self.network;
        let upper = match self.family {
            Family::V4 => None,
            Family::V6 => ipv6::upper(&Bytes {
                skb: self.skb,
                begin,
            }),
        };
        upper.map_or(0, |upper| upper.named_at.try_into().unwrap_or(0))
    }

    /// Reassembles the packet that this is a fragment of. `None` as long as parts are missing.
    pub(crate) fn reassemble(self) -> Option<Self> {
        let (net, family) = (self.net, self.family);
        let skb = ManuallyDrop::new(self).skb;
        // SAFETY: `skb` is valid, ours, and a fragment of IPv4. It is taken over on failure.
        unsafe {
            if bindings::ipvs_ipsec_ip_defrag(net.as_ptr(), skb.as_ptr()) != 0 {
                return None;
            }
            Packet::from_hook(skb, net, family)
        }
    }

    /// Lets the packet go on its way through the hook.
    #[inline]
    pub(crate) fn accept(self) -> Verdict {
        let _gone = ManuallyDrop::new(self);
        Verdict::ACCEPT
    }

    /// Lets the packet go on its way through the hook, out of sight of connection tracking; and of
    /// ip_vs, if it leaves this host. What ends here may be ESP: the mark of ip_vs would stay on what
    /// is inside, and every look-up of ip_vs and of ours would take that for seen.
    #[inline]
    pub(crate) fn accept_as_ours(self) -> Verdict {
        if !self.is_for_us() {
            // SAFETY: `skb` is valid and ours.
            unsafe { bindings::ipvs_ipsec_skb_set_ipvs_property(self.as_ptr()) };
        }
        // SAFETY: `skb` is valid and ours.
        unsafe { bindings::ipvs_ipsec_skb_untrack(self.as_ptr()) };
        self.accept()
    }

    /// Has netfilter drop the packet.
    #[inline]
    pub(crate) fn drop(self) -> Verdict {
        let _gone = ManuallyDrop::new(self);
        Verdict(bindings::NF_DROP)
    }

    /// The answer about a packet that the kernel has kept.
    pub(crate) fn stolen() -> Verdict {
        Verdict(bindings::NF_STOLEN)
    }

    /// Gives the packet, and the length of its network header, to `taker`, which takes it over.
    #[inline(always)]
    pub(super) fn give(self, taker: impl FnOnce(*mut bindings::sk_buff, c_int)) -> Verdict {
        let packet = ManuallyDrop::new(self);
        taker(packet.as_ptr(), packet.header_len().try_into().unwrap_or(0));
        Verdict(bindings::NF_STOLEN)
    }

    /// Sends the packet along `route`, through the OUTPUT chains, as `ip_vs_send_or_cont` does. The
    /// hook in LOCAL_OUT whose handler is `handler` lets pass what we send, and need not be asked.
    #[inline(always)]
    pub(crate) fn send<H>(self, route: Route, handler: &H) -> Verdict {
        let (net, family) = (self.net, self.family);
        let handler = core::ptr::from_ref(handler).cast();
        let skb = ManuallyDrop::new(self).as_ptr();
        // SAFETY: `skb` is valid and ours; it takes over the reference of the route. The last call
        // takes over `skb`, and only compares the handler.
        unsafe {
            bindings::ipvs_ipsec_skb_redirect(skb, route.into_raw());
            match family {
                Family::V4 => bindings::ipvs_ipsec_local_out4(net.as_ptr(), skb, handler),
                Family::V6 => bindings::ipvs_ipsec_local_out6(net.as_ptr(), skb, handler),
            }
        }
        Verdict(bindings::NF_STOLEN)
    }

    /// Sends a packet that was wrapped in another along `route`, as a packet of this host, as
    /// `ip_vs_tunnel_xmit` does.
    pub(crate) fn send_wrapped(self, route: Route) -> Verdict {
        let (net, family) = (self.net, self.family);
        let skb = ManuallyDrop::new(self).as_ptr();
        // SAFETY: As in `send`.
        unsafe {
            bindings::ipvs_ipsec_skb_redirect_wrapped(skb, route.into_raw());
            match family {
                Family::V4 => bindings::ipvs_ipsec_ip_local_out(net.as_ptr(), skb),
                Family::V6 => {
                    bindings::ip6_local_out(net.as_ptr(), core::ptr::null_mut(), skb);
                }
            }
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
        let bytes = Bytes {
            skb: self.skb,
            begin: self.transport,
        };
        bytes.copy(offset, to)
    }
}

impl Payload for Bytes {
    fn available(&self) -> usize {
        // SAFETY: `skb` is valid as long as the packet that made this.
        let len = unsafe { (*self.skb.as_ptr()).len };
        u32_as_usize(len).saturating_sub(self.begin)
    }

    #[inline]
    fn copy(&self, offset: usize, to: &mut [u8]) -> bool {
        let position = self.begin.checked_add(offset);
        if let Some(position) = position {
            // SAFETY: `skb` is valid as long as the packet that made this.
            if let Some(from) = unsafe { fields::linear(self.skb, position, to.len()) } {
                // SAFETY: There are as many bytes, none of which are `to`'s.
                unsafe { to.as_mut_ptr().copy_from_nonoverlapping(from, to.len()) };
                return true;
            }
        }
        let (Some(Ok(position)), Ok(len)) = (position.map(c_int::try_from), to.len().try_into())
        else {
            return false;
        };
        let (skb, buffer) = (self.skb.as_ptr(), to.as_mut_ptr());
        // SAFETY: `skb` is valid as long as the packet that made this, and `buffer` is as long as
        // we say.
        let from =
            unsafe { bindings::ipvs_ipsec_skb_header_pointer(skb, position, len, buffer.cast()) };
        let from = from.cast::<u8>();
        if !from.is_null() && from != buffer {
            // SAFETY: What is not in `buffer` is in the packet, where there are as many bytes.
            unsafe { buffer.copy_from_nonoverlapping(from, to.len()) };
        }
        !from.is_null()
    }
}
