// SPDX-License-Identifier: GPL-2.0

//! The director is one of the gateways: the packet goes to its own IKE daemon or IPsec stack,
//! unchanged. After `ip_vs_null_xmit`.

use super::Way;

/// Finds the way, which is the one the packet is on.
#[inline]
pub(super) fn prepare() -> Way {
    Way::Here
}
