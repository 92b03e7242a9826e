// SPDX-License-Identifier: GPL-2.0

//! What requests say, as types.

use crate::{
    addr::{Addr, Family},
    error::Refusal,
    kapi::{genl::Request, skb::Shim},
    sched::{self, Options, Scheduler},
    server::{Limits, Method},
    service::{Key, Persistence, Plan, Timeouts},
    spi::{Label, Names, Range},
    uapi::*,
};
use kernel::prelude::*;

/// UDP port of GUE, as IANA has assigned it.
const DEFAULT_TUNNEL_PORT: u16 = 6080;

/// An address, which must be there.
pub(super) fn address(request: &Request<'_>, kind: u32) -> Result<Addr, Refusal> {
    let bytes = request.attribute(kind).ok_or(Refusal::Missing(kind))?;
    Addr::from_bytes(bytes).ok_or(Refusal::NotAnAddress(kind))
}

/// An address for a new service or server.
pub(super) fn unicast(request: &Request<'_>, kind: u32) -> Result<Addr, Refusal> {
    let address = address(request, kind)?;
    if address.is_unicast() {
        Ok(address)
    } else {
        Err(Refusal::NotUnicast(kind))
    }
}

/// A number of 32 bits, which need not be there.
pub(super) fn number(request: &Request<'_>, kind: u32) -> Result<Option<u32>, Refusal> {
    let Some(bytes) = request.attribute(kind) else {
        return Ok(None);
    };
    let bytes = bytes.try_into().map_err(|_| Refusal::NotANumber(kind))?;
    Ok(Some(u32::from_ne_bytes(bytes)))
}

/// A number of 64 bits in network byte order, which need not be there.
fn wide_number(request: &Request<'_>, kind: u32) -> Result<Option<u64>, Refusal> {
    let Some(bytes) = request.attribute(kind) else {
        return Ok(None);
    };
    let bytes = bytes.try_into().map_err(|_| Refusal::NotANumber(kind))?;
    Ok(Some(u64::from_be_bytes(bytes)))
}

/// What names a service.
pub(super) fn service_key(request: &Request<'_>) -> Result<Key, Refusal> {
    key(
        request,
        [
            IPVS_IPSEC_A_SERVICE_ADDRESS,
            IPVS_IPSEC_A_SERVICE_MARK,
            IPVS_IPSEC_A_SERVICE_FAMILY,
        ],
    )
}

/// What names the service of a server.
pub(super) fn server_key(request: &Request<'_>) -> Result<Key, Refusal> {
    key(
        request,
        [
            IPVS_IPSEC_A_SERVER_SERVICE,
            IPVS_IPSEC_A_SERVER_MARK,
            IPVS_IPSEC_A_SERVER_FAMILY,
        ],
    )
}

fn key(request: &Request<'_>, [vip, mark, family]: [u32; 3]) -> Result<Key, Refusal> {
    let number_of_mark = number(request, mark)?;
    match (request.attribute(vip).is_some(), number_of_mark) {
        (true, Some(_)) => Err(Refusal::TwoKeys),
        (true, None) => address(request, vip).map(Key::Address),
        (false, None) => Err(Refusal::NoKey(vip)),
        (false, Some(0)) => Err(Refusal::NoMark(mark)),
        (false, Some(number_of_mark)) => {
            let number_of_family = number(request, family)?.ok_or(Refusal::Missing(family))?;
            let family =
                Family::from_number(number_of_family).ok_or(Refusal::NotAFamily(family))?;
            Ok(Key::Mark(family, number_of_mark))
        }
    }
}

/// What is to be changed of a service's plan.
pub(super) struct PlanChange {
    scheduler: Option<&'static dyn Scheduler>,
    options: Option<Options>,
    timeout: Option<u32>,
    prefix: Option<u8>,
    initial_timeout: Option<u32>,
    established_timeout: Option<u32>,
    soft: Option<u32>,
}

impl PlanChange {
    /// What a request says.
    pub(super) fn of(request: &Request<'_>, family: Family) -> Result<Self, Refusal> {
        let flags = number(request, IPVS_IPSEC_A_SERVICE_SCHEDULER_FLAGS)?;
        let options = flags.map(|flags| Options {
            fallback: flags & IPVS_IPSEC_SCHEDULER_FLAGS_FALLBACK != 0,
            port: flags & IPVS_IPSEC_SCHEDULER_FLAGS_PORT != 0,
        });
        let prefix = number(request, IPVS_IPSEC_A_SERVICE_PERSISTENCE_PREFIX)?.map(|bits| {
            u8::try_from(bits)
                .ok()
                .filter(|bits| (1..=family.bits()).contains(bits))
                .ok_or(Refusal::NotAPrefix)
        });
        Ok(PlanChange {
            scheduler: scheduler(request)?,
            options,
            timeout: number(request, IPVS_IPSEC_A_SERVICE_PERSISTENCE_TIMEOUT)?,
            prefix: prefix.transpose()?,
            initial_timeout: number(request, IPVS_IPSEC_A_SERVICE_INITIAL_TIMEOUT)?,
            established_timeout: number(request, IPVS_IPSEC_A_SERVICE_ESTABLISHED_TIMEOUT)?,
            soft: number(request, IPVS_IPSEC_A_SERVICE_SOFT_ENTRIES)?,
        })
    }

    /// Whether nothing is to be changed.
    pub(super) fn is_none(&self) -> bool {
        let numbers = [
            self.timeout,
            self.initial_timeout,
            self.established_timeout,
            self.soft,
        ];
        self.scheduler.is_none()
            && self.options.is_none()
            && self.prefix.is_none()
            && numbers.iter().all(Option::is_none)
    }

    /// The changed plan.
    pub(super) fn made_to(&self, old: &Plan) -> Plan {
        let persistence = Persistence {
            timeout: self.timeout.unwrap_or(old.persistence.timeout),
            prefix: self.prefix.unwrap_or(old.persistence.prefix),
        };
        let timeouts = Timeouts {
            initial: self.initial_timeout.unwrap_or(old.timeouts.initial),
            established: self.established_timeout.unwrap_or(old.timeouts.established),
        };
        Plan {
            scheduler: self.scheduler.unwrap_or(old.scheduler),
            options: self.options.unwrap_or(old.options),
            persistence,
            timeouts,
            soft: self.soft.unwrap_or(old.soft),
        }
    }
}

fn scheduler(request: &Request<'_>) -> Result<Option<&'static dyn Scheduler>, Refusal> {
    let Some(name) = request.attribute(IPVS_IPSEC_A_SERVICE_SCHEDULER) else {
        return Ok(None);
    };
    let name = CStr::from_bytes_until_nul(name).map_err(|_| Refusal::UnknownScheduler)?;
    sched::by_name(name)
        .map(Some)
        .ok_or(Refusal::UnknownScheduler)
}

/// What is to be changed of a server, or is to be set of a new one.
pub(super) struct ServerChange {
    method: Option<u32>,
    encap: Option<bool>,
    tunnel: Option<u32>,
    port: Option<u16>,
    checksum: Option<bool>,
    /// The weight.
    pub(super) weight: Option<u32>,
    upper: Option<u32>,
    lower: Option<u32>,
    label: Option<u64>,
    mask: Option<u64>,
    spi_min: Option<u32>,
    spi_max: Option<u32>,
}

impl ServerChange {
    /// What a request says.
    pub(super) fn of(request: &Request<'_>) -> Result<Self, Refusal> {
        let flags = number(request, IPVS_IPSEC_A_SERVER_TUNNEL_FLAGS)?;
        Ok(ServerChange {
            method: number(request, IPVS_IPSEC_A_SERVER_METHOD)?,
            encap: number(request, IPVS_IPSEC_A_SERVER_ENCAP)?.map(|encap| encap != 0),
            tunnel: number(request, IPVS_IPSEC_A_SERVER_TUNNEL_TYPE)?,
            port: port(request, IPVS_IPSEC_A_SERVER_TUNNEL_PORT)?,
            checksum: flags.map(|flags| flags & IPVS_IPSEC_TUNNEL_FLAGS_CSUM != 0),
            weight: number(request, IPVS_IPSEC_A_SERVER_WEIGHT)?,
            upper: number(request, IPVS_IPSEC_A_SERVER_UPPER_THRESHOLD)?,
            lower: number(request, IPVS_IPSEC_A_SERVER_LOWER_THRESHOLD)?,
            label: wide_number(request, IPVS_IPSEC_A_SERVER_IKE_LABEL)?,
            mask: wide_number(request, IPVS_IPSEC_A_SERVER_IKE_MASK)?,
            spi_min: number(request, IPVS_IPSEC_A_SERVER_ESP_SPI_MIN)?,
            spi_max: number(request, IPVS_IPSEC_A_SERVER_ESP_SPI_MAX)?,
        })
    }

    /// Whether nothing is to be changed.
    pub(super) fn is_none(&self) -> bool {
        let numbers = [
            self.method,
            self.tunnel,
            self.weight,
            self.upper,
            self.lower,
            self.spi_min,
            self.spi_max,
        ];
        numbers.iter().all(Option::is_none)
            && [self.encap, self.checksum].iter().all(Option::is_none)
            && [self.label, self.mask].iter().all(Option::is_none)
            && self.port.is_none()
    }

    /// How packets shall reach the server of this address, which they reached by `old` before.
    pub(super) fn method(
        &self,
        service: &Key,
        address: &Addr,
        old: Option<Method>,
    ) -> Result<Method, Refusal> {
        let old_kind = match old {
            Some(Method::Nat { .. }) => IPVS_IPSEC_METHOD_NAT,
            Some(Method::Local) => IPVS_IPSEC_METHOD_LOCAL,
            Some(Method::Tun(_)) => IPVS_IPSEC_METHOD_TUN,
            Some(Method::Dr) | None => IPVS_IPSEC_METHOD_DR,
        };
        let kind = self.method.unwrap_or(old_kind);
        for (tunnel, is_set) in [
            (IPVS_IPSEC_A_SERVER_TUNNEL_TYPE, self.tunnel.is_some()),
            (IPVS_IPSEC_A_SERVER_TUNNEL_PORT, self.port.is_some()),
            (IPVS_IPSEC_A_SERVER_TUNNEL_FLAGS, self.checksum.is_some()),
        ] {
            if kind != IPVS_IPSEC_METHOD_TUN && is_set {
                return Err(Refusal::NotATunnel(tunnel));
            }
        }
        if kind != IPVS_IPSEC_METHOD_NAT && self.encap == Some(true) {
            return Err(Refusal::EncapWithoutNat);
        }
        if kind != IPVS_IPSEC_METHOD_LOCAL && *service == Key::Address(*address) {
            return Err(Refusal::ServerIsService);
        }
        if kind != IPVS_IPSEC_METHOD_TUN && service.family() != address.family() {
            return Err(Refusal::OtherFamily);
        }
        match (kind, old) {
            (IPVS_IPSEC_METHOD_NAT, Some(Method::Nat { encap: old })) => Ok(Method::Nat {
                encap: self.encap.unwrap_or(old),
            }),
            (IPVS_IPSEC_METHOD_NAT, _) => Ok(Method::Nat {
                encap: self.encap.unwrap_or(false),
            }),
            (IPVS_IPSEC_METHOD_LOCAL, _) => Ok(Method::Local),
            (IPVS_IPSEC_METHOD_TUN, Some(Method::Tun(old))) => self.shim(old).map(Method::Tun),
            (IPVS_IPSEC_METHOD_TUN, _) => self.shim(Shim::None).map(Method::Tun),
            (IPVS_IPSEC_METHOD_DR, _) => Ok(Method::Dr),
            _ => Err(Refusal::UnknownMethod),
        }
    }

    fn shim(&self, old: Shim) -> Result<Shim, Refusal> {
        let (old_kind, old_port, old_checksum) = match old {
            Shim::None => (IPVS_IPSEC_TUNNEL_TYPE_IPIP, DEFAULT_TUNNEL_PORT, false),
            Shim::Gre { checksum } => (IPVS_IPSEC_TUNNEL_TYPE_GRE, DEFAULT_TUNNEL_PORT, checksum),
            Shim::Gue { port, checksum } => (IPVS_IPSEC_TUNNEL_TYPE_GUE, port, checksum),
        };
        let port = self.port.unwrap_or(old_port);
        let checksum = self.checksum.unwrap_or(old_checksum);
        let kind = self.tunnel.unwrap_or(old_kind);
        if self.port.is_some() && kind != IPVS_IPSEC_TUNNEL_TYPE_GUE {
            return Err(Refusal::PortWithoutGue);
        }
        if self.checksum == Some(true) && kind == IPVS_IPSEC_TUNNEL_TYPE_IPIP {
            return Err(Refusal::ChecksumInIpip);
        }
        match kind {
            IPVS_IPSEC_TUNNEL_TYPE_IPIP => Ok(Shim::None),
            IPVS_IPSEC_TUNNEL_TYPE_GRE => Ok(Shim::Gre { checksum }),
            IPVS_IPSEC_TUNNEL_TYPE_GUE => Ok(Shim::Gue { port, checksum }),
            _ => Err(Refusal::UnknownTunnel),
        }
    }

    /// How many entries the server shall have.
    pub(super) fn limits(&self, old: Limits) -> Result<Limits, Refusal> {
        let upper = self.upper.unwrap_or(old.upper);
        let lower = self.lower.unwrap_or(old.lower);
        if lower > upper {
            return Err(Refusal::Thresholds);
        }
        Ok(Limits { upper, lower })
    }

    /// Which SPIs the server chooses.
    pub(super) fn names(&self, old: Names) -> Result<Names, Refusal> {
        let (old_label, old_mask) = old.ike.map_or((0, 0), |ike| (ike.value(), ike.mask()));
        let label = self.label.unwrap_or(old_label);
        let mask = self.mask.unwrap_or(old_mask);
        let ike = match (label, mask) {
            (0, 0) => None,
            _ => Some(Label::new(label, mask).ok_or(Refusal::NotALabel)?),
        };
        let (old_min, old_max) = old.esp.map_or((0, 0), |esp| (esp.first(), esp.last()));
        let min = self.spi_min.unwrap_or(old_min);
        let max = self.spi_max.unwrap_or(old_max);
        let esp = match (min, max) {
            (0, 0) => None,
            _ => Some(Range::new(min, max).ok_or(Refusal::NotARange)?),
        };
        Ok(Names { ike, esp })
    }
}

/// A port in network byte order, which need not be there.
fn port(request: &Request<'_>, kind: u32) -> Result<Option<u16>, Refusal> {
    match request.attribute(kind) {
        None => Ok(None),
        Some([0, 0]) => Err(Refusal::NotAPort(kind)),
        Some(bytes) => match bytes.try_into() {
            Ok(bytes) => Ok(Some(u16::from_be_bytes(bytes))),
            Err(_) => Err(Refusal::NotAPort(kind)),
        },
    }
}
