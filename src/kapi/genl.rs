// SPDX-License-Identifier: GPL-2.0

//! Generic netlink: requests, replies and dumps.
//!
//! The family itself, its operations and their policies are generated from the specification
//! (glue/netlink-gen.c).
//!
//! C headers: [`include/net/genetlink.h`](srctree/include/net/genetlink.h),
//! [`include/net/netlink.h`](srctree/include/net/netlink.h)

use super::{
    bindings,
    pernet::{Id, PerNet},
    Net,
};
use core::{marker::PhantomData, pin::Pin, ptr::NonNull};
use kernel::{error::to_result, prelude::*};

/// What of a request is to blame for its refusal.
#[derive(Clone, Copy)]
pub(crate) enum Blame {
    /// Nothing in it.
    Nothing,
    /// An attribute that is not there.
    Missing(u32),
    /// An attribute that is there.
    Attribute(u32),
}

/// Why a request is refused, in the terms of netlink.
pub(crate) struct Refused {
    /// Error number.
    pub(crate) error: Error,
    /// Text for the administrator.
    pub(crate) text: &'static CStr,
    /// The culprit.
    pub(crate) blame: Blame,
}

/// A request that came in.
///
/// # Invariants
///
/// `info` is valid for `'a`, for an operation of our family, and the state of its namespace lives.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a>(&'a bindings::genl_info);

impl<'a> Request<'a> {
    /// The sender's namespace.
    pub(crate) fn net(&self) -> Net<'a> {
        // SAFETY: `info` is valid. A request has a namespace, which it keeps alive.
        unsafe {
            let net = bindings::ipvs_ipsec_genl_info_net(self.0);
            Net::from_raw(NonNull::new_unchecked(net))
        }
    }

    /// The state of the sender's namespace, if it has one.
    pub(crate) fn state<T: PerNet>(&self) -> Option<Pin<&'a T>> {
        // SAFETY: Slots are registered before the family, and unregistered after it.
        unsafe { Id::state::<T>(self.net()) }
    }

    /// The state of the sender's namespace, made if it has none. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn state_or_new<T: PerNet>(&self) -> Result<Pin<&'a T>> {
        // SAFETY: As in `state`.
        unsafe { Id::state_or_new::<T>(self.net()) }
    }

    /// Content of attribute `kind`. The policy has been checked.
    pub(crate) fn attribute(&self, kind: u32) -> Option<&'a [u8]> {
        if self.0.attrs.is_null() {
            return None;
        }
        // SAFETY: There is a pointer for each kind that the policy of the operation has, and
        // no operation asks for another. Attributes live as long as the request.
        unsafe {
            let attr = NonNull::new(*self.0.attrs.add(kind.try_into().ok()?))?.as_ptr();
            let len = bindings::ipvs_ipsec_nla_len(attr).try_into().ok()?;
            let data = bindings::ipvs_ipsec_nla_data(attr).cast_const();
            Some(core::slice::from_raw_parts(data.cast(), len))
        }
    }

    /// Answers with one message that `fill` fills.
    pub(crate) fn reply(
        &self,
        command: u32,
        fill: impl FnOnce(&mut Message<'_>) -> Result,
    ) -> Result {
        // SAFETY: No requirements.
        let skb = unsafe { bindings::ipvs_ipsec_genlmsg_new() };
        let skb = NonNull::new(skb).ok_or(ENOMEM)?;
        let info = self.0;
        let filled = Message::put(skb, info.snd_portid, info.snd_seq, 0, command, |message| {
            fill(message)
        });
        if let Err(error) = filled {
            // SAFETY: The buffer is ours.
            unsafe { bindings::ipvs_ipsec_kfree_skb(skb.as_ptr()) };
            return Err(error);
        }
        // SAFETY: The buffer is ours and taken over; `info` is valid and not changed.
        to_result(unsafe {
            bindings::ipvs_ipsec_genlmsg_reply(skb.as_ptr(), core::ptr::from_ref(info).cast_mut())
        })
    }

    /// Turns the answer of an operation into what netlink wants, and says why.
    fn finish(&self, answer: Result<(), Refused>) -> c_int {
        let Err(refused) = answer else { return 0 };
        // SAFETY: The extended ack, if there is one, is the request's own; the text is static,
        // and attributes live as long as the request.
        unsafe {
            if let Some(extack) = self.0.extack.as_mut() {
                extack._msg = refused.text.as_char_ptr();
                match refused.blame {
                    Blame::Nothing => {}
                    Blame::Missing(kind) => extack.miss_type = kind.try_into().unwrap_or(0),
                    Blame::Attribute(kind) => {
                        if let Ok(kind) = usize::try_from(kind) {
                            extack.bad_attr = *self.0.attrs.add(kind);
                        }
                    }
                }
            }
        }
        refused.error.to_errno()
    }

    /// Runs a `doit` operation.
    ///
    /// # Safety
    ///
    /// `info` is what netlink gave to the operation.
    pub(crate) unsafe fn run(
        info: *mut bindings::genl_info,
        operation: impl FnOnce(Request<'_>) -> Result<(), Refused>,
    ) -> c_int {
        // SAFETY: By the safety requirements.
        let request = Request(unsafe { &*info });
        request.finish(operation(request))
    }
}

/// A dump that goes on.
///
/// # Invariants
///
/// Both pointers are valid for `'a`, and ours alone.
pub(crate) struct Dump<'a> {
    skb: NonNull<bindings::sk_buff>,
    cb: &'a mut bindings::netlink_callback,
    _skb: PhantomData<&'a mut bindings::sk_buff>,
}

impl<'a> Dump<'a> {
    /// The request that asked for it.
    pub(crate) fn request(&mut self) -> Request<'a> {
        // SAFETY: The callback is that of a generic netlink dump, whose request lives as long.
        Request(unsafe { &*bindings::ipvs_ipsec_genl_info_dump(self.cb) })
    }

    /// How far the dump has come: two numbers that are 0 in the beginning.
    pub(crate) fn position(&self) -> [usize; 2] {
        // SAFETY: The union is plain memory, zeroed at first, and only we use it.
        let [a, b, ..] = unsafe { self.cb.__bindgen_anon_1.args };
        [a, b].map(|number| usize::try_from(number).unwrap_or(usize::MAX))
    }

    /// Keeps how far the dump has come until it is continued.
    pub(crate) fn set_position(&mut self, position: [usize; 2]) {
        let [a, b] = position.map(|number| number.try_into().unwrap_or(c_long::MAX));
        let mut args = [0; 6];
        args[..2].copy_from_slice(&[a, b]);
        self.cb.__bindgen_anon_1.args = args;
    }

    /// Says which state of affairs the messages that follow tell of. If it changes within a dump,
    /// the receiver is told (NLM_F_DUMP_INTR).
    pub(crate) fn set_generation(&mut self, generation: u32) {
        // Zero means none.
        self.cb.seq = generation.max(1);
    }

    /// Adds a message that `fill` fills; `EMSGSIZE` when there is no more room in this part.
    pub(crate) fn message(
        &mut self,
        command: u32,
        fill: impl FnOnce(&mut Message<'_>) -> Result,
    ) -> Result {
        let info = self.request().0;
        let (portid, seq) = (info.snd_portid, info.snd_seq);
        let cb: *mut bindings::netlink_callback = self.cb;
        let flags = bindings::NLM_F_MULTI.try_into()?;
        Message::put(self.skb, portid, seq, flags, command, |message| {
            // SAFETY: The callback and the message's header are valid.
            unsafe { bindings::ipvs_ipsec_genl_dump_check_consistent(cb, message.header.as_ptr()) };
            fill(message)
        })
    }

    /// Runs a `dumpit` operation.
    ///
    /// # Safety
    ///
    /// `skb` and `cb` are what netlink gave to the operation.
    pub(crate) unsafe fn run(
        skb: *mut bindings::sk_buff,
        cb: *mut bindings::netlink_callback,
        operation: impl FnOnce(&mut Dump<'_>) -> Result<(), Refused>,
    ) -> c_int {
        let Some(skb) = NonNull::new(skb) else {
            return EINVAL.to_errno();
        };
        // SAFETY: By the safety requirements.
        let cb = unsafe { &mut *cb };
        // INVARIANT: As above.
        let mut dump = Dump {
            skb,
            cb,
            _skb: PhantomData,
        };
        let answer = operation(&mut dump);
        dump.request().finish(answer)
    }
}

/// A message, or a nest in it, that is being filled. Every `put` fails with `EMSGSIZE` when there
/// is no more room.
pub(crate) struct Message<'a> {
    skb: NonNull<bindings::sk_buff>,
    header: NonNull<c_void>,
    _skb: PhantomData<&'a mut bindings::sk_buff>,
}

impl Message<'_> {
    /// Adds a message to a buffer of ours; one that cannot be filled leaves no trace.
    fn put(
        skb: NonNull<bindings::sk_buff>,
        portid: u32,
        seq: u32,
        flags: c_int,
        command: u32,
        fill: impl FnOnce(&mut Message<'_>) -> Result,
    ) -> Result {
        let family = &raw const bindings::ipvs_ipsec_nl_family;
        let command = command.try_into()?;
        // SAFETY: The buffer and the family are valid.
        let header =
            unsafe { bindings::genlmsg_put(skb.as_ptr(), portid, seq, family, flags, command) };
        let header = NonNull::new(header).ok_or(EMSGSIZE)?;
        let mut message = Message {
            skb,
            header,
            _skb: PhantomData,
        };
        let filled = fill(&mut message);
        // SAFETY: The header is that of the message we began in this buffer.
        unsafe {
            match filled {
                Ok(()) => bindings::ipvs_ipsec_genlmsg_end(skb.as_ptr(), header.as_ptr()),
                Err(_) => bindings::ipvs_ipsec_genlmsg_cancel(skb.as_ptr(), header.as_ptr()),
            }
        }
        filled
    }

    /// Puts bytes as they are.
    pub(crate) fn put_bytes(&mut self, kind: u32, bytes: &[u8]) -> Result {
        let (kind, len) = (kind.try_into()?, bytes.len().try_into()?);
        // SAFETY: The buffer is ours, and `bytes` are as long as we say.
        to_result(unsafe { bindings::nla_put(self.skb.as_ptr(), kind, len, bytes.as_ptr().cast()) })
    }

    /// Puts a text, with the NUL that ends it.
    pub(crate) fn put_text(&mut self, kind: u32, text: &CStr) -> Result {
        self.put_bytes(kind, text.to_bytes_with_nul())
    }

    /// Puts a number of 32 bits.
    pub(crate) fn put_u32(&mut self, kind: u32, number: u32) -> Result {
        self.put_bytes(kind, &number.to_ne_bytes())
    }

    /// Puts a number of type `uint`, which takes 4 bytes or 8.
    pub(crate) fn put_uint(&mut self, kind: u32, number: u64) -> Result {
        let kind = kind.try_into()?;
        // SAFETY: The buffer is ours.
        to_result(unsafe { bindings::ipvs_ipsec_nla_put_uint(self.skb.as_ptr(), kind, number) })
    }

    /// Puts a nest that `fill` fills.
    pub(crate) fn put_nest(
        &mut self,
        kind: u32,
        fill: impl FnOnce(&mut Message<'_>) -> Result,
    ) -> Result {
        let kind = kind.try_into()?;
        // SAFETY: The buffer is ours.
        let nest = unsafe { bindings::ipvs_ipsec_nla_nest_start(self.skb.as_ptr(), kind) };
        let nest = NonNull::new(nest).ok_or(EMSGSIZE)?;
        fill(self)?;
        // SAFETY: The nest was begun in this buffer.
        unsafe { bindings::ipvs_ipsec_nla_nest_end(self.skb.as_ptr(), nest.as_ptr()) };
        Ok(())
    }
}

/// Our family is registered while this lives.
pub(crate) struct Family(());

impl Family {
    /// Registers it. Sleeps.
    pub(crate) fn register() -> Result<Self> {
        // SAFETY: The family is static and generated, and only registered here.
        to_result(unsafe {
            bindings::genl_register_family(&raw mut bindings::ipvs_ipsec_nl_family)
        })?;
        Ok(Family(()))
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        // SAFETY: Registered by `register`. Waits for operations that run.
        unsafe { bindings::genl_unregister_family(&raw mut bindings::ipvs_ipsec_nl_family) };
    }
}

/// Defines the C functions that glue/netlink-gen.c calls for the operations of the family.
macro_rules! operations {
    (doit { $($do_name:ident => $doit:path,)* } dumpit { $($dump_name:ident => $dumpit:path,)* }) => {
        $(
            /// Called by netlink.
            ///
            /// # Safety
            ///
            /// Only for the family's operation of this name.
            #[no_mangle]
            #[allow(unsafe_code, reason = "a C entry point of netlink")]
            unsafe extern "C" fn $do_name(
                _skb: *mut $crate::kapi::genl::raw::sk_buff,
                info: *mut $crate::kapi::genl::raw::genl_info,
            ) -> ::kernel::ffi::c_int {
                // SAFETY: `info` comes from netlink.
                unsafe { $crate::kapi::genl::Request::run(info, $doit) }
            }
        )*
        $(
            /// Called by netlink.
            ///
            /// # Safety
            ///
            /// Only for the family's operation of this name.
            #[no_mangle]
            #[allow(unsafe_code, reason = "a C entry point of netlink")]
            unsafe extern "C" fn $dump_name(
                skb: *mut $crate::kapi::genl::raw::sk_buff,
                cb: *mut $crate::kapi::genl::raw::netlink_callback,
            ) -> ::kernel::ffi::c_int {
                // SAFETY: Both come from netlink.
                unsafe { $crate::kapi::genl::Dump::run(skb, cb, $dumpit) }
            }
        )*
    };
}
pub(crate) use operations;

/// The C types that [`operations`] mentions.
pub(crate) mod raw {
    pub(crate) use super::bindings::{genl_info, netlink_callback, sk_buff};
}
