// SPDX-License-Identifier: GPL-2.0

//! A hash table of objects with several keys, read under RCU and resized under its readers.
//!
//! Each object hangs in `N` indices at once, by a hash each. Some are wide: they have more about
//! them, a value that the others need no memory for, and may hang in up to `M` indices more. Readers
//! take no lock. Writers take the stripe lock of the object's hash in index 0, which is the lock of
//! the object, and with it one of a further index at a time, or two where an object goes from one
//! chain to another. A stripe lock covers all buckets whose number ends in the same bits, in every
//! size of the table, so that it stays the right one during a resize.
//!
//! A reader who meets the end marker of another bucket was led astray by an object that was linked
//! elsewhere under it, and begins again. In the manner of `lib/rhashtable.c`.

mod agenda;
mod chain;
mod id;
mod node;
mod resize;
#[cfg(CONFIG_KUNIT)]
mod tests;

pub(crate) use self::{
    agenda::NEVER,
    node::{Far, Node},
};

use self::agenda::{Agenda, BATCH};
use self::chain::{Buckets, Next, Place};
use self::id::Id;
use super::{
    lock::{InnerGuard, StripeGuard, Stripes},
    once,
    rcu::{self, Guard},
    work::breathe,
};
use core::{marker::PhantomData, ptr::NonNull};
use kernel::{
    alloc::AllocError,
    num::casts::u32_as_usize,
    prelude::*,
    sync::atomic::{Acquire, Atomic, Relaxed},
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

/// The nodes of a chain, as they are met.
struct Chain<'g, T, F, const N: usize, const M: usize> {
    next: *mut Next,
    index: usize,
    _nodes: PhantomData<&'g Node<T, F, N, M>>,
}

impl<'g, T, F, const N: usize, const M: usize> Iterator for Chain<'g, T, F, N, M> {
    type Item = &'g Node<T, F, N, M>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let next = Next::object(self.next)?;
        // SAFETY: `Table::chain` made this for one of its chains and the life of a guard, while
        // which no node is freed.
        let node = unsafe { Node::from_next(next, self.index) };
        // SAFETY: As above.
        self.next = unsafe { next.as_ref() }.load();
        Some(node)
    }
}

/// What became of an insertion.
pub(crate) enum Inserted<'g, T, F, const N: usize, const M: usize> {
    /// The object is in the table.
    New(&'g Node<T, F, N, M>),
    /// Another was there before it, and remains.
    Rival(&'g Node<T, F, N, M>),
}

/// The table. It owns its objects.
///
/// # Invariants
///
/// An object is linked in all indices that it has a hash for, among them the first `N`, or in none,
/// whenever nobody holds its lock, its stripe lock in index 0. The hashes of an object change only
/// under its lock. Every object in the table has its number.
pub(crate) struct Table<T, F, const N: usize, const M: usize>
where
    T: Send + Sync + 'static,
    F: Send + Sync + 'static,
{
    indices: [Index; N],
    further: [Index; M],
    count: Atomic<i64>,
    /// Objects that are in further indices.
    far: Atomic<i64>,
    /// Set while objects move; only one resize at a time.
    resizing: Atomic<i32>,
    /// Counts the beginnings and ends of resizes.
    generation: Atomic<u32>,
    id: Id,
    _owns: PhantomData<Node<T, F, N, M>>,
}

// SAFETY: Objects are shared between CPUs and dropped by any, which these bounds allow.
unsafe impl<T: Send + Sync, F: Send + Sync, const N: usize, const M: usize> Send
    for Table<T, F, N, M>
{
}
// SAFETY: As above.
unsafe impl<T: Send + Sync, F: Send + Sync, const N: usize, const M: usize> Sync
    for Table<T, F, N, M>
{
}

/// Numbers of buckets, or of what is in them: of the first indices, and of the further ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Of the first ones.
    pub(crate) near: usize,
    /// Of the further ones.
    pub(crate) far: usize,
}

impl<T, F, const N: usize, const M: usize> Table<T, F, N, M>
where
    T: Send + Sync + 'static,
    F: Send + Sync + 'static,
{
    /// An empty table of the least size. Sleeps.
    pub(crate) fn new() -> impl Init<Self, Error> {
        try_init!(Table {
            indices <- pin_init::init_array_from_fn(|_| Index::new()),
            further <- pin_init::init_array_from_fn(|_| Index::new()),
            count: Atomic::new(0),
            far: Atomic::new(0),
            resizing: Atomic::new(0),
            generation: Atomic::new(0),
            id: Id::new()?,
            _owns: PhantomData,
        })
    }

    #[inline(always)]
    fn index(&self, number: usize) -> &Index {
        match number.checked_sub(N) {
            None => &self.indices[number],
            Some(number) => &self.further[number],
        }
    }

    /// Number of objects.
    #[inline]
    pub(crate) fn count(&self) -> usize {
        usize::try_from(once::read(&self.count)).unwrap_or(0)
    }

    /// Number of objects.
    pub(crate) fn counts(&self) -> Sizes {
        Sizes {
            near: self.count(),
            far: usize::try_from(once::read(&self.far)).unwrap_or(0),
        }
    }

    /// Number of buckets of an index.
    #[inline]
    pub(crate) fn size(&self) -> usize {
        let guard = Guard::new();
        let first = self.indices.first();
        first.map_or(0, |index| index.first(&guard).slots.len())
    }

    /// Number of buckets of an index.
    pub(crate) fn sizes(&self) -> Sizes {
        let guard = Guard::new();
        let size = |indices: &[Index]| {
            let first = indices.first();
            first.map_or(0, |index| index.first(&guard).slots.len())
        };
        Sizes {
            near: size(&self.indices),
            far: size(&self.further),
        }
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
    ) -> Option<&'g Node<T, F, N, M>> {
        let mut buckets = Some(self.index(I).first(guard));
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

    /// The first object that is `wanted` of those in index `I` with the first hash, or else with the
    /// second, which is what objects have before they are [relinked](Table::relink) to the first.
    /// One that goes over meanwhile is found, too. The caller holds no lock of the table.
    #[inline(always)]
    pub(crate) fn find_moving<'g, const I: usize>(
        &'g self,
        guard: &'g Guard,
        [to, from]: [u32; 2],
        mut wanted: impl FnMut(&T) -> bool,
    ) -> Option<&'g Node<T, F, N, M>> {
        self.find::<I>(guard, to, &mut wanted)
            .or_else(|| self.find::<I>(guard, from, &mut wanted))
            .or_else(|| {
                // A mover holds the lock of the second chain from unlinking the object there until
                // it is in the first one.
                self.index(I).locks.wait(u32_as_usize(from), I);
                self.find::<I>(guard, to, &mut wanted)
            })
    }

    #[inline(always)]
    fn search<'g, const I: usize>(
        &'g self,
        guard: &'g Guard,
        slot: &'g Next,
        hash: u32,
        wanted: &mut impl FnMut(&T) -> bool,
    ) -> Option<&'g Node<T, F, N, M>> {
        for _ in 0..MAX_RESTARTS {
            let mut chain = self.chain(guard, I, slot);
            let mut left = MAX_WALK;
            for node in chain.by_ref() {
                if node.hash(I).map(once::read) == Some(hash) && wanted(node) {
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
    fn chain<'g>(&'g self, _: &'g Guard, index: usize, slot: &'g Next) -> Chain<'g, T, F, N, M> {
        Chain {
            next: slot.load(),
            index,
            _nodes: PhantomData,
        }
    }

    /// Inserts `value` with its hashes, and what there is more of it if it is a wide one, unless
    /// index 0 has an object of the same hash that is its `rival`. Does not sleep.
    pub(crate) fn insert<'g>(
        &'g self,
        guard: &'g Guard,
        value: T,
        hashes: [u32; N],
        far: Option<Far<F, M>>,
        rival: impl Fn(&T) -> bool,
    ) -> Result<Inserted<'g, T, F, N, M>, AllocError> {
        const { assert!(N > 0) };
        let Some(hash) = hashes.first().copied() else {
            return Err(AllocError);
        };
        let further = far.as_ref().map_or([None; M], |far| far.hashes);
        let node = Node::allocate(&self.id, value, hashes, far)?;
        let object = self.index(0).locks.lock(u32_as_usize(hash), 0);
        if let Some(rival) = self.find::<0>(guard, hash, rival) {
            // SAFETY: The node is ours alone.
            unsafe { Node::free(node) };
            return Ok(Inserted::Rival(rival));
        }
        // SAFETY: The table owns the node from here on; it is freed a grace period after it was
        // removed, which ends after the guard.
        let node = unsafe { node.as_ref() };
        self.link(guard, 0, node);
        for index in 1..N {
            let _lock = self.lock_more(&object, index, node);
            self.link(guard, index, node);
        }
        for (index, hash) in further.iter().enumerate() {
            if hash.is_some() {
                let _lock = self.lock_more(&object, N + index, node);
                self.link(guard, N + index, node);
            }
        }
        self.count.add(1, Relaxed);
        if further.iter().any(Option::is_some) {
            self.far.add(1, Relaxed);
        }
        Ok(Inserted::New(node))
    }

    /// Removes an object; it is dropped after a grace period. `false` if it is not in the table
    /// any more, or never was. Does not sleep.
    pub(crate) fn remove<'g>(&'g self, _: &'g Guard, node: &'g Node<T, F, N, M>) -> bool {
        let object = self.lock(node);
        if !self.has(&object, node) {
            return false;
        }
        let mut is_far = false;
        for index in (0..N + M).rev() {
            // The locks of chains in which it never was are others' to hold.
            let Some(place) = node.place(index).filter(Place::is_linked) else {
                continue;
            };
            let _lock = (index > 0).then(|| self.lock_more(&object, index, node));
            place.unlink();
            is_far |= index >= N;
        }
        self.count.add(-1, Relaxed);
        if is_far {
            self.far.add(-1, Relaxed);
        }
        // SAFETY: The node is in no chain any more, and as it was in index 0 nobody has given it to RCU
        // before. Nobody reads the memory of the head from now on. The module waits for callbacks.
        unsafe { rcu::call_later(node.head(), Node::<T, F, N, M>::free_late) };
        true
    }

    /// Gives an object the hash `hash` in index `I`, which is not 0, and puts it before all others
    /// of its bucket, unless it is not in this index. `change` is called when no reader finds the
    /// object in this index; see [`Table::find_moving`]. Does not sleep.
    pub(crate) fn relink<'g, const I: usize>(
        &'g self,
        guard: &'g Guard,
        node: &'g Node<T, F, N, M>,
        hash: u32,
        change: impl FnOnce(),
    ) {
        const { assert!(I > 0 && I < N + M) };
        let object = self.lock(node);
        if !self.has(&object, node) {
            return;
        }
        let here = node.place(I).zip(node.hash(I));
        let Some((place, old)) = here.filter(|(place, _)| place.is_linked()) else {
            return;
        };
        let hashes = [once::read(old), hash].map(u32_as_usize);
        let locks = &self.index(I).locks;
        // Both at once: a reader that misses the object in its old chain waits for the old lock.
        let _locks = locks.lock_two_within(&object, hashes, I, N + M);
        place.unlink();
        change();
        once::write(old, hash);
        self.link(guard, I, node);
    }

    /// Calls `visit` for the objects of bucket `number` of index 0; `false` if there is no such
    /// bucket. During a resize it may miss some: see [`Table::generation`].
    pub(crate) fn visit<'g>(
        &'g self,
        guard: &'g Guard,
        number: usize,
        visit: impl FnMut(&'g Node<T, F, N, M>),
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
        mut see: impl FnMut(&Guard, &Node<T, F, N, M>) -> u64,
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

    /// Takes the lock of an object.
    #[inline]
    fn lock(&self, node: &Node<T, F, N, M>) -> StripeGuard<'_> {
        let hash = u32_as_usize(node.first_hash());
        self.index(0).locks.lock(hash, 0)
    }

    /// Whether an object, whose lock is held if it is one of this table, is in it.
    fn has(&self, _: &StripeGuard<'_>, node: &Node<T, F, N, M>) -> bool {
        node.is_of(&self.id) && node.is_linked()
    }

    /// Takes the lock of another index for an object, whose own lock is held.
    #[inline]
    fn lock_more<'a>(
        &'a self,
        object: &'a StripeGuard<'_>,
        index: usize,
        node: &Node<T, F, N, M>,
    ) -> InnerGuard<'a> {
        let hash = node.hash(index).map_or(0, once::read);
        self.index(index)
            .locks
            .lock_within(object, u32_as_usize(hash), index)
    }

    /// Links an object in an index. The caller holds the stripe lock.
    #[inline]
    fn link(&self, guard: &Guard, index: usize, node: &Node<T, F, N, M>) {
        if let (Some(place), Some(hash)) = (node.place(index), node.hash(index)) {
            if let Some(buckets) = self.index(index).sizes(guard).last() {
                place.link(buckets.slot(once::read(hash)));
            }
        }
    }
}

impl<T, F, const N: usize, const M: usize> Drop for Table<T, F, N, M>
where
    T: Send + Sync + 'static,
    F: Send + Sync + 'static,
{
    fn drop(&mut self) {
        for number in 0..self.size() {
            breathe();
            self.visit(&Guard::new(), number, |node| {
                // SAFETY: The node came out of a box in `insert`, and nobody else can find it: we
                // have exclusive access. The chain has been read past it, and is not read again.
                unsafe { Node::free(NonNull::from(node)) };
            });
        }
    }
}
