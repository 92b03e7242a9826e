// SPDX-License-Identifier: GPL-2.0

//! A hash table of objects with several keys, read under RCU and resized under its readers.
//!
//! Each object hangs in `N` indices at once, by a hash each. Some are wide: they have more about them, a
//! value that the others need no memory for, and may hang in up to `M` indices more. Readers take no
//! lock. Writers take the stripe lock of the object's hash in index 0, which is the lock of the object, and with it
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
use self::chain::{Buckets, Next, Place, Prev};
use super::{
    bindings,
    lock::{InnerGuard, StripeGuard, Stripes},
    memory, once,
    rcu::{self, Guard},
    work::breathe,
};
use core::{
    marker::PhantomData,
    mem::{offset_of, ManuallyDrop},
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

/// An object in a table. What a reader wants of it comes first.
///
/// # Invariants
///
/// If `is_wide`, this is the first field of a [`Wide`].
#[repr(C)]
pub(crate) struct Node<T, F, const N: usize, const M: usize> {
    nexts: [Next; N],
    hashes: [Atomic<u32>; N],
    is_wide: bool,
    value: T,
    back: Back<N>,
    _more: PhantomData<Wide<T, F, N, M>>,
}

/// The ways back of an object. But for the first, which says whether it is in the table at all, RCU
/// has their memory as soon as it is not.
#[repr(C)]
union Back<const N: usize> {
    prevs: ManuallyDrop<[Prev; N]>,
    end: ManuallyDrop<End>,
}

#[repr(C)]
struct End {
    _first: Prev,
    head: rcu::Head,
}

/// A wide object.
#[repr(C)]
struct Wide<T, F, const N: usize, const M: usize> {
    node: Node<T, F, N, M>,
    more: More<F, M>,
}

#[repr(C)]
struct More<F, const M: usize> {
    nexts: [Next; M],
    prevs: [Prev; M],
    hashes: [Atomic<u32>; M],
    value: F,
}

impl<T, F, const N: usize, const M: usize> Node<T, F, N, M> {
    /// Where the head for RCU lies.
    const HEAD: usize = offset_of!(Self, back) + offset_of!(End, head);

    fn new(value: T, hashes: [u32; N], is_wide: bool) -> impl Init<Self> {
        let back = Back {
            prevs: ManuallyDrop::new([const { Prev::new() }; N]),
        };
        init!(Node {
            nexts: [const { Next::new() }; N],
            hashes: hashes.map(Atomic::new),
            is_wide,
            value,
            back,
            _more: PhantomData,
        })
    }

    /// The node whose place in index `index` is `next`.
    ///
    /// # Safety
    ///
    /// `next` is in a chain of this index of a table of this type, and alive for `'a`.
    #[inline(always)]
    unsafe fn from_next<'a>(next: NonNull<Next>, index: usize) -> &'a Self {
        let start = match index.checked_sub(N) {
            None => offset_of!(Self, nexts) + index * size_of::<Next>(),
            Some(index) => {
                offset_of!(Wide<T, F, N, M>, more)
                    + offset_of!(More<F, M>, nexts)
                    + index * size_of::<Next>()
            }
        };
        // SAFETY: By the safety requirements it lies at this offset of a live node, or of the wide
        // one that this begins.
        unsafe { next.byte_sub(start).cast::<Self>().as_ref() }
    }

    /// What a wide object has.
    #[inline]
    fn more(&self) -> Option<&More<F, M>> {
        let wide = ptr::from_ref(self).cast::<Wide<T, F, N, M>>();
        // SAFETY: By the type invariant.
        self.is_wide.then(|| unsafe { &(*wide).more })
    }

    /// What is known of the object, if that is a wide one.
    #[inline]
    pub(crate) fn far(&self) -> Option<&F> {
        self.more().map(|more| &more.value)
    }

    /// The hash of the object in an index, if it has one there.
    #[inline(always)]
    fn hash(&self, index: usize) -> Option<&Atomic<u32>> {
        match index.checked_sub(N) {
            None => self.hashes.get(index),
            Some(index) => self.more()?.hashes.get(index),
        }
    }

    /// The hash by which the object can be found in index 0.
    #[inline]
    pub(crate) fn first_hash(&self) -> u32 {
        self.hash(0).map_or(0, once::read)
    }

    /// Its place in an index, if it has one there. The caller has the lock of the object, and has
    /// seen that it is in the table.
    #[inline(always)]
    fn place(&self, index: usize) -> Option<Place<'_>> {
        let (next, prev) = match index.checked_sub(N) {
            None => {
                // SAFETY: RCU does not have the memory yet.
                let prevs: &[Prev; N] = unsafe { &self.back.prevs };
                (self.nexts.get(index)?, prevs.get(index)?)
            }
            Some(index) => {
                let more = self.more()?;
                (more.nexts.get(index)?, more.prevs.get(index)?)
            }
        };
        // SAFETY: They lie at offsets that the index tells. The table links and unlinks them under
        // the locks.
        Some(unsafe { Place::new(next, prev) })
    }

    /// Whether the object is in the table. The caller has the lock of the object.
    fn is_linked(&self) -> bool {
        // SAFETY: The first one is never RCU's.
        let prevs: &[Prev; N] = unsafe { &self.back.prevs };
        prevs.first().is_some_and(Prev::is_linked)
    }

    /// Frees an object.
    ///
    /// # Safety
    ///
    /// The node came out of a box in [`Table::insert`], and the caller owns it.
    unsafe fn free(node: NonNull<Self>) {
        // SAFETY: By the safety requirements.
        if unsafe { node.as_ref() }.is_wide {
            // SAFETY: By the type invariant, and as it was made in a box of this type.
            drop(unsafe { KBox::<Wide<T, F, N, M>>::from_raw(node.as_ptr().cast()) });
        } else {
            // SAFETY: As above.
            drop(unsafe { KBox::from_raw(node.as_ptr()) });
        }
    }

    /// Called by RCU when a grace period has passed.
    ///
    /// # Safety
    ///
    /// `head` is that of a node which [`Table::remove`] has taken out of the table.
    unsafe extern "C" fn free_late(head: *mut bindings::callback_head) {
        let node = head.wrapping_byte_sub(Self::HEAD).cast();
        // SAFETY: By the safety requirements the head lies at this offset of a node that was the
        // table's, and that nobody finds any more.
        unsafe { Self::free(NonNull::new_unchecked(node)) };
    }
}

impl<T, F, const N: usize, const M: usize> Deref for Node<T, F, N, M> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

/// What makes an object a wide one.
pub(crate) struct Far<F, const M: usize> {
    /// What is known of it.
    pub(crate) value: F,
    /// Its hashes in the further indices, in which it can be missing.
    pub(crate) hashes: [Option<u32>; M],
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
/// under its lock.
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
    _owns: PhantomData<Wide<T, F, N, M>>,
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
        let node = Self::allocate(value, hashes, far)?;
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

    /// Memory with an object in it, which is in no chain.
    #[inline]
    fn allocate(
        value: T,
        hashes: [u32; N],
        far: Option<Far<F, M>>,
    ) -> Result<NonNull<Node<T, F, N, M>>, AllocError> {
        let node = match far {
            None => {
                let node = memory::atomic()?.write_init(Node::new(value, hashes, false));
                node.map(KBox::into_raw)
            }
            Some(far) => {
                let more = More {
                    nexts: [const { Next::new() }; M],
                    prevs: [const { Prev::new() }; M],
                    hashes: far.hashes.map(|hash| Atomic::new(hash.unwrap_or(0))),
                    value: far.value,
                };
                // INVARIANT: The node is the first field of a wide object.
                let wide = init!(Wide {
                    node <- Node::new(value, hashes, true),
                    more,
                });
                let wide = memory::atomic()?.write_init(wide);
                wide.map(|wide| KBox::into_raw(wide).cast())
            }
        };
        node.ok().and_then(NonNull::new).ok_or(AllocError)
    }

    /// Removes an object; it is dropped after a grace period. `false` if it is not in the table
    /// any more. Does not sleep.
    pub(crate) fn remove<'g>(&'g self, _: &'g Guard, node: &'g Node<T, F, N, M>) -> bool {
        let object = self.lock(node);
        if !node.is_linked() {
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
        // SAFETY: This lies in the node.
        let head = unsafe { NonNull::from(node).byte_add(Node::<T, F, N, M>::HEAD) };
        // SAFETY: The node is in no chain any more, and as it was in index 0 nobody has given it to RCU
        // before. Nobody reads the memory of the head from now on. The module waits for callbacks.
        unsafe { rcu::call_later(head.cast(), Node::<T, F, N, M>::free_late) };
        true
    }

    /// Gives an object the hash `hash` in index `I`, which is not 0, and puts it before all others
    /// of its bucket, unless it is not in this index. `change` is called when no reader finds the
    /// object in this index. Does not sleep.
    pub(crate) fn relink<'g, const I: usize>(
        &'g self,
        guard: &'g Guard,
        node: &'g Node<T, F, N, M>,
        hash: u32,
        change: impl FnOnce(),
    ) {
        const { assert!(I > 0 && I < N + M) };
        let object = self.lock(node);
        if !node.is_linked() {
            return;
        }
        let Some(place) = node.place(I).filter(Place::is_linked) else {
            return;
        };
        {
            let _lock = self.lock_more(&object, I, node);
            place.unlink();
        }
        change();
        if let Some(old) = node.hash(I) {
            once::write(old, hash);
        }
        let _lock = self.lock_more(&object, I, node);
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

    /// Gives every index so many buckets, or the least power of two that is not less. Sleeps.
    ///
    /// # Errors
    ///
    /// `EBUSY` while another resize goes on, `ENOMEM`; objects can then be found as before.
    pub(crate) fn resize(&self, sizes: Sizes) -> Result {
        let size = |count: usize| count.max(STRIPES).checked_next_power_of_two().ok_or(EINVAL);
        let (near, far) = (size(sizes.near)?, size(sizes.far)?);
        if self.resizing.xchg(1, Full) != 0 {
            return Err(EBUSY);
        }
        self.generation.add(1, Relaxed);
        let result = (0..N + M)
            .try_for_each(|index| self.resize_index(index, if index < N { near } else { far }));
        self.generation.add(1, Relaxed);
        // ORDERING: Pairs with the exchange above in the next resize.
        self.resizing.store(0, Release);
        result
    }

    /// Only called by [`Table::resize`], one at a time.
    fn resize_index(&self, index: usize, count: usize) -> Result {
        let buckets = &self.index(index).buckets;
        if self.index(index).first(&Guard::new()).slots.len() == count {
            return Ok(());
        }
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
        let _lock = self.index(index).locks.lock(number, index);
        let guard = Guard::new();
        let mut last = self.chain(&guard, index, slot).last();
        for _ in 0..MOVE_BATCH {
            let Some(node) = last else { break };
            let (Some(place), Some(hash)) = (node.place(index), node.hash(index)) else {
                break;
            };
            let before = place.before(slot);
            place.move_last(slot, to.slot(once::read(hash)));
            // SAFETY: What stands before an object in this chain is one too, and alive while we hold
            // the stripe lock.
            last = before.map(|next| unsafe { Node::from_next(next, index) });
        }
        last.is_some()
    }

    /// Takes the lock of an object.
    #[inline]
    fn lock(&self, node: &Node<T, F, N, M>) -> StripeGuard<'_> {
        let hash = u32_as_usize(node.first_hash());
        self.index(0).locks.lock(hash, 0)
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
