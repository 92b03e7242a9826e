// SPDX-License-Identifier: GPL-2.0

//! Addresses of this host, and notifiers of those that come and go.
//!
//! C headers: [`include/linux/inetdevice.h`](srctree/include/linux/inetdevice.h),
//! [`include/net/addrconf.h`](srctree/include/net/addrconf.h)

use super::{
    bindings,
    pernet::{Id, PerNet},
    Net,
};
use crate::addr::Addr;
use core::{marker::PhantomData, ptr::NonNull};
use kernel::{error::to_result, prelude::*, types::Opaque};

impl Net<'_> {
    /// Returns whether a device of this namespace has the address.
    pub(crate) fn has_address(self, address: &Addr) -> bool {
        match address {
            Addr::V4(address) => {
                let address = u32::from_ne_bytes(*address);
                // SAFETY: The namespace is alive.
                unsafe { bindings::ipvs_ipsec_has_address4(self.as_ptr(), address) }
            }
            Addr::V6(address) => {
                // SAFETY: As above; the address is only read.
                unsafe { bindings::ipvs_ipsec_has_address6(self.as_ptr(), address.as_ptr().cast()) }
            }
        }
    }
}

/// The notifier chain of a family.
trait NotifierChain: 'static {
    /// Registers a notifier. Sleeps.
    const REGISTER: unsafe extern "C" fn(*mut bindings::notifier_block) -> c_int;

    /// Unregisters it, and waits until it does not run. Sleeps.
    const UNREGISTER: unsafe extern "C" fn(*mut bindings::notifier_block) -> c_int;

    /// Returns the namespace of an address that the chain tells of.
    const NET: unsafe extern "C" fn(*const c_void) -> *mut bindings::net;
}

struct Inet;
struct Inet6;

impl NotifierChain for Inet {
    const REGISTER: unsafe extern "C" fn(*mut bindings::notifier_block) -> c_int =
        bindings::register_inetaddr_notifier;
    const UNREGISTER: unsafe extern "C" fn(*mut bindings::notifier_block) -> c_int =
        bindings::unregister_inetaddr_notifier;
    const NET: unsafe extern "C" fn(*const c_void) -> *mut bindings::net =
        bindings::ipvs_ipsec_in_ifaddr_net;
}

impl NotifierChain for Inet6 {
    const REGISTER: unsafe extern "C" fn(*mut bindings::notifier_block) -> c_int =
        bindings::register_inet6addr_notifier;
    const UNREGISTER: unsafe extern "C" fn(*mut bindings::notifier_block) -> c_int =
        bindings::unregister_inet6addr_notifier;
    const NET: unsafe extern "C" fn(*const c_void) -> *mut bindings::net =
        bindings::ipvs_ipsec_inet6_ifaddr_net;
}

/// A notifier of one family.
///
/// # Invariants
///
/// `block` is registered.
#[pin_data(PinnedDrop)]
struct Notifier<T: PerNet, C: NotifierChain> {
    #[pin]
    block: Opaque<bindings::notifier_block>,
    _state: PhantomData<(T, C)>,
}

impl<T: PerNet, C: NotifierChain> Notifier<T, C> {
    fn new() -> impl PinInit<Self, Error> {
        // INVARIANT: Initialised only if registered.
        try_pin_init!(Self {
            block <- Opaque::try_ffi_init(|block: *mut bindings::notifier_block| {
                let notifier = bindings::notifier_block {
                    notifier_call: Some(notified::<T, C>),
                    ..Default::default()
                };
                // SAFETY: `block` is memory that stays where it is until it is unregistered.
                unsafe { block.write(notifier) };
                // SAFETY: As above.
                to_result(unsafe { C::REGISTER(block) })
            }),
            _state: PhantomData,
        })
    }
}

#[pinned_drop]
impl<T: PerNet, C: NotifierChain> PinnedDrop for Notifier<T, C> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant.
        unsafe { C::UNREGISTER(self.block.get()) };
    }
}

/// Has states fit their hooks when an address of their namespace comes or goes, while this lives.
#[pin_data]
pub(crate) struct Watch<T: PerNet> {
    #[pin]
    inet: Notifier<T, Inet>,
    #[pin]
    inet6: Notifier<T, Inet6>,
}

// SAFETY: Registering and unregistering may be done by any thread.
unsafe impl<T: PerNet> Send for Watch<T> {}
// SAFETY: There is nothing to do with a shared reference.
unsafe impl<T: PerNet> Sync for Watch<T> {}

impl<T: PerNet> Watch<T> {
    /// Only while namespaces have a slot for a `T`. Sleeps.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            inet <- Notifier::new(),
            inet6 <- Notifier::new(),
        })
    }
}

/// Called when an address comes or goes: under RTNL for IPv4, in any context for IPv6. Neither may
/// register hooks here, so a task does it.
///
/// # Safety
///
/// Only for [`Notifier`].
unsafe extern "C" fn notified<T: PerNet, C: NotifierChain>(
    _: *mut bindings::notifier_block,
    _: c_ulong,
    address: *mut c_void,
) -> c_int {
    // SAFETY: The chain hands out a valid address, of a device.
    if let Some(net) = NonNull::new(unsafe { C::NET(address) }) {
        // SAFETY: The namespace has a device, which does not go while it is told of.
        let net = unsafe { Net::from_raw(net) };
        // SAFETY: The namespace has its slot: slots go after devices (`exit` of a subsystem), and
        // `Watch` goes before all slots.
        if let Some(state) = unsafe { Id::state::<T>(net) } {
            state.hooks().fit_now();
        }
    }
    bindings::NOTIFY_DONE.try_into().unwrap_or(0)
}
