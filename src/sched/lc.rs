// SPDX-License-Identifier: GPL-2.0

//! Least connection (pure): the server that does least. After net/netfilter/ipvs/ip_vs_lc.c.

use super::{cost, Pool, Request, Scheduler};
use core::ffi::CStr;

/// The server of the least load, whatever its weight.
pub(super) struct LeastConnection;

impl Scheduler for LeastConnection {
    fn name(&self) -> &'static CStr {
        c"lc"
    }

    fn choose(&self, pool: &dyn Pool, _: &Request) -> Option<usize> {
        cost::least(pool, |load, _| (cost::overhead(load), 1))
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_sched_lc))]
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
        LeastConnection.choose(&pool, &request(0))
    }

    #[test]
    fn the_least_load_is_chosen_whatever_the_weight() {
        assert_eq!(choose(&[1, 1, 9], &[(2, 0), (1, 0), (2, 0)]), Some(1));
        assert_eq!(choose(&[1, 1, 1], &[(0, 3), (0, 2), (0, 3)]), Some(1));
        assert_eq!(choose(&[1, 1, 1], &[(1, 0), (0, 255), (0, 257)]), Some(1));
        assert_eq!(choose(&[1, 1, 1], &[(1, 0), (0, 257), (1, 1)]), Some(0));
    }

    #[test]
    fn the_first_of_equals_is_chosen() {
        assert_eq!(choose(&[1, 2, 3], &[(1, 1); 3]), Some(0));
        assert_eq!(choose(&[0, 2, 3], &[(1, 1); 3]), Some(1));
    }

    #[test]
    fn all_are_chosen_alike() {
        let counts = decide::<4>(&LeastConnection, &Servers::of(&[1, 7, 0, 65_535]), true);
        assert!(chi_square(&counts, &[1, 1, 0, 1]) < EXACT);
    }

    #[test]
    fn a_new_server_catches_up() {
        let mut loads = [(50, 0), (50, 0), (0, 0)];
        for _ in 0..50 {
            assert_eq!(choose(&[1, 1, 1], &loads), Some(2));
            loads[2].0 += 1;
        }
        assert_eq!(choose(&[1, 1, 1], &loads), Some(0));
    }
}
