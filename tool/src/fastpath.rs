// SPDX-License-Identifier: GPL-2.0
//! `ipvs-ipsec fastpath list`: the devices at whose ingress established flows are forwarded.

use std::io::Write;

use netlink_packet_core::{DecodeError, parse_u32};
use serde::Serialize;

use crate::complain;
use crate::device;
use crate::error::{Error, Result};
use crate::model::each;
use crate::names::NONE;
use crate::netlink::{Connection, Request, Wire};
use crate::output;
use crate::uapi;

/// A device that has the fast path.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Device {
    device: String,
    ifindex: u32,
}

impl Device {
    fn decode(attributes: &[u8]) -> std::result::Result<Self, DecodeError> {
        let mut ifindex = 0;
        each(attributes, |kind, attribute| {
            if kind == uapi::IPVS_IPSEC_A_FASTPATH_IFINDEX {
                ifindex = parse_u32(attribute.value())?;
            }
            Ok(())
        })?;
        Ok(Device {
            device: device::name(ifindex),
            ifindex,
        })
    }
}

/// Asks the kernel and prints: a name a line.
pub(crate) fn run<W: Wire>(kernel: &mut Connection<W>, json: bool) -> Result<()> {
    let (devices, settled) = devices(kernel)?;
    if json {
        output::json(&devices)?;
    } else {
        let mut out = output::stdout();
        for device in devices {
            writeln!(out, "{}", device.device).map_err(Error::Output)?;
        }
        output::finish(out)?;
    }
    if !settled {
        complain("warning: devices were added or removed while they were listed");
    }
    Ok(())
}

/// The devices, and whether none came or went meanwhile.
fn devices<W: Wire>(kernel: &mut Connection<W>) -> Result<(Vec<Device>, bool)> {
    let mut devices = Vec::new();
    let get = Request::new(uapi::IPVS_IPSEC_CMD_FASTPATH_GET, &NONE);
    let interrupted = kernel.dump(&get, |attributes| {
        devices.push(Device::decode(attributes)?);
        Ok(())
    })?;
    Ok((devices, !interrupted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::script::{self, answer, attributes, done};
    use netlink_packet_core::NLM_F_DUMP_INTR;

    fn told(flags: u16, ifindex: u32) -> Vec<u8> {
        let index = ifindex.to_ne_bytes();
        answer(flags, &attributes(&[(1, &index), (99, b"tomorrow")]))
    }

    #[test]
    fn devices_have_their_names_back() {
        let answers = vec![told(0, 1), told(0, 0x7fff_0000), done(0, &[])];
        let mut kernel = script::connection(answers);
        let (devices, settled) = devices(&mut kernel).unwrap();
        assert!(settled);
        assert_eq!(kernel.commands(), [15]);
        assert_eq!(
            serde_json::to_string(&devices).unwrap(),
            r#"[{"device":"lo","ifindex":1},{"device":"if2147418112","ifindex":2147418112}]"#
        );
    }

    #[test]
    fn none_is_an_empty_list() {
        let mut kernel = script::connection(vec![done(0, &[])]);
        assert_eq!(devices(&mut kernel).unwrap(), (Vec::new(), true));
    }

    #[test]
    fn a_change_meanwhile_is_seen() {
        let answers = vec![told(NLM_F_DUMP_INTR, 1), done(0, &[])];
        assert!(!devices(&mut script::connection(answers)).unwrap().1);
    }
}
