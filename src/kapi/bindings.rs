// SPDX-License-Identifier: GPL-2.0

//! What bindgen makes of glue/bindings.h. Raw; only kapi may see it, but for `uapi`.

#![allow(
    clippy::all,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    unused_imports
)]
#![allow(
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    reason = "the code is generated"
)]

use kernel::ffi;
use pin_init::MaybeZeroable;

include!(env!("IPVS_IPSEC_BINDINGS"));

/// Constants of the netlink family (`uapi/linux/ipvs_ipsec.h`).
pub(crate) mod uapi {
    pub(crate) use super::*;
}
