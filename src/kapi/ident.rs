// SPDX-License-Identifier: GPL-2.0

//! Identifications of IPv4 packets.
//!
//! C header: [`include/net/ip.h`](srctree/include/net/ip.h)

use super::{bindings, lock::BhDisabled, percpu::Word, time, Net};
use crate::ident::Block;
use kernel::{alloc::AllocError, prelude::*};

/// What the kernel has a counter of identifications for.
pub(super) struct Ends {
    /// Addresses, in network byte order.
    pub(super) source: u32,
    pub(super) destination: u32,
    pub(super) protocol: u8,
}

impl Ends {
    /// The first of some identifications that the kernel's counter has left behind. It takes a hash of the
    /// ends, and writes to memory that all CPUs write to.
    #[inline(never)]
    fn count(&self, net: Net<'_>, number: c_int) -> u16 {
        let (source, destination) = (self.source, self.destination);
        let net = net.as_ptr();
        // SAFETY: `net` is alive.
        unsafe { bindings::ipvs_ipsec_ip_idents(net, source, destination, self.protocol, number) }
    }
}

/// Identifications that each CPU has taken from the kernel's counter for packets from this host to
/// another.
pub(crate) struct Idents(Word);

impl Idents {
    /// None so far. Sleeps.
    pub(crate) fn new() -> Result<Self, AllocError> {
        Word::new().map(Idents)
    }

    /// One for a packet, or so many that follow one another.
    #[inline(always)]
    pub(super) fn take(&self, bh: BhDisabled<'_>, net: Net<'_>, ends: &Ends, number: c_int) -> u16 {
        if number != 1 {
            return ends.count(net, number);
        }
        self.0.change(bh, |word| {
            let (block, now) = (Block(word), now());
            let (ident, left) = match block.take(now) {
                Some(taken) => taken,
                None => {
                    let size = block.next_size(now);
                    let first = ends.count(net, size.into());
                    (first, Block::after(first, size, now))
                }
            };
            (left.0, ident)
        })
    }
}

/// The lower half of the clock.
#[inline(always)]
fn now() -> u32 {
    let [a, b, c, d, ..] = time::jiffies().to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
