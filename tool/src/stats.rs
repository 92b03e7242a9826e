// SPDX-License-Identifier: GPL-2.0
//! `ipvs-ipsec stats`: the table and the counters, a name and a number a line.

use std::io::{self, Write};

use crate::error::{Error, Result};
use crate::model::Status;
use crate::netlink::{Connection, Wire};
use crate::output;

/// Asks the kernel and prints.
pub(crate) fn run<W: Wire>(kernel: &mut Connection<W>, all: bool, json: bool) -> Result<()> {
    let status = Status::get(kernel)?;
    if json {
        return output::json(&status);
    }
    let mut out = output::stdout();
    print(&mut out, &status, all).map_err(Error::Output)?;
    output::finish(out)
}

/// Reasons for which nothing was dropped are left out unless `all`: the others are what an
/// administrator looks for.
fn print(out: &mut impl Write, status: &Status, all: bool) -> io::Result<()> {
    let table = [
        ("entries", status.entries),
        ("initial", status.initial),
        ("table-size", status.table_size),
        ("sweep-step-us", status.sweep_step_us),
        ("sweep-lag-ms", status.sweep_lag_ms),
    ];
    let blocks: [Vec<(&str, u64)>; 3] = [
        table.map(|(name, value)| (name, value.into())).to_vec(),
        status.counters.events().collect(),
        status
            .counters
            .drops()
            .filter(|(_, value)| all || *value > 0)
            .collect(),
    ];
    let names = blocks
        .iter()
        .flatten()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or(0);
    let values = blocks
        .iter()
        .flatten()
        .map(|(_, value)| value.to_string().len())
        .max()
        .unwrap_or(0);
    for (number, block) in blocks.iter().filter(|block| !block.is_empty()).enumerate() {
        if number > 0 {
            writeln!(out)?;
        }
        for (name, value) in block {
            writeln!(out, "{name:<names$}  {value:>values$}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::status_example as example;
    use crate::netlink::script::{self, acknowledged, answer};

    fn printed(all: bool) -> String {
        let mut kernel = script::connection(vec![answer(0, &example()), acknowledged(&[])]);
        let mut out = Vec::new();
        print(&mut out, &Status::get(&mut kernel).unwrap(), all).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn reasons_that_were_met() {
        assert_eq!(
            printed(false),
            "\
entries                    12
initial                     1
table-size               4096
sweep-step-us             250
sweep-lag-ms             1004

ike                        16
esp                8589934592
counter-999                 1

drop-esp-no-entry           5
"
        );
    }

    #[test]
    fn all_reasons() {
        assert!(
            printed(true)
                .ends_with("\ndrop-ike-short              0\ndrop-esp-no-entry           5\n")
        );
    }
}
