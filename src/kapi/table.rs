// SPDX-License-Identifier: GPL-2.0

//! A hash table of objects with several keys, read under RCU and resized under its readers.
//!
//! Each object hangs in up to `N` indices at once, by a hash each. Readers take no lock. Writers take
//! the stripe lock of the object's hash in index 0, which is the lock of the object, and with it
//! one of a further index at a time. A stripe lock covers all buckets whose number ends in the
//! same bits, in every size of the table, so that it stays the right one during a resize.
//!
//! A reader who meets the end marker of another bucket was led astray by an object that was linked
//! elsewhere under it, and begins again. In the manner of `lib/rhashtable.c`.

mod agenda;
mod chain;
#[cfg(CONFIG_KUNIT)]
mod tests;

pub(crate) use self::agenda::NEVER;

use self::agenda::{Agenda, BATCH};
use self::chain::{Buckets, Link, Next};
use super::{
    lock::{StripeGuard, Stripes},
    once,
    rcu::{self, Guard},
    work::breathe,
};
use core::{
    marker::PhantomData,
    mem::offset_of,
    ops::Deref,
    ptr::{self, NonNull},
};
use kernel::{
    alloc::AllocError,
    num::casts::u32_as_usize,
    prelude::*,
    sync::atomic::{Acquire, Atomic, Full, Relaxed, Release},
};

/// Number of stripe locks of an index, and least number of its buckets.
pub(crate) const STRIPES: usize = 256;

/// Objects a reader looks at in one chain before it gives up, so that no packet takes for ever.
const MAX_WALK: usize = 1024;

/// Times a reader begins again.
const MAX_RESTARTS: usize = 3;

/// Bucket arrays a reader may meet: the one it found, its successor, and one more for a resize
/// that began when the first had ended.
const MAX_SIZES: usize = 3;

/// Objects moved to another bucket under one hold of a lock, after a walk to the end of their chain.
const MOVE_BATCH: usize = 1024;

/// One way to find objects.
///
/// # Invariants
///
/// `buckets` comes out of a box that is owned here; a grace period passes before it is freed.
struct Index {
    buckets: Atomic<*mut Buckets>,
    locks: Stripes<STRIPES>,
}

impl Index {
    fn new() -> impl Init<Self, Error> {
        try_init!(Index {
            locks: Stripes::new()?,
            // INVARIANT: The pointer comes out of a box that becomes ours.
            buckets: Atomic::new(KBox::into_raw(Buckets::new(STRIPES)?)),
        })
    }

    /// The buckets that readers begin with.
    #[inline]
    fn first<'g>(&'g self, _: &'g Guard) -> &'g Buckets {
        rcu::assert_reading();
        // ORDERING: Pairs with the stores in `Table::resize_index`: the slots are read through this
        // pointer, and seen whole.
        let buckets = once::read(&self.buckets);
        // SAFETY: By the type invariant this is not null, and lives as long as the guard.
        unsafe { &*buckets }
    }

    /// All bucket arrays, from the one that readers begin with to the one that objects move to.
    fn sizes<'g>(&'g self, guard: &'g Guard) -> impl Iterator<Item = &'g Buckets> {
        let successor = |buckets: &&'g Buckets| buckets.successor(guard);
        core::iter::successors(Some(self.first(guard)), successor).take(MAX_SIZES)
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. There are no readers: they borrow the index. Nor is
        // there a successor: `Table::resize` borrows the index too.
        drop(unsafe { KBox::from_raw(*self.buckets.get_mut()) });
    }
}

/// An object in a table.
#[repr(C)]
pub(crate) struct Node<T, const N: usize> {
    // The first field: RCU frees by it.
    head: rcu::Head,
    links: [Link; N],
    hashes: [Atomic<u32>; N],
    value: T,
}

impl<T, const N: usize> Node<T, N> {
    /// The node whose place in index `index` is `link`.
    ///
    /// # Safety
    ///
    /// `link` is in a chain of this index of a table of this type, and alive for `'a`.
    #[inline]
    unsafe fn from_link<'a>(link: NonNull<Link>, index: usize) -> &'a Self {
        let offset = offset_of!(Self, links) + index * size_of::<Link>();
        // SAFETY: By the safety requirements the link lies at this offset of a live node.
        unsafe { link.byte_sub(offset).cast::<Self>().as_ref() }
    }
}

impl<T, const N: usize> Deref for Node<T, N> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

/// The nodes of a chain, as they are met.
struct Chain<'g, T, const N: usize> {
    next: *mut Link,
    index: usize,
    _nodes: PhantomData<&'g Node<T, N>>,
}

impl<'g, T, const N: usize> Iterator for Chain<'g, T, N> {
    type Item = &'g Node<T, N>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let link = Next::link(self.next)?;
        // SAFETY: `Table::chain` made this for one of its chains and the life of a guard, while
        // which no node is freed.
        let node = unsafe { Node::from_link(link, self.index) };
        // SAFETY: As above.
        self.next = unsafe { link.as_ref() }.next.load();
        Some(node)
    }
}

/// What became of an insertion.
pub(crate) enum Inserted<'g, T, const N: usize> {
    /// The object is in the table.
    New(&'g Node<T, N>),
    /// Another was there before it, and remains.
    Rival(&'g Node<T, N>),
}

/// The table. It owns its objects.
///
/// # Invariants
///
/// An object is linked in all indices that it has a hash for, among them index 0, or in none,
/// whenever nobody holds its lock, its stripe lock in index 0. The hashes of an object change only
/// under its lock.
pub(crate) struct Table<T: Send + Sync + 'static, const N: usize> {
    indices: [Index; N],
    count: Atomic<i64>,
    /// Set while objects move; only one resize at a time.
    resizing: Atomic<i32>,
    /// Counts the beginnings and ends of resizes.
    generation: Atomic<u32>,
    _owns: PhantomData<Node<T, N>>,
}

// SAFETY: Objects are shared between CPUs and dropped by any, which `T: Send + Sync` allows.
unsafe impl<T: Send + Sync, const N: usize> Send for Table<T, N> {}
// SAFETY: As above.
unsafe impl<T: Send + Sync, const N: usize> Sync for Table<T, N> {}

impl<T: Send + Sync + 'static, const N: usize> Table<T, N> {
    /// An empty table of the least size. Sleeps.
    pub(crate) fn new() -> impl Init<Self, Error> {
        try_init!(Table {
            indices <- pin_init::init_array_from_fn(|_| Index::new()),
            count: Atomic::new(0),
            resizing: Atomic::new(0),
            generation: Atomic::new(0),
            _owns: PhantomData,
        })
    }

    /// Number of objects.
    pub(crate) fn count(&self) -> usize {
        usize::try_from(self.count.load(Relaxed)).unwrap_or(0)
    }

    /// Number of buckets of an index.
    pub(crate) fn size(&self) -> usize {
        let guard = Guard::new();
        let first = self.indices.first();
        first
            .and_then(|index| index.sizes(&guard).next())
            .map_or(0, |buckets| buckets.slots.len())
    }

    /// A number that changes whenever objects change buckets.
    pub(crate) fn generation(&self) -> u32 {
        self.generation.load(Acquire)
    }

    /// The first object of index `I` with this `hash` that is `wanted`, the latest linked first.
    #[inline(always)]
    pub(crate) fn find<'g, const I: usize>(
        &'g self,
        guard: &'g Guard,
        hash: u32,
        mut wanted: impl FnMut(&T) -> bool,
    ) -> Option<&'g Node<T, N>> {
        let mut buckets = Some(self.indices[I].first(guard));
        for _ in 0..MAX_SIZES {
            let some = buckets?;
            let found = self.search::<I>(guard, some.slot(hash), hash, &mut wanted);
            if found.is_some() {
                return found;
            }
            buckets = some.successor(guard);
        }
        None
    }

    #[inline(always)]
    fn search<'g, const I: usize>(
        &'g self,
        guard: &'g Guard,
        slot: &'g Next,
        hash: u32,
        wanted: &mut impl FnMut(&T) -> bool,
    ) -> Option<&'g Node<T, N>> {
        for _ in 0..MAX_RESTARTS {
            let mut chain = self.chain(guard, I, slot);
            let mut left = MAX_WALK;
            for node in chain.by_ref() {
                if once::read(&node.hashes[I]) == hash && wanted(node) {
                    return Some(node);
                }
                left -= 1;
                if left == 0 {
                    return None;
                }
            }
            if chain.next == slot.marker() {
                break;
            }
        }
        None
    }

    #[inline]
    fn chain<'g>(&'g self, _: &'g Guard, index: usize, slot: &'g Next) -> Chain<'g, T, N> {
        Chain {
            next: slot.load(),
            index,
            _nodes: PhantomData,
        }
    }

    /// Inserts `value` with its hash for index 0 and those for the others, in which it can be
    /// missing, unless index 0 has an object of the same hash that is its `rival`. Does not sleep.
    pub(crate) fn insert<'g>(
        &'g self,
        guard: &'g Guard,
        value: T,
        hash: u32,
        others: [Option<u32>; N],
        rival: impl Fn(&T) -> bool,
    ) -> Result<Inserted<'g, T, N>, AllocError> {
        const { assert!(N > 0) };
        let mut hashes = others;
        hashes[0] = Some(hash);
        let node = KBox::new(
            Node {
                head: rcu::Head::new(),
                links: [const { Link::new() }; N],
                hashes: hashes.map(|hash| Atomic::new(hash.unwrap_or(0))),
                value,
            },
            GFP_ATOMIC,
        )?;
        let _object = self.indices[0].locks.lock(u32_as_usize(hash), 0);
        if let Some(rival) = self.find::<0>(guard, hash, rival) {
            return Ok(Inserted::Rival(rival));
        }
        // SAFETY: The table owns the node from here on; it is freed a grace period after it was
        // removed, which ends after the guard.
        let node = unsafe { &*KBox::into_raw(node) };
        self.link(guard, 0, node);
        for (index, hash) in hashes.iter().enumerate().skip(1) {
            if hash.is_some() {
                let _lock = self.lock(index, node);
                self.link(guard, index, node);
            }
        }
        self.count.add(1, Relaxed);
        Ok(Inserted::New(node))
    }

    /// Removes an object; it is dropped after a grace period. `false` if it is not in the table
    /// any more. Does not sleep.
    pub(crate) fn remove<'g>(&'g self, _: &'g Guard, node: &'g Node<T, N>) -> bool {
        let _object = self.lock(0, node);
        if !node.links[0].unlink() {
            return false;
        }
        for index in 1..N {
            // The locks of chains in which it never was are others' to hold.
            if node.links[index].is_linked() {
                let _lock = self.lock(index, node);
                node.links[index].unlink();
            }
        }
        self.count.add(-1, Relaxed);
        // SAFETY: The node came out of a box in `insert`. The head is its first field; it is in
        // no chain any more, and as it was in index 0 nobody has given it to RCU before.
        unsafe { rcu::drop_later(KBox::from_raw(ptr::from_ref(node).cast_mut())) };
        true
    }

    /// Gives an object the hash `hash` in index `I`, which is not 0, and puts it before all others
    /// of its bucket, unless it is not in this index. `change` is called when no reader finds the
    /// object in this index. Does not sleep.
    pub(crate) fn relink<'g, const I: usize>(
        &'g self,
        guard: &'g Guard,
        node: &'g Node<T, N>,
        hash: u32,
        change: impl FnOnce(),
    ) {
        const { assert!(I > 0 && I < N) };
        let _object = self.lock(0, node);
        if !node.links[I].is_linked() {
            return;
        }
        {
            let _lock = self.lock(I, node);
            node.links[I].unlink();
        }
        change();
        node.hashes[I].store(hash, Relaxed);
        let _lock = self.lock(I, node);
        self.link(guard, I, node);
    }

    /// Calls `visit` for the objects of bucket `number` of index 0; `false` if there is no such
    /// bucket. During a resize it may miss some: see [`Table::generation`].
    pub(crate) fn visit<'g>(
        &'g self,
        guard: &'g Guard,
        number: usize,
        visit: impl FnMut(&'g Node<T, N>),
    ) -> bool {
        let first = self.indices.first();
        let slot = first
            .and_then(|index| index.sizes(guard).next())
            .and_then(|buckets| buckets.slots.get(number));
        if let Some(slot) = slot {
            self.chain(guard, 0, slot).for_each(visit);
        }
        slot.is_some()
    }

    /// Has an object of this `hash`, which is in the table, [seen](Table::see) at `time` or before.
    pub(crate) fn see_by(&self, guard: &Guard, hash: u32, time: u64) {
        if let Some(buckets) = self.indices[0].sizes(guard).last() {
            buckets.agenda.enter(buckets.number(hash), time);
        }
    }

    fn agenda<'g>(&'g self, guard: &'g Guard) -> Option<&'g Agenda> {
        let buckets = self.indices[0].sizes(guard).next();
        buckets.map(|buckets| &buckets.agenda)
    }

    /// Whether there is anything to see at `now` in a batch of buckets; `None` if there is no such
    /// batch.
    pub(crate) fn is_due(&self, batch: usize, now: u64) -> Option<bool> {
        let guard = Guard::new();
        let agenda = self.agenda(&guard)?;
        (batch < agenda.len()).then(|| agenda.is_due(batch, now))
    }

    /// Calls `see` for the objects in a batch of buckets, which says when it wants to see the object
    /// again, and `pause` between buckets. During a resize it may miss some, which will be due then.
    pub(crate) fn see(
        &self,
        batch: usize,
        mut see: impl FnMut(&Guard, &Node<T, N>) -> u64,
        mut pause: impl FnMut(),
    ) {
        if let Some(agenda) = self.agenda(&Guard::new()) {
            agenda.clear(batch);
        }
        let first = batch * BATCH;
        for bucket in first..first + BATCH {
            let guard = Guard::new();
            let mut next = NEVER;
            self.visit(&guard, bucket, |node| next = next.min(see(&guard, node)));
            if let Some(agenda) = self.agenda(&guard) {
                agenda.enter(bucket, next);
            }
            drop(guard);
            pause();
        }
    }

    /// Gives every index `count` buckets, or the least power of two that is not less. Sleeps.
    ///
    /// # Errors
    ///
    /// `EBUSY` while another resize goes on, `ENOMEM`; objects can then be found as before.
    pub(crate) fn resize(&self, count: usize) -> Result {
        let count = count
            .max(STRIPES)
            .checked_next_power_of_two()
            .ok_or(EINVAL)?;
        if self.resizing.xchg(1, Full) != 0 {
            return Err(EBUSY);
        }
        self.generation.add(1, Relaxed);
        let result = (0..N).try_for_each(|index| self.resize_index(index, count));
        self.generation.add(1, Relaxed);
        // ORDERING: Pairs with the exchange above in the next resize.
        self.resizing.store(0, Release);
        result
    }

    /// Only called by [`Table::resize`], one at a time.
    fn resize_index(&self, index: usize, count: usize) -> Result {
        let buckets = &self.indices[index].buckets;
        let new = KBox::into_raw(Buckets::new(count)?);
        // SAFETY: The box is not freed before the index is, or the next resize.
        let to = unsafe { &*new };
        let old = buckets.load(Relaxed);
        // SAFETY: By the type invariant of `Index` this is live, and only we would free it.
        let from = unsafe { &*old };

        // ORDERING: Who misses an object because it was moved sees where to.
        from.successor.store(new, Release);
        for (number, slot) in from.slots.iter().enumerate() {
            while self.move_tail(index, number, slot, to) {}
            breathe();
        }
        // ORDERING: Publishes the slots to `Index::sizes`.
        buckets.store(new, Release);
        // Readers may still be in the old slots, and writers on their way through them.
        kernel::sync::rcu::synchronize_rcu();
        // SAFETY: The pointer came out of a box, and nobody can find it any more.
        drop(unsafe { KBox::from_raw(old) });
        Ok(())
    }

    /// Moves some objects from the end of the chain at `slot`, number `number`, to their buckets
    /// in `to`. `false` if there are no more.
    fn move_tail(&self, index: usize, number: usize, slot: &Next, to: &Buckets) -> bool {
        let _lock = self.indices[index].locks.lock(number, index);
        let guard = Guard::new();
        let mut last = self.chain(&guard, index, slot).last();
        for _ in 0..MOVE_BATCH {
            let Some(node) = last else { break };
            let before = node.links[index].before(slot);
            let hash = node.hashes[index].load(Relaxed);
            node.links[index].move_last(slot, to.slot(hash));
            // SAFETY: What stands before a link of this chain is one too, and alive while we hold
            // the stripe lock.
            last = before.map(|link| unsafe { Node::from_link(link, index) });
        }
        last.is_some()
    }

    /// Takes the lock of index `index` for an object.
    #[inline]
    fn lock(&self, index: usize, node: &Node<T, N>) -> StripeGuard<'_> {
        let hash = u32_as_usize(node.hashes[index].load(Relaxed));
        self.indices[index].locks.lock(hash, index)
    }

    /// Links an object in index `index`. The caller holds the stripe lock.
    fn link(&self, guard: &Guard, index: usize, node: &Node<T, N>) {
        let hash = node.hashes[index].load(Relaxed);
        if let Some(buckets) = self.indices[index].sizes(guard).last() {
            node.links[index].link(buckets.slot(hash));
        }
    }
}

impl<T: Send + Sync + 'static, const N: usize> Drop for Table<T, N> {
    fn drop(&mut self) {
        for number in 0..self.size() {
            breathe();
            self.visit(&Guard::new(), number, |node| {
                // SAFETY: The node came out of a box in `insert`, and nobody else can find it: we
                // have exclusive access. The chain has been read past it, and is not read again.
                drop(unsafe { KBox::from_raw(ptr::from_ref(node).cast_mut()) });
            });
        }
    }
}
