// SPDX-License-Identifier: GPL-2.0

//! Safe abstractions over what we need of the kernel and its own crate does not have.
//!
//! This is the only room with `unsafe` code, besides the C entry points of netlink. Nothing here
//! knows about IPsec.

mod bindings;
mod net;

pub(crate) mod address;
pub(crate) mod defrag;
pub(crate) mod device;
pub(crate) mod genl;
pub(crate) mod icmp;
pub(crate) mod ident;
pub(crate) mod lock;
mod memory;
pub(crate) mod neighbour;
pub(crate) mod netfilter;
pub(crate) mod once;
pub(crate) mod percpu;
pub(crate) mod pernet;
pub(crate) mod random;
pub(crate) mod rcu;
pub(crate) mod route;
pub(crate) mod skb;
pub(crate) mod sysctl;
pub(crate) mod table;
pub(crate) mod time;
pub(crate) mod work;

pub(crate) use bindings::uapi;
pub(crate) use net::Net;
