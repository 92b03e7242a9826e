// SPDX-License-Identifier: GPL-2.0

//! Shortest expected delay (pure): the server that will do least for its weight, once it has the
//! entry. After net/netfilter/ipvs/ip_vs_sed.c.
//!
//! Unlike with wlc, the first entries go to the servers of the greatest weight.

use super::{cost, Pool, Request, Scheduler};
use core::ffi::CStr;

/// The server whose load with the new entry is the least in relation to its weight.
pub(super) struct ShortestExpectedDelay;

impl Scheduler for ShortestExpectedDelay {
    fn name(&self) -> &'static CStr {
        c"sed"
    }

    fn choose(&self, pool: &dyn Pool, _: &Request) -> Option<usize> {
        cost::least(pool, |load, weight| {
            (cost::overhead_with_one_more(load), weight)
        })
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_sched_sed))]
mod tests {
    use super::super::tests::{chi_square, decide, request, Servers, DECISIONS, EXACT};
    use super::super::Load;
    use super::*;

    fn choose(weights: &[u32], loads: &[Load; 3]) -> Option<usize> {
        let pool = Servers {
            loads,
            ..Servers::of(weights)
        };
        ShortestExpectedDelay.choose(&pool, &request(0))
    }

    fn established(entries: [u32; 3]) -> [Load; 3] {
        entries.map(|established| Load {
            established,
            initial: 0,
        })
    }

    #[test]
    fn the_new_entry_counts() {
        // 1/1, 1/4, 1/2.
        assert_eq!(choose(&[1, 4, 2], &established([0, 0, 0])), Some(1));
        // 1/1, 3/4, 1/2.
        assert_eq!(choose(&[1, 4, 2], &established([0, 2, 0])), Some(2));
        // 1/1, 4/4, 2/2: the first of equals.
        assert_eq!(choose(&[1, 4, 2], &established([0, 3, 1])), Some(0));
        // 2/1, 4/4, 3/2.
        assert_eq!(choose(&[1, 4, 2], &established([1, 3, 2])), Some(1));
        assert_eq!(choose(&[0, 0, 2], &established([0, 0, 9])), Some(2));
    }

    #[test]
    fn servers_are_chosen_by_weight() {
        for weights in [[1, 2, 0, 5], [1, 1, 1, 1], [40, 30, 20, 10], [99, 1, 1, 0]] {
            let counts = decide::<4>(&ShortestExpectedDelay, &Servers::of(&weights), true);
            assert!(chi_square(&counts, &weights) < EXACT);
        }
    }

    #[test]
    fn many_that_come_at_once_are_shared_out() {
        // None of them is established before the last has come.
        let weights = [1, 2, 1];
        let mut loads = [Load::default(); 3];
        for _ in 0..DECISIONS {
            if let Some(index) = choose(&weights, &loads) {
                loads[index].initial += 1;
            }
        }
        // Not quite by weight: that the new entry will be an established one counts as 256.
        let [a, b, c] = loads.map(|load| load.initial);
        assert!(a.abs_diff(2500) < 256 && b.abs_diff(5000) < 256 && c.abs_diff(2500) < 256);
        assert_eq!(a + b + c, DECISIONS);
    }
}
