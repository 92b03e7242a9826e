// SPDX-License-Identifier: GPL-2.0

//! Integers under /proc/sys/net, one set for each namespace.
//!
//! C header: [`include/linux/sysctl.h`](srctree/include/linux/sysctl.h)

use super::{bindings, once, Net};
use core::ptr::{self, NonNull};
use kernel::{prelude::*, sync::atomic::Atomic};

/// An integer and what it may be.
pub(crate) struct Setting {
    /// Name of its file.
    pub(crate) name: &'static CStr,
    /// Value a namespace begins with.
    pub(crate) default: c_int,
    /// Least value that may be written.
    pub(crate) min: &'static c_int,
    /// Greatest value that may be written.
    pub(crate) max: &'static c_int,
}

/// An integer that all namespaces have together. Only in the first one it may be written.
pub(crate) struct Shared {
    /// Name of its file.
    pub(crate) name: &'static CStr,
    /// The value.
    pub(crate) value: Atomic<c_int>,
    /// Least value that may be written.
    pub(crate) min: &'static c_int,
    /// Greatest value that may be written.
    pub(crate) max: &'static c_int,
}

impl Shared {
    /// The value as of now.
    pub(crate) fn get(&self) -> c_int {
        once::read(&self.value)
    }
}

/// The integers of one namespace.
///
/// # Invariants
///
/// `header` is registered for `table`, which points to `values` and to what is shared, each checked
/// to be in its range.
pub(crate) struct Table<const N: usize> {
    // Unregistered by `Drop`, before the memory goes.
    header: NonNull<bindings::ctl_table_header>,
    values: KBox<[Atomic<c_int>; N]>,
    _table: KVec<bindings::ctl_table>,
}

// SAFETY: The values are atomic, and the rest is only used to unregister.
unsafe impl<const N: usize> Send for Table<N> {}
// SAFETY: As above.
unsafe impl<const N: usize> Sync for Table<N> {}

impl<const N: usize> Table<N> {
    /// Registers `settings`, and what is `shared`, under `path`, like `c"net/example"`. Sleeps.
    pub(crate) fn new(
        net: Net<'_>,
        path: &'static CStr,
        settings: &'static [Setting; N],
        shared: &'static [Shared],
    ) -> Result<Self> {
        let values = settings
            .each_ref()
            .map(|setting| Atomic::new(setting.default));
        let values = KBox::new(values, GFP_KERNEL_ACCOUNT)?;
        let mut table = KVec::with_capacity(N + shared.len(), GFP_KERNEL_ACCOUNT)?;
        for (setting, value) in settings.iter().zip(values.iter()) {
            let entry = entry(setting.name, value, [setting.min, setting.max], 0o644);
            table.push(entry, GFP_KERNEL_ACCOUNT)?;
        }
        let mode = if net.is_first() { 0o644 } else { 0o444 };
        for one in shared {
            let entry = entry(one.name, &one.value, [one.min, one.max], mode);
            table.push(entry, GFP_KERNEL_ACCOUNT)?;
        }
        // SAFETY: `net` is alive; the table and what it points to live until `drop`, or for ever.
        let header = unsafe {
            bindings::register_net_sysctl_sz(
                net.as_ptr(),
                path.as_char_ptr(),
                table.as_mut_ptr(),
                table.len(),
            )
        };
        // INVARIANT: Registered, with defaults that are in range.
        Ok(Table {
            header: NonNull::new(header).ok_or(ENOMEM)?,
            values,
            _table: table,
        })
    }

    /// Value of setting `I`.
    #[inline]
    pub(crate) fn get<const I: usize>(&self) -> c_int {
        const { assert!(I < N) };
        // The kernel writes it by WRITE_ONCE.
        once::read(&self.values[I])
    }
}

/// A file that has this value.
fn entry(
    name: &'static CStr,
    value: &Atomic<c_int>,
    [min, max]: [&'static c_int; 2],
    mode: bindings::umode_t,
) -> bindings::ctl_table {
    bindings::ctl_table {
        procname: name.as_char_ptr(),
        data: ptr::from_ref(value).cast_mut().cast(),
        maxlen: 4,
        mode,
        proc_handler: Some(bindings::proc_dointvec_minmax),
        poll: ptr::null_mut(),
        extra1: ptr::from_ref(min).cast_mut().cast(),
        extra2: ptr::from_ref(max).cast_mut().cast(),
    }
}

impl<const N: usize> Drop for Table<N> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. Waits for whoever reads or writes a value.
        unsafe { bindings::unregister_net_sysctl_table(self.header.as_ptr()) };
    }
}
