// SPDX-License-Identifier: GPL-2.0

//! Weighted fail-over (pure): all to one server, while it takes entries. After
//! net/netfilter/ipvs/ip_vs_fo.c.

use super::{willing, Pool, Request, Scheduler};
use core::{cmp::Reverse, ffi::CStr};

/// The server of the greatest weight, the first of equals.
pub(super) struct FailOver;

impl Scheduler for FailOver {
    fn name(&self) -> &'static CStr {
        c"fo"
    }

    fn choose(&self, pool: &dyn Pool, _: &Request) -> Option<usize> {
        // Of equals `min_by_key` takes the first, `max_by_key` the last.
        let (index, _) = willing(pool).min_by_key(|(_, weight)| Reverse(*weight))?;
        Some(index)
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_sched_fo))]
mod tests {
    use super::super::tests::{chi_square, decide, request, Servers};
    use super::*;

    #[test]
    fn all_go_to_the_greatest_weight() {
        let counts = decide::<4>(&FailOver, &Servers::of(&[1, 7, 0, 5]), true);
        assert_eq!(chi_square(&counts, &[0, 1, 0, 0]), 0);
    }

    #[test]
    fn the_next_one_takes_over_and_gives_back() {
        let choose = |weights: &[u32], overloaded: &[bool]| {
            let pool = Servers {
                overloaded,
                ..Servers::of(weights)
            };
            FailOver.choose(&pool, &request(0))
        };
        assert_eq!(choose(&[5, 9, 7], &[]), Some(1));
        assert_eq!(choose(&[5, 9, 7], &[false, true, false]), Some(2));
        assert_eq!(choose(&[5, 0, 7], &[]), Some(2));
        assert_eq!(choose(&[5, 0, 7], &[false, false, true]), Some(0));
        assert_eq!(choose(&[5, 9], &[]), Some(1));
        assert_eq!(choose(&[9, 9, 7], &[]), Some(0));
        assert_eq!(choose(&[1, 65_535], &[]), Some(1));
    }
}
