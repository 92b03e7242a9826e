// SPDX-License-Identifier: GPL-2.0

//! Why a change of configuration is refused: error number and text, chosen once.

use crate::kapi::genl::{Blame, Refused};
use kernel::{alloc::AllocError, prelude::*};

/// A reason to refuse. Its text is what the administrator reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// An attribute of this kind is needed.
    Missing(u32),
    /// An attribute of this kind is no address: neither 4 nor 16 bytes.
    NotAnAddress(u32),
    /// An attribute of this kind is an address no host can own.
    NotUnicast(u32),
    /// An attribute of this kind is an IPv6 address.
    Ipv6(u32),
    /// No scheduler has this name.
    UnknownScheduler,
    /// A forwarding method other than direct routing.
    UnknownMethod,
    /// An attribute of this kind is no number of 32 bits.
    NotANumber(u32),
    /// There is such a service.
    ServiceExists,
    /// There is no such service.
    NoSuchService,
    /// There is such a server in the service.
    ServerExists,
    /// There is no such server in the service.
    NoSuchServer,
    /// The server's address is that of the service.
    ServerIsService,
    /// The service has as many servers as it can have.
    TooManyServers,
    /// The operation takes no attributes.
    TakesNothing,
    /// No room in a part of a dump; netlink asks again.
    NoRoom,
    /// No memory. Nothing has changed.
    NoMemory,
}

impl From<AllocError> for Refusal {
    fn from(_: AllocError) -> Self {
        Refusal::NoMemory
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        use crate::uapi::{IPVS_IPSEC_A_SERVER_METHOD, IPVS_IPSEC_A_SERVICE_SCHEDULER};
        use Blame::{Attribute, Missing, Nothing};
        let (error, text, blame) = match refusal {
            Refusal::Missing(kind) => (EINVAL, c"a required attribute is missing", Missing(kind)),
            Refusal::NotAnAddress(kind) => (
                EINVAL,
                c"an address has 4 bytes (IPv4) or 16 (IPv6)",
                Attribute(kind),
            ),
            Refusal::NotUnicast(kind) => (EINVAL, c"not a unicast address", Attribute(kind)),
            Refusal::Ipv6(kind) => (EAFNOSUPPORT, c"IPv6 is not supported yet", Attribute(kind)),
            Refusal::UnknownScheduler => (
                ENOENT,
                c"no such scheduler (there are rr and wrr)",
                Attribute(IPVS_IPSEC_A_SERVICE_SCHEDULER),
            ),
            Refusal::UnknownMethod => (
                EOPNOTSUPP,
                c"forwarding method not supported yet (dr is)",
                Attribute(IPVS_IPSEC_A_SERVER_METHOD),
            ),
            Refusal::NotANumber(kind) => (EINVAL, c"not a number of 32 bits", Attribute(kind)),
            Refusal::ServiceExists => (EEXIST, c"service already exists", Nothing),
            Refusal::NoSuchService => (ENOENT, c"no such service", Nothing),
            Refusal::ServerExists => (EEXIST, c"server already exists in this service", Nothing),
            Refusal::NoSuchServer => (ENOENT, c"no such server in this service", Nothing),
            Refusal::ServerIsService => (
                EINVAL,
                c"a server's address must differ from the service's",
                Nothing,
            ),
            Refusal::TooManyServers => (ENOSPC, c"the service has too many servers", Nothing),
            Refusal::TakesNothing => (EINVAL, c"the operation takes no attributes", Nothing),
            Refusal::NoRoom => (EMSGSIZE, c"no room for the message", Nothing),
            Refusal::NoMemory => (ENOMEM, c"out of memory, nothing changed", Nothing),
        };
        Refused { error, text, blame }
    }
}
