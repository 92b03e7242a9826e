// SPDX-License-Identifier: GPL-2.0

//! Choices that are looked up (pure): slots that belong to servers, one of them to each client.
//! What sh and mh have in common.

use super::{hash, room, Pool, Request};

/// In a slot: no server.
pub(super) const NONE: u16 = u16::MAX;

/// Tries at random, for which those are chosen that take entries as often as their slots say.
const RANDOM_TRIES: usize = 32;

/// Whose the slot of the initiator is. Unless that server takes entries there is no choice, or,
/// with the option `fallback`, that of other slots: a few at random, which spreads the clients of
/// the server over all others, and as the last resort all.
pub(super) fn look_up(pool: &dyn Pool, request: &Request) -> Option<usize> {
    let slots = pool.slots();
    let port = if request.options.port {
        request.client_port
    } else {
        0
    };
    let hash = hash::address(hash::CLIENT, &request.client, port);
    let start = hash::below(hash, slots.len());
    let owner = |slot: usize| {
        let server = slots.get(slot).filter(|server| **server != NONE)?;
        let server = usize::from(*server);
        (room(pool, server) > 0).then_some(server)
    };

    let owned = owner(start);
    if owned.is_some() || !request.options.fallback {
        return owned;
    }
    let random = core::iter::successors(Some(hash::mix(hash)), |hash| Some(hash::mix(*hash)));
    random
        .take(RANDOM_TRIES)
        .map(|hash| hash::below(hash, slots.len()))
        .chain(start..slots.len())
        .chain(0..start)
        .find_map(owner)
}

/// Writes the servers of a weight above 0 to `scratch`, in the order of their addresses, which is
/// the same on every director.
///
/// Insertion, as the sort of `core` may need more stack than the kernel has. Servers that are
/// configured in order are not moved; 4,096 in any order are 50,000 comparisons.
pub(super) fn in_order<'a>(pool: &dyn Pool, scratch: &'a mut [u32]) -> &'a mut [u32] {
    let servers = (0..NONE)
        .take_while(|index| usize::from(*index) < pool.count())
        .filter(|index| pool.weight(usize::from(*index)) > 0);
    let mut count = 0;
    for (word, index) in scratch.iter_mut().zip(servers) {
        *word = u32::from(index);
        count += 1;
    }
    let order = scratch.get_mut(..count).unwrap_or_default();

    let address = |word: &u32| pool.address(usize::from(index(*word)));
    for end in 1..=order.len() {
        let Some((last, before)) = order.get_mut(..end).and_then(|part| part.split_last_mut())
        else {
            break;
        };
        let new = address(last);
        let place = before.partition_point(|word| address(word) <= new);
        if let Some(part) = order.get_mut(place..end) {
            part.rotate_right(1);
        }
    }
    order
}

/// The server a word of [`in_order`] stands for: its lower half.
pub(super) fn index(word: u32) -> u16 {
    let [_, _, high, low] = word.to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// How many of `size` slots are due to servers of these weights (none of them 0): in proportion,
/// `size` in all, and at least one each as long as there are as many slots as servers.
///
/// ip_vs hands slots out weight by weight until none is left, so that with great weights or many
/// servers the first servers get more than is due to them, and the last ones none.
pub(super) fn quotas(
    weights: impl Iterator<Item = u32> + Clone,
    size: usize,
) -> impl Iterator<Item = u64> {
    let size = u64::try_from(size).unwrap_or(0);
    let (servers, sum) = weights
        .clone()
        .fold((0, 0), |(servers, sum): (u64, u64), weight| {
            (servers + 1, sum + u64::from(weight))
        });
    let least = u64::from(servers <= size);
    // What is due to a server beyond `least`, in parts of which `sum` are a slot.
    let due = move |weight: u32| (u64::from(weight) * size).saturating_sub(least * sum);
    let all: u64 = weights.clone().map(due).sum();
    let free = size.saturating_sub(least * servers);
    // Rounding sums instead of quotas, so that the quotas add up. Less than 2^53: there are less
    // than 2^12 slots (mh), and the weights, 2^12 of 16 bits, sum to less than 2^28.
    let until = move |due: u64| (due * free).checked_div(all).unwrap_or(0);
    weights.scan(0, move |before, weight| {
        let from = until(*before);
        *before += due(weight);
        Some(least + until(*before) - from)
    })
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_sched_slots))]
mod tests {
    use super::super::tests::{prepared, request, Servers, DECISIONS};
    use super::super::{mh::MaglevHash, sh::SourceHash, Options, Scheduler};
    use super::*;
    use crate::addr::Addr;

    fn quotas_are(weights: &[u32], size: usize, expected: &[u64]) -> bool {
        quotas(weights.iter().copied(), size).eq(expected.iter().copied())
    }

    #[test]
    fn quotas_are_as_weights() {
        assert!(quotas_are(&[], 256, &[]));
        assert!(quotas_are(&[7], 256, &[256]));
        assert!(quotas_are(&[1, 1], 256, &[128, 128]));
        assert!(quotas_are(&[1, 3, 4], 256, &[32, 96, 128]));
        assert!(quotas_are(&[65_535, 65_535], 256, &[128, 128]));
        assert!(quotas_are(&[1, 1, 1], 256, &[85, 85, 86]));
        // Of 256 slots 1/65,536 is none, but it is a server.
        assert!(quotas_are(&[65_535, 1], 256, &[255, 1]));
        assert!(quotas_are(&[1, 65_535], 256, &[1, 255]));
        // As many servers as slots, and more.
        assert!(quotas_are(&[9, 1, 1], 3, &[1, 1, 1]));
        assert!(quotas_are(&[1, 1, 1, 1], 2, &[0, 1, 0, 1]));
        assert!(quotas_are(&[1, 1, 1], 0, &[0, 0, 0]));
    }

    #[test]
    fn quotas_add_up() {
        for (servers, size) in [(1, 256), (300, 256), (1000, 4093), (4096, 4093)] {
            for factor in [1, 7, 65_535] {
                let weights = (0..servers).map(|n: u32| 1 + n * factor % 65_535);
                let sum = weights.clone().map(u64::from).sum::<u64>();
                let mut all = 0;
                for (quota, weight) in quotas(weights.clone(), size).zip(weights) {
                    all += usize::try_from(quota).unwrap_or(0);
                    // Rounded up, or less: small servers that get a slot get it from the others.
                    let due = u64::from(weight) * u64::try_from(size).unwrap_or(0);
                    assert!(quota <= due.div_ceil(sum));
                }
                assert_eq!(all, size);
            }
        }
    }

    #[test]
    fn order_is_that_of_addresses() {
        let addresses = [9, 3, 7, 1, 8].map(|last| Addr::V4([10, 0, 0, last]));
        let pool = Servers {
            addresses: &addresses,
            ..Servers::of(&[1, 1, 0, 1, 1])
        };
        assert_eq!(in_order(&pool, &mut [99; 9]), &[3, 1, 4, 0]);
        // One that has too little room leaves servers out, no more.
        assert_eq!(in_order(&pool, &mut [99; 2]), &[1, 0]);
        assert!(in_order(&pool, &mut []).is_empty());
        assert!(in_order(&Servers::of(&[]), &mut [99; 2]).is_empty());
    }

    #[test]
    fn slots_that_name_no_server_are_no_choice() {
        let fallback = Options {
            fallback: true,
            ..Options::default()
        };
        for slots in [&[][..], &[NONE], &[NONE; 256], &[2; 251], &[3]] {
            let pool = Servers {
                slots,
                ..Servers::of(&[1, 1])
            };
            for ticket in 0..100 {
                let mut request = request(ticket);
                assert_eq!(look_up(&pool, &request), None);
                request.options = fallback;
                assert_eq!(look_up(&pool, &request), None);
            }
        }
    }

    #[test]
    fn fallback_comes_by_every_slot() {
        // Whoever is asked for, the one slot of server 1 is found; without fallback by who hashes
        // there.
        let mut slots = [0; 256];
        for size in [3, 5, 251, 256] {
            slots[size / 2] = 1;
            let pool = Servers {
                overloaded: &[true, false],
                slots: &slots[..size],
                ..Servers::of(&[1, 1])
            };
            for ticket in 0..1000 {
                let mut request = request(ticket);
                let first = look_up(&pool, &request);
                assert!(first.is_none() || first == Some(1));
                request.options.fallback = true;
                assert_eq!(look_up(&pool, &request), Some(1));
            }
            slots[size / 2] = 0;
        }
    }

    #[test]
    fn the_port_counts_if_it_is_asked_for() {
        let mut slots = [0; 256];
        for (number, slot) in slots.iter_mut().enumerate() {
            *slot = u16::try_from(number % 4).unwrap_or(NONE);
        }
        let pool = Servers {
            slots: &slots,
            ..Servers::of(&[1; 4])
        };
        let mut request = request(0);
        let chosen = look_up(&pool, &request);
        let mut differ = [0, 0];
        for port in 0..1000 {
            request.client_port = port;
            for (hashed, count) in [false, true].into_iter().zip(&mut differ) {
                request.options.port = hashed;
                *count += u32::from(look_up(&pool, &request) != chosen);
            }
        }
        // 3 of 4.
        assert_eq!(differ[0], 0);
        assert!((700..800).contains(&differ[1]));
    }

    #[test]
    fn a_client_keeps_its_server() {
        let slots = [0, 1, 2, 1, 0];
        let pool = Servers {
            slots: &slots,
            ..Servers::of(&[1; 3])
        };
        for ticket in 0..DECISIONS {
            let first = request(ticket.into());
            let mut again = request(ticket.into());
            again.ticket = !again.ticket;
            again.client_port = !again.client_port;
            assert_eq!(look_up(&pool, &first), look_up(&pool, &again));
        }
    }

    #[test]
    fn directors_choose_alike() {
        let addresses = [1, 2, 3, 4].map(|last| Addr::V4([10, 0, 0, last]));
        let other_addresses = [4, 2, 1, 3].map(|last| Addr::V4([10, 0, 0, last]));
        let pool = Servers {
            addresses: &addresses,
            ..Servers::of(&[1, 2, 3, 5])
        };
        let other = Servers {
            addresses: &other_addresses,
            ..Servers::of(&[5, 2, 1, 3])
        };
        let (mut slots, mut other_slots) = ([0; 251], [0; 251]);
        let schedulers: [&dyn Scheduler; 2] = [&SourceHash, &MaglevHash];
        for scheduler in schedulers {
            let slots = prepared(scheduler, &pool, &mut slots);
            let other_slots = prepared(scheduler, &other, &mut other_slots);
            for (slot, other_slot) in slots.iter().zip(other_slots) {
                assert!(*slot < 4 && *other_slot < 4);
                assert_eq!(
                    addresses.get(usize::from(*slot)),
                    other_addresses.get(usize::from(*other_slot))
                );
            }
        }
    }
}
