// SPDX-License-Identifier: GPL-2.0

//! The ingress of network devices.
//!
//! C headers: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h),
//! [`include/linux/netfilter_netdev.h`](srctree/include/linux/netfilter_netdev.h)

use super::{
    bindings,
    netfilter::Handler,
    pernet::{Id, PerNet},
    rcu::Guard,
    skb::{self, Packet, Verdict},
    Net,
};
use core::{marker::PhantomData, ptr::NonNull};
use kernel::{
    error::to_result,
    new_mutex,
    num::casts::u32_as_usize,
    prelude::*,
    sync::{rcu::synchronize_rcu, Mutex},
    types::{NotThreadSafe, Opaque},
};

/// Comes after the filters that administrators have at ingress, which are at 0 (nft(8), "filter").
const PRIORITY: c_int = 100;

/// The lock of what is configured of devices (RTNL), held.
struct Rtnl(NotThreadSafe);

impl Rtnl {
    /// Sleeps.
    fn lock() -> Self {
        // SAFETY: Nobody here holds it already.
        unsafe { bindings::rtnl_lock() };
        Rtnl(NotThreadSafe)
    }
}

impl Drop for Rtnl {
    fn drop(&mut self) {
        // SAFETY: We hold it.
        unsafe { bindings::rtnl_unlock() };
    }
}

/// A hook for the ingress of a device.
///
/// # Invariants
///
/// The device is alive: `notified` removes this before the device goes. `ops` is registered if
/// `is_registered`.
struct Hook {
    ops: KBox<bindings::nf_hook_ops>,
    is_registered: bool,
}

// SAFETY: What it points to is only compared, or used to register and unregister, by any thread.
unsafe impl Send for Hook {}

impl Hook {
    fn index(&self) -> u32 {
        // SAFETY: By the type invariant the device is alive.
        unsafe { bindings::ipvs_ipsec_dev_ifindex(self.ops.dev) }
    }

    /// Registers it. Sleeps.
    fn register(&mut self, net: Net<'_>) -> Result {
        // SAFETY: By the type invariant the device is alive. The operations live until they are
        // unregistered, and the handler outlives that by a grace period.
        to_result(unsafe { bindings::nf_register_net_hooks(net.as_ptr(), &*self.ops, 1) })?;
        self.is_registered = true;
        Ok(())
    }

    /// Unregisters it, if it is registered, and waits for packets on their way through it. Sleeps.
    fn unregister(&mut self, net: Net<'_>) {
        if core::mem::take(&mut self.is_registered) {
            // SAFETY: By the type invariant it is registered.
            unsafe { bindings::nf_unregister_net_hooks(net.as_ptr(), &*self.ops, 1) };
            synchronize_rcu();
        }
    }
}

/// Why a device gets no hook.
pub(crate) enum Trouble {
    /// There is no such device.
    Missing,
    /// It has one.
    Exists,
    /// Its packets do not have Ethernet headers, or do not leave this host.
    NotEthernet,
    /// It is part of another, a bridge or a bond.
    Enslaved,
    /// It is a VRF, whose packets come in by others, or one of these.
    Vrf,
    /// No memory.
    NoMemory,
}

/// The devices of a namespace at whose ingress a handler has hooks, while it has any.
///
/// # Invariants
///
/// Of each hook in the list the device is alive while the lock is held.
#[pin_data]
pub(crate) struct Devices {
    #[pin]
    hooks: Mutex<Hooks>,
}

struct Hooks {
    list: KVec<Hook>,
    /// Whether they are registered.
    is_active: bool,
}

impl Devices {
    /// None.
    pub(crate) fn none() -> impl PinInit<Self> {
        pin_init!(Devices {
            hooks <- new_mutex!(Hooks {
                list: KVec::new(),
                is_active: false,
            }),
        })
    }

    /// Registers the hooks, and those of devices that are added from now on. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; none is registered then.
    pub(super) fn activate(&self, net: Net<'_>) -> Result {
        let mut hooks = self.hooks.lock();
        let registered = hooks
            .list
            .iter_mut()
            .try_for_each(|hook| hook.register(net));
        if registered.is_err() {
            hooks.list.iter_mut().for_each(|hook| hook.unregister(net));
        }
        hooks.is_active = registered.is_ok();
        registered
    }

    /// Unregisters the hooks, and has none registered. Sleeps.
    pub(super) fn deactivate(&self, net: Net<'_>) {
        let mut hooks = self.hooks.lock();
        hooks.is_active = false;
        hooks.list.iter_mut().for_each(|hook| hook.unregister(net));
    }

    /// Gives device `index` a hook of the handler that these are the devices of. Sleeps.
    pub(crate) fn add<T: PerNet>(&self, net: Net<'_>, index: u32) -> Result<(), Trouble> {
        // A device that is found under this lock is not on its way out.
        let _rtnl = Rtnl::lock();
        let mut hooks = self.hooks.lock();
        let index = index.try_into().map_err(|_| Trouble::Missing)?;
        // SAFETY: RTNL is held.
        let device = unsafe { bindings::__dev_get_by_index(net.as_ptr(), index) };
        let device = NonNull::new(device).ok_or(Trouble::Missing)?;
        if hooks
            .list
            .iter()
            .any(|hook| hook.ops.dev == device.as_ptr())
        {
            return Err(Trouble::Exists);
        }
        // SAFETY: The device is alive, and RTNL is held.
        unsafe {
            if !bindings::ipvs_ipsec_dev_is_ethernet(device.as_ptr()) {
                return Err(Trouble::NotEthernet);
            }
            if bindings::ipvs_ipsec_dev_is_vrf(device.as_ptr()) {
                return Err(Trouble::Vrf);
            }
            if !bindings::netdev_master_upper_dev_get(device.as_ptr()).is_null() {
                return Err(Trouble::Enslaved);
            }
        }
        hooks
            .list
            .reserve(1, GFP_KERNEL_ACCOUNT)
            .map_err(|_| Trouble::NoMemory)?;
        // SAFETY: The namespace is in use, so that its slot is there.
        let handler = unsafe { Id::state::<T>(net) }.ok_or(Trouble::NoMemory)?;
        let handler: *const T = handler.get_ref();
        let ops = bindings::nf_hook_ops {
            hook: Some(called::<T>),
            dev: device.as_ptr(),
            priv_: handler.cast_mut().cast(),
            pf: bindings::NFPROTO_NETDEV.to_le_bytes()[0],
            hooknum: bindings::NF_NETDEV_INGRESS,
            priority: PRIORITY,
            ..Default::default()
        };
        // INVARIANT: Before the device goes, `notified` takes it out of the list.
        let mut hook = Hook {
            ops: KBox::new(ops, GFP_KERNEL_ACCOUNT).map_err(|_| Trouble::NoMemory)?,
            is_registered: false,
        };
        if hooks.is_active {
            hook.register(net).map_err(|_| Trouble::NoMemory)?;
        }
        hooks
            .list
            .push_within_capacity(hook)
            .map_err(|_| Trouble::NoMemory)
    }

    /// Takes the hook away from device `index`; `false` if it has none. Sleeps.
    pub(crate) fn remove(&self, net: Net<'_>, index: u32) -> bool {
        self.remove_if(net, |hook| hook.index() == index)
    }

    /// Takes all hooks away. Sleeps.
    pub(super) fn remove_all(&self, net: Net<'_>) {
        while self.remove_if(net, |_| true) {}
    }

    fn remove_if(&self, net: Net<'_>, wanted: impl Fn(&Hook) -> bool) -> bool {
        let list = &mut self.hooks.lock().list;
        let place = list.iter().position(wanted);
        let hook = place.and_then(|place| list.remove(place).ok());
        hook.map(|mut hook| hook.unregister(net)).is_some()
    }

    /// The index of the device in this place, in the order they were added.
    pub(crate) fn get(&self, place: usize) -> Option<u32> {
        self.hooks.lock().list.get(place).map(Hook::index)
    }
}

/// Devices that go, or become part of others, lose their hooks while this lives.
///
/// # Invariants
///
/// `block` is registered.
#[pin_data(PinnedDrop)]
pub(crate) struct Watch<T: PerNet> {
    #[pin]
    block: Opaque<bindings::notifier_block>,
    _state: PhantomData<T>,
}

// SAFETY: Registering and unregistering may be done by any thread.
unsafe impl<T: PerNet> Send for Watch<T> {}
// SAFETY: There is nothing to do with a shared reference.
unsafe impl<T: PerNet> Sync for Watch<T> {}

impl<T: PerNet> Watch<T> {
    /// Only while namespaces have a `T`. Sleeps.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        // INVARIANT: Initialised only if registered.
        try_pin_init!(Self {
            block <- Opaque::try_ffi_init(|block: *mut bindings::notifier_block| {
                let notifier = bindings::notifier_block {
                    notifier_call: Some(notified::<T>),
                    ..Default::default()
                };
                // SAFETY: `block` is memory that stays where it is until it is unregistered.
                to_result(unsafe {
                    block.write(notifier);
                    bindings::register_netdevice_notifier(block)
                })
            }),
            _state: PhantomData,
        })
    }
}

#[pinned_drop]
impl<T: PerNet> PinnedDrop for Watch<T> {
    /// All devices are as good as gone for whoever is not told of their end any more, and this
    /// tells him so.
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant.
        unsafe { bindings::unregister_netdevice_notifier(self.block.get()) };
    }
}

/// Called when something happens to a device, under RTNL.
///
/// # Safety
///
/// Only for [`Watch`].
unsafe extern "C" fn notified<T: PerNet>(
    _: *mut bindings::notifier_block,
    event: c_ulong,
    info: *mut c_void,
) -> c_int {
    let is = |kind| event == u32_as_usize(kind);
    // SAFETY: The device is alive and in a namespace, whose slot is there: those of devices go
    // after their devices, and `Watch` goes before all. RTNL is held.
    unsafe {
        let device = bindings::ipvs_ipsec_notified_dev(info);
        let loses_hook = is(bindings::NETDEV_UNREGISTER)
            || is(bindings::NETDEV_CHANGEUPPER)
                && !bindings::netdev_master_upper_dev_get(device).is_null();
        if loses_hook {
            if let Some(net) = NonNull::new(bindings::ipvs_ipsec_dev_net(device)) {
                let net = Net::from_raw(net);
                if let Some(state) = Id::state::<T>(net) {
                    let devices = state.get_ref().devices();
                    devices.remove_if(net, |hook| hook.ops.dev == device);
                }
            }
        }
    }
    bindings::NOTIFY_DONE.try_into().unwrap_or(0)
}

/// Called by netfilter.
///
/// # Safety
///
/// `private` is a handler that outlives the hook by a grace period, and `skb` and `state` are a
/// packet on its way through the hook.
unsafe extern "C" fn called<H: Handler>(
    private: *mut c_void,
    skb: *mut bindings::sk_buff,
    state: *const bindings::nf_hook_state,
) -> c_uint {
    // SAFETY: By the safety requirements, and hooks run under RCU.
    let (handler, net) = unsafe { (&*private.cast_const().cast::<H>(), (*state).net) };
    let (Some(skb), Some(net)) = (NonNull::new(skb), NonNull::new(net)) else {
        return Verdict::ACCEPT.code();
    };
    // SAFETY: Hooks run under RCU, those at ingress with softirqs off. The namespace outlives the
    // packet's way through it, and a hook owns its packet until it answers.
    let (guard, packet) = unsafe { (Guard::within(), Packet::at_ingress(skb, Net::from_raw(net))) };
    match packet {
        // SAFETY: The packet is valid.
        Some(packet) if unsafe { skb::is_gso(skb) } => handle_gso(handler, &guard, packet).code(),
        Some(packet) => handler.ingress(&guard, packet).code(),
        None => Verdict::ACCEPT.code(),
    }
}

/// Handles a packet that may be several. What has to be taken apart goes on to LOCAL_IN, where it is.
#[cold]
#[inline(never)]
fn handle_gso<H: Handler>(handler: &H, guard: &Guard, packet: Packet<'_>) -> Verdict {
    let merged = packet.merged();
    if merged.is_none_or(|merged| handler.takes_as_one(&packet, merged, false)) {
        handler.ingress(guard, packet)
    } else {
        packet.accept()
    }
}
