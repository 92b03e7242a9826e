// SPDX-License-Identifier: GPL-2.0
//! The extended ack: the kernel's own words and the attribute it means (enum nlmsgerr_attrs in
//! linux/netlink.h).

use netlink_packet_core::{
    DecodeError, NLM_F_ACK_TLVS, NLM_F_CAPPED, NetlinkBuffer, NlaBuffer, NlasIterator, parse_u32,
};

use super::request::NETLINK_HEADER;
use super::{GENL_HEADER, after};
use crate::error::{Error, Refusal, Result};
use crate::names::AttributeSet;

// libc does not have these yet.
const NLMSGERR_ATTR_MSG: u16 = 1;
const NLMSGERR_ATTR_OFFS: u16 = 2;
const NLMSGERR_ATTR_MISS_TYPE: u16 = 5;

/// What an acknowledgement says besides its errno.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ExtendedAck {
    text: Option<String>,
    offset: Option<u32>,
    missing: Option<u32>,
}

/// The extended ack of an NLMSG_ERROR: it follows the errno and the request's header, and the rest
/// of the request where that was not cut off.
pub(super) fn of_error(
    flags: u16,
    payload: &[u8],
) -> std::result::Result<ExtendedAck, DecodeError> {
    if flags & NLM_F_ACK_TLVS == 0 {
        return Ok(ExtendedAck::default());
    }
    let request = payload.get(4..).unwrap_or_default();
    if flags & NLM_F_CAPPED != 0 {
        ExtendedAck::decode(request.get(NETLINK_HEADER..).unwrap_or_default())
    } else {
        ExtendedAck::decode(after(
            request,
            NetlinkBuffer::new_checked(request)?.length(),
        ))
    }
}

/// The extended ack of an NLMSG_DONE: it follows the errno.
pub(super) fn of_done(
    flags: u16,
    attributes: &[u8],
) -> std::result::Result<ExtendedAck, DecodeError> {
    if flags & NLM_F_ACK_TLVS == 0 {
        return Ok(ExtendedAck::default());
    }
    ExtendedAck::decode(attributes)
}

impl ExtendedAck {
    fn decode(attributes: &[u8]) -> std::result::Result<Self, DecodeError> {
        let mut ack = ExtendedAck::default();
        for attribute in NlasIterator::new(attributes) {
            let attribute = attribute?;
            let value = attribute.value();
            match attribute.kind() {
                NLMSGERR_ATTR_MSG => ack.text = words(value),
                NLMSGERR_ATTR_OFFS => ack.offset = Some(parse_u32(value)?),
                NLMSGERR_ATTR_MISS_TYPE => ack.missing = Some(parse_u32(value)?),
                _ => {}
            }
        }
        Ok(ack)
    }

    /// Turns `code`, a negative errno or 0, into success with the kernel's remark or into its
    /// refusal. `sent` is the request, into which offsets point; `names` names its attributes.
    pub(super) fn judge(
        self,
        code: i32,
        sent: &[u8],
        names: &AttributeSet,
    ) -> Result<Option<String>> {
        if code >= 0 {
            return Ok(self.text);
        }
        let missing = self.missing.and_then(|kind| u16::try_from(kind).ok());
        Err(Error::Refused(Refusal {
            errno: code.saturating_neg(),
            bad: self
                .offset
                .and_then(|offset| attribute_at(sent, offset))
                .map(|kind| names.name(kind)),
            missing: missing.map(|kind| names.name(kind)),
            text: self.text,
        }))
    }
}

/// The kernel's text without its NUL. It is shown whatever it is made of: a refusal must not get
/// lost.
fn words(value: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(value);
    let text = text.trim_end_matches('\0');
    (!text.is_empty()).then(|| text.to_owned())
}

/// The number of the attribute at an offset of the request. The kernel also points at headers,
/// which are no attributes.
fn attribute_at(sent: &[u8], offset: u32) -> Option<u16> {
    let offset = usize::try_from(offset).ok()?;
    if offset < NETLINK_HEADER + GENL_HEADER {
        return None;
    }
    let attribute = NlaBuffer::new_checked(sent.get(offset..)?).ok()?;
    Some(attribute.kind())
}

#[cfg(test)]
mod tests {
    use super::super::Request;
    use super::super::script::attribute;
    use super::*;
    use crate::names::SERVER;

    fn text() -> Vec<u8> {
        attribute(NLMSGERR_ATTR_MSG, b"integer out of range\0")
    }

    fn sent() -> Vec<u8> {
        Request::new(5, &SERVER)
            .address(1, "192.0.2.1".parse().unwrap())
            .u32(6, 65536)
            .message(0x21, 5, 1)
    }

    fn refusal(ack: ExtendedAck) -> Refusal {
        match ack.judge(-libc::ERANGE, &sent(), &SERVER) {
            Err(Error::Refused(refusal)) => refusal,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_capped_error() {
        let offset = attribute(NLMSGERR_ATTR_OFFS, &28u32.to_ne_bytes());
        let payload = [
            &(-libc::ERANGE).to_ne_bytes()[..],
            &sent()[..NETLINK_HEADER],
            &text(),
            &offset,
        ]
        .concat();
        let ack = of_error(NLM_F_CAPPED | NLM_F_ACK_TLVS, &payload).unwrap();
        assert_eq!(
            refusal(ack),
            Refusal {
                errno: libc::ERANGE,
                text: Some("integer out of range".into()),
                bad: Some("weight".into()),
                missing: None
            }
        );
    }

    #[test]
    fn an_error_with_the_whole_request() {
        let payload = [&(-libc::ERANGE).to_ne_bytes()[..], &sent(), &text()].concat();
        let ack = of_error(NLM_F_ACK_TLVS, &payload).unwrap();
        assert_eq!(refusal(ack).text.as_deref(), Some("integer out of range"));
    }

    #[test]
    fn an_error_without_words() {
        let payload = [&(-libc::ERANGE).to_ne_bytes()[..], &sent()].concat();
        let ack = of_error(0, &payload).unwrap();
        assert_eq!(
            refusal(ack),
            Refusal {
                errno: libc::ERANGE,
                ..Refusal::default()
            }
        );
    }

    #[test]
    fn a_missing_attribute() {
        let missing = attribute(NLMSGERR_ATTR_MISS_TYPE, &4u32.to_ne_bytes());
        let ack = of_done(NLM_F_ACK_TLVS, &missing).unwrap();
        assert_eq!(refusal(ack).missing.as_deref(), Some("address"));
    }

    #[test]
    fn offsets_that_point_at_no_attribute() {
        for offset in [0, 16, 19, 35, 36, 4096, u32::MAX] {
            let ack = ExtendedAck {
                offset: Some(offset),
                ..ExtendedAck::default()
            };
            assert_eq!(refusal(ack).bad, None, "{offset}");
        }
    }

    #[test]
    fn broken_ones_are_errors() {
        assert!(of_error(NLM_F_ACK_TLVS, &[0; 8]).is_err());
        assert!(of_done(NLM_F_ACK_TLVS, &[9, 0, 1, 0]).is_err());
        assert!(of_done(NLM_F_ACK_TLVS, &attribute(NLMSGERR_ATTR_OFFS, &[0; 2])).is_err());
        assert_eq!(
            of_error(NLM_F_CAPPED | NLM_F_ACK_TLVS, &[0; 8]).unwrap(),
            ExtendedAck::default()
        );
    }

    #[test]
    fn an_empty_text_is_none() {
        assert_eq!(
            of_done(NLM_F_ACK_TLVS, &attribute(NLMSGERR_ATTR_MSG, b"\0")).unwrap(),
            ExtendedAck::default()
        );
    }
}
