// SPDX-License-Identifier: GPL-2.0
//! A virtual service.

use netlink_packet_core::{DecodeError, parse_ip, parse_string, parse_u32};
use serde::Serialize;

use super::key::KeyParts;
use super::{Counters, SchedulerFlags, ServiceKey, Traffic, each};
use crate::names::SERVICE;
use crate::uapi;

/// A virtual service as the kernel tells it. How many servers it has is seen from the servers
/// themselves.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Service {
    #[serde(flatten)]
    pub(crate) key: ServiceKey,
    pub(crate) scheduler: String,
    pub(crate) scheduler_flags: SchedulerFlags,
    pub(crate) persistence_timeout: u32,
    pub(crate) persistence_prefix: u32,
    /// Seconds; 0 is the namespace's, and so it is below.
    pub(crate) initial_timeout: u32,
    pub(crate) established_timeout: u32,
    pub(crate) soft_entries: u32,
    #[serde(flatten)]
    pub(crate) traffic: Traffic,
    pub(crate) drops: Counters,
}

impl Service {
    /// Reads the attributes of one message.
    pub(crate) fn decode(attributes: &[u8]) -> Result<Self, DecodeError> {
        let mut key = KeyParts::default();
        let mut scheduler = String::new();
        let mut scheduler_flags = SchedulerFlags::default();
        let (mut persistence_timeout, mut persistence_prefix) = (0, 0);
        let (mut initial_timeout, mut established_timeout, mut soft_entries) = (0, 0, 0);
        let mut traffic = Traffic::default();
        let mut drops = Counters::default();
        each(attributes, |kind, attribute| {
            let value = attribute.value();
            match kind {
                uapi::IPVS_IPSEC_A_SERVICE_ADDRESS => key.address = Some(parse_ip(value)?),
                uapi::IPVS_IPSEC_A_SERVICE_MARK => key.mark = Some(parse_u32(value)?),
                uapi::IPVS_IPSEC_A_SERVICE_FAMILY => key.family = Some(parse_u32(value)?),
                uapi::IPVS_IPSEC_A_SERVICE_SCHEDULER => scheduler = parse_string(value)?,
                uapi::IPVS_IPSEC_A_SERVICE_SCHEDULER_FLAGS => {
                    scheduler_flags = SchedulerFlags(parse_u32(value)?);
                }
                uapi::IPVS_IPSEC_A_SERVICE_PERSISTENCE_TIMEOUT => {
                    persistence_timeout = parse_u32(value)?;
                }
                uapi::IPVS_IPSEC_A_SERVICE_PERSISTENCE_PREFIX => {
                    persistence_prefix = parse_u32(value)?;
                }
                uapi::IPVS_IPSEC_A_SERVICE_INITIAL_TIMEOUT => initial_timeout = parse_u32(value)?,
                uapi::IPVS_IPSEC_A_SERVICE_ESTABLISHED_TIMEOUT => {
                    established_timeout = parse_u32(value)?;
                }
                uapi::IPVS_IPSEC_A_SERVICE_SOFT_ENTRIES => soft_entries = parse_u32(value)?,
                uapi::IPVS_IPSEC_A_SERVICE_DROPS => drops = Counters::decode(value)?,
                _ => traffic.take(&SERVICE, kind, value)?,
            }
            Ok(())
        })?;
        Ok(Service {
            key: key.whole()?,
            scheduler,
            scheduler_flags,
            persistence_timeout,
            persistence_prefix,
            initial_timeout,
            established_timeout,
            soft_entries,
            traffic,
            drops,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::script::attributes;

    #[test]
    fn all_attributes_and_one_of_tomorrow() {
        let number = |number: u32| number.to_ne_bytes();
        let drops = attributes(&[(uapi::IPVS_IPSEC_A_COUNTERS_DROP_NO_SERVER, &number(4))]);
        let bytes = attributes(&[
            (1, &[192, 0, 2, 1]),
            (4, b"sh\0"),
            (5, &number(3)),
            (6, &number(300)),
            (7, &number(24)),
            (8, &number(20)),
            (9, &number(3600)),
            (10, &number(100)),
            (11, &number(2)),
            (12, &number(9)),
            (13, &8u64.to_ne_bytes()),
            (14, &(1u64 << 40).to_ne_bytes()),
            (15, &number(15)),
            (16, &number(16)),
            (17, &number(17)),
            (18, &number(18)),
            (19, &number(19)),
            (20, &number(20)),
            (21, &number(21)),
            (22 | 0x8000, &drops),
            (77, b"tomorrow"),
        ]);
        assert_eq!(
            serde_json::to_string(&Service::decode(&bytes).unwrap()).unwrap(),
            concat!(
                r#"{"address":"192.0.2.1","scheduler":"sh","scheduler_flags":["fallback","port"],"#,
                r#""persistence_timeout":300,"persistence_prefix":24,"#,
                r#""initial_timeout":20,"established_timeout":3600,"soft_entries":100,"#,
                r#""conns":9,"in_packets":8,"in_bytes":1099511627776,"out_packets":15,"out_bytes":16,"#,
                r#""cps":17,"in_pps":18,"out_pps":19,"in_bps":20,"out_bps":21,"#,
                r#""drops":{"drop_no_server":4}}"#
            )
        );
    }

    #[test]
    fn by_mark() {
        let begin = |family: u32| {
            let bytes = attributes(&[(2, &7u32.to_ne_bytes()), (3, &family.to_ne_bytes())]);
            serde_json::to_string(&Service::decode(&bytes).unwrap()).unwrap()
        };
        assert!(begin(2).starts_with(r#"{"fwmark":7,"family":"inet","scheduler":"#));
        assert!(begin(10).starts_with(r#"{"fwmark":7,"family":"inet6","scheduler":"#));
    }

    #[test]
    fn nothing_without_a_key() {
        assert!(Service::decode(&attributes(&[(4, b"wrr\0")])).is_err());
        assert!(Service::decode(&attributes(&[(2, &7u32.to_ne_bytes())])).is_err());
        assert!(Service::decode(&attributes(&[(1, &[1, 2, 3])])).is_err());
        assert!(Service::decode(&[8, 0, 1]).is_err());
    }
}
