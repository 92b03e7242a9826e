// SPDX-License-Identifier: GPL-2.0

//! What an entry keeps of its flow: as little as can be, for it is most of what is compared when an
//! entry is looked for.

use crate::addr::{Addr, Flow, Transport};
use kernel::{
    alloc::AllocError,
    build_assert::static_assert,
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
};

/// A flow, and in what room it leaves, some notes of the entry. The addresses of IPv6 are elsewhere.
#[repr(u8)]
pub(super) enum Kept {
    V4 {
        transport: Transport,
        client_port: u16,
        vip_port: u16,
        notes: Notes,
        client: [u8; 4],
        vip: [u8; 4],
    },
    V6 {
        transport: Transport,
        client_port: u16,
        vip_port: u16,
        notes: Notes,
        ends: KBox<Ends>,
    },
}

static_assert!(size_of::<Kept>() == 16);

/// The addresses of an IPv6 flow.
#[derive(PartialEq, Eq)]
pub(super) struct Ends {
    client: [u8; 16],
    vip: [u8; 16],
}

/// Small things that an entry notes.
pub(super) struct Notes {
    /// How its initiator sends ESP, and whether something vouches for that one.
    pub(super) form: Atomic<i8>,
    /// The second in which one of its SPIs gave way to another.
    pub(super) changed: Atomic<i8>,
}

impl Notes {
    fn none() -> Self {
        Notes {
            form: Atomic::new(0),
            changed: Atomic::new(0),
        }
    }

    /// Whether this is the first time that it is called in a second, give or take some that have the same
    /// last bits.
    pub(super) fn is_first_in(&self, second: u64) -> bool {
        let [.., last] = second.to_be_bytes();
        let last = i8::from_be_bytes([last]);
        let changed = self.changed.load(Relaxed);
        changed != last && self.changed.cmpxchg(changed, last, Relaxed).is_ok()
    }
}

impl Kept {
    /// Does not sleep.
    ///
    /// # Errors
    ///
    /// There is no memory for it, or its addresses are of two families.
    pub(super) fn new(flow: &Flow) -> Result<Self, AllocError> {
        let (transport, client_port, vip_port) = (flow.transport, flow.client_port, flow.vip_port);
        match (flow.client, flow.vip) {
            (Addr::V4(client), Addr::V4(vip)) => Ok(Kept::V4 {
                transport,
                client_port,
                vip_port,
                notes: Notes::none(),
                client,
                vip,
            }),
            (Addr::V6(client), Addr::V6(vip)) => Ok(Kept::V6 {
                transport,
                client_port,
                vip_port,
                notes: Notes::none(),
                ends: KBox::new(Ends { client, vip }, GFP_ATOMIC)?,
            }),
            _ => Err(AllocError),
        }
    }

    #[inline(always)]
    fn ports(&self) -> (Transport, u16, u16) {
        match self {
            Kept::V4 {
                transport,
                client_port,
                vip_port,
                ..
            }
            | Kept::V6 {
                transport,
                client_port,
                vip_port,
                ..
            } => (*transport, *client_port, *vip_port),
        }
    }

    /// Whether it is this flow.
    #[inline(always)]
    pub(super) fn is(&self, flow: &Flow) -> bool {
        self.is_between(&flow.client, &flow.vip)
            && self.ports() == (flow.transport, flow.client_port, flow.vip_port)
    }

    /// Whether it is from `from` to `to`.
    #[inline(always)]
    pub(super) fn is_between(&self, from: &Addr, to: &Addr) -> bool {
        match (self, from, to) {
            (Kept::V4 { client, vip, .. }, Addr::V4(from), Addr::V4(to)) => {
                client == from && vip == to
            }
            (Kept::V6 { ends, .. }, Addr::V6(from), Addr::V6(to)) => {
                ends.client == *from && ends.vip == *to
            }
            _ => false,
        }
    }

    #[inline]
    pub(super) fn client(&self) -> Addr {
        match self {
            Kept::V4 { client, .. } => Addr::V4(*client),
            Kept::V6 { ends, .. } => Addr::V6(ends.client),
        }
    }

    #[inline]
    pub(super) fn vip(&self) -> Addr {
        match self {
            Kept::V4 { vip, .. } => Addr::V4(*vip),
            Kept::V6 { ends, .. } => Addr::V6(ends.vip),
        }
    }

    /// The flow.
    #[inline]
    pub(super) fn flow(&self) -> Flow {
        let (transport, client_port, vip_port) = self.ports();
        Flow {
            transport,
            client: self.client(),
            client_port,
            vip: self.vip(),
            vip_port,
        }
    }

    /// What the entry notes.
    #[inline]
    pub(super) fn notes(&self) -> &Notes {
        match self {
            Kept::V4 { notes, .. } | Kept::V6 { notes, .. } => notes,
        }
    }
}
