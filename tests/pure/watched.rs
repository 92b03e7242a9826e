// SPDX-License-Identifier: GPL-2.0

//! A payload that watches what is read of it, for the tests here and the fuzzer's (fuzz/).

use core::cell::Cell;
use pure::proto::Payload;

/// Bytes, and how far into them somebody has read.
pub(crate) struct Watched<'a> {
    bytes: &'a [u8],
    end: Cell<usize>,
}

impl<'a> Watched<'a> {
    /// Of which nothing has been read.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Watched {
            bytes,
            end: Cell::new(0),
        }
    }

    /// The end of what has been read.
    pub(crate) fn end(&self) -> usize {
        self.end.get()
    }
}

impl Payload for Watched<'_> {
    fn available(&self) -> usize {
        self.bytes.len()
    }

    fn copy(&self, offset: usize, to: &mut [u8]) -> bool {
        let end = offset.checked_add(to.len());
        let Some((end, from)) = end.and_then(|end| Some((end, self.bytes.get(offset..end)?)))
        else {
            return false;
        };
        to.copy_from_slice(from);
        self.end.set(self.end.get().max(end));
        true
    }
}
