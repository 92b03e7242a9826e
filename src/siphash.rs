// SPDX-License-Identifier: GPL-2.0

//! SipHash-1-3, the keyed hash of the tables (pure): nobody outside can aim at a bucket.
//!
//! After Jean-Philippe Aumasson and Daniel J. Bernstein, "SipHash: a fast short-input PRF", with one
//! round for each word and three at the end, as `hsiphash` of `lib/siphash.c` has it. Inlined where
//! a packet is looked up, it costs a third of a call of that.

/// A key, which has to be random.
pub struct Key([u64; 4]);

impl Key {
    /// The key of these 128 bits.
    pub fn new([low, high]: [u64; 2]) -> Self {
        Key([
            low ^ 0x736f_6d65_7073_6575,
            high ^ 0x646f_7261_6e64_6f6d,
            low ^ 0x6c79_6765_6e65_7261,
            high ^ 0x7465_6462_7974_6573,
        ])
    }

    /// Hash of `words` and of the low 56 bits of `more`.
    #[inline(always)]
    pub fn hash<const N: usize>(&self, words: [u64; N], more: u64) -> u32 {
        const { assert!(N < 32) };
        let len = u64::try_from(N * 8 + 7).unwrap_or(0);
        let mut state = words.into_iter().fold(self.0, absorb);
        state = absorb(state, (len << 56) | (more & (u64::MAX >> 8)));
        let [a, b, c, d] = state;
        let [a, b, c, d] = round(round(round([a, b, c ^ 0xff, d])));
        let [e, f, g, h, ..] = (a ^ b ^ c ^ d).to_le_bytes();
        u32::from_le_bytes([e, f, g, h])
    }
}

#[inline(always)]
fn absorb([a, b, c, d]: [u64; 4], word: u64) -> [u64; 4] {
    let [a, b, c, d] = round([a, b, c, d ^ word]);
    [a ^ word, b, c, d]
}

/// SipRound.
#[inline(always)]
fn round([mut a, mut b, mut c, mut d]: [u64; 4]) -> [u64; 4] {
    a = a.wrapping_add(b);
    c = c.wrapping_add(d);
    b = b.rotate_left(13) ^ a;
    d = d.rotate_left(16) ^ c;
    a = a.rotate_left(32);
    c = c.wrapping_add(b);
    a = a.wrapping_add(d);
    b = b.rotate_left(17) ^ c;
    d = d.rotate_left(21) ^ a;
    c = c.rotate_left(32);
    [a, b, c, d]
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_siphash))]
mod tests {
    use super::*;

    /// What an implementation of its own, that of the Python interpreter, makes of bytes that count
    /// from 0, under the key of zeroes.
    #[test]
    fn it_is_siphash_1_3() {
        let key = Key::new([0; 2]);
        assert_eq!(key.hash([], 0x06_0504_0302_0100), 0xc751_325a);
        assert_eq!(
            key.hash([0x0706_0504_0302_0100], 0x0e_0d0c_0b0a_0908),
            0xbb91_c9ea
        );
    }

    #[test]
    fn every_bit_counts() {
        let key = Key::new([1, 2]);
        let hash = key.hash([3, 4], 5);
        for bit in 0..64 {
            assert_ne!(key.hash([3 ^ (1 << bit), 4], 5), hash);
            assert_ne!(key.hash([3, 4 ^ (1 << bit)], 5), hash);
            assert_ne!(Key::new([1 ^ (1 << bit), 2]).hash([3, 4], 5), hash);
            assert_ne!(Key::new([1, 2 ^ (1 << bit)]).hash([3, 4], 5), hash);
        }
        for bit in 0..56 {
            assert_ne!(key.hash([3, 4], 5 ^ (1 << bit)), hash);
        }
    }
}
