// SPDX-License-Identifier: GPL-2.0

//! Headers put before a packet, into it, and taken out of it.

use super::Packet;
use crate::{
    addr::{Addr, Family},
    ipv6,
    kapi::{bindings, route::Route},
    proto::number,
};
use kernel::{error::to_result, num::casts::u32_as_usize, prelude::*};

/// Bytes of an IPv4 header without options, and of a UDP header.
const IPV4_LEN: usize = 20;
const UDP_LEN: usize = 8;

/// What is put around a packet: the headers between the inner and the outer IP header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shim {
    /// None: IP in IP.
    None,
    /// GRE, with a checksum or without.
    Gre { checksum: bool },
    /// GUE to a UDP port, with a checksum or without.
    Gue { port: u16, checksum: bool },
}

impl Shim {
    /// Its length in bytes.
    pub(crate) fn len(self) -> usize {
        match self {
            Shim::None => 0,
            Shim::Gre { checksum: false } => 4,
            Shim::Gre { checksum: true } => 8,
            Shim::Gue { .. } => UDP_LEN + 4,
        }
    }
}

impl Shim {
    fn gso(self) -> c_int {
        let gso = match self {
            Shim::None => 0,
            Shim::Gre { checksum: false } => bindings::IPVS_IPSEC_GSO_GRE,
            Shim::Gre { checksum: true } => bindings::IPVS_IPSEC_GSO_GRE_CSUM,
            Shim::Gue {
                checksum: false, ..
            } => bindings::IPVS_IPSEC_GSO_UDP_TUNNEL,
            Shim::Gue { checksum: true, .. } => bindings::IPVS_IPSEC_GSO_UDP_TUNNEL_CSUM,
        };
        gso.try_into().unwrap_or(0)
    }
}

/// The outer header of a packet that is wrapped.
struct Outer<'a> {
    source: &'a Addr,
    destination: &'a Addr,
    ttl: u8,
    class: u8,
    unfragmentable: bool,
    /// Flow label, of IPv6 only, in network byte order.
    label: u32,
}

impl Packet<'_> {
    /// Wraps the packet in another, from `source` to `destination`, that goes by `route`. After
    /// `ip_vs_tunnel_xmit`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` for addresses of different families.
    pub(crate) fn wrap(
        &mut self,
        route: &Route,
        shim: Shim,
        source: &Addr,
        destination: &Addr,
    ) -> Result {
        let (inner, family) = (self.family, destination.family());
        let outer_len = match family {
            Family::V4 => IPV4_LEN,
            Family::V6 => ipv6::HEADER_LEN,
        };
        if source.family() != family || self.network != 0 {
            return Err(EINVAL);
        }
        let inner_protocol = match inner {
            Family::V4 => number::IPIP,
            Family::V6 => number::IPV6,
        };
        let mut outer = Outer {
            source,
            destination,
            ttl: self.ttl(),
            class: ecn(self.traffic_class()),
            unfragmentable: inner == Family::V4 && self.is_unfragmentable(),
            label: 0,
        };
        let (skb, net) = (self.as_ptr(), self.net.as_ptr());
        let room = route.headroom() + c_uint::try_from(outer_len + shim.len())?;
        let mut port = 0;
        // SAFETY: `skb` is valid and becomes ours alone, with room for what is pushed. The flow is
        // looked at before the headers are no longer those of the inner packet.
        unsafe {
            // A socket that early demultiplexing found is not the packet's.
            bindings::ipvs_ipsec_skb_orphan(skb);
            to_result(bindings::ipvs_ipsec_skb_cow_head(skb, room))?;
            // A hash of the flow costs more than all the rest.
            if let Shim::Gue { .. } = shim {
                port = bindings::ipvs_ipsec_udp_flow_src_port(net, skb);
            }
            if family == Family::V6 {
                outer.label = bindings::ipvs_ipsec_ip6_make_flowlabel(net, skb);
            }
            let gso = bindings::ipvs_ipsec_gso_type(family == Family::V6, shim.gso());
            to_result(bindings::iptunnel_handle_offloads(skb, gso))?;
            bindings::ipvs_ipsec_skb_begin_tunnel(skb, inner_protocol);
        }
        let protocol = match shim {
            Shim::None => inner_protocol,
            Shim::Gre { checksum } => self.push_gre(inner, shim, checksum)?,
            Shim::Gue { port: to, checksum } => {
                // Variant 0, no flags, no private data (draft-ietf-intarea-gue).
                self.push(&[0, inner_protocol, 0, 0]);
                self.push_udp(u16::from_be(port), to, &outer, checksum)?
            }
        };
        self.push_outer(protocol, &outer);
        self.family = family;
        self.protocol = protocol;
        self.transport = outer_len;
        Ok(())
    }

    /// Puts a GRE header before a packet of family `inner`.
    fn push_gre(&mut self, inner: Family, shim: Shim, checksum: bool) -> Result<u8> {
        let ether_type = match inner {
            Family::V4 => bindings::ETH_P_IP,
            Family::V6 => bindings::ETH_P_IPV6,
        };
        let (len, kind) = (shim.len().try_into()?, u16::try_from(ether_type)?);
        let skb = self.as_ptr();
        // SAFETY: `skb` is valid and ours alone, and there is room.
        unsafe { bindings::ipvs_ipsec_gre_build_header(skb, len, checksum, kind.to_be()) };
        Ok(number::GRE)
    }

    /// Puts a UDP header before the data, with a checksum or without.
    fn push_udp(&mut self, from: u16, to: u16, outer: &Outer<'_>, checksum: bool) -> Result<u8> {
        let skb = self.as_ptr();
        // SAFETY: `skb` is valid.
        let len = u32_as_usize(unsafe { (*skb).len }) + UDP_LEN;
        let len = u16::try_from(len).map_err(|_| EINVAL)?;
        self.push(&udp(from, to, len));
        // SAFETY: The UDP header has just been put there.
        unsafe {
            bindings::ipvs_ipsec_skb_reset_transport_header(skb);
            match (outer.source, outer.destination) {
                (Addr::V4(source), Addr::V4(destination)) => bindings::udp_set_csum(
                    !checksum,
                    skb,
                    u32::from_ne_bytes(*source),
                    u32::from_ne_bytes(*destination),
                    len.into(),
                ),
                (source, destination) => bindings::udp6_set_csum(
                    !checksum,
                    skb,
                    source.as_bytes().as_ptr().cast(),
                    destination.as_bytes().as_ptr().cast(),
                    len.into(),
                ),
            }
        }
        Ok(number::UDP)
    }

    /// Puts the outer IP header before the data. Its length, and its checksum, are written when
    /// the packet is sent.
    fn push_outer(&mut self, protocol: u8, outer: &Outer<'_>) {
        let Outer { ttl, class, .. } = *outer;
        let skb = self.as_ptr();
        match (outer.source, outer.destination) {
            (Addr::V4([s0, s1, s2, s3]), Addr::V4([d0, d1, d2, d3])) => {
                let flags = if outer.unfragmentable { 0x40 } else { 0 };
                self.push(&[
                    0x45, class, 0, 0, 0, 0, flags, 0, ttl, protocol, 0, 0, *s0, *s1, *s2, *s3,
                    *d0, *d1, *d2, *d3,
                ]);
                let net = self.net.as_ptr();
                // SAFETY: The header has just been put there.
                unsafe {
                    bindings::ipvs_ipsec_skb_reset_network_header(skb);
                    let segments = bindings::ipvs_ipsec_skb_gso_segs(skb);
                    bindings::__ip_select_ident(net, bindings::ipvs_ipsec_ip_hdr(skb), segments);
                }
            }
            (source, destination) => {
                self.push(destination.as_bytes());
                self.push(source.as_bytes());
                // Version, class, label (RFC 6438).
                let label = u32::from_be(outer.label) & 0x000f_ffff;
                let [a, b, c, d] = (6 << 28 | u32::from(class) << 20 | label).to_be_bytes();
                self.push(&[a, b, c, d, 0, 0, protocol, ttl]);
                // SAFETY: The header has just been put there.
                unsafe { bindings::ipvs_ipsec_skb_reset_network_header(skb) };
            }
        }
    }

    /// Puts a UDP header between the IP header and what follows it, without checksum in IPv4.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` for a fragment, or a packet that becomes too long.
    pub(crate) fn insert_udp(&mut self, source: u16, destination: u16) -> Result {
        if self.is_fragment() || self.network != 0 {
            return Err(EINVAL);
        }
        let (begin, named_at) = (self.header_len(), self.protocol_named_at());
        u16::try_from(self.len() + UDP_LEN).map_err(|_| EINVAL)?;
        let udp_len = u16::try_from(self.len() - begin + UDP_LEN).map_err(|_| EINVAL)?;
        self.make_writable(begin)?;
        // SAFETY: The packet is ours.
        to_result(unsafe {
            let room = bindings::IPVS_IPSEC_LINK_HEADROOM + c_uint::try_from(UDP_LEN)?;
            bindings::ipvs_ipsec_skb_cow_head(self.as_ptr(), room)
        })?;
        let header = self.push(&[0; UDP_LEN]);
        // SAFETY: What was pushed makes the buffer longer by just what the header moves.
        unsafe { header.copy_from(header.add(UDP_LEN), begin) };
        self.shift_header(begin);
        // SAFETY: The header ends where the eight bytes begin that it has made free.
        unsafe {
            let place = header.add(begin).cast::<[u8; UDP_LEN]>();
            place.write_unaligned(udp(source, destination, udp_len));
        }
        self.rename(named_at, number::UDP);
        self.checksum_udp_v6(udp_len);
        Ok(())
    }

    /// Gives a datagram of `len` bytes in IPv6 the checksum that it must have (RFC 8200 section 8.1).
    fn checksum_udp_v6(&mut self, len: u16) {
        if self.family == Family::V6 {
            let (source, destination) = (self.source(), self.destination());
            // SAFETY: The UDP header is linear, ours alone, and where the packet says it is.
            unsafe {
                bindings::udp6_set_csum(
                    false,
                    self.as_ptr(),
                    source.as_bytes().as_ptr().cast(),
                    destination.as_bytes().as_ptr().cast(),
                    len.into(),
                );
            }
        }
    }

    /// Takes out the UDP header, so that `protocol` follows the IP header.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` for a fragment or a packet without UDP header.
    pub(crate) fn remove_udp(&mut self, protocol: u8) -> Result {
        if self.protocol != number::UDP || self.is_fragment() || self.network != 0 {
            return Err(EINVAL);
        }
        let (begin, named_at) = (self.header_len(), self.protocol_named_at());
        self.make_writable(begin + UDP_LEN)?;
        // SAFETY: Both headers are linear and ours alone: the first moves over the second, and
        // what it leaves is cut off.
        unsafe {
            let header = (*self.as_ptr()).data;
            header.add(UDP_LEN).copy_from(header, begin);
            bindings::skb_pull(self.as_ptr(), UDP_LEN.try_into()?);
        }
        self.shift_header(begin);
        self.rename(named_at, protocol);
        Ok(())
    }

    /// The IP header of `len` bytes begins where the data do.
    fn shift_header(&mut self, len: usize) {
        let len = len.try_into().unwrap_or(0);
        // SAFETY: `skb` is valid and ours, and the header has been moved there.
        unsafe {
            bindings::ipvs_ipsec_skb_reset_network_header(self.as_ptr());
            bindings::ipvs_ipsec_skb_set_transport_header(self.as_ptr(), len);
            // What the device or a socket said of a checksum is no longer true.
            bindings::ipvs_ipsec_skb_no_csum(self.as_ptr());
        }
    }

    /// Writes another protocol into the headers, and the length as it is now.
    fn rename(&mut self, named_at: u32, protocol: u8) {
        let len = self.len();
        // SAFETY: The header is there and ours alone; `named_at` lies in the headers that
        // `make_writable` was called for.
        unsafe {
            match self.family {
                Family::V4 => {
                    let header = bindings::ipvs_ipsec_ip_hdr(self.as_ptr());
                    (*header).protocol = protocol;
                    (*header).tot_len = u16::try_from(len).unwrap_or(0).to_be();
                    bindings::ip_send_check(header);
                }
                Family::V6 => {
                    let header = bindings::ipvs_ipsec_ipv6_hdr(self.as_ptr());
                    let len = len.saturating_sub(ipv6::HEADER_LEN);
                    (*header).payload_len = u16::try_from(len).unwrap_or(0).to_be();
                    header
                        .cast::<u8>()
                        .add(u32_as_usize(named_at))
                        .write(protocol);
                }
            }
        }
        self.protocol = protocol;
    }

    /// Puts bytes before the data, for which there must be room. Returns where they are.
    fn push(&mut self, bytes: &[u8]) -> *mut u8 {
        let len = bytes.len().try_into().unwrap_or(0);
        // SAFETY: The function checks that there is room; then as many bytes are ours.
        unsafe {
            let to = bindings::skb_push(self.as_ptr(), len).cast::<u8>();
            to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            to
        }
    }
}

/// A UDP header without checksum.
fn udp(source: u16, destination: u16, len: u16) -> [u8; UDP_LEN] {
    let ([s0, s1], [d0, d1]) = (source.to_be_bytes(), destination.to_be_bytes());
    let [l0, l1] = len.to_be_bytes();
    [s0, s1, d0, d1, l0, l1, 0, 0]
}

/// The traffic class around a packet of this class. After `INET_ECN_encapsulate`: that there was
/// congestion before the tunnel is kept inside.
fn ecn(class: u8) -> u8 {
    if class & 3 == 3 {
        class & !1
    } else {
        class
    }
}
