// SPDX-License-Identifier: GPL-2.0

//! The Internet checksum, changed along with what it covers (pure). RFC 1624.

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

    /// The example of RFC 1624 section 4, where equation 2 of RFC 1141 goes wrong.
    #[test]
    fn the_rfc_s_example() {
        assert_eq!(update(0xdd2f, &[0x55, 0x55], &[0x32, 0x85]), 0x0000);
    }
}
