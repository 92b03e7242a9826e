// SPDX-License-Identifier: GPL-2.0

//! Identifications of IPv4 packets, taken by the block (pure).
//!
//! Fragments of two packets between the same hosts must not be taken for those of one, so that an
//! identification is to come again as late as can be (RFC 6864 section 4.3). Whoever numbers such
//! packets has a counter that all CPUs write to. Here a CPU takes some numbers from there at a
//! time; those it has not used when the clock ticks are lost, as others may be at the same numbers
//! again by the time it would. It takes as many as it has lately had use for, so that no more are
//! lost than are used.

/// Most identifications taken at a time.
const MOST: u8 = 128;

/// Identifications that a CPU has taken, and not used yet, in a word: how many there were, how many
/// are left, the next one, and when they were taken. 0 is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block(pub u64);

/// One that is left, one to the next one, and all of that.
const LEFT: u64 = 1 << 8;
const NEXT: u64 = 1 << 16;
const NEXT_MASK: u64 = 0xffff << 16;

impl Block {
    /// The next identification, and what is left; `None` if there is none that may be used `now`.
    #[inline(always)]
    pub fn take(self, now: u32) -> Option<(u16, Self)> {
        let [_, left, n0, n1, ..] = self.0.to_le_bytes();
        if left == 0 || self.at() != now {
            return None;
        }
        // The last bit of the next one must not carry over.
        let next = self.0.wrapping_add(NEXT) & NEXT_MASK;
        let rest = (self.0 & !NEXT_MASK).wrapping_sub(LEFT);
        Some((u16::from_le_bytes([n0, n1]), Block(rest | next)))
    }

    /// How many to take `now` that this is used up.
    pub fn next_size(self, now: u32) -> u8 {
        let [size, ..] = self.0.to_le_bytes();
        if self.at() == now {
            size.saturating_mul(2).clamp(1, MOST)
        } else {
            1
        }
    }

    /// What is left of `size` that were taken `now`, once the first of them is used.
    pub fn after(first: u16, size: u8, now: u32) -> Self {
        let [n0, n1] = first.wrapping_add(1).to_le_bytes();
        let [a, b, c, d] = now.to_le_bytes();
        let left = size.saturating_sub(1);
        Block(u64::from_le_bytes([size, left, n0, n1, a, b, c, d]))
    }

    #[inline(always)]
    fn at(self) -> u32 {
        let [.., a, b, c, d] = self.0.to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_ident))]
mod tests {
    use super::*;

    /// A counter that blocks are taken from, and the block of a CPU.
    struct Cpu {
        counter: u16,
        block: Block,
        asked: u32,
    }

    impl Cpu {
        fn new(counter: u16) -> Self {
            Cpu {
                counter,
                block: Block(0),
                asked: 0,
            }
        }

        fn take(&mut self, now: u32) -> u16 {
            let block = self.block;
            let (ident, left) = block.take(now).unwrap_or_else(|| {
                let (first, size) = (self.counter, block.next_size(now));
                self.counter = self.counter.wrapping_add(size.into());
                self.asked += 1;
                (first, Block::after(first, size, now))
            });
            self.block = left;
            ident
        }
    }

    #[test]
    fn in_one_tick_none_is_lost() {
        let mut cpu = Cpu::new(65_000);
        for n in 0..10_000u16 {
            assert_eq!(cpu.take(7), 65_000u16.wrapping_add(n));
        }
        // 1, 2, 4, ... 64, then 128 at a time.
        assert_eq!(cpu.asked, 7 + (10_000 - 127u32).div_ceil(128));
    }

    #[test]
    fn what_a_tick_leaves_is_lost_and_is_less_than_was_used() {
        for each in [1, 2, 3, 10, 100, 1000] {
            let mut cpu = Cpu::new(0);
            let (ticks, mut last) = (20, None);
            for now in 0..ticks {
                for _ in 0..each {
                    let ident = cpu.take(now);
                    assert!(last.is_none_or(|last| last < ident));
                    last = Some(ident);
                }
            }
            assert!(u32::from(cpu.counter) < 2 * each * ticks);
        }
    }

    #[test]
    fn a_block_of_another_tick_is_not_used() {
        let block = Block::after(5, 8, 3);
        assert_eq!(block.take(3).map(|(ident, _)| ident), Some(6));
        assert_eq!(block.take(4), None);
        assert_eq!(block.next_size(3), 16);
        assert_eq!(block.next_size(4), 1);
    }

    #[test]
    fn at_boot_there_is_none() {
        assert_eq!(Block(0).take(0), None);
        assert_eq!(Block(0).next_size(0), 1);
    }
}
