// SPDX-License-Identifier: GPL-2.0

//! Hints: which hashes belong to a hash, in a word for each. Nothing is allocated for one, and no lock
//! is taken; instead some may be forgotten, the oldest first, until there is more room. Whoever asks
//! has to look whether what he is told is true.

use crate::kapi::{
    once,
    rcu::{Cell, Guard, Unpublished},
    work::breathe,
};
use kernel::{
    alloc::{flags::__GFP_NOWARN, AllocError},
    num::casts::u32_as_usize,
    prelude::*,
    sync::{
        atomic::{Atomic, Full, Relaxed},
        rcu::synchronize_rcu,
    },
};

/// Words of a group, in which all hints of a hash are: two cache lines. Of groups that are half full
/// on the average fewer than one in two hundred is too small for what wants to be there.
const GROUP: usize = 16;

/// Least number of words.
const LEAST: usize = 256;

/// Hints of one hash. There may be more for whom the hash says nothing; he shall not take the place of
/// all others.
const KIN: usize = 4;

/// Words made before others may have the CPU.
const PACE: usize = 1024;

/// Two hashes in each word, 0 where there is none; the latest of a group is first.
type Words = KVVec<Atomic<u64>>;

/// A hint.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Hint {
    /// What is asked for.
    pub(super) of: u32,
    /// What is told.
    pub(super) hash: u32,
}

impl Hint {
    fn word(self) -> u64 {
        u64::from(self.of) << 32 | u64::from(self.hash)
    }

    /// The hint in a word, unless there is none.
    fn from_word(word: u64) -> Option<Self> {
        let [a, b, c, d, e, f, g, h] = word.to_be_bytes();
        (word != 0).then_some(Hint {
            of: u32::from_be_bytes([a, b, c, d]),
            hash: u32::from_be_bytes([e, f, g, h]),
        })
    }
}

/// The hints.
pub(super) struct Hints {
    words: Cell<Words>,
    count: Atomic<i64>,
    /// How many were forgotten because their group was full.
    crowded_out: Atomic<i64>,
}

impl Hints {
    /// No hints. Sleeps.
    pub(super) fn none() -> Result<Self> {
        Ok(Hints {
            words: Cell::new(empty(LEAST)?)?,
            count: Atomic::new(0),
            crowded_out: Atomic::new(0),
        })
    }

    /// Number of hints, more or less.
    pub(super) fn count(&self) -> usize {
        usize::try_from(self.count.load(Relaxed)).unwrap_or(0)
    }

    /// Remembers a hint.
    pub(super) fn note(&self, guard: &Guard, hint: Hint) {
        match note(self.words.read(guard), hint) {
            Noted::More => self.count.add(1, Relaxed),
            Noted::ForAnother => self.crowded_out.add(1, Relaxed),
            Noted::ForKin => {}
        }
    }

    /// Forgets a hint. One that is being moved by another CPU just now may remain.
    pub(super) fn forget(&self, guard: &Guard, hint: Hint) {
        let word = hint.word();
        let mut group = group(self.words.read(guard), hint.of).iter();
        // ORDERING: Full, as in `note`.
        if word != 0 && group.any(|slot| slot.cmpxchg(word, 0, Full).is_ok()) {
            self.count.add(-1, Relaxed);
        }
    }

    /// The first thing that `wanted` makes of the hashes that belong to one, the latest first.
    pub(super) fn find<T>(
        &self,
        guard: &Guard,
        of: u32,
        mut wanted: impl FnMut(u32) -> Option<T>,
    ) -> Option<T> {
        group(self.words.read(guard), of)
            .iter()
            .filter_map(|slot| Hint::from_word(once::read(slot)))
            .filter(|hint| hint.of == of)
            .find_map(|hint| wanted(hint.hash))
    }

    /// Takes as many words as the hints need. `tell_all` tells each that is true, if there is another
    /// number of words: those that were forgotten are known again. Only one may do so at a time.
    /// Sleeps.
    pub(super) fn fit(&self, tell_all: impl Fn(&dyn Fn(Hint))) {
        let crowded_out = self.crowded_out.load(Relaxed);
        let wanted = self.count() + usize::try_from(crowded_out).unwrap_or(0);
        let size = self.words.read(&Guard::new()).len();
        if wanted <= size / 2 && (wanted >= size / 16 || size == LEAST) {
            return;
        }
        let new = || {
            let size = wanted.checked_mul(2)?.checked_next_power_of_two()?;
            Unpublished::new(empty(size.max(LEAST)).ok()?).ok()
        };
        // Without the memory for it, those which there are have to do.
        let Some(new) = new() else {
            return;
        };
        tell_all(&|hint| {
            note(&new, hint);
        });
        self.words.replace(new);
        synchronize_rcu();
        // Nobody writes to the old words any more: what came meanwhile is told now.
        let new = self.words.snapshot();
        tell_all(&|hint| {
            note(&new, hint);
        });
        let count = new.iter().filter(|slot| slot.load(Relaxed) != 0).count();
        self.count.store(i64::try_from(count).unwrap_or(0), Relaxed);
        self.crowded_out.add(-crowded_out, Relaxed);
    }
}

/// So many words without a hint. Sleeps.
fn empty(size: usize) -> Result<Words, AllocError> {
    let flags = GFP_KERNEL_ACCOUNT | __GFP_NOWARN;
    let mut words = KVVec::with_capacity(size, flags)?;
    for number in 0..size {
        words.push(Atomic::new(0), flags)?;
        if number % PACE == 0 {
            breathe();
        }
    }
    Ok(words)
}

/// Where the hints of a hash are.
fn group(words: &[Atomic<u64>], of: u32) -> &[Atomic<u64>] {
    let last = (words.len() / GROUP).wrapping_sub(1);
    let first = (u32_as_usize(of) & last) * GROUP;
    words.get(first..first + GROUP).unwrap_or_default()
}

/// What became of a hint that was noted.
enum Noted {
    /// There is one more than before.
    More,
    /// It has the place of one of the same hash, or was there already.
    ForKin,
    /// It has the place of another.
    ForAnother,
}

/// Puts a hint before the others of its group, each of which moves on by one until there is room, or
/// the oldest of its kind or of all is forgotten. Who looks meanwhile may miss the one that is on
/// its way.
fn note(words: &[Atomic<u64>], hint: Hint) -> Noted {
    let mut moving = hint.word();
    let group = group(words, hint.of);
    if group.iter().any(|slot| once::read(slot) == moving) {
        return Noted::ForKin;
    }
    let mut kin = 0;
    for slot in group {
        // ORDERING: Full: who has noted something finds what has come of it meanwhile.
        moving = slot.xchg(moving, Full);
        match Hint::from_word(moving) {
            None => return Noted::More,
            Some(moved) => kin += usize::from(moved.of == hint.of),
        }
        if kin == KIN {
            return Noted::ForKin;
        }
    }
    Noted::ForAnother
}

#[cfg(CONFIG_KUNIT)]
#[kunit_tests(ipvs_ipsec_hints)]
mod tests {
    use super::*;

    fn told(hints: &Hints, of: u32) -> [u32; GROUP] {
        let mut told = [0; GROUP];
        let mut places = told.iter_mut();
        hints.find(&Guard::new(), of, |hash| -> Option<()> {
            if let Some(place) = places.next() {
                *place = hash;
            }
            None
        });
        told
    }

    fn note(hints: &Hints, of: u32, hash: u32) {
        hints.note(&Guard::new(), Hint { of, hash });
    }

    #[test]
    fn the_latest_is_told_first_and_the_oldest_forgotten() -> Result {
        let hints = Hints::none()?;
        (1..=3).for_each(|hash| note(&hints, 7, hash));
        note(&hints, 7, 2);
        assert_eq!(told(&hints, 7)[..4], [3, 2, 1, 0]);
        (4..=6).for_each(|hash| note(&hints, 7, hash));
        assert_eq!(told(&hints, 7)[..5], [6, 5, 4, 3, 0]);
        assert_eq!(hints.count(), KIN);
        // They are not the only ones of their group, nor are those of all.
        (1..100).for_each(|n| note(&hints, 7 + (n << 16), n));
        assert_eq!(hints.count(), GROUP);
        assert_eq!(told(&hints, 7 + (99 << 16))[..2], [99, 0]);
        assert_eq!(told(&hints, 7)[0], 0);
        Ok(())
    }

    #[test]
    fn what_is_forgotten_is_not_told() -> Result {
        let hints = Hints::none()?;
        (1..=3).for_each(|hash| note(&hints, 0, hash));
        let forget = |hash| hints.forget(&Guard::new(), Hint { of: 0, hash });
        forget(2);
        forget(2);
        forget(0);
        assert_eq!((&told(&hints, 0)[..3], hints.count()), (&[3, 1, 0][..], 2));
        note(&hints, 0, 4);
        assert_eq!(told(&hints, 0)[..4], [4, 3, 1, 0]);
        Ok(())
    }

    #[test]
    fn what_was_forgotten_for_want_of_room_is_told_again() -> Result {
        const COUNT: u32 = 2000;
        let hints = Hints::none()?;
        let of = |n: u32| n.wrapping_mul(0x9e37_79b9);
        let hint = |n: u32| Hint { of: of(n), hash: n };
        let fit = |last: u32| hints.fit(|tell| (1..=last).for_each(|n| tell(hint(n))));
        (1..=COUNT).for_each(|n| note(&hints, of(n), n));
        let known = || {
            let all = 1..=COUNT;
            all.filter(|n| told(&hints, of(*n))[0] == *n).count()
        };
        assert!(known() <= LEAST);
        fit(COUNT);
        assert_eq!((known(), hints.count()), (2000, 2000));
        assert_eq!(hints.words.snapshot().len(), 4096);
        // There is no need to tell them once more.
        fit(0);
        assert_eq!(known(), 2000);
        (101..=COUNT).for_each(|n| hints.forget(&Guard::new(), hint(n)));
        fit(100);
        assert_eq!((known(), hints.count()), (100, 100));
        assert_eq!(hints.words.snapshot().len(), LEAST);
        Ok(())
    }
}
