// SPDX-License-Identifier: GPL-2.0

//! Never queue (pure): a server that is idle, however small, else as with sed. After
//! net/netfilter/ipvs/ip_vs_nq.c.
//!
//! Idle is a server without entries; one in the middle of handshakes is not (see
//! [`cost::overhead_with_one_more`]).

use super::{cost, Load, Pool, Request, Scheduler};
use core::ffi::CStr;

/// The first server that is idle, else the one of the shortest expected delay.
pub(super) struct NeverQueue;

impl Scheduler for NeverQueue {
    fn name(&self) -> &'static CStr {
        c"nq"
    }

    fn choose(&self, pool: &dyn Pool, _: &Request) -> Option<usize> {
        cost::least(pool, |load, weight| {
            let cost = match load {
                Load {
                    established: 0,
                    initial: 0,
                } => 0,
                _ => cost::overhead_with_one_more(load),
            };
            (cost, weight)
        })
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_sched_nq))]
mod tests {
    use super::super::tests::{chi_square, decide, request, Servers, EXACT};
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
        NeverQueue.choose(&pool, &request(0))
    }

    #[test]
    fn the_first_idle_server_is_chosen_whatever_its_weight() {
        assert_eq!(choose(&[1, 9, 9], &[(0, 0); 3]), Some(0));
        assert_eq!(choose(&[1, 9, 9], &[(1, 0), (0, 0), (0, 0)]), Some(1));
        assert_eq!(choose(&[9, 1, 9], &[(1, 0), (0, 0), (1, 0)]), Some(1));
        assert_eq!(choose(&[99, 1, 99], &[(0, 1), (0, 0), (0, 1)]), Some(1));
        assert_eq!(choose(&[99, 0, 98], &[(1, 0), (0, 0), (1, 0)]), Some(0));
    }

    #[test]
    fn without_an_idle_server_the_delay_decides() {
        // 2/1, 5/4, 4/2.
        assert_eq!(choose(&[1, 4, 2], &[(1, 0), (4, 0), (3, 0)]), Some(1));
        // 2/1, 9/4, 4/2: the first of equals.
        assert_eq!(choose(&[1, 4, 2], &[(1, 0), (8, 0), (3, 0)]), Some(0));
    }

    #[test]
    fn servers_are_chosen_by_weight() {
        for weights in [[1, 2, 0, 5], [1, 1, 1, 1], [40, 30, 20, 10], [99, 1, 1, 0]] {
            let counts = decide::<4>(&NeverQueue, &Servers::of(&weights), true);
            assert!(chi_square(&counts, &weights) < EXACT);
        }
    }
}
