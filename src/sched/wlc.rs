// SPDX-License-Identifier: GPL-2.0

//! Weighted least connection (pure): the server that does least for its weight. After
//! net/netfilter/ipvs/ip_vs_wlc.c.

use super::{cost, Pool, Request, Scheduler};
use core::ffi::CStr;

/// The server of the least load in relation to its weight.
pub(super) struct WeightedLeastConnection;

impl Scheduler for WeightedLeastConnection {
    fn name(&self) -> &'static CStr {
        c"wlc"
    }

    fn choose(&self, pool: &dyn Pool, _: &Request) -> Option<usize> {
        cost::least(pool, |load, weight| (cost::overhead(load), weight))
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_sched_wlc))]
mod tests {
    use super::super::tests::{chi_square, decide, request, Servers, EXACT};
    use super::super::Load;
    use super::*;

    fn choose(weights: &[u32], loads: &[(u32, u32); 3]) -> Option<usize> {
        let loads = loads.map(|(established, initial)| Load {
            established,
            initial,
        });
        let pool = Servers {
            loads: &loads,
            ..Servers::of(weights)
        };
        WeightedLeastConnection.choose(&pool, &request(0))
    }

    #[test]
    fn the_least_load_for_its_weight_is_chosen() {
        assert_eq!(choose(&[1, 3, 1], &[(1, 0), (2, 0), (1, 0)]), Some(1));
        assert_eq!(choose(&[1, 3, 1], &[(1, 0), (4, 0), (1, 0)]), Some(0));
        assert_eq!(choose(&[2, 4, 1], &[(1, 0), (2, 1), (0, 127)]), Some(2));
    }

    #[test]
    fn the_first_of_equals_is_chosen() {
        assert_eq!(choose(&[1, 2, 3], &[(0, 0); 3]), Some(0));
        assert_eq!(choose(&[0, 2, 4], &[(0, 0), (1, 1), (2, 2)]), Some(1));
    }

    #[test]
    fn servers_are_chosen_by_weight() {
        for weights in [[1, 2, 0, 5], [1, 1, 1, 1], [40, 30, 20, 10], [99, 1, 1, 0]] {
            let counts = decide::<4>(&WeightedLeastConnection, &Servers::of(&weights), true);
            assert!(chi_square(&counts, &weights) < EXACT);
        }
    }

    #[test]
    fn a_server_that_is_given_more_weight_catches_up() {
        // 30 for each; with a weight of 3 it should have 90.
        let mut loads = [(30, 0); 3];
        for _ in 0..60 {
            assert_eq!(choose(&[1, 3, 1], &[(30, 1), loads[1], (30, 1)]), Some(1));
            loads[1].0 += 1;
        }
        assert_eq!(choose(&[1, 3, 1], &[(30, 0), loads[1], (30, 1)]), Some(0));
    }
}
