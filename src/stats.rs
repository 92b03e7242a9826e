// SPDX-License-Identifier: GPL-2.0

//! Counters of packets and events, kept by each CPU for itself.

use crate::{
    kapi::{genl::Message, lock::BhDisabled, percpu::Counters},
    proto::Kind,
    reason::Reason,
    uapi::*,
};
use kernel::{
    alloc::AllocError,
    num::casts::u32_as_usize,
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
};

/// Something that is counted once for a namespace.
#[derive(Clone, Copy)]
pub(crate) enum Event {
    /// A packet was forwarded.
    Forwarded(Kind),
    /// An ICMP error about one was forwarded.
    Icmp,
    /// A packet from a server was forwarded.
    Out,
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
    /// An initiator was known by an SPI to be that of another flow.
    Moved,
    /// The administrator has removed an entry.
    Flushed,
    /// An SPI named the server.
    Named,
    /// A packet took the fast path.
    Fast,
}

impl Event {
    /// The attribute that tells how often it happened.
    #[inline]
    fn attribute(self) -> u32 {
        match self {
            Event::Forwarded(Kind::Ike) => IPVS_IPSEC_A_COUNTERS_IKE,
            Event::Forwarded(Kind::Esp) => IPVS_IPSEC_A_COUNTERS_ESP,
            Event::Forwarded(Kind::Ah) => IPVS_IPSEC_A_COUNTERS_AH,
            Event::Forwarded(Kind::EspInUdp) => IPVS_IPSEC_A_COUNTERS_ESP_IN_UDP,
            Event::Forwarded(Kind::Keepalive) => IPVS_IPSEC_A_COUNTERS_KEEPALIVE,
            Event::Forwarded(Kind::Tcp) => IPVS_IPSEC_A_COUNTERS_TCP,
            Event::Icmp => IPVS_IPSEC_A_COUNTERS_ICMP,
            Event::Out => IPVS_IPSEC_A_COUNTERS_OUT,
            Event::Created => IPVS_IPSEC_A_COUNTERS_ENTRIES_CREATED,
            Event::Established => IPVS_IPSEC_A_COUNTERS_ENTRIES_ESTABLISHED,
            Event::Expired => IPVS_IPSEC_A_COUNTERS_ENTRIES_EXPIRED,
            Event::Moved => IPVS_IPSEC_A_COUNTERS_ENTRIES_MOVED,
            Event::Flushed => IPVS_IPSEC_A_COUNTERS_ENTRIES_FLUSHED,
            Event::Named => IPVS_IPSEC_A_COUNTERS_ROUTED_BY_SPI,
            Event::Fast => IPVS_IPSEC_A_COUNTERS_FASTPATH,
            Event::Unreachable => IPVS_IPSEC_A_COUNTERS_UNREACH_SENT,
            Event::Dropped(reason) => drop_attribute(reason),
        }
    }
}

/// The attribute that tells how often packets were dropped for a reason.
fn drop_attribute(reason: Reason) -> u32 {
    match reason {
        Reason::Truncated => IPVS_IPSEC_A_COUNTERS_DROP_TRUNCATED,
        Reason::IkeShort => IPVS_IPSEC_A_COUNTERS_DROP_IKE_SHORT,
        Reason::IkeVersion => IPVS_IPSEC_A_COUNTERS_DROP_IKE_VERSION,
        Reason::IkeLength => IPVS_IPSEC_A_COUNTERS_DROP_IKE_LENGTH,
        Reason::IkeExchange => IPVS_IPSEC_A_COUNTERS_DROP_IKE_EXCHANGE,
        Reason::IkeSpi => IPVS_IPSEC_A_COUNTERS_DROP_IKE_SPI,
        Reason::IkePayload => IPVS_IPSEC_A_COUNTERS_DROP_IKE_PAYLOAD,
        Reason::IkeNoEntry => IPVS_IPSEC_A_COUNTERS_DROP_IKE_NO_ENTRY,
        Reason::IkeResponderSpi => IPVS_IPSEC_A_COUNTERS_DROP_IKE_RESPONDER_SPI,
        Reason::EspMalformed => IPVS_IPSEC_A_COUNTERS_DROP_ESP_MALFORMED,
        Reason::AhMalformed => IPVS_IPSEC_A_COUNTERS_DROP_AH_MALFORMED,
        Reason::EspNoEntry => IPVS_IPSEC_A_COUNTERS_DROP_ESP_NO_ENTRY,
        Reason::AhNoEntry => IPVS_IPSEC_A_COUNTERS_DROP_AH_NO_ENTRY,
        Reason::EspInUdpNoEntry => IPVS_IPSEC_A_COUNTERS_DROP_ESP_IN_UDP_NO_ENTRY,
        Reason::KeepaliveNoEntry => IPVS_IPSEC_A_COUNTERS_DROP_KEEPALIVE_NO_ENTRY,
        Reason::TcpNoEntry => IPVS_IPSEC_A_COUNTERS_DROP_TCP_NO_ENTRY,
        Reason::NotEstablished => IPVS_IPSEC_A_COUNTERS_DROP_NOT_ESTABLISHED,
        Reason::NoServer => IPVS_IPSEC_A_COUNTERS_DROP_NO_SERVER,
        Reason::TableFull => IPVS_IPSEC_A_COUNTERS_DROP_TABLE_FULL,
        Reason::NoMemory => IPVS_IPSEC_A_COUNTERS_DROP_NO_MEMORY,
        Reason::NoRoute => IPVS_IPSEC_A_COUNTERS_DROP_NO_ROUTE,
        Reason::Ttl => IPVS_IPSEC_A_COUNTERS_DROP_TTL,
        Reason::Mtu => IPVS_IPSEC_A_COUNTERS_DROP_MTU,
        Reason::AhNat => IPVS_IPSEC_A_COUNTERS_DROP_AH_NAT,
        Reason::Source => IPVS_IPSEC_A_COUNTERS_DROP_SOURCE,
        Reason::Local => IPVS_IPSEC_A_COUNTERS_DROP_LOCAL,
        Reason::PathMtu => IPVS_IPSEC_A_COUNTERS_DROP_PATH_MTU,
        Reason::ReplyRemoved => IPVS_IPSEC_A_COUNTERS_DROP_REPLY_REMOVED,
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

    /// Counts a packet of `bytes` that was forwarded, for the namespace, a server and its service.
    #[inline(always)]
    pub(crate) fn count_packet(
        &self,
        bh: BhDisabled<'_>,
        event: Event,
        volumes: [&Volume; 2],
        direction: Direction,
        bytes: u64,
    ) {
        let [one, other] = volumes.map(|volume| volume.counters.pair(direction.first()));
        let pairs = one.zip(other).map(<[_; 2]>::from);
        self.0
            .count_packet(bh, u32_as_usize(event.attribute()), pairs, bytes);
    }

    /// Puts every counter into a message, those of a namespace that has none yet as zero.
    pub(crate) fn put(stats: Option<&Self>, message: &mut Message<'_>) -> Result {
        (1..=IPVS_IPSEC_A_COUNTERS_MAX).try_for_each(|kind| {
            let sum = stats.map_or(0, |stats| stats.0.sum(u32_as_usize(kind)));
            message.put_uint(kind, sum)
        })
    }
}

/// To a server, or from it.
#[derive(Clone, Copy)]
pub(crate) enum Direction {
    /// From an initiator.
    In,
    /// To an initiator.
    Out,
}

impl Direction {
    /// Which counter is the first of the two.
    #[inline]
    const fn first(self) -> usize {
        match self {
            Direction::In => 1,
            Direction::Out => 3,
        }
    }
}

/// Entries, packets and bytes in, packets and bytes out.
const AMOUNTS: usize = 5;

/// The first reason for which packets are dropped, and how many there are.
const DROP_FIRST: u32 = IPVS_IPSEC_A_COUNTERS_DROP_TRUNCATED;
const DROPS: usize = u32_as_usize(IPVS_IPSEC_A_COUNTERS_MAX - DROP_FIRST) + 1;

/// What went to a service or a server, what came back, and what went no further.
pub(crate) struct Volume {
    counters: Counters<{ AMOUNTS + DROPS }>,
    rates: Rates,
}

impl Volume {
    /// Nothing yet. Sleeps.
    pub(crate) fn new() -> Result<Self, AllocError> {
        Ok(Volume {
            counters: Counters::new()?,
            rates: Rates::none(),
        })
    }

    /// Counts a new entry.
    #[inline]
    pub(crate) fn count_conn(&self) {
        self.counters.add(0, 1);
    }

    /// Counts a packet that was dropped.
    #[cold]
    pub(crate) fn count_drop(&self, reason: Reason) {
        let place = drop_attribute(reason).saturating_sub(DROP_FIRST);
        self.counters.add(AMOUNTS + u32_as_usize(place), 1);
    }

    /// Entries, packets and bytes so far.
    pub(crate) fn sums(&self) -> [u64; AMOUNTS] {
        core::array::from_fn(|index| self.counters.sum(index))
    }

    /// What of it there is in a second, in the order that the specification has: entries, packets
    /// in and out, bytes in and out.
    pub(crate) fn rates(&self) -> [u64; AMOUNTS] {
        let [entries, packets_in, bytes_in, packets_out, bytes_out] = self.rates.get();
        [entries, packets_in, packets_out, bytes_in, bytes_out]
    }

    /// Brings the rates up to date. Called once a [`Rates::PERIOD`].
    pub(crate) fn estimate(&self) {
        self.rates.estimate(self.sums());
    }

    /// Puts the reasons for which packets were dropped.
    pub(crate) fn put_drops(&self, message: &mut Message<'_>) -> Result {
        (DROP_FIRST..=IPVS_IPSEC_A_COUNTERS_MAX)
            .zip(AMOUNTS..)
            .map(|(kind, index)| (kind, self.counters.sum(index)))
            .filter(|(_, sum)| *sum > 0)
            .try_for_each(|(kind, sum)| message.put_uint(kind, sum))
    }
}

/// Averages over some seconds, as `ip_vs_est.c` makes them: a quarter of each is what was counted
/// in the last period, the rest what the average was before.
pub(crate) struct Rates {
    /// What had been counted at the end of the last period.
    last: [Atomic<u64>; AMOUNTS],
    /// In 1/256 a second.
    average: [Atomic<u64>; AMOUNTS],
}

impl Rates {
    /// Seconds.
    pub(crate) const PERIOD: u64 = 2;

    const SHIFT: u32 = 8;

    fn none() -> Self {
        Rates {
            last: [const { Atomic::new(0) }; AMOUNTS],
            average: [const { Atomic::new(0) }; AMOUNTS],
        }
    }

    fn get(&self) -> [u64; AMOUNTS] {
        let half = 1 << (Self::SHIFT - 1);
        self.average
            .each_ref()
            .map(|average| (average.load(Relaxed) + half) >> Self::SHIFT)
    }

    fn estimate(&self, sums: [u64; AMOUNTS]) {
        for ((last, average), sum) in self.last.iter().zip(&self.average).zip(sums) {
            let counted = sum.saturating_sub(last.load(Relaxed));
            last.store(sum, Relaxed);
            let rate = (counted << Self::SHIFT) / Self::PERIOD;
            let old = average.load(Relaxed);
            average.store(old - old / 4 + rate / 4, Relaxed);
        }
    }
}
