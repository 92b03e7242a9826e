// SPDX-License-Identifier: GPL-2.0

//! Why packets are dropped (pure). Each reason is counted (`stats.rs`).

use crate::ike::header::Fault;

/// A reason to drop a packet. The netlink specification tells administrators what each means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "the specification documents them, by the same names"
)]
pub enum Reason {
    Truncated,
    IkeShort,
    IkeVersion,
    IkeLength,
    IkeExchange,
    IkeSpi,
    IkePayload,
    IkeNoEntry,
    IkeResponderSpi,
    EspMalformed,
    AhMalformed,
    EspNoEntry,
    AhNoEntry,
    EspInUdpNoEntry,
    KeepaliveNoEntry,
    TcpNoEntry,
    NotEstablished,
    NoServer,
    TableFull,
    NoMemory,
    NoRoute,
    Ttl,
    Mtu,
    AhNat,
    Source,
    Local,
    PathMtu,
    ReplyRemoved,
}

impl From<Fault> for Reason {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Short => Reason::IkeShort,
            Fault::Version => Reason::IkeVersion,
            Fault::Length => Reason::IkeLength,
            Fault::Exchange => Reason::IkeExchange,
            Fault::Spi => Reason::IkeSpi,
            Fault::Payload => Reason::IkePayload,
        }
    }
}
