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

/// The integers of one namespace.
///
/// # Invariants
///
/// `header` is registered for `table`, which points to `values`, each checked to be in its range.
pub(crate) struct Table<const N: usize> {
    // Unregistered by `Drop`, before the memory goes.
    header: NonNull<bindings::ctl_table_header>,
    values: KBox<[Atomic<c_int>; N]>,
    _table: KBox<[bindings::ctl_table; N]>,
}

// SAFETY: The values are atomic, and the rest is only used to unregister.
unsafe impl<const N: usize> Send for Table<N> {}
// SAFETY: As above.
unsafe impl<const N: usize> Sync for Table<N> {}

impl<const N: usize> Table<N> {
    /// Registers `settings` under `path`, like `c"net/example"`. Sleeps.
    pub(crate) fn new(
        net: Net<'_>,
        path: &'static CStr,
        settings: &'static [Setting; N],
    ) -> Result<Self> {
        let values = settings
            .each_ref()
            .map(|setting| Atomic::new(setting.default));
        let values = KBox::new(values, GFP_KERNEL)?;
        let mut table = KBox::new([const { Self::EMPTY }; N], GFP_KERNEL)?;
        for ((entry, setting), value) in table.iter_mut().zip(settings).zip(values.iter()) {
            entry.procname = setting.name.as_char_ptr();
            entry.data = ptr::from_ref(value).cast_mut().cast();
            entry.maxlen = 4;
            entry.mode = 0o644;
            entry.proc_handler = Some(bindings::proc_dointvec_minmax);
            entry.extra1 = ptr::from_ref(setting.min).cast_mut().cast();
            entry.extra2 = ptr::from_ref(setting.max).cast_mut().cast();
        }
        // SAFETY: `net` is alive; the table and what it points to live until `drop`, or for ever.
        let header = unsafe {
            bindings::register_net_sysctl_sz(
                net.as_ptr(),
                path.as_char_ptr(),
                table.as_mut_ptr(),
                N,
            )
        };
        // INVARIANT: Registered, with defaults that are in range.
        Ok(Table {
            header: NonNull::new(header).ok_or(ENOMEM)?,
            values,
            _table: table,
        })
    }

    const EMPTY: bindings::ctl_table = bindings::ctl_table {
        procname: ptr::null(),
        data: ptr::null_mut(),
        maxlen: 0,
        mode: 0,
        proc_handler: None,
        poll: ptr::null_mut(),
        extra1: ptr::null_mut(),
        extra2: ptr::null_mut(),
    };

    /// Value of setting `I`.
    #[inline]
    pub(crate) fn get<const I: usize>(&self) -> c_int {
        const { assert!(I < N) };
        // The kernel writes it by WRITE_ONCE.
        once::read(&self.values[I])
    }
}

impl<const N: usize> Drop for Table<N> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. Waits for whoever reads or writes a value.
        unsafe { bindings::unregister_net_sysctl_table(self.header.as_ptr()) };
    }
}
