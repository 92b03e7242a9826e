// SPDX-License-Identifier: GPL-2.0

//! Tests of the pure code that want more than `core`: properties of what is made by the dice, and
//! packets that were captured.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod corpus;
mod messages;
mod pcap;
mod properties;
mod watched;
