// SPDX-License-Identifier: GPL-2.0
//! Services, servers, entries and the module's status, as the kernel's attributes tell them.
//! Attributes that this version does not know are those of a newer module and are passed over.

mod counters;
mod entry;
mod flags;
mod key;
mod server;
mod service;
mod spis;
mod status;
mod traffic;
mod words;

use std::net::IpAddr;

use netlink_packet_core::{
    DecodeError, ErrorContext, NlaBuffer, NlasIterator, parse_u32, parse_u64,
};

pub(crate) use counters::Counters;
pub(crate) use entry::Entry;
pub(crate) use flags::{SchedulerFlags, TunnelFlags};
pub(crate) use key::{Family, ServiceKey, decimal_or_hex};
pub(crate) use server::Server;
pub(crate) use service::Service;
pub(crate) use spis::Spis;
pub(crate) use status::Status;
#[cfg(test)]
pub(crate) use status::tests::example as status_example;
pub(crate) use traffic::Traffic;
pub(crate) use words::{Method, Protocol, State, TunnelType};

/// Hands each attribute to `take`; an error names the attribute's number.
pub(crate) fn each(
    attributes: &[u8],
    mut take: impl FnMut(u16, &NlaBuffer<&[u8]>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute?;
        let kind = attribute.kind();
        take(kind, &attribute).with_context(|| format!("attribute {kind}"))?;
    }
    Ok(())
}

/// Netlink's `uint`: 4 bytes, or 8 if it needs them.
fn parse_uint(value: &[u8]) -> Result<u64, DecodeError> {
    if value.len() == 4 {
        parse_u32(value).map(u64::from)
    } else {
        parse_u64(value)
    }
}

/// An address without which the rest means nothing.
fn required(address: Option<IpAddr>, whose: &str) -> Result<IpAddr, DecodeError> {
    address.ok_or_else(|| DecodeError::from(format!("{whose} without address")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uint_has_two_widths() {
        assert_eq!(parse_uint(&7u32.to_ne_bytes()).unwrap(), 7);
        assert_eq!(parse_uint(&u64::MAX.to_ne_bytes()).unwrap(), u64::MAX);
        assert!(parse_uint(&[0; 2]).is_err());
        assert!(parse_uint(&[]).is_err());
    }

    #[test]
    fn an_error_names_the_attribute() {
        let bytes = crate::netlink::script::attribute(7, &[0; 3]);
        let error = each(&bytes, |_, attribute| {
            parse_uint(attribute.value()).map(drop)
        })
        .unwrap_err();
        assert!(error.to_string().starts_with("attribute 7 "), "{error}");
    }
}
