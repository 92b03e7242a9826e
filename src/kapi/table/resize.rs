// SPDX-License-Identifier: GPL-2.0

//! A table gets other numbers of buckets under its readers and writers.
//!
//! Objects move one by one, each from the end of its chain: a reader who is led on into its new chain
//! has missed nothing of the old one, and begins again when he meets that one's end marker.

use super::{
    chain::{flags, Buckets, Next},
    Node, Sizes, Table, STRIPES,
};
use crate::kapi::{once, rcu::Guard, work::breathe};
use kernel::{
    alloc::AllocError,
    prelude::*,
    sync::atomic::{Full, Relaxed, Release},
};

/// Slots left, and objects moved to another, under one hold of a lock, after a walk to the end of their
/// chain.
const MOVE_BATCH: usize = 256;

impl<T, F, const N: usize, const M: usize> Table<T, F, N, M>
where
    T: Send + Sync + 'static,
    F: Send + Sync + 'static,
{
    /// Gives every index so many buckets, or the least power of two that is not less. Sleeps.
    ///
    /// # Errors
    ///
    /// `EBUSY` while another resize goes on, `ENOMEM`; nothing has changed then.
    pub(crate) fn resize(&self, sizes: Sizes) -> Result {
        let size = |count: usize| count.max(STRIPES).checked_next_power_of_two().ok_or(EINVAL);
        let (near, far) = (size(sizes.near)?, size(sizes.far)?);
        if self.resizing.xchg(1, Full) != 0 {
            return Err(EBUSY);
        }
        let result = self.prepare(near, far).map(|prepared| {
            self.generation.add(1, Relaxed);
            for (index, new) in prepared {
                self.resize_index(index, new);
            }
            self.generation.add(1, Relaxed);
        });
        // ORDERING: Pairs with the exchange above in the next resize.
        self.resizing.store(0, Release);
        Ok(result?)
    }

    /// Makes the buckets for each index that has another number of them, so that all get theirs or
    /// none does. Only called by [`Table::resize`], one at a time.
    fn prepare(&self, near: usize, far: usize) -> Result<KVec<(usize, KBox<Buckets>)>, AllocError> {
        let mut prepared = KVec::with_capacity(N + M, flags())?;
        for index in 0..N + M {
            let count = if index < N { near } else { far };
            if self.index(index).first(&Guard::new()).slots.len() != count {
                prepared.push((index, Buckets::new(count)?), flags())?;
            }
        }
        Ok(prepared)
    }

    /// Only called by [`Table::resize`], one at a time.
    fn resize_index(&self, index: usize, new: KBox<Buckets>) {
        let buckets = &self.index(index).buckets;
        let new = KBox::into_raw(new);
        // SAFETY: The box is not freed before the index is, or the next resize.
        let to = unsafe { &*new };
        let old = buckets.load(Relaxed);
        // SAFETY: By the type invariant of `Index` this is live, and only we would free it.
        let from = unsafe { &*old };

        // ORDERING: Who misses an object because it was moved sees where to.
        from.successor.store(new, Release);
        for stripe in 0..STRIPES {
            let mut number = stripe;
            while number < from.slots.len() {
                number = self.move_some(index, number, from, to);
                breathe();
            }
        }
        // ORDERING: Publishes the slots to `Index::sizes`.
        buckets.store(new, Release);
        // Readers may still be in the old slots, and writers on their way through them.
        kernel::sync::rcu::synchronize_rcu();
        // SAFETY: The pointer came out of a box, and nobody can find it any more.
        drop(unsafe { KBox::from_raw(old) });
    }

    /// Moves some objects to their buckets in `to`, from slot `number` on, and from others under the same
    /// lock. Returns the first of these that may not be empty yet.
    fn move_some(&self, index: usize, mut number: usize, from: &Buckets, to: &Buckets) -> usize {
        let _lock = self.index(index).locks.lock(number, index);
        let guard = Guard::new();
        let mut left = MOVE_BATCH;
        while let Some(slot) = from.slots.get(number) {
            left = self.move_tail(&guard, index, slot, to, left);
            if left == 0 {
                break;
            }
            left -= 1;
            number += STRIPES;
        }
        number
    }

    /// Moves `most` objects, or less, from the end of the chain at `slot` to their buckets in `to`.
    /// Returns how many it could have moved besides. The caller holds the stripe lock.
    fn move_tail(
        &self,
        guard: &Guard,
        index: usize,
        slot: &Next,
        to: &Buckets,
        most: usize,
    ) -> usize {
        let mut last = self.chain(guard, index, slot).last();
        for moved in 0..most {
            // Whatever hangs there has both.
            let here = last.and_then(|node| node.place(index).zip(node.hash(index)));
            let Some((place, hash)) = here else {
                return most - moved;
            };
            let before = place.before(slot);
            place.move_last(slot, to.slot(once::read(hash)));
            // SAFETY: What stands before an object in this chain is one too, and alive while we hold
            // the stripe lock.
            last = before.map(|next| unsafe { Node::from_next(next, index) });
        }
        0
    }
}
