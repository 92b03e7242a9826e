// SPDX-License-Identifier: GPL-2.0

//! ip_vs_ipsec: the Linux Virtual Server for IPsec.
//!
//! On the director it takes IKE, ESP and AH that are addressed to a virtual service, binds each
//! initiator to one real server, and forwards its packets there. `hook.rs` shows the way of a
//! packet; Documentation/design.rst explains the rest.

#![deny(unsafe_code)]

use kernel::prelude::*;

// Pure code, also a crate of its own (pure.rs), hence its `pub`.
#[allow(unreachable_pub)]
mod addr;
#[allow(unreachable_pub)]
mod checksum;
#[allow(unreachable_pub)]
mod ident;
#[allow(unreachable_pub)]
mod ike;
#[allow(unreachable_pub)]
mod ipv6;
#[allow(unreachable_pub)]
mod proto;
#[allow(unreachable_pub)]
mod reason;
#[allow(unreachable_pub)]
mod sched;
#[allow(unreachable_pub)]
mod siphash;
#[allow(unreachable_pub)]
mod spi;

// The kernel, made safe.
#[allow(unsafe_code, reason = "the one room for it")]
mod kapi;

mod admit;
mod entry;
mod error;
mod express;
mod fastpath;
mod forward;
mod hook;
mod netlink;
mod netns;
mod server;
mod service;
mod stats;
mod sysctl;

use kapi::{address, device, genl, pernet, rcu, uapi};

/// Version of the module, and of the command that comes with it.
const VERSION: &CStr = c"0.1.0";

module! {
    type: IpVsIpsec,
    name: "ip_vs_ipsec",
    authors: ["The ip_vs_ipsec authors"],
    description: "Linux Virtual Server for IPsec",
    license: "GPL",
    alias: ["net-pf-16-proto-16-family-ipvs-ipsec"],
}

/// The module. Fields are dropped in their order: nobody configures any more, then the hooks of devices
/// go, then those of namespaces and their states, then what RCU has still to free.
#[pin_data]
struct IpVsIpsec {
    _family: genl::Family,
    #[pin]
    _addresses: address::Watch<netns::Netns>,
    #[pin]
    _devices: device::Watch<netns::Netns>,
    #[pin]
    _namespaces: pernet::Registration<netns::Netns>,
    _barrier: rcu::Barrier,
}

impl kernel::InPlaceModule for IpVsIpsec {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        // Namespaces come first, for the family finds their state.
        try_pin_init!(IpVsIpsec {
            _barrier: rcu::Barrier,
            _namespaces <- pernet::Registration::new(),
            _devices <- device::Watch::new(),
            _addresses <- address::Watch::new(),
            _family: genl::Family::register()?,
        })
    }
}
