// SPDX-License-Identifier: GPL-2.0

//! Headers put before a packet, into it, and taken out of it.

use super::{fields, Packet};
use crate::{
    addr::{Addr, Family},
    checksum, ipv6,
    kapi::{
        bindings,
        ident::{Ends, Idents},
        net::in6_addr,
        route::Route,
    },
    proto::number,
};
use kernel::{error::to_result, num::casts::u32_as_usize, prelude::*};

/// Bytes of an IPv4 header without options, and of a UDP header.
const IPV4_LEN: usize = 20;
const UDP_LEN: usize = 8;

/// "Don't fragment" in an IPv4 header.
const DF: u16 = 0x4000;

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
    /// What has to be done with the segments of a packet inside it, in a header of `family`.
    fn gso(self, family: Family) -> c_int {
        let ip = match family {
            Family::V4 => bindings::IPVS_IPSEC_GSO_IPXIP4,
            Family::V6 => bindings::IPVS_IPSEC_GSO_IPXIP6,
        };
        let shim = match self {
            Shim::None => 0,
            Shim::Gre { checksum: false } => bindings::IPVS_IPSEC_GSO_GRE,
            Shim::Gre { checksum: true } => bindings::IPVS_IPSEC_GSO_GRE_CSUM,
            Shim::Gue {
                checksum: false, ..
            } => bindings::IPVS_IPSEC_GSO_UDP_TUNNEL,
            Shim::Gue { checksum: true, .. } => bindings::IPVS_IPSEC_GSO_UDP_TUNNEL_CSUM,
        };
        (ip | shim).try_into().unwrap_or(0)
    }
}

/// What tells the flow of a packet, for those who see only what is around it.
#[derive(Clone, Copy, Default)]
struct Marks {
    /// Source port of GUE.
    port: u16,
    /// Flow label of IPv6, in network byte order.
    label: u32,
}

impl Packet<'_> {
    /// Wraps the packet in another, from `source` to `destination`, that goes by `route`. After
    /// `ip_vs_tunnel_xmit`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` for addresses of different families.
    #[inline(always)]
    pub(crate) fn wrap(
        &mut self,
        route: &Route,
        shim: Shim,
        source: &Addr,
        destination: &Addr,
        idents: &Idents,
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
        // A hash of the flow costs more than all the rest, and needs the headers as they are.
        let marks = match (shim, family) {
            (Shim::None | Shim::Gre { .. }, Family::V4) => Marks::default(),
            _ => self.marks(shim, family),
        };
        let room = (outer_len + shim.len()).try_into().unwrap_or(c_uint::MAX);
        let (skb, gso) = (self.as_ptr(), shim.gso(family));
        // SAFETY: `skb` is valid and becomes ours alone, with room for what is pushed.
        let segments = unsafe {
            bindings::ipvs_ipsec_skb_begin_tunnel(skb, route.as_ptr(), room, gso, inner_protocol)
        };
        if segments < 0 {
            return Err(Error::from_errno(segments));
        }
        let protocol = match shim {
            Shim::None => inner_protocol,
            _ => self.push_shim(shim, marks.port, source, destination)?,
        };
        match (source, destination) {
            (Addr::V4(source), Addr::V4(destination)) => {
                let ends = Ends {
                    source: u32::from_ne_bytes(*source),
                    destination: u32::from_ne_bytes(*destination),
                    protocol,
                };
                self.push_ipv4(
                    &ends,
                    idents.take(self.bh_disabled(), self.net, &ends, segments),
                );
            }
            (source, destination) => self.push_ipv6(protocol, source, destination, marks.label),
        }
        self.family = family;
        self.protocol = protocol;
        self.transport = outer_len;
        Ok(())
    }

    #[inline(never)]
    fn marks(&self, shim: Shim, family: Family) -> Marks {
        let (skb, net) = (self.as_ptr(), self.net.as_ptr());
        let mut marks = Marks::default();
        // SAFETY: `skb` is valid and ours.
        unsafe {
            if let Shim::Gue { .. } = shim {
                marks.port = u16::from_be(bindings::ipvs_ipsec_udp_flow_src_port(net, skb));
            }
            if family == Family::V6 {
                marks.label = bindings::ipvs_ipsec_ip6_make_flowlabel(net, skb);
            }
        }
        marks
    }

    /// Puts what is between the two IP headers before the packet. Returns its protocol.
    #[inline(never)]
    fn push_shim(
        &mut self,
        shim: Shim,
        from: u16,
        source: &Addr,
        destination: &Addr,
    ) -> Result<u8> {
        let inner = match self.family {
            Family::V4 => number::IPIP,
            Family::V6 => number::IPV6,
        };
        match shim {
            Shim::None => Ok(inner),
            Shim::Gre { checksum } => self.push_gre(self.family, shim, checksum),
            Shim::Gue { port, checksum } => {
                // Variant 0, no flags, no private data (draft-ietf-intarea-gue).
                self.push(&[0, inner, 0, 0]);
                self.push_udp((from, port), (source, destination), checksum)
            }
        }
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
    fn push_udp(
        &mut self,
        (from, to): (u16, u16),
        ends: (&Addr, &Addr),
        checksum: bool,
    ) -> Result<u8> {
        let skb = self.as_ptr();
        // SAFETY: `skb` is valid.
        let len = u32_as_usize(unsafe { (*skb).len }) + UDP_LEN;
        let len = u16::try_from(len).map_err(|_| EINVAL)?;
        self.push(&udp(from, to, len));
        // SAFETY: The UDP header has just been put there.
        unsafe {
            bindings::ipvs_ipsec_skb_reset_transport_header(skb);
            match ends {
                (Addr::V4(source), Addr::V4(destination)) => bindings::udp_set_csum(
                    !checksum,
                    skb,
                    u32::from_ne_bytes(*source),
                    u32::from_ne_bytes(*destination),
                    len.into(),
                ),
                (Addr::V6(source), Addr::V6(destination)) => bindings::udp6_set_csum(
                    !checksum,
                    skb,
                    &in6_addr(*source),
                    &in6_addr(*destination),
                    len.into(),
                ),
                _ => return Err(EINVAL),
            }
        }
        Ok(number::UDP)
    }

    /// Puts an outer header of IPv4 before the data.
    #[inline(always)]
    fn push_ipv4(&mut self, ends: &Ends, ident: u16) {
        let is_unfragmentable = self.family == Family::V4 && self.is_unfragmentable();
        let flags = if is_unfragmentable { DF } else { 0 };
        let (tos, ttl) = (ecn(self.traffic_class()), self.ttl());
        // SAFETY: The packet is valid.
        let len = u32_as_usize(unsafe { (*self.as_ptr()).len }) + IPV4_LEN;
        // What is cut into segments yet has none, as with iph_set_totlen.
        let [e, f] = u16::try_from(len).unwrap_or(0).to_be_bytes();
        let ([a, b], [c, d]) = (ident.to_be_bytes(), flags.to_be_bytes());
        let mut header = [
            u32::from_ne_bytes([0x45, tos, e, f]),
            u32::from_ne_bytes([a, b, c, d]),
            u32::from_ne_bytes([ttl, ends.protocol, 0, 0]),
            ends.source,
            ends.destination,
        ];
        let [g, h] = checksum::of_header(header).to_ne_bytes();
        header[2] = u32::from_ne_bytes([ttl, ends.protocol, g, h]);
        // SAFETY: There is room for the header, which is as long.
        unsafe {
            let place = bindings::ipvs_ipsec_skb_push_ip(self.as_ptr());
            place.cast::<[u32; 5]>().write_unaligned(header);
        }
    }

    /// Puts an outer header of IPv6 before the data, likewise.
    #[inline(never)]
    fn push_ipv6(&mut self, protocol: u8, source: &Addr, destination: &Addr, label: u32) {
        let (ttl, class) = (self.ttl(), ecn(self.traffic_class()));
        self.push(destination.as_bytes());
        self.push(source.as_bytes());
        // Version, class, label (RFC 6438).
        let label = u32::from_be(label) & 0x000f_ffff;
        let [a, b, c, d] = (6 << 28 | u32::from(class) << 20 | label).to_be_bytes();
        self.push(&[a, b, c, d, 0, 0, protocol, ttl]);
        // SAFETY: The header has just been put there.
        unsafe { bindings::ipvs_ipsec_skb_reset_network_header(self.as_ptr()) };
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
        if let (Addr::V6(source), Addr::V6(destination)) = (self.source(), self.destination()) {
            // SAFETY: The UDP header is linear, ours alone, and where the packet says it is.
            unsafe {
                bindings::udp6_set_csum(
                    false,
                    self.as_ptr(),
                    &in6_addr(source),
                    &in6_addr(destination),
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
                    let len = u16::try_from(len).unwrap_or(0).to_be_bytes();
                    fields::set_network_bytes(self.skb, fields::ipv4::PROTOCOL, [protocol]);
                    fields::set_network_bytes(self.skb, fields::ipv4::TOT_LEN, len);
                    bindings::ip_send_check(fields::network_header(self.skb).cast());
                }
                Family::V6 => {
                    let len = u16::try_from(len.saturating_sub(ipv6::HEADER_LEN)).unwrap_or(0);
                    let place = fields::ipv6::PAYLOAD_LEN;
                    fields::set_network_bytes(self.skb, place, len.to_be_bytes());
                    fields::set_network_bytes(self.skb, u32_as_usize(named_at), [protocol]);
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
