// SPDX-License-Identifier: GPL-2.0

//! Round robin (pure): each server in its turn. After net/netfilter/ipvs/ip_vs_rr.c.
//!
//! ip_vs remembers whose turn it was, under a lock. Here the ticket says whose it is, so that after
//! a change of the servers that take entries any of them may be the next.

use super::{willing, Pool, Request, Scheduler};
use core::ffi::CStr;

/// Each server of a weight above 0 in its turn.
pub(super) struct RoundRobin;

impl Scheduler for RoundRobin {
    fn name(&self) -> &'static CStr {
        c"rr"
    }

    fn choose(&self, pool: &dyn Pool, request: &Request) -> Option<usize> {
        let count = u64::try_from(willing(pool).count()).ok()?;
        let turn = usize::try_from(request.ticket.checked_rem(count)?).ok()?;
        // The last one, if there are less by now.
        let (index, _) = willing(pool).take(turn + 1).last()?;
        Some(index)
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_sched_rr))]
mod tests {
    use super::super::tests::{chi_square, decide, request, Servers, EXACT};
    use super::*;

    fn turns<const N: usize>(pool: Servers<'_>) -> [Option<usize>; N] {
        let mut ticket = 0..;
        [(); N].map(|()| RoundRobin.choose(&pool, &request(ticket.next()?)))
    }

    #[test]
    fn servers_take_turns_whatever_their_weight() {
        let pool = Servers::of(&[1, 7, 1]);
        assert_eq!(turns(pool), [0, 1, 2, 0, 1, 2].map(Some));
    }

    #[test]
    fn weight_zero_is_passed_over() {
        assert_eq!(turns(Servers::of(&[0, 3, 0, 1])), [1, 3, 1, 3].map(Some));
    }

    #[test]
    fn overloaded_servers_are_passed_over() {
        let pool = Servers {
            overloaded: &[false, true],
            ..Servers::of(&[1, 1, 1])
        };
        assert_eq!(turns(pool), [0, 2, 0, 2].map(Some));
    }

    #[test]
    fn all_are_chosen_alike() {
        let counts = decide::<4>(&RoundRobin, &Servers::of(&[1, 7, 0, 65_535]), false);
        assert!(chi_square(&counts, &[1, 1, 0, 1]) < EXACT);
    }
}
