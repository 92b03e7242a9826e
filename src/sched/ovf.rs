// SPDX-License-Identifier: GPL-2.0

//! Overflow (pure): one server until it is full, then the next. After
//! net/netfilter/ipvs/ip_vs_ovf.c.
//!
//! The weight is a number of entries here. As with ip_vs, only established ones are counted:
//! whoever sends forged requests would fill all servers otherwise. And as with ip_vs, a server is
//! full with one entry more than its weight.

use super::{willing, Pool, Request, Scheduler};
use core::{cmp::Reverse, ffi::CStr};

/// The server of the greatest weight that has no more established entries than its weight says.
pub(super) struct Overflow;

impl Scheduler for Overflow {
    fn name(&self) -> &'static CStr {
        c"ovf"
    }

    fn choose(&self, pool: &dyn Pool, _: &Request) -> Option<usize> {
        let (index, _) = willing(pool)
            .filter(|(index, weight)| pool.load(*index).established <= *weight)
            // Of equals `min_by_key` takes the first, `max_by_key` the last.
            .min_by_key(|(_, weight)| Reverse(*weight))?;
        Some(index)
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_sched_ovf))]
mod tests {
    use super::super::tests::{chi_square, decide, request, Servers};
    use super::super::Load;
    use super::*;

    fn choose(weights: &[u32; 3], entries: [u32; 3], overloaded: &[bool]) -> Option<usize> {
        let loads = entries.map(|established| Load {
            established,
            initial: 1_000_000,
        });
        let pool = Servers {
            loads: &loads,
            overloaded,
            ..Servers::of(weights)
        };
        Overflow.choose(&pool, &request(0))
    }

    #[test]
    fn the_heaviest_is_filled_then_the_next() {
        // 10,000: the first two and their one more, the rest to the next.
        let weights = [3000, 4999, 0, 2500];
        let counts = decide::<4>(&Overflow, &Servers::of(&weights), true);
        assert_eq!(chi_square(&counts, &[3001, 5000, 0, 1999]), 0);
    }

    #[test]
    fn when_all_are_full_there_is_no_choice() {
        assert_eq!(choose(&[5, 9, 7], [6, 10, 7], &[]), Some(2));
        assert_eq!(choose(&[5, 9, 7], [6, 10, 8], &[]), None);
        assert_eq!(choose(&[65_535; 3], [u32::MAX, u32::MAX, 0], &[]), Some(2));
    }

    #[test]
    fn servers_come_and_go() {
        assert_eq!(choose(&[5, 9, 7], [0, 9, 0], &[]), Some(1));
        assert_eq!(choose(&[5, 9, 7], [0, 9, 0], &[false, true]), Some(2));
        assert_eq!(choose(&[5, 0, 7], [0, 9, 0], &[]), Some(2));
        assert_eq!(choose(&[5, 8, 7], [0, 9, 0], &[]), Some(2));
        assert_eq!(choose(&[9, 9, 9], [0, 0, 0], &[]), Some(0));
        assert_eq!(choose(&[9, 9, 9], [10, 0, 0], &[]), Some(1));
    }
}
