// SPDX-License-Identifier: GPL-2.0
//! Standard output.

use std::io::{self, BufWriter, Write};

use serde::Serialize;

use crate::error::{Error, Result};

/// Standard output with a buffer. Who writes to it ends with [`finish`].
pub(crate) fn stdout() -> impl Write {
    BufWriter::new(io::stdout().lock())
}

/// Writes what is still in the buffer, so that a full disk is noticed.
pub(crate) fn finish(mut out: impl Write) -> Result<()> {
    out.flush().map_err(Error::Output)
}

/// Prints a value as one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    let mut out = stdout();
    serde_json::to_writer(&mut out, value).map_err(|error| Error::Output(error.into()))?;
    writeln!(out).map_err(Error::Output)?;
    finish(out)
}
