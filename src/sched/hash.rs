// SPDX-License-Identifier: GPL-2.0

//! The hash of the schedulers (pure): the same on every director, so that all choose alike.
//!
//! What is the same everywhere is known to everybody: who owns many addresses can take those that
//! hash to the server he likes. With ip_vs he can, too. Nothing that must hold against an attacker
//! is hashed here.

use crate::addr::Addr;

/// Keys that make different hashes of one address. Any will do; these are digits of pi.
pub(super) const CLIENT: u64 = 0x243f_6a88_85a3_08d3;
/// Where the permutation of a server begins.
pub(super) const OFFSET: u64 = 0x1319_8a2e_0370_7344;
/// How far the permutation of a server leaps.
pub(super) const SKIP: u64 = 0xa409_3822_299f_31d0;

/// A permutation of the 64-bit words in which each bit of `word` changes half of the result: the
/// last step of the generator SplitMix64 (its function `mix64`, variant 13 of David Stafford).
pub(super) fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Number `ticket` of a sequence that looks random: SplitMix64, which is seekable.
pub(super) fn random(ticket: u64) -> u64 {
    mix(ticket.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Hash of an address, of all its bits, and of a port.
pub(super) fn address(key: u64, address: &Addr, port: u16) -> u64 {
    let [high, low] = address.words();
    // Mixed in between, so that what changes in one word is not undone by a change in the next.
    mix(mix(mix(key ^ high) ^ low) ^ u64::from(port))
}

/// A number below `bound`, each as likely as the others, from the upper half of `hash`; 0 if there
/// is no number below `bound`.
pub(super) fn below(hash: u64, bound: usize) -> usize {
    let bound = u32::try_from(bound).unwrap_or(u32::MAX);
    let number = ((hash >> 32) * u64::from(bound)) >> 32;
    usize::try_from(number).unwrap_or(0)
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_sched_hash))]
mod tests {
    use super::super::tests::{chi_square, limit, DECISIONS};
    use super::*;

    /// An IPv6 address whose halves are `words`.
    fn v6(words: [u64; 2]) -> Addr {
        let mut bytes = [0; 16];
        for (byte, word) in bytes
            .iter_mut()
            .zip(words.iter().flat_map(|w| w.to_be_bytes()))
        {
            *byte = word;
        }
        Addr::V6(bytes)
    }

    /// Whether the 10,000 hashes are spread over 8 places as chance would spread them.
    fn are_spread(hash: impl Fn(u32) -> u64) -> bool {
        let mut counts = [0; 8];
        for number in 0..DECISIONS {
            if let Some(count) = counts.get_mut(below(hash(number), 8)) {
                *count += 1;
            }
        }
        chi_square(&counts, &[1; 8]) <= limit(7)
    }

    #[test]
    fn neighbours_are_spread_evenly() {
        for shift in 0..=16 {
            assert!(are_spread(|n| {
                let client = 0x0a00_0000 + (n << shift);
                address(CLIENT, &Addr::V4(client.to_be_bytes()), 0)
            }));
        }
        for shift in [0, 8, 16, 32, 48] {
            assert!(are_spread(|n| {
                address(CLIENT, &v6([0, u64::from(n) << shift]), 0)
            }));
            assert!(are_spread(|n| {
                address(CLIENT, &v6([u64::from(n) << shift, 1]), 0)
            }));
        }
        let one = Addr::V4([192, 0, 2, 1]);
        assert!(are_spread(|n| address(
            CLIENT,
            &one,
            u16::try_from(n).unwrap_or(0)
        )));
        assert!(are_spread(|n| random(n.into())));
        assert!(are_spread(|n| random(n.into()) << 32));
    }

    #[test]
    fn each_bit_changes_half_of_the_hash() {
        let before = address(CLIENT, &v6([3, 1]), 500);
        let half = |after: u64| (12..=52).contains(&(before ^ after).count_ones());
        for bit in 0..64 {
            assert!(half(address(CLIENT, &v6([3, 1 ^ (1 << bit)]), 500)));
            assert!(half(address(CLIENT, &v6([3 ^ (1 << bit), 1]), 500)));
        }
        for bit in 0..16 {
            assert!(half(address(CLIENT, &v6([3, 1]), 500 ^ (1 << bit))));
        }
        assert!(half(address(CLIENT, &v6([1, 3]), 500)));
        assert!(half(address(OFFSET, &v6([3, 1]), 500)));
    }

    // Directors of different versions work side by side while a cluster is updated.
    const V4: u64 = 0x1e12_4094_a33e_fe2b;
    const V6: u64 = 0x1e1a_e013_7ed9_1c48;

    #[test]
    fn every_director_hashes_alike() {
        let v4 = address(CLIENT, &Addr::V4([192, 0, 2, 1]), 0);
        assert_eq!(v4, V4);
        assert_eq!(address(CLIENT, &v6([1 << 63, 1]), 500), V6);
    }

    #[test]
    fn numbers_stay_below_their_bound() {
        for bound in [1, 2, 3, 256, 4093, 65_536] {
            assert_eq!(below(0, bound), 0);
            assert_eq!(below(u64::MAX, bound), bound - 1);
        }
        assert_eq!(below(u64::MAX, 0), 0);
        assert!(below(u64::MAX, usize::MAX) < usize::MAX);
    }
}
