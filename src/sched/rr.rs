// SPDX-License-Identifier: GPL-2.0

//! Round robin (pure): each server in its turn. After net/netfilter/ipvs/ip_vs_rr.c.

use super::{Pool, Scheduler};
use core::ffi::CStr;

/// Each server of a weight above 0 in its turn.
pub(super) struct RoundRobin;

impl Scheduler for RoundRobin {
    fn name(&self) -> &'static CStr {
        c"rr"
    }

    fn choose(&self, pool: &dyn Pool, ticket: u64) -> Option<usize> {
        let willing = || (0..pool.count()).filter(|index| pool.weight(*index) > 0);
        let count = u64::try_from(willing().count()).ok()?;
        let turn = ticket.checked_rem(count)?;
        willing().nth(usize::try_from(turn).ok()?)
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_sched_rr))]
mod tests {
    use super::super::tests::Weights;
    use super::*;

    #[test]
    fn servers_take_turns_whatever_their_weight() {
        let pool = Weights(&[1, 7, 1]);
        let turns = [0, 1, 2, 3, 4, 5].map(|ticket| RoundRobin.choose(&pool, ticket));
        assert_eq!(turns, [0, 1, 2, 0, 1, 2].map(Some));
    }

    #[test]
    fn weight_zero_is_passed_over() {
        let pool = Weights(&[0, 3, 0, 1]);
        let turns = [0, 1, 2, 3].map(|ticket| RoundRobin.choose(&pool, ticket));
        assert_eq!(turns, [1, 3, 1, 3].map(Some));
    }
}
