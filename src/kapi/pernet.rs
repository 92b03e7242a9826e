// SPDX-License-Identifier: GPL-2.0

//! State that every network namespace has of its own.
//!
//! C header: [`include/net/net_namespace.h`](srctree/include/net/net_namespace.h)

use super::{
    bindings,
    device::Devices,
    netfilter::{Handler, Hooks},
    Net,
};
use core::{cell::UnsafeCell, marker::PhantomData, pin::Pin, ptr::NonNull};
use kernel::{error::to_result, prelude::*, types::Opaque};

/// The state of a namespace.
///
/// It is made in the namespace's memory when the namespace comes up (or the module is loaded),
/// then its first hooks are registered. When the namespace goes (or the module) they are unregistered,
/// a grace period passes, and the state is dropped.
pub(crate) trait PerNet: Handler + Sized + 'static {
    /// Where the state is found; one for each type.
    fn id() -> &'static Id;

    /// State for a namespace. Sleeps.
    fn new(net: Net<'_>) -> impl PinInit<Self, Error>;

    /// Its hooks.
    fn hooks(&self) -> &Hooks<Self>;

    /// The devices at whose ingress it has hooks.
    fn devices(&self) -> &Devices;
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

    /// The state of type `T` of a namespace.
    ///
    /// # Safety
    ///
    /// `T` is registered, and stays so for the lifetime of `net`.
    pub(super) unsafe fn state<'a, T: PerNet>(net: Net<'a>) -> Pin<&'a T> {
        // SAFETY: By the safety requirements the state exists as long as the namespace is used,
        // in memory that belongs to the namespace.
        unsafe {
            let state = bindings::ipvs_ipsec_net_generic(net.as_ptr(), *T::id().0.get());
            Pin::new_unchecked(&*state.cast_const().cast::<T>())
        }
    }
}

/// Namespaces have a `T` while this lives.
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
    /// Gives each namespace, of now and later, its state. Sleeps.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        // INVARIANT: Initialised only if registered.
        try_pin_init!(Self {
            ops <- Opaque::try_ffi_init(|ops: *mut bindings::pernet_operations| {
                let operations = bindings::pernet_operations {
                    init: Some(init::<T>),
                    pre_exit: Some(pre_exit::<T>),
                    exit: Some(exit::<T>),
                    id: T::id().0.get(),
                    size: size_of::<T>(),
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

/// The memory for the state of type `T`, before, while and after it holds one.
///
/// # Safety
///
/// Only for the callbacks of [`Registration`].
unsafe fn memory<'a, T: PerNet>(net: *mut bindings::net) -> Option<(Net<'a>, *mut T)> {
    const { assert!(align_of::<T>() <= align_of::<*const ()>()) };
    let net = NonNull::new(net)?;
    // SAFETY: The kernel allocated `size` bytes under this number before it calls `init`, and frees them
    // after `exit`. `net` is alive meanwhile.
    let state = unsafe { bindings::ipvs_ipsec_net_generic(net.as_ptr(), *T::id().0.get()) };
    // SAFETY: As above.
    Some((unsafe { Net::from_raw(net) }, state.cast()))
}

/// Called when a namespace comes up.
///
/// # Safety
///
/// Only for [`Registration`].
unsafe extern "C" fn init<T: PerNet>(net: *mut bindings::net) -> c_int {
    // SAFETY: We are a callback of `Registration`.
    let Some((net, state)) = (unsafe { memory::<T>(net) }) else {
        return EINVAL.to_errno();
    };
    // SAFETY: The memory is fresh, of the size of `T`, and stays where it is.
    if let Err(error) = unsafe { pin_init::raw_try_init(state, T::new(net)) } {
        return error.to_errno();
    }
    // SAFETY: Just initialised; it stays until `exit`, which comes a grace period after
    // `pre_exit`. If registering fails, the kernel does not call these.
    unsafe {
        let registered = (*state)
            .hooks()
            .register(net, NonNull::new_unchecked(state));
        if let Err(error) = registered {
            state.drop_in_place();
            return error.to_errno();
        }
    }
    0
}

/// Called when a namespace goes; a grace period follows.
///
/// # Safety
///
/// Only for [`Registration`].
unsafe extern "C" fn pre_exit<T: PerNet>(net: *mut bindings::net) {
    // SAFETY: We are a callback of `Registration`.
    if let Some((net, state)) = unsafe { memory::<T>(net) } {
        // SAFETY: `init` made the state and registered its hooks here.
        unsafe {
            (*state).hooks().unregister();
            (*state).devices().remove_all(net);
        }
    }
}

/// Called a grace period later.
///
/// # Safety
///
/// Only for [`Registration`].
unsafe extern "C" fn exit<T: PerNet>(net: *mut bindings::net) {
    // SAFETY: We are a callback of `Registration`.
    if let Some((_, state)) = unsafe { memory::<T>(net) } {
        // SAFETY: `init` made the state, and nobody uses it any more.
        unsafe { state.drop_in_place() };
    }
}
