// SPDX-License-Identifier: GPL-2.0

//! How packets reach a real server: a file for each forwarding method.

pub(crate) mod direct;
