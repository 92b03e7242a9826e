// SPDX-License-Identifier: GPL-2.0

//! State of network namespaces.
//!
//! C header: [`include/net/net_namespace.h`](srctree/include/net/net_namespace.h)

use super::{
    bindings,
    device::Devices,
    netfilter::{Handler, Hooks},
    Net,
};
use core::{cell::UnsafeCell, marker::PhantomData, pin::Pin, ptr::NonNull};
use kernel::{
    error::to_result,
    new_mutex,
    prelude::*,
    sync::{Arc, Mutex, SetOnce},
    types::Opaque,
};

/// The state of a namespace that is configured.
///
/// A namespace has settings from its beginning (or from the module's). Its state is made when it is
/// first asked for. When the namespace goes (or the module) the hooks of the state are unregistered,
/// a grace period passes, and the state is dropped.
pub(crate) trait PerNet: Handler + Sized + 'static {
    /// What a namespace has before it is configured.
    type Settings: Send + Sync + 'static;

    /// Where the state is found; one for each type.
    fn id() -> &'static Id;

    /// Makes the settings of a namespace. Sleeps.
    fn settings(net: Net<'_>) -> Result<Self::Settings>;

    /// Makes the state of a namespace. Sleeps.
    fn new(home: Home<Self>, settings: Arc<Self::Settings>) -> impl PinInit<Self, Error>;

    /// Its hooks.
    fn hooks(&self) -> &Hooks<Self>;

    /// The devices at whose ingress it has hooks.
    fn devices(&self) -> &Devices;

    /// Registers the hooks that the state wants now, and unregisters others. Sleeps. Returns in how
    /// many jiffies it wants to look again, if it does.
    fn fit_hooks(&self) -> Option<u64>;
}

/// The namespace of a state, for which it is made.
///
/// # Invariants
///
/// The namespace, and its slot, outlive the state, which is all that has this.
pub(crate) struct Home<T: PerNet> {
    net: NonNull<bindings::net>,
    _state: PhantomData<fn() -> T>,
}

// SAFETY: A namespace may be used by any thread.
unsafe impl<T: PerNet> Send for Home<T> {}
// SAFETY: As above.
unsafe impl<T: PerNet> Sync for Home<T> {}

impl<T: PerNet> Home<T> {
    /// The namespace.
    pub(crate) fn net(&self) -> Net<'_> {
        // SAFETY: By the type invariant.
        unsafe { Net::from_raw(self.net) }
    }

    /// The state; `None` while it is being made.
    pub(super) fn state(&self) -> Option<Pin<&T>> {
        // SAFETY: By the type invariant.
        unsafe { Id::state::<T>(self.net()) }
    }
}

/// What the kernel keeps for a namespace. Its fields are dropped in their order.
#[pin_data]
struct Slot<T: PerNet> {
    state: SetOnce<Pin<KBox<T>>>,
    /// Held by the task that makes the state.
    #[pin]
    making: Mutex<()>,
    settings: Arc<T::Settings>,
}

impl<T: PerNet> Slot<T> {
    fn new(net: Net<'_>) -> impl PinInit<Self, Error> + use<'_, T> {
        try_pin_init!(Slot {
            state: SetOnce::new(),
            making <- new_mutex!(()),
            settings: Arc::new(T::settings(net)?, GFP_KERNEL_ACCOUNT)?,
        })
    }

    /// The state, if there is one.
    fn state(&self) -> Option<Pin<&T>> {
        self.state.as_ref().map(|state| state.as_ref())
    }

    /// The state, made if there is none. Sleeps.
    fn state_or_new(&self, net: Net<'_>) -> Result<Pin<&T>> {
        let _making = self.making.lock();
        if self.state.as_ref().is_none() {
            // INVARIANT: The state lives in this slot, which goes before the namespace.
            let home = Home {
                net: NonNull::new(net.as_ptr()).ok_or(EINVAL)?,
                _state: PhantomData,
            };
            let state = KBox::pin_init(T::new(home, self.settings.clone()), GFP_KERNEL_ACCOUNT)?;
            self.state.populate(state);
        }
        self.state().ok_or(ENOMEM)
    }
}

/// The number under which namespaces keep a state.
///
/// # Invariants
///
/// Written by the kernel only, before any state exists.
pub(crate) struct Id(UnsafeCell<c_uint>);

// SAFETY: By the type invariant.
unsafe impl Sync for Id {}

impl Id {
    /// A number that is not known yet.
    pub(crate) const fn new() -> Self {
        Id(UnsafeCell::new(0))
    }

    /// The slot of a namespace.
    ///
    /// # Safety
    ///
    /// `T` is registered, and stays so for the lifetime of `net`.
    unsafe fn slot<'a, T: PerNet>(net: Net<'a>) -> &'a Slot<T> {
        // SAFETY: By the safety requirements the kernel has written the number.
        let id = unsafe { *T::id().0.get() };
        // SAFETY: `net` is alive.
        let slot = unsafe { bindings::ipvs_ipsec_net_generic(net.as_ptr(), id) };
        // SAFETY: By the safety requirements `init` has made the slot, and `exit` has not dropped it.
        unsafe { &*slot.cast_const().cast() }
    }

    /// The state of type `T` of a namespace, if it has one.
    ///
    /// # Safety
    ///
    /// As [`Id::slot`].
    pub(super) unsafe fn state<'a, T: PerNet>(net: Net<'a>) -> Option<Pin<&'a T>> {
        // SAFETY: By the safety requirements.
        unsafe { Self::slot::<T>(net) }.state()
    }

    /// The state of type `T` of a namespace, made if it has none. Sleeps.
    ///
    /// # Safety
    ///
    /// As [`Id::slot`].
    pub(super) unsafe fn state_or_new<'a, T: PerNet>(net: Net<'a>) -> Result<Pin<&'a T>> {
        // SAFETY: By the safety requirements.
        unsafe { Self::slot::<T>(net) }.state_or_new(net)
    }
}

/// Namespaces have a slot for a `T` while this lives.
///
/// # Invariants
///
/// `ops` is registered.
#[pin_data(PinnedDrop)]
pub(crate) struct Registration<T: PerNet> {
    #[pin]
    ops: Opaque<bindings::pernet_operations>,
    _state: PhantomData<T>,
}

// SAFETY: Registering and unregistering may be done by any thread.
unsafe impl<T: PerNet> Send for Registration<T> {}
// SAFETY: There is nothing to do with a shared reference.
unsafe impl<T: PerNet> Sync for Registration<T> {}

impl<T: PerNet> Registration<T> {
    /// Gives each namespace, of now and later, its slot. Sleeps.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        // INVARIANT: Initialised only if registered.
        try_pin_init!(Self {
            ops <- Opaque::try_ffi_init(|ops: *mut bindings::pernet_operations| {
                let operations = bindings::pernet_operations {
                    init: Some(init::<T>),
                    pre_exit: Some(pre_exit::<T>),
                    exit: Some(exit::<T>),
                    id: T::id().0.get(),
                    size: size_of::<Slot<T>>(),
                    ..Default::default()
                };
                // SAFETY: `ops` is memory for the operations that stays where it is until they
                // are unregistered, the number is static, and the callbacks fit `T`.
                to_result(unsafe {
                    ops.write(operations);
                    bindings::register_pernet_subsys(ops)
                })
            }),
            _state: PhantomData,
        })
    }
}

#[pinned_drop]
impl<T: PerNet> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant.
        unsafe { bindings::unregister_pernet_subsys(self.ops.get()) };
    }
}

/// The memory for the slot of type `T`, before, while and after it holds one.
///
/// # Safety
///
/// Only for the callbacks of [`Registration`].
unsafe fn memory<'a, T: PerNet>(net: *mut bindings::net) -> Option<(Net<'a>, *mut Slot<T>)> {
    const { assert!(align_of::<Slot<T>>() <= align_of::<*const ()>()) };
    let net = NonNull::new(net)?;
    // SAFETY: The kernel has written the number before it calls a callback.
    let id = unsafe { *T::id().0.get() };
    // SAFETY: The kernel allocated `size` bytes under this number before it calls `init`, and frees them
    // after `exit`. `net` is alive meanwhile.
    let slot = unsafe { bindings::ipvs_ipsec_net_generic(net.as_ptr(), id) };
    // SAFETY: As above.
    Some((unsafe { Net::from_raw(net) }, slot.cast()))
}

/// Called when a namespace comes up.
///
/// # Safety
///
/// Only for [`Registration`].
unsafe extern "C" fn init<T: PerNet>(net: *mut bindings::net) -> c_int {
    // SAFETY: We are a callback of `Registration`.
    let Some((net, slot)) = (unsafe { memory::<T>(net) }) else {
        return EINVAL.to_errno();
    };
    // SAFETY: The memory is fresh, of the size of a slot, and stays where it is.
    match unsafe { pin_init::raw_try_init(slot, Slot::<T>::new(net)) } {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

/// Called when a namespace goes; a grace period follows.
///
/// # Safety
///
/// Only for [`Registration`].
unsafe extern "C" fn pre_exit<T: PerNet>(net: *mut bindings::net) {
    // SAFETY: We are a callback of `Registration`.
    let Some((net, slot)) = (unsafe { memory::<T>(net) }) else {
        return;
    };
    // SAFETY: `init` made the slot here.
    if let Some(state) = unsafe { &*slot }.state() {
        state.hooks().close();
        state.devices().remove_all(net);
    }
}

/// Called a grace period later.
///
/// # Safety
///
/// Only for [`Registration`].
unsafe extern "C" fn exit<T: PerNet>(net: *mut bindings::net) {
    // SAFETY: We are a callback of `Registration`.
    if let Some((_, slot)) = unsafe { memory::<T>(net) } {
        // SAFETY: `init` made the slot, and nobody uses it any more.
        unsafe { slot.drop_in_place() };
    }
}
