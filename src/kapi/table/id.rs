// SPDX-License-Identifier: GPL-2.0

//! Numbers of tables, by which an object tells whose it is.
//!
//! C header: [`include/linux/idr.h`](srctree/include/linux/idr.h)

use crate::kapi::bindings;
use kernel::prelude::*;

/// A number that no other table has.
///
/// # Invariants
///
/// It is allocated, and less than 2^31.
pub(super) struct Id(u32);

impl Id {
    /// One that is free. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `ENOSPC`.
    pub(super) fn new() -> Result<Self> {
        // SAFETY: No requirements but process context.
        let number = unsafe { bindings::ipvs_ipsec_table_id_alloc() };
        // INVARIANT: Just allocated; what is no error is no greater than `INT_MAX`.
        u32::try_from(number)
            .map(Id)
            .map_err(|_| Error::from_errno(number))
    }

    #[inline]
    pub(super) fn number(&self) -> u32 {
        self.0
    }
}

impl Drop for Id {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::ipvs_ipsec_table_id_free(self.0) };
    }
}
