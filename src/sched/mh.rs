// SPDX-License-Identifier: GPL-2.0

//! Maglev hash (pure): as sh, but when a server comes or goes nearly all clients of the others stay
//! where they are. After net/netfilter/ipvs/ip_vs_mh.c, and Eisenbud and others, "Maglev: a fast
//! and reliable software network load balancer", 3.4.
//!
//! Each server has an order of its own in which it likes the slots: from an offset in leaps, both
//! hashes of its address; as the number of slots is prime it comes by each of them once. In rounds,
//! the servers take by turns the slot that they like best of those which are left.
//!
//! ip_vs lets servers take their turns in the order they were configured, so that directors on
//! which it differs choose differently; here it is the order of their addresses. And ip_vs has a
//! server take, in each round, as many slots as its weight says, divided down to at most 63, until
//! none is left in the middle of a round: with many servers, in the middle of the first one. Here a
//! round is a part of what is due to each server by weight (see [`quotas`]), and with the last
//! round each has all of it.
//!
//! ip_vs refuses a service of more servers than slots. Here those without a slot get no clients.

use super::{
    hash,
    slots::{in_order, index, look_up, quotas, NONE},
    Pool, Request, Scheduler,
};
use core::{cell::Cell, ffi::CStr};

/// The server whose slot the initiator hashes to.
pub(super) struct MaglevHash;

impl Scheduler for MaglevHash {
    fn name(&self) -> &'static CStr {
        c"mh"
    }

    fn choose(&self, pool: &dyn Pool, request: &Request) -> Option<usize> {
        look_up(pool, request)
    }

    /// ip_vs's, with the default of its CONFIG_IP_VS_MH_TAB_INDEX.
    fn slots(&self) -> usize {
        4093
    }

    fn prepare(&self, pool: &dyn Pool, slots: &mut [u16], scratch: &mut [u32]) {
        populate(pool, slots, scratch);
    }
}

/// Most turns of servers. More only make rounds shorter, and it takes many servers one of which has
/// nearly all the weight to get there: else there are about as many turns as slots.
const TURNS: u64 = 1 << 15;

/// Shares the slots out, and returns how many were looked at.
///
/// While one slot of `n` is free, a server looks at `n` on average to find it. All in all that are
/// 37,000 for 4093 slots: 4093 times their harmonic number.
fn populate(pool: &dyn Pool, slots: &mut [u16], scratch: &mut [u32]) -> u32 {
    slots.fill(NONE);
    let size = slots.len();
    // In each word a server, and above it the slot it likes best of those it has not looked at.
    let words = Cell::from_mut(in_order(pool, scratch)).as_slice_of_cells();
    for word in words {
        let address = pool.address(index(word.get()).into());
        let offset = hash::below(hash::address(hash::OFFSET, &address, 0), size);
        word.set(pack(offset, index(word.get())));
    }

    let weights = words.iter().map(|w| pool.weight(index(w.get()).into()));
    let quotas = || quotas(weights.clone(), size);
    let servers = u64::try_from(words.len()).unwrap_or(u64::MAX);
    let rounds_allowed = TURNS.checked_div(servers).unwrap_or(0);
    // As many as the greatest quota: no server takes more than one slot a round.
    let rounds = quotas().max().unwrap_or(0).min(rounds_allowed.max(1));

    let mut steps = 0;
    for round in 1..=rounds {
        for (word, quota) in words.iter().zip(quotas()) {
            let due = |round: u64| quota * round / rounds;
            let due = due(round) - due(round - 1);
            if due > 0 {
                steps += take(pool, slots, word, due);
            }
        }
    }
    steps
}

/// The server of `word` takes `due` slots. Returns how many were looked at.
fn take(pool: &dyn Pool, slots: &mut [u16], word: &Cell<u32>, due: u64) -> u32 {
    let size = slots.len();
    let server = index(word.get());
    let mut place = place(word.get());
    let hash = hash::address(hash::SKIP, &pool.address(server.into()), 0);
    let leap = 1 + hash::below(hash, size.saturating_sub(1));
    let mut steps = 0;
    for _ in 0..due {
        for _ in 0..size {
            steps += 1;
            let slot = slots.get_mut(place);
            place = (place + leap).checked_rem(size).unwrap_or(0);
            if let Some(slot @ &mut NONE) = slot {
                *slot = server;
                break;
            }
        }
    }
    word.set(pack(place, server));
    steps
}

/// A word of a place and a server. There are less than 2^16 of either.
fn pack(place: usize, server: u16) -> u32 {
    let place = u32::try_from(place).unwrap_or(0);
    (place << 16) | u32::from(server)
}

/// The place in a word; [`index`] is the server in it.
fn place(word: u32) -> usize {
    usize::try_from(word >> 16).unwrap_or(0)
}

#[cfg(test)]
mod clusters;

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_sched_mh))]
mod tests {
    // With 251 slots, for which the stack of a kernel has room. The full table: mh/clusters.rs.
    use super::super::tests::{chi_square, decide, limit, prepared, slots_of, Servers};
    use super::*;

    #[test]
    fn words_hold_both() {
        for (slot, server) in [(0, 0), (4092, 4095), (65_535, 65_534), (1, 65_535)] {
            let word = pack(slot, server);
            assert_eq!((place(word), index(word)), (slot, server));
        }
    }

    #[test]
    fn slots_are_shared_out_by_weight() {
        let mut slots = [0; 251];
        for (weights, expected) in [
            ([1, 1, 0, 0], [125, 126, 0, 0]),
            ([1, 2, 0, 5], [31, 63, 0, 157]),
            ([65_535, 1, 0, 0], [250, 1, 0, 0]),
            ([10_000, 20_000, 0, 50_000], [31, 63, 0, 157]),
            ([0, 0, 0, 9], [0, 0, 0, 251]),
            ([0, 0, 0, 0], [0, 0, 0, 0]),
        ] {
            let slots = prepared(&MaglevHash, &Servers::of(&weights), &mut slots);
            assert_eq!(slots_of(slots), expected);
        }
    }

    #[test]
    fn clients_are_spread_as_the_slots_are() {
        let mut slots = [0; 251];
        for weights in [[1, 2, 0, 5], [1, 1, 1, 1], [40, 30, 20, 10]] {
            let pool = Servers::of(&weights);
            let slots = prepared(&MaglevHash, &pool, &mut slots);
            let counts = decide::<4>(&MaglevHash, &Servers { slots, ..pool }, false);
            let freedom = weights.iter().filter(|weight| **weight > 0).count() - 1;
            assert!(chi_square(&counts, &slots_of::<4>(slots)) <= limit(freedom));
        }
    }

    #[test]
    fn few_slots_of_the_others_change_hands() {
        let (mut slots, mut fewer) = ([0; 251], [0; 251]);
        let slots = prepared(&MaglevHash, &Servers::of(&[1; 4]), &mut slots);
        let fewer = prepared(&MaglevHash, &Servers::of(&[1, 0, 1, 1]), &mut fewer);
        let others = slots.iter().zip(fewer).filter(|(slot, _)| **slot != 1);
        let moved = others.filter(|(slot, new)| slot != new).count();
        // An eighth; with sh it is half.
        assert!(moved * 8 < 251);
    }
}
