// SPDX-License-Identifier: GPL-2.0

//! The Internet checksum: verified, and changed along with what it covers (pure). RFC 1071, RFC 1624.

/// Whether the checksum in an IPv4 header without options is right.
#[inline(always)]
pub fn is_right(header: &[u8; 20]) -> bool {
    let words = header.chunks_exact(4).map(|word| match *word {
        [a, b, c, d] => u64::from(u32::from_ne_bytes([a, b, c, d])),
        _ => 0,
    });
    // The sum in ones' complement is all ones, that is, nothing modulo 2^16 - 1; in words of any width
    // and order (RFC 1071 section 2). It is not 0, for the version is not.
    words.sum::<u64>() % 0xffff == 0
}

/// The checksum of an IPv4 header without options that has zero in its place, to be written there as it
/// is. The words are the header's, and as it is in memory.
#[inline(always)]
pub fn of_header(words: [u32; 5]) -> u16 {
    // In words of any width and order, as above.
    let sum = words.map(u64::from).iter().sum::<u64>();
    let [a, b, c, d, e, f, ..] = sum.to_le_bytes();
    let parts = [[a, b], [c, d], [e, f]].map(|part| u32::from(u16::from_le_bytes(part)));
    !fold(parts.iter().sum())
}

/// What `sum` becomes when `old`, at an even place of what it covers, becomes `new`. Both are of
/// the same, even, length.
pub fn update(sum: u16, old: &[u8], new: &[u8]) -> u16 {
    // ~(~sum + ~old + new), equation 3.
    let old = words(old).map(|word| u32::from(!word));
    let new = words(new).map(u32::from);
    let total = u32::from(!sum) + old.sum::<u32>() + new.sum::<u32>();
    !fold(total)
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u16> + '_ {
    bytes.chunks_exact(2).map(|pair| match *pair {
        [high, low] => u16::from_be_bytes([high, low]),
        _ => 0,
    })
}

/// A sum of few words in ones' complement.
fn fold(sum: u32) -> u16 {
    let [a, b, c, d] = sum.to_be_bytes();
    let (sum, carry) = u16::from_be_bytes([a, b]).overflowing_add(u16::from_be_bytes([c, d]));
    sum + u16::from(carry)
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_checksum))]
mod tests {
    use super::*;

    fn sum(bytes: &[u8]) -> u16 {
        !fold(words(bytes).map(u32::from).sum())
    }

    #[test]
    fn a_change_is_as_good_as_a_new_sum() {
        let mut state = 1u32;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        // Miri is some thousand times slower.
        for _ in 0..if cfg!(miri) { 50 } else { 2000 } {
            let before = [0u8; 40].map(|_| random());
            let mut after = before;
            after[8..24].copy_from_slice(&[0u8; 16].map(|_| random()));
            let updated = update(sum(&before), &before[8..24], &after[8..24]);
            assert_eq!(updated, sum(&after));
        }
    }

    #[test]
    fn right_is_what_sums_up_to_ones() {
        let mut header = [
            0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8,
            0, 0xc7,
        ];
        assert!(is_right(&header));
        for at in 0..header.len() {
            for bit in 0..8 {
                header[at] ^= 1 << bit;
                assert_eq!((at, bit, is_right(&header)), (at, bit, false));
                header[at] ^= 1 << bit;
            }
        }
        // Of both zeros, RFC 1624 section 3.
        let mut zero = [0xff; 20];
        assert!(is_right(&zero));
        zero[11] = 0xfe;
        assert!(!is_right(&zero));
    }

    #[test]
    fn a_header_with_its_sum_is_right() {
        let mut header = [
            0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0,
            0xc7,
        ];
        for value in 0..=u16::MAX {
            header[2..4].copy_from_slice(&value.to_be_bytes());
            header[10..12].fill(0);
            let mut words = [0; 5];
            for (word, bytes) in words.iter_mut().zip(header.chunks_exact(4)) {
                *word = u32::from_ne_bytes(bytes.try_into().unwrap_or_default());
            }
            let sum = of_header(words);
            header[10..12].copy_from_slice(&sum.to_ne_bytes());
            assert!(is_right(&header));
            assert_ne!(sum, u16::MAX);
        }
    }

    /// The example of RFC 1624 section 4, where equation 2 of RFC 1141 goes wrong.
    #[test]
    fn the_rfc_s_example() {
        assert_eq!(update(0xdd2f, &[0x55, 0x55], &[0x32, 0x85]), 0x0000);
    }
}
