// SPDX-License-Identifier: GPL-2.0
//! Devices: the administrator knows their names, the module their indices.

use nix::net::if_::{if_nameindex, if_nametoindex};

use crate::error::{Error, Result};

/// The index of a device of this network namespace.
pub(crate) fn index(name: &str) -> Result<u32> {
    if_nametoindex(name).map_err(|_| Error::NoDevice(name.to_owned()))
}

/// The name of the device with this index. One that has just gone is called by its index.
pub(crate) fn name(index: u32) -> String {
    // if_indextoname() of nix 0.32 finds a device with an empty name where there is none.
    let all = if_nameindex();
    let found = all.iter().flatten().find(|device| device.index() == index);
    match found {
        Some(device) => device.name().to_string_lossy().into_owned(),
        None => format!("if{index}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_namespace_has_its_loopback() {
        assert_eq!(index("lo").unwrap(), 1);
        assert_eq!(name(1), "lo");
    }

    #[test]
    fn strangers() {
        assert_eq!(
            index("no-such-dev").unwrap_err().to_string(),
            "no such device: no-such-dev"
        );
        assert_eq!(name(i32::MAX.unsigned_abs()), "if2147483647");
    }
}
