// SPDX-License-Identifier: GPL-2.0

//! What an entry more costs a server (pure), in relation to its weight.

use super::{willing, Load, Pool};
use core::cmp::Ordering;

/// What a server does for its entries, in initial entries: an established one counts as 256, as
/// in the function `ip_vs_dest_conn_overhead` of ip_vs. Less than 2^41.
pub(super) fn overhead(load: Load) -> u64 {
    u64::from(load.established) * 256 + u64::from(load.initial)
}

/// The same with the new entry, established.
///
/// That of sed and nq. ip_vs leaves connections that are not active out of it, but counts one of
/// TCP as active from the first SYN. Who is still in the IKE handshake must not count for nothing
/// either: of many initiators that come at once, each would be sent to the same server.
pub(super) fn overhead_with_one_more(load: Load) -> u64 {
    overhead(load) + 256
}

/// How `one` compares to `other`, each a cost and the weight to divide it by, which are not 0.
/// Cross multiplication, for want of fractions.
pub(super) fn compare(one: (u64, u32), other: (u64, u32)) -> Ordering {
    let times = |cost: u64, weight: u32| cost.saturating_mul(u64::from(weight));
    times(one.0, other.1).cmp(&times(other.0, one.1))
}

/// The server of the least cost; `cost` is given load and weight of a server and says what to
/// divide by what. Of equals the first.
pub(super) fn least(pool: &dyn Pool, cost: impl Fn(Load, u32) -> (u64, u32)) -> Option<usize> {
    willing(pool)
        .map(|(index, weight)| (index, cost(pool.load(index), weight)))
        .min_by(|one, other| compare(one.1, other.1))
        .map(|(index, _)| index)
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_sched_cost))]
mod tests {
    use super::*;

    const ALL: Load = Load {
        established: u32::MAX,
        initial: u32::MAX,
    };

    #[test]
    fn established_entries_outweigh_initial_ones() {
        let load = |established, initial| Load {
            established,
            initial,
        };
        assert_eq!(overhead(load(0, 0)), 0);
        assert_eq!(overhead(load(0, 255)), 255);
        assert_eq!(overhead(load(1, 1)), 257);
        assert_eq!(overhead_with_one_more(load(2, 1)), 769);
    }

    #[test]
    fn costs_compare_as_fractions() {
        assert_eq!(compare((1, 2), (2, 4)), Ordering::Equal);
        assert_eq!(compare((1, 3), (1, 2)), Ordering::Less);
        assert_eq!(compare((0, 1), (0, 65_535)), Ordering::Equal);
        assert_eq!(compare((7, 2), (10, 3)), Ordering::Greater);
    }

    #[test]
    fn the_greatest_costs_still_compare() {
        let most = overhead_with_one_more(ALL);
        assert_eq!(compare((most, 65_535), (most, 65_534)), Ordering::Less);
        assert_eq!(
            compare((most, 65_535), (most - 1, 65_535)),
            Ordering::Greater
        );
        // No weight of a server, but no reason to stop a director.
        assert_eq!(compare((most, u32::MAX), (0, u32::MAX)), Ordering::Greater);
    }
}
