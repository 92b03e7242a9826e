// SPDX-License-Identifier: GPL-2.0

//! Addresses changed in what ICMP quotes, and every checksum along with them.

use super::End;
use crate::{
    addr::{Addr, Family},
    checksum,
    kapi::skb::Packet,
    proto::{
        number::{TCP, UDP},
        quote::Quote,
        Payload,
    },
    reason::Reason,
};

/// Bytes of a transport header up to the end of the checksum of TCP, which is behind that of UDP.
const TRANSPORT_LEN: usize = 18;

/// Writes another address into a packet that is quoted. The checksums of the quoted headers and of
/// ICMP follow.
pub(super) fn translate(
    packet: &mut Packet<'_>,
    quote: &Quote,
    end: End,
    address: &Addr,
) -> Result<(), Reason> {
    let len = packet.available().min(quote.transport + TRANSPORT_LEN);
    let writable = packet.make_writable(packet.header_len() + len);
    writable.map_err(|_| Reason::NoMemory)?;
    let old = match end {
        End::Source => quote.source,
        End::Destination => quote.destination,
    };
    let (old, new) = (old.as_bytes(), address.as_bytes());
    if old.len() != new.len() {
        return Err(Reason::Truncated);
    }
    let at = quote.network
        + match (packet.family(), end) {
            (Family::V4, End::Source) => 12,
            (Family::V4, End::Destination) => 16,
            (Family::V6, End::Source) => 8,
            (Family::V6, End::Destination) => 24,
        };
    let mut patch = Patch::of(packet)?;
    patch.replace(packet, at, old, new);
    if packet.family() == Family::V4 {
        patch.sum(packet, quote.network + 10, old, new);
    }
    match quote.protocol {
        UDP if packet.array(quote.transport + 6) != Some([0, 0]) => {
            patch.sum(packet, quote.transport + 6, old, new);
        }
        TCP => patch.sum(packet, quote.transport + 16, old, new),
        _ => {}
    }
    patch.finish(packet);
    Ok(())
}

/// The checksum of ICMPv6 covers the addresses of its own packet too.
pub(super) fn follow_pseudo_header(
    packet: &mut Packet<'_>,
    old: &Addr,
    new: &Addr,
) -> Result<(), Reason> {
    if packet.family() == Family::V6 {
        let mut patch = Patch::of(packet)?;
        patch.0 = checksum::update(patch.0, old.as_bytes(), new.as_bytes());
        patch.finish(packet);
    }
    Ok(())
}

/// Changes to an ICMP message, and what becomes of its checksum by them.
struct Patch(u16);

impl Patch {
    const CHECKSUM: usize = 2;

    fn of(packet: &Packet<'_>) -> Result<Self, Reason> {
        let sum = packet.array(Self::CHECKSUM).ok_or(Reason::Truncated)?;
        Ok(Patch(u16::from_be_bytes(sum)))
    }

    /// Replaces bytes at an even offset.
    fn replace(&mut self, packet: &mut Packet<'_>, at: usize, old: &[u8], new: &[u8]) {
        if packet.write(at, new) {
            self.0 = checksum::update(self.0, old, new);
        }
    }

    /// Brings another checksum up to date that covers what was replaced, if it was quoted.
    fn sum(&mut self, packet: &mut Packet<'_>, at: usize, old: &[u8], new: &[u8]) {
        if let Some(sum) = packet.array::<2>(at) {
            let updated = checksum::update(u16::from_be_bytes(sum), old, new).to_be_bytes();
            self.replace(packet, at, &sum, &updated);
        }
    }

    fn finish(self, packet: &mut Packet<'_>) {
        packet.write(Self::CHECKSUM, &self.0.to_be_bytes());
    }
}
