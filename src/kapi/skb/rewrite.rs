// SPDX-License-Identifier: GPL-2.0

//! Changes to a packet that leave its headers where they are.

use super::{
    fields::{self, ipv4, ipv6},
    Bytes, Packet,
};
use crate::{
    addr::{Addr, Family, Transport},
    kapi::bindings,
    proto::{number, Payload},
};
use kernel::{error::to_result, prelude::*};

/// Bytes of a transport header up to the end of its checksum, and where that stands.
const UDP_SUM: (usize, usize) = (8, 6);
const TCP_SUM: (usize, usize) = (18, 16);

/// One end of a packet.
#[derive(Clone, Copy)]
enum End {
    Source,
    Destination,
}

impl Packet<'_> {
    /// Lets the packet live one hop less, and sends it to another address, if one is given. If that
    /// fails, the packet is as it was.
    ///
    /// # Errors
    ///
    /// `ENOMEM` when the packet is shared and cannot be copied; `EINVAL` as
    /// [`Packet::set_destination`].
    #[inline(always)]
    pub(crate) fn pass_on(&mut self, to: Option<&Addr>) -> Result {
        match to {
            Some(to) => self.set_destination(to)?,
            None => self.make_writable(self.header_len())?,
        }
        self.age();
        Ok(())
    }

    /// Takes one off the hop limit. The header is linear, and ours alone.
    #[inline(always)]
    fn age(&mut self) {
        // SAFETY: The header is there; if it is not ours alone this is a bug, but not a fault.
        unsafe {
            let header = fields::network_header(self.skb);
            match self.family {
                Family::V4 => {
                    let header = header.cast();
                    bindings::ipvs_ipsec_ip_decrease_ttl(header);
                    // ip_rcv_options has written into options without a new checksum.
                    if self.header_len() > ipv4::LEN {
                        bindings::ip_send_check(header);
                    }
                }
                Family::V6 => {
                    let place = header.add(ipv6::HOP_LIMIT);
                    place.write(place.read().saturating_sub(1));
                }
            }
        }
    }

    /// Sends the packet to another address of its family. The checksums of IP, UDP and TCP follow.
    ///
    /// # Errors
    ///
    /// `ENOMEM` when the packet is shared and cannot be copied; `EINVAL` if its transport header
    /// ends before the checksum does, or for an address of the other family.
    pub(crate) fn set_destination(&mut self, to: &Addr) -> Result {
        self.set_address(End::Destination, to)
    }

    /// Has the packet come from another address of its family, likewise.
    ///
    /// # Errors
    ///
    /// As [`Packet::set_destination`].
    pub(crate) fn set_source(&mut self, to: &Addr) -> Result {
        self.set_address(End::Source, to)
    }

    fn set_address(&mut self, end: End, to: &Addr) -> Result {
        let sum = self.transport().map(|transport| match transport {
            Transport::Udp => UDP_SUM,
            Transport::Tcp => TCP_SUM,
        });
        let (len, place) = sum.unwrap_or((0, 0));
        self.make_writable(self.header_len() + len)?;
        if sum.is_some() {
            self.replace_pseudo_header(place, end, to)?;
        }
        // SAFETY: The header is there, and ours alone since `make_writable`.
        unsafe {
            match (self.family, to) {
                (Family::V4, Addr::V4(to)) => {
                    let place = match end {
                        End::Source => ipv4::SADDR,
                        End::Destination => ipv4::DADDR,
                    };
                    let from = fields::network_bytes(self.skb, place);
                    let sum = fields::network_header(self.skb).add(ipv4::CHECK);
                    bindings::ipvs_ipsec_csum_replace4(
                        sum.cast(),
                        u32::from_ne_bytes(from),
                        u32::from_ne_bytes(*to),
                    );
                    fields::set_network_bytes(self.skb, place, *to);
                }
                (Family::V6, Addr::V6(to)) => {
                    let place = match end {
                        End::Source => ipv6::SADDR,
                        End::Destination => ipv6::DADDR,
                    };
                    fields::set_network_bytes(self.skb, place, *to);
                }
                _ => return Err(EINVAL),
            }
        }
        Ok(())
    }

    /// Makes the checksum at `place` in UDP or TCP right for another address. In UDP none stays
    /// none, and a sum of zero is written as ones (RFC 768).
    fn replace_pseudo_header(&mut self, place: usize, end: End, to: &Addr) -> Result {
        let is_udp = self.protocol == number::UDP;
        let from = match end {
            End::Source => self.source(),
            End::Destination => self.destination(),
        };
        let skb = self.as_ptr();
        // SAFETY: `make_writable` has seen to it that the header is linear up to the end of its
        // checksum, and ours alone.
        let sum = unsafe {
            let header = fields::network_header(self.skb);
            header.add(self.header_len() + place).cast::<u16>()
        };
        // SAFETY: As above; the sum may lie at any address.
        unsafe {
            let is_partial = bindings::ipvs_ipsec_skb_is_partial(skb);
            let mut new = sum.read_unaligned();
            if is_udp && new == 0 && !is_partial {
                return Ok(());
            }
            match (&from, to) {
                (Addr::V4(from), Addr::V4(to)) => {
                    let (from, to) = (u32::from_ne_bytes(*from), u32::from_ne_bytes(*to));
                    bindings::inet_proto_csum_replace4(&mut new, skb, from, to, true);
                }
                (Addr::V6(from), Addr::V6(to)) => {
                    let words = |bytes: &[u8; 16]| {
                        let mut words = [0u32; 4];
                        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
                            *word = u32::from_ne_bytes(bytes.try_into().unwrap_or_default());
                        }
                        words
                    };
                    let (from, to) = (words(from), words(to));
                    bindings::inet_proto_csum_replace16(
                        &mut new,
                        skb,
                        from.as_ptr(),
                        to.as_ptr(),
                        true,
                    );
                }
                _ => return Err(EINVAL),
            }
            if is_udp && new == 0 && !is_partial {
                new = u16::MAX;
            }
            sum.write_unaligned(new);
        }
        Ok(())
    }

    /// Has the first `len` bytes from the network header on in linear memory that is ours alone.
    ///
    /// # Errors
    ///
    /// `ENOMEM` without the memory for it or if there are not as many.
    #[inline(always)]
    pub(crate) fn make_writable(&mut self, len: usize) -> Result {
        let len = c_uint::try_from(self.network + len).map_err(|_| EINVAL)?;
        // SAFETY: `skb` is valid and ours. The header stays whole and linear.
        match unsafe { bindings::skb_ensure_writable(self.as_ptr(), len) } {
            0 => Ok(()),
            error => Err(Error::from_errno(error)),
        }
    }

    /// Overwrites bytes at `offset` from what follows the network header on; `false` if they are
    /// not [writable](Self::make_writable).
    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) -> bool {
        let position = self.transport.checked_add(offset).map(c_int::try_from);
        let (Some(Ok(position)), Ok(len)) = (position, c_int::try_from(bytes.len())) else {
            return false;
        };
        // SAFETY: `skb` is valid and ours; `bytes` are as long as we say.
        unsafe {
            bindings::skb_store_bits(self.as_ptr(), position, bytes.as_ptr().cast(), len) == 0
        }
    }

    /// Finds the way to the packet's destination anew, after its source has changed.
    ///
    /// # Errors
    ///
    /// Those of the look-up.
    pub(crate) fn reroute(&mut self) -> Result {
        if self.is_for_us() {
            return Ok(());
        }
        let (net, skb) = (self.net.as_ptr(), self.as_ptr());
        // SAFETY: `skb` is valid, ours, and has a route.
        to_result(unsafe {
            let socket = bindings::ipvs_ipsec_skb_sk(skb);
            match self.family {
                Family::V4 => {
                    bindings::ip_route_me_harder(net, socket, skb, bindings::IPVS_IPSEC_RTN_LOCAL)
                }
                Family::V6 => bindings::ip6_route_me_harder(net, socket, skb),
            }
        })
    }

    /// Cuts off the first `len` bytes, so that the packet begins with an IP header of `family`
    /// that was quoted in it. `false` if it has not as many, or no such header there.
    pub(in crate::kapi) fn strip_to(&mut self, len: usize, family: Family) -> bool {
        let header = Bytes {
            skb: self.skb,
            begin: self.network + len,
        };
        let Some([first]) = header.array(0) else {
            return false;
        };
        let header_len = match (family, first >> 4) {
            (Family::V4, 4) => usize::from(first & 0xf) * 4,
            (Family::V6, 6) => 40,
            _ => return false,
        };
        if header_len < 20 {
            return false;
        }
        let (Ok(cut), Ok(pull)) = ((self.network + len).try_into(), header_len.try_into()) else {
            return false;
        };
        let skb = self.as_ptr();
        // SAFETY: `skb` is valid and ours. The functions fail if there are not as many bytes.
        unsafe {
            if bindings::ipvs_ipsec_pskb_pull(skb, cut).is_null() {
                return false;
            }
            bindings::ipvs_ipsec_skb_reset_network_header(skb);
            bindings::ipvs_ipsec_skb_clear_cb(skb);
            if !bindings::ipvs_ipsec_pskb_may_pull(skb, pull) {
                return false;
            }
            bindings::ipvs_ipsec_skb_set_transport_header(skb, header_len.try_into().unwrap_or(0));
        }
        self.family = family;
        [self.protocol] = match family {
            Family::V4 => self.ipv4::<{ ipv4::PROTOCOL }, 1>(),
            Family::V6 => self.ipv6::<{ ipv6::NEXTHDR }, 1>(),
        };
        self.network = 0;
        self.transport = header_len;
        true
    }
}
