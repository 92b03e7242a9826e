// SPDX-License-Identifier: GPL-2.0

//! Counters of packets and events, kept by each CPU for itself.

use crate::{
    kapi::{genl::Message, percpu::Counters},
    proto::Traffic,
    reason::Reason,
    uapi::*,
};
use kernel::{alloc::AllocError, num::casts::u32_as_usize, prelude::*};

/// Something that is counted once for a namespace.
#[derive(Clone, Copy)]
pub(crate) enum Event {
    /// A packet was forwarded.
    Forwarded(Traffic),
    /// A packet was dropped.
    Dropped(Reason),
    /// A packet was answered by ICMP protocol unreachable.
    Unreachable,
    /// An entry was made.
    Created,
    /// An entry became established.
    Established,
    /// The timer of an entry ended.
    Expired,
}

impl Event {
    /// The attribute that tells how often it happened.
    fn attribute(self) -> u32 {
        match self {
            Event::Forwarded(Traffic::Ike(..)) => IPVS_IPSEC_A_COUNTERS_IKE,
            Event::Forwarded(Traffic::Esp) => IPVS_IPSEC_A_COUNTERS_ESP,
            Event::Forwarded(Traffic::Ah) => IPVS_IPSEC_A_COUNTERS_AH,
            Event::Forwarded(Traffic::EspInUdp(_)) => IPVS_IPSEC_A_COUNTERS_ESP_IN_UDP,
            Event::Forwarded(Traffic::Keepalive(_)) => IPVS_IPSEC_A_COUNTERS_KEEPALIVE,
            Event::Created => IPVS_IPSEC_A_COUNTERS_ENTRIES_CREATED,
            Event::Established => IPVS_IPSEC_A_COUNTERS_ENTRIES_ESTABLISHED,
            Event::Expired => IPVS_IPSEC_A_COUNTERS_ENTRIES_EXPIRED,
            Event::Unreachable => IPVS_IPSEC_A_COUNTERS_UNREACH_SENT,
            Event::Dropped(reason) => match reason {
                Reason::Truncated => IPVS_IPSEC_A_COUNTERS_DROP_TRUNCATED,
                Reason::IkeShort => IPVS_IPSEC_A_COUNTERS_DROP_IKE_SHORT,
                Reason::IkeVersion => IPVS_IPSEC_A_COUNTERS_DROP_IKE_VERSION,
                Reason::IkeLength => IPVS_IPSEC_A_COUNTERS_DROP_IKE_LENGTH,
                Reason::IkeExchange => IPVS_IPSEC_A_COUNTERS_DROP_IKE_EXCHANGE,
                Reason::IkeSpi => IPVS_IPSEC_A_COUNTERS_DROP_IKE_SPI,
                Reason::IkeNoEntry => IPVS_IPSEC_A_COUNTERS_DROP_IKE_NO_ENTRY,
                Reason::IkeResponderSpi => IPVS_IPSEC_A_COUNTERS_DROP_IKE_RESPONDER_SPI,
                Reason::EspMalformed => IPVS_IPSEC_A_COUNTERS_DROP_ESP_MALFORMED,
                Reason::AhMalformed => IPVS_IPSEC_A_COUNTERS_DROP_AH_MALFORMED,
                Reason::EspNoEntry => IPVS_IPSEC_A_COUNTERS_DROP_ESP_NO_ENTRY,
                Reason::AhNoEntry => IPVS_IPSEC_A_COUNTERS_DROP_AH_NO_ENTRY,
                Reason::EspInUdpNoEntry => IPVS_IPSEC_A_COUNTERS_DROP_ESP_IN_UDP_NO_ENTRY,
                Reason::KeepaliveNoEntry => IPVS_IPSEC_A_COUNTERS_DROP_KEEPALIVE_NO_ENTRY,
                Reason::NotEstablished => IPVS_IPSEC_A_COUNTERS_DROP_NOT_ESTABLISHED,
                Reason::NoServer => IPVS_IPSEC_A_COUNTERS_DROP_NO_SERVER,
                Reason::TableFull => IPVS_IPSEC_A_COUNTERS_DROP_TABLE_FULL,
                Reason::NoMemory => IPVS_IPSEC_A_COUNTERS_DROP_NO_MEMORY,
                Reason::NoRoute => IPVS_IPSEC_A_COUNTERS_DROP_NO_ROUTE,
                Reason::Ttl => IPVS_IPSEC_A_COUNTERS_DROP_TTL,
                Reason::Mtu => IPVS_IPSEC_A_COUNTERS_DROP_MTU,
            },
        }
    }
}

/// Attributes are counted from 1.
const EVENTS: usize = u32_as_usize(IPVS_IPSEC_A_COUNTERS_MAX) + 1;

/// What happened in a namespace.
pub(crate) struct Stats(Counters<EVENTS>);

impl Stats {
    /// Nothing yet. Sleeps.
    pub(crate) fn new() -> Result<Self, AllocError> {
        Counters::new().map(Stats)
    }

    /// Counts an event.
    #[inline]
    pub(crate) fn count(&self, event: Event) {
        self.count_many(event, 1);
    }

    /// Counts `n` events.
    #[inline]
    pub(crate) fn count_many(&self, event: Event, n: u64) {
        self.0.add(u32_as_usize(event.attribute()), n);
    }

    /// Puts every counter into a message.
    pub(crate) fn put(&self, message: &mut Message<'_>) -> Result {
        (1..=IPVS_IPSEC_A_COUNTERS_MAX)
            .try_for_each(|kind| message.put_uint(kind, self.0.sum(u32_as_usize(kind))))
    }
}

/// What went to a service or a server.
pub(crate) struct Volume(Counters<3>);

impl Volume {
    const CONNS: usize = 0;
    const PACKETS: usize = 1;
    const BYTES: usize = 2;

    /// Nothing yet. Sleeps.
    pub(crate) fn new() -> Result<Self, AllocError> {
        Counters::new().map(Volume)
    }

    /// Counts a new entry.
    #[inline]
    pub(crate) fn count_conn(&self) {
        self.0.add(Self::CONNS, 1);
    }

    /// Counts a packet of `bytes`.
    #[inline]
    pub(crate) fn count_packet(&self, bytes: u64) {
        self.0.add(Self::PACKETS, 1);
        self.0.add(Self::BYTES, bytes);
    }

    /// Entries, packets and bytes so far.
    pub(crate) fn sums(&self) -> [u64; 3] {
        [Self::CONNS, Self::PACKETS, Self::BYTES].map(|index| self.0.sum(index))
    }
}
