// SPDX-License-Identifier: GPL-2.0

//! Why a change of configuration is refused: error number and text, chosen once.

use crate::kapi::{
    device::Trouble,
    genl::{Blame, Refused},
};
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
    /// Neither an address, the attribute of this kind, nor a mark names a service.
    NoKey(u32),
    /// Both an address and a mark name a service.
    TwoKeys,
    /// A mark of 0 names no service.
    NoMark(u32),
    /// An attribute of this kind is neither AF_INET nor AF_INET6.
    NotAFamily(u32),
    /// The server is not of the service's family, and the method is none that can bridge that.
    OtherFamily,
    /// The fragments of IPv6 cannot be reassembled here.
    NoDefrag,
    /// No scheduler has this name.
    UnknownScheduler,
    /// No forwarding method has this number.
    UnknownMethod,
    /// No kind of tunnel has this number.
    UnknownTunnel,
    /// Something of tunnels, in an attribute of this kind, for a server of another method.
    NotATunnel(u32),
    /// A port, for a tunnel that is not GUE.
    PortWithoutGue,
    /// A checksum, for a tunnel that has no header for one.
    ChecksumInIpip,
    /// ESP in UDP is for servers of method nat.
    EncapWithoutNat,
    /// Port 0, in an attribute of this kind.
    NotAPort(u32),
    /// A length that no prefix of the family has.
    NotAPrefix,
    /// The lower threshold is above the upper one.
    Thresholds,
    /// A label of IKE SPIs without a mask, or with bits outside it.
    NotALabel,
    /// A range of SPIs that ends before it begins, or has reserved ones.
    NotARange,
    /// Another server of the service chooses some of the same SPIs.
    NameTaken,
    /// Nothing was given to be changed.
    NothingToChange,
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
    /// There is no such device.
    NoSuchDevice,
    /// The device has a fast path.
    FastpathExists,
    /// The device has no fast path.
    NoFastpath,
    /// The device is not like Ethernet.
    NotEthernet,
    /// The device is part of a bridge or a bond.
    Enslaved,
    /// The device is a VRF, or belongs to one.
    Vrf,
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

impl From<Trouble> for Refusal {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Missing => Refusal::NoSuchDevice,
            Trouble::Exists => Refusal::FastpathExists,
            Trouble::NotEthernet => Refusal::NotEthernet,
            Trouble::Enslaved => Refusal::Enslaved,
            Trouble::Vrf => Refusal::Vrf,
            Trouble::NoMemory => Refusal::NoMemory,
        }
    }
}

/// Of what the kernel refuses to us, only memory is to be had another time.
impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        if error == ENOENT {
            Refusal::NoDefrag
        } else {
            Refusal::NoMemory
        }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        use crate::uapi::*;
        use Blame::{Attribute, Missing, Nothing};
        let (error, text, blame) = match refusal {
            Refusal::Missing(kind) => (EINVAL, c"a required attribute is missing", Missing(kind)),
            Refusal::NotAnAddress(kind) => (
                EINVAL,
                c"an address has 4 bytes (IPv4) or 16 (IPv6)",
                Attribute(kind),
            ),
            Refusal::NotUnicast(kind) => (EINVAL, c"not a unicast address", Attribute(kind)),
            Refusal::NoKey(kind) => (
                EINVAL,
                c"a service has an address or a firewall mark, and neither was given",
                Missing(kind),
            ),
            Refusal::TwoKeys => (
                EINVAL,
                c"a service has an address or a firewall mark, not both",
                Nothing,
            ),
            Refusal::NoMark(kind) => (EINVAL, c"a firewall mark is not 0", Attribute(kind)),
            Refusal::NotAFamily(kind) => (
                EAFNOSUPPORT,
                c"a family is AF_INET (2) or AF_INET6 (10)",
                Attribute(kind),
            ),
            Refusal::OtherFamily => (
                EINVAL,
                c"only method tun reaches a server of another family than the service's",
                Nothing,
            ),
            Refusal::NoDefrag => (
                EOPNOTSUPP,
                c"services of IPv6 need the kernel module nf_defrag_ipv6",
                Nothing,
            ),
            Refusal::UnknownScheduler => (
                ENOENT,
                c"no such scheduler (there are rr wrr lc wlc sed nq sh mh fo ovf twos)",
                Attribute(IPVS_IPSEC_A_SERVICE_SCHEDULER),
            ),
            Refusal::UnknownMethod => (
                EINVAL,
                c"no such forwarding method",
                Attribute(IPVS_IPSEC_A_SERVER_METHOD),
            ),
            Refusal::UnknownTunnel => (
                EINVAL,
                c"no such kind of tunnel",
                Attribute(IPVS_IPSEC_A_SERVER_TUNNEL_TYPE),
            ),
            Refusal::NotATunnel(kind) => (
                EINVAL,
                c"only servers of method tun have a tunnel",
                Attribute(kind),
            ),
            Refusal::PortWithoutGue => (
                EINVAL,
                c"only a tunnel of type gue has a port",
                Attribute(IPVS_IPSEC_A_SERVER_TUNNEL_PORT),
            ),
            Refusal::ChecksumInIpip => (
                EINVAL,
                c"a tunnel of type ipip has no checksum",
                Attribute(IPVS_IPSEC_A_SERVER_TUNNEL_FLAGS),
            ),
            Refusal::EncapWithoutNat => (
                EINVAL,
                c"only servers of method nat get ESP in UDP",
                Attribute(IPVS_IPSEC_A_SERVER_ENCAP),
            ),
            Refusal::NotAPort(kind) => (EINVAL, c"not a UDP port", Attribute(kind)),
            Refusal::NotAPrefix => (
                EINVAL,
                c"a prefix has 1 to 32 bits, of IPv6 1 to 128",
                Attribute(IPVS_IPSEC_A_SERVICE_PERSISTENCE_PREFIX),
            ),
            Refusal::Thresholds => (
                ERANGE,
                c"the lower threshold is above the upper one",
                Nothing,
            ),
            Refusal::NotALabel => (
                EINVAL,
                c"an IKE label has bits of its mask only, and the mask is not 0",
                Attribute(IPVS_IPSEC_A_SERVER_IKE_LABEL),
            ),
            Refusal::NotARange => (
                EINVAL,
                c"a range of ESP SPIs is from 256 on, and ends where it begins or later",
                Attribute(IPVS_IPSEC_A_SERVER_ESP_SPI_MIN),
            ),
            Refusal::NameTaken => (
                EEXIST,
                c"another server of this service has SPIs with this label or in this range",
                Nothing,
            ),
            Refusal::NothingToChange => (EINVAL, c"nothing was given to be changed", Nothing),
            Refusal::NotANumber(kind) => (EINVAL, c"not a number of 32 bits", Attribute(kind)),
            Refusal::ServiceExists => (EEXIST, c"service already exists", Nothing),
            Refusal::NoSuchService => (ENOENT, c"no such service", Nothing),
            Refusal::ServerExists => (EEXIST, c"server already exists in this service", Nothing),
            Refusal::NoSuchServer => (ENOENT, c"no such server in this service", Nothing),
            Refusal::ServerIsService => (
                EINVAL,
                c"a server's address must differ from the service's, but with method local",
                Nothing,
            ),
            Refusal::TooManyServers => (ENOSPC, c"the service has too many servers", Nothing),
            Refusal::NoSuchDevice => (
                ENODEV,
                c"no such device",
                Attribute(IPVS_IPSEC_A_FASTPATH_IFINDEX),
            ),
            Refusal::FastpathExists => (EEXIST, c"the device has a fast path already", Nothing),
            Refusal::NoFastpath => (ENOENT, c"the device has no fast path", Nothing),
            Refusal::NotEthernet => (
                EOPNOTSUPP,
                c"only devices like Ethernet can have a fast path",
                Attribute(IPVS_IPSEC_A_FASTPATH_IFINDEX),
            ),
            Refusal::Vrf => (
                EOPNOTSUPP,
                c"a VRF, or a device that belongs to one, can have no fast path",
                Attribute(IPVS_IPSEC_A_FASTPATH_IFINDEX),
            ),
            Refusal::Enslaved => (
                EOPNOTSUPP,
                c"the device is part of another, like a bridge or bond: name that",
                Attribute(IPVS_IPSEC_A_FASTPATH_IFINDEX),
            ),
            Refusal::NoRoom => (EMSGSIZE, c"no room for the message", Nothing),
            Refusal::NoMemory => (ENOMEM, c"out of memory, nothing changed", Nothing),
        };
        Refused { error, text, blame }
    }
}
