// SPDX-License-Identifier: GPL-2.0
//! `ipvs-ipsec list`: services with their servers.

mod collect;
mod layout;
#[cfg(test)]
mod tests;

use crate::complain;
use crate::error::{Error, Result};
use crate::model::ServiceKey;
use crate::netlink::{Connection, Wire};
use crate::output;

use collect::collect;
pub(crate) use layout::View;

/// Asks the kernel and prints. JSON holds everything, whatever the view.
pub(crate) fn run<W: Wire>(
    kernel: &mut Connection<W>,
    only: Option<ServiceKey>,
    view: View,
    json: bool,
) -> Result<()> {
    let (listing, settled) = collect(kernel, only)?;
    if json {
        output::json(&listing)?;
    } else {
        let mut out = output::stdout();
        listing.print(&mut out, view).map_err(Error::Output)?;
        output::finish(out)?;
    }
    if !settled {
        complain(
            "warning: services changed while they were listed; the listing may be inconsistent",
        );
    }
    Ok(())
}
