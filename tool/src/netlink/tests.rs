// SPDX-License-Identifier: GPL-2.0
//! Exchanges with a scripted kernel, and with the real one.

use super::script::{self, Script, attribute};
use super::*;
use crate::error::Refusal;
use crate::names::SERVICE;

fn get_all() -> Request {
    Request::new(uapi::IPVS_IPSEC_CMD_SERVICE_GET, &SERVICE)
}

fn dumped(datagrams: Vec<Vec<u8>>) -> (Vec<Vec<u8>>, Result<bool>) {
    let mut kernel = script::connection(datagrams);
    let mut seen = Vec::new();
    let end = kernel.dump(&get_all(), |attributes| {
        seen.push(attributes.to_vec());
        Ok(())
    });
    (seen, end)
}

#[test]
fn an_absent_family_means_no_module() {
    let error =
        Connection::over(Script::new(vec![script::refused(libc::ENOENT, &[])])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the kernel module ip_vs_ipsec is not loaded (modprobe ip_vs_ipsec)"
    );
}

#[test]
fn a_dump_of_several_datagrams() {
    let (seen, end) = dumped(vec![
        [script::answer(0, b"one1"), script::answer(0, b"two2")].concat(),
        script::answer(0, b"more"),
        script::done(0, &[]),
    ]);
    assert_eq!(seen, [b"one1", b"two2", b"more"]);
    assert!(!end.unwrap());
}

#[test]
fn an_interrupted_dump_is_told() {
    let (_, end) = dumped(vec![
        script::answer(NLM_F_DUMP_INTR, b"one1"),
        script::done(0, &[]),
    ]);
    assert!(end.unwrap());
    let (_, end) = dumped(vec![script::message(
        NLMSG_DONE,
        NLM_F_DUMP_INTR,
        &0i32.to_ne_bytes(),
    )]);
    assert!(end.unwrap());
}

#[test]
fn a_dump_can_fail_at_its_end() {
    let text = attribute(1, b"out of breath\0");
    let (seen, end) = dumped(vec![
        script::answer(0, b"one1"),
        script::done(libc::ENOMEM, &text),
    ]);
    assert_eq!(seen.len(), 1);
    assert_eq!(end.unwrap_err().to_string(), "out of breath");
}

#[test]
fn a_dump_can_be_refused_at_once() {
    let (seen, end) = dumped(vec![script::refused(libc::EPERM, &[])]);
    assert!(seen.is_empty());
    assert_eq!(
        end.unwrap_err().to_string(),
        "Operation not permitted (CAP_NET_ADMIN is needed)"
    );
}

#[test]
fn a_reader_that_fails_ends_the_dump() {
    let mut kernel =
        script::connection(vec![script::answer(0, b"one1"), script::answer(0, b"two2")]);
    let mut calls = 0;
    let end = kernel.dump(&get_all(), |_| {
        calls += 1;
        Err(Error::Output(io::Error::from_raw_os_error(libc::EPIPE)))
    });
    assert!(end.unwrap_err().is_broken_pipe());
    assert_eq!(calls, 1);
}

#[test]
fn lost_answers_are_an_error() {
    let (_, end) = dumped(vec![script::message(NLMSG_OVERRUN, 0, &[])]);
    assert!(end.unwrap_err().to_string().contains("incomplete"));
}

#[test]
fn answers_to_something_else_are_skipped() {
    let mut stale = script::answer(0, b"old!");
    stale[8..12].copy_from_slice(&77u32.to_ne_bytes());
    let (seen, end) = dumped(vec![
        stale,
        script::answer(0, b"new!"),
        script::done(0, &[]),
    ]);
    assert_eq!(seen, [b"new!"]);
    assert!(!end.unwrap());
}

#[test]
fn garbage_is_an_error_and_no_panic() {
    let mut short = script::message(NLMSG_ERROR, 0, &[]);
    for datagram in [
        vec![1],
        vec![0; 16],
        vec![0xff; 16],
        short.clone(),
        script::message(99, 0, &[]),
    ] {
        let (_, end) = dumped(vec![datagram]);
        assert!(matches!(end, Err(Error::Malformed(_))), "{end:?}");
    }
    short = script::message(script::FAMILY, 0, &[1, 1]);
    assert!(matches!(dumped(vec![short]).1, Err(Error::Malformed(_))));
}

#[test]
fn an_acknowledgement_can_carry_a_remark() {
    let mut kernel =
        script::connection(vec![script::acknowledged(&attribute(1, b"as you like\0"))]);
    assert_eq!(
        kernel.run(&get_all()).unwrap().as_deref(),
        Some("as you like")
    );
    let mut kernel = script::connection(vec![script::acknowledged(&[])]);
    assert_eq!(kernel.run(&get_all()).unwrap(), None);
}

#[test]
fn one_thing_needs_an_answer() {
    let mut kernel = script::connection(vec![script::acknowledged(&[])]);
    assert!(matches!(
        kernel.get(&get_all(), |_| Ok(())),
        Err(Error::Malformed(_))
    ));
}

// The rest talks to the running kernel's own controller, which every kernel with generic netlink
// has.

#[test]
fn the_real_kernel_answers_dumps_and_refuses() {
    let mut kernel = Connection {
        wire: wire::socket().unwrap(),
        family: GENL_ID_CTRL,
        sequence: 0,
        buffer: Vec::new(),
    };
    assert_eq!(kernel.resolve("nlctrl").unwrap(), GENL_ID_CTRL);
    assert!(matches!(
        kernel.resolve("no-such-family"),
        Err(Error::NotLoaded)
    ));

    let mut families = 0;
    let every = Request::new(CTRL_CMD_GETFAMILY, &NONE);
    kernel
        .dump(&every, |_| {
            families += 1;
            Ok(())
        })
        .unwrap();
    assert!(families > 0);

    // A name that is not a string: the kernel's text and the offset of the attribute.
    let wrong = Request::new(CTRL_CMD_GETFAMILY, &SERVICE).u32(2, u32::MAX);
    match kernel.run(&wrong).unwrap_err() {
        Error::Refused(Refusal {
            errno: libc::EINVAL,
            text: Some(_),
            bad: Some(name),
            missing: None,
        }) => {
            assert_eq!(name, "mark");
        }
        other => panic!("{other:?}"),
    }
}
