// SPDX-License-Identifier: GPL-2.0

//! The objects of a table: narrow ones and wide ones, and their places in its chains.

use super::{
    chain::{Next, Place, Prev},
    id::Id,
};
use crate::kapi::{bindings, memory, once, rcu};
use core::{
    marker::PhantomData,
    mem::{offset_of, ManuallyDrop},
    ops::Deref,
    ptr::{self, NonNull},
};
use kernel::{alloc::AllocError, prelude::*, sync::atomic::Atomic};

/// An object in a table. What a reader wants of it comes first.
///
/// Pointers in chains lead from a field of one object to a field of the next. The provenance of
/// each object's memory, the whole of it, is exposed when it is allocated; a walk from a field to
/// its object takes that provenance.
///
/// # Invariants
///
/// If `IS_WIDE` is set in `owner`, this is the first field of a [`Wide`]. The rest of `owner` is the
/// number of the table that the object is for.
#[repr(C)]
pub(crate) struct Node<T, F, const N: usize, const M: usize> {
    nexts: [Next; N],
    hashes: [Atomic<u32>; N],
    owner: u32,
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

/// Bit that no number of a table has.
const IS_WIDE: u32 = 1 << 31;

impl<T, F, const N: usize, const M: usize> Node<T, F, N, M> {
    /// Where the head for RCU lies.
    const HEAD: usize = offset_of!(Self, back) + offset_of!(End, head);

    fn new(value: T, hashes: [u32; N], owner: u32) -> impl Init<Self> {
        let back = Back {
            prevs: ManuallyDrop::new([const { Prev::new() }; N]),
        };
        init!(Node {
            nexts: [const { Next::new() }; N],
            hashes: hashes.map(Atomic::new),
            owner,
            value,
            back,
            _more: PhantomData,
        })
    }

    /// Memory with an object in it, which is in no chain, for the table of this number.
    #[inline]
    pub(super) fn allocate(
        table: &Id,
        value: T,
        hashes: [u32; N],
        far: Option<Far<F, M>>,
    ) -> Result<NonNull<Self>, AllocError> {
        let node = match far {
            None => {
                let node = memory::atomic()?.write_init(Node::new(value, hashes, table.number()));
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
                    node <- Node::new(value, hashes, table.number() | IS_WIDE),
                    more,
                });
                let wide = memory::atomic()?.write_init(wide);
                wide.map(|wide| KBox::into_raw(wide).cast())
            }
        };
        let node = node.ok().and_then(NonNull::new).ok_or(AllocError)?;
        node.as_ptr().expose_provenance();
        Ok(node)
    }

    /// Whether the object is for the table of this number.
    #[inline]
    pub(super) fn is_of(&self, table: &Id) -> bool {
        self.owner & !IS_WIDE == table.number()
    }

    fn is_wide(&self) -> bool {
        self.owner & IS_WIDE != 0
    }

    /// The node whose place in index `index` is `next`.
    ///
    /// # Safety
    ///
    /// `next` is in a chain of this index of a table of this type, and alive for `'a`.
    #[inline(always)]
    pub(super) unsafe fn from_next<'a>(next: NonNull<Next>, index: usize) -> &'a Self {
        let start = match index.checked_sub(N) {
            None => offset_of!(Self, nexts) + index * size_of::<Next>(),
            Some(index) => {
                offset_of!(Wide<T, F, N, M>, more)
                    + offset_of!(More<F, M>, nexts)
                    + index * size_of::<Next>()
            }
        };
        let node = ptr::with_exposed_provenance::<Self>(next.addr().get().wrapping_sub(start));
        // SAFETY: By the safety requirements `next` lies at this offset of a live node, or of the wide
        // one that this begins, whose provenance `allocate` has exposed.
        unsafe { &*node }
    }

    /// The object with all that was allocated for it.
    #[inline]
    fn whole<W>(&self) -> *mut W {
        ptr::with_exposed_provenance_mut(ptr::from_ref(self).addr())
    }

    /// What RCU has of the object.
    pub(super) fn head(&self) -> NonNull<rcu::Head> {
        let head = self.whole::<Self>().wrapping_byte_add(Self::HEAD);
        // SAFETY: It lies in the object.
        unsafe { NonNull::new_unchecked(head.cast()) }
    }

    /// What a wide object has.
    #[inline]
    fn more(&self) -> Option<&More<F, M>> {
        let wide = self.whole::<Wide<T, F, N, M>>();
        // SAFETY: By the type invariant.
        self.is_wide().then(|| unsafe { &(*wide).more })
    }

    /// What is known of the object, if that is a wide one.
    #[inline]
    pub(crate) fn far(&self) -> Option<&F> {
        self.more().map(|more| &more.value)
    }

    /// The hash of the object in an index, if it has one there.
    #[inline(always)]
    pub(super) fn hash(&self, index: usize) -> Option<&Atomic<u32>> {
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
    pub(super) fn place(&self, index: usize) -> Option<Place<'_>> {
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
    pub(super) fn is_linked(&self) -> bool {
        // SAFETY: The first one is never RCU's.
        let prevs: &[Prev; N] = unsafe { &self.back.prevs };
        prevs.first().is_some_and(Prev::is_linked)
    }

    /// Frees an object.
    ///
    /// # Safety
    ///
    /// The node came out of a box in [`Node::allocate`], and the caller owns it.
    pub(super) unsafe fn free(node: NonNull<Self>) {
        let start = node.addr().get();
        // SAFETY: By the safety requirements.
        if unsafe { node.as_ref() }.is_wide() {
            let wide = ptr::with_exposed_provenance_mut::<Wide<T, F, N, M>>(start);
            // SAFETY: By the type invariant, and as it was made in a box of this type.
            drop(unsafe { KBox::from_raw(wide) });
        } else {
            // SAFETY: As above.
            drop(unsafe { KBox::from_raw(ptr::with_exposed_provenance_mut::<Self>(start)) });
        }
    }

    /// Called by RCU when a grace period has passed.
    ///
    /// # Safety
    ///
    /// `head` is that of a node which [`Table::remove`] has taken out of the table.
    pub(super) unsafe extern "C" fn free_late(head: *mut bindings::callback_head) {
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
