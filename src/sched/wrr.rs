// SPDX-License-Identifier: GPL-2.0

//! Weighted round robin (pure). After net/netfilter/ipvs/ip_vs_wrr.c.
//!
//! ip_vs walks the servers again and again, with a level that falls from the greatest weight to
//! the common divisor `step` of all, by `step` a round; whoever's weight reaches the level is
//! chosen. It keeps level and place between decisions, under a lock. Here a ticket says which
//! decision of the cycle this is, and the level it falls on is computed. An overloaded server is
//! as one of weight 0: the cycle is that of the others.

use super::{room, willing, Pool, Request, Scheduler};
use core::ffi::CStr;

/// Servers in turn, each as often as its weight says.
pub(super) struct WeightedRoundRobin;

impl Scheduler for WeightedRoundRobin {
    fn name(&self) -> &'static CStr {
        c"wrr"
    }

    fn choose(&self, pool: &dyn Pool, request: &Request) -> Option<usize> {
        let weights = || (0..pool.count()).map(|index| u64::from(room(pool, index)));
        let step = weights().fold(0, gcd);
        // Decisions in the rounds whose level is at or above `level`.
        let until = |level: u64| -> u64 {
            weights()
                .filter(|weight| *weight >= level)
                .filter_map(|weight| (weight - level).checked_div(step))
                .map(|rounds| rounds + 1)
                .sum()
        };
        let place = request.ticket.checked_rem(until(step))?;

        // The level is the greatest multiple of `step` by which more than `place` decisions fall.
        // At most 16 rounds: a weight has 16 bits.
        let mut fell = 1; // until(fell * step) > place
        let mut above = weights().max()?.checked_div(step)? + 1; // until(above * step) <= place
        while above - fell > 1 {
            let middle = fell + (above - fell) / 2;
            if until(middle * step) > place {
                fell = middle;
            } else {
                above = middle;
            }
        }
        // Who became overloaded in the meantime, or is no more, has changed the numbers: then any
        // server that takes entries will do.
        let nth = usize::try_from(place.saturating_sub(until(above * step))).ok()?;
        let mut level = willing(pool).filter(|(_, weight)| u64::from(*weight) >= fell * step);
        let (index, _) = level.nth(nth).or_else(|| willing(pool).next())?;
        Some(index)
    }
}

/// Greatest common divisor; that of 0 and a number is the number. At most 24 rounds for two
/// numbers of 16 bits.
fn gcd(mut a: u64, mut b: u64) -> u64 {
    while let Some(rest) = a.checked_rem(b) {
        (a, b) = (b, rest);
    }
    a
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_sched_wrr))]
mod tests {
    use super::super::tests::{chi_square, decide, request, Servers, EXACT};
    use super::*;

    fn decisions(weights: &[u32]) -> impl Iterator<Item = usize> + '_ {
        let pool = Servers::of(weights);
        (0..).map_while(move |ticket| WeightedRoundRobin.choose(&pool, &request(ticket)))
    }

    /// The loop of ip_vs_wrr.c, as it is described in its own comment.
    fn model(weights: &[u32]) -> impl Iterator<Item = usize> + '_ {
        let step = weights.iter().fold(0, |a, b| gcd(a, u64::from(*b)));
        let max = u64::from(*weights.iter().max().unwrap());
        let levels = core::iter::successors(Some(max), move |level| {
            Some(if *level <= step { max } else { level - step })
        });
        levels.flat_map(move |level| {
            (0..weights.len()).filter(move |index| u64::from(weights[*index]) >= level)
        })
    }

    #[test]
    fn the_order_is_that_of_ip_vs() {
        for weights in [
            &[1][..],
            &[1, 1],
            &[4, 3, 2],
            &[3, 1],
            &[10, 20, 30],
            &[0, 5, 0, 2],
            &[1, 65_535],
            &[65_535, 65_534],
            &[7, 0, 7, 14],
        ] {
            assert!(decisions(weights).take(200).eq(model(weights).take(200)));
        }
    }

    #[test]
    fn each_server_is_chosen_as_its_weight_says() {
        for weights in [[1, 2, 0, 5], [1, 1, 1, 1], [40, 30, 20, 10], [99, 1, 1, 0]] {
            let counts = decide::<4>(&WeightedRoundRobin, &Servers::of(&weights), false);
            assert!(chi_square(&counts, &weights) < EXACT);
        }
    }

    #[test]
    fn the_cycle_is_that_of_the_servers_that_are_not_overloaded() {
        let pool = Servers {
            overloaded: &[false, true],
            ..Servers::of(&[4, 9, 3, 2])
        };
        let chosen = (0..200).map_while(|n| WeightedRoundRobin.choose(&pool, &request(n)));
        assert!(chosen.eq(model(&[4, 0, 3, 2]).take(200)));
    }
}
