// SPDX-License-Identifier: GPL-2.0

//! Power of two choices (pure): of two servers taken at random, the one that does less for its
//! weight. After net/netfilter/ipvs/ip_vs_twos.c, and Michael Mitzenmacher, "The power of two
//! choices in randomized load balancing".
//!
//! It looks at the loads of two servers only, so that several directors which do not know of each
//! other's entries do not all fall upon the same idle server.

use super::{cost, hash, willing, Pool, Request, Scheduler};
use core::{cmp::Ordering, ffi::CStr};

/// The less loaded of two servers that are taken at random, by weight. Both can be the same one.
pub(super) struct TwoChoices;

impl Scheduler for TwoChoices {
    fn name(&self) -> &'static CStr {
        c"twos"
    }

    fn choose(&self, pool: &dyn Pool, request: &Request) -> Option<usize> {
        let sum = willing(pool).map(|(_, weight)| u64::from(weight)).sum();
        let random = hash::random(request.ticket);
        let one = at(pool, point(random, sum))?;
        let other = at(pool, point(random << 32, sum))?;
        let cost = |(index, weight)| (cost::overhead(pool.load(index)), weight);
        let (index, _) = match cost::compare(cost(one), cost(other)) {
            Ordering::Greater => other,
            _ => one,
        };
        Some(index)
    }
}

/// A number below `sum`, which is less than 2^32, from the upper half of `random`. ip_vs's can also
/// be `sum`, and its first server is taken for 0 and 1: one time more than its weight says.
fn point(random: u64, sum: u64) -> u64 {
    (random >> 32).saturating_mul(sum) >> 32
}

/// The server at `point` when each is as long as its weight, and that weight. The last one, if
/// they are shorter by now than when `point` was chosen.
fn at(pool: &dyn Pool, mut point: u64) -> Option<(usize, u32)> {
    let mut last = None;
    for (index, weight) in willing(pool) {
        last = Some((index, weight));
        match point.checked_sub(weight.into()) {
            Some(rest) => point = rest,
            None => break,
        }
    }
    last
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_sched_twos))]
mod tests {
    use super::super::tests::{chi_square, decide, limit, request, Servers, DECISIONS};
    use super::super::Load;
    use super::*;

    #[test]
    fn between_equals_the_choice_is_random_by_weight() {
        for weights in [[1, 2, 0, 5], [1, 1, 1, 1], [40, 30, 20, 10], [99, 1, 1, 0]] {
            let counts = decide::<4>(&TwoChoices, &Servers::of(&weights), false);
            let freedom = weights.iter().filter(|weight| **weight > 0).count() - 1;
            assert!(chi_square(&counts, &weights) <= limit(freedom));
        }
    }

    #[test]
    fn two_choices_are_more_even_than_one() {
        // One random choice has a chi-square of the degrees of freedom on average: 3. The two
        // choices keep each server within a few entries of what is due to it, whatever the number
        // of entries: a hundredth of that.
        for weights in [[1, 1, 1, 1], [40, 30, 20, 10], [1, 2, 3, 4]] {
            let counts = decide::<4>(&TwoChoices, &Servers::of(&weights), true);
            assert!(chi_square(&counts, &weights) < 30);
        }
    }

    #[test]
    fn of_two_the_less_loaded_is_chosen() {
        // Of two equal servers both are the busy one a quarter of the times.
        let pool = Servers {
            loads: &[Load {
                established: 1,
                initial: 0,
            }],
            ..Servers::of(&[5, 5])
        };
        let mut counts = [0, 0];
        for ticket in 0..DECISIONS {
            if let Some(index) = TwoChoices.choose(&pool, &request(ticket.into())) {
                counts[index] += 1;
            }
        }
        assert!(chi_square(&counts, &[1, 3]) <= limit(1));
    }

    #[test]
    fn points_hit_each_server_as_its_weight_says() {
        let pool = Servers {
            overloaded: &[false, true],
            ..Servers::of(&[2, 9, 0, 1])
        };
        let hit = [0, 1, 2, 3, u64::MAX].map(|point| at(&pool, point));
        let (first, last) = (Some((0, 2)), Some((3, 1)));
        assert_eq!(hit, [first, first, last, last, last]);
        assert_eq!(at(&Servers::of(&[0]), 0), None);
        assert_eq!(point(u64::MAX, 3), 2);
        assert_eq!(point(0, 3), 0);
        assert_eq!(point(u64::MAX, 0), 0);
    }
}
