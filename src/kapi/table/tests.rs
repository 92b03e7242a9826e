// SPDX-License-Identifier: GPL-2.0

//! Unit tests of the table, which need a kernel: KUnit runs them when the module is loaded.

use super::{Far, Inserted, Sizes, Table, STRIPES};
use crate::kapi::{
    rcu::{Barrier, Guard},
    time,
    work::{breathe, Deferred, Task},
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

#[kunit_tests(ipvs_ipsec_table)]
mod tests {
    use super::*;

    /// An object that is counted while it lives.
    struct Object {
        key: u32,
        alive: Arc<Atomic<i32>>,
    }

    impl Drop for Object {
        fn drop(&mut self) {
            self.alive.add(-1, Relaxed);
        }
    }

    type Objects = Table<Object, u32, 2, 1>;

    /// A hash whose low bits, which choose the bucket, are shared by four keys each.
    fn hash(key: u32) -> u32 {
        key / 4 * 0x9e37
    }

    /// In the second index only the lowest bits of the key count: chains of many objects.
    fn other_hash(key: u32) -> u32 {
        key % 16
    }

    /// In the further index hang those of odd keys.
    fn far_hash(key: u32) -> Option<u32> {
        (key % 2 == 1 && key != SOLITARY).then_some(key % 32)
    }

    /// The key of a wide object that is missing in the further index.
    const SOLITARY: u32 = 100_001;

    struct Fixture {
        table: Arc<Objects>,
        alive: Arc<Atomic<i32>>,
    }

    impl Fixture {
        fn new(count: u32) -> Result<Self> {
            let fixture = Fixture {
                table: Arc::init(Table::new(), GFP_KERNEL)?,
                alive: Arc::new(Atomic::new(0), GFP_KERNEL)?,
            };
            for key in 0..count {
                fixture.insert(key)?;
            }
            Ok(fixture)
        }

        /// `true` if there was none with this key.
        fn insert(&self, key: u32) -> Result<bool> {
            let guard = Guard::new();
            self.alive.add(1, Relaxed);
            let object = Object {
                key,
                alive: self.alive.clone(),
            };
            let hashes = [hash(key), other_hash(key)];
            let far = (key % 2 == 1).then(|| Far {
                value: key,
                hashes: [far_hash(key)],
            });
            let rival = |rival: &Object| rival.key == key;
            let inserted = self.table.insert(&guard, object, hashes, far, rival)?;
            Ok(matches!(inserted, Inserted::New(_)))
        }

        fn remove(&self, key: u32) -> bool {
            let guard = Guard::new();
            self.table
                .find::<0>(&guard, hash(key), |object| object.key == key)
                .is_some_and(|node| {
                    self.table.remove(&guard, node) && !self.table.remove(&guard, node)
                })
        }

        fn has(&self, key: u32) -> bool {
            has(&self.table, key)
        }

        fn alive(&self) -> i32 {
            drop(Barrier);
            self.alive.load(Relaxed)
        }
    }

    /// Whether an object is found, in all its indices alike.
    fn has(table: &Objects, key: u32) -> bool {
        let guard = Guard::new();
        let wanted = |object: &Object| object.key == key;
        let found = table.find::<0>(&guard, hash(key), wanted);
        let other = table.find::<1>(&guard, other_hash(key), wanted);
        let (Some(found), Some(other)) = (found, other) else {
            return false;
        };
        let is_far = far_hash(key).is_none_or(|hash| {
            let far = table.find::<2>(&guard, hash, wanted);
            far.is_some_and(|far| core::ptr::eq(found, far) && far.far() == Some(&key))
        });
        core::ptr::eq(found, other) && is_far
    }

    /// Gives every index so many buckets.
    fn resize(table: &Objects, count: usize) -> Result {
        table.resize(Sizes {
            near: count,
            far: count / 2,
        })
    }

    #[test]
    fn what_is_inserted_is_found_until_it_is_removed() -> Result {
        let fixture = Fixture::new(1000)?;
        assert!((0..1000).all(|key| fixture.has(key)));
        assert!(!fixture.has(1000));
        assert_eq!(fixture.table.count(), 1000);
        assert!((0..1000).step_by(2).all(|key| fixture.remove(key)));
        assert!((0..1000).all(|key| fixture.has(key) == (key % 2 == 1)));
        assert_eq!(fixture.table.count(), 500);
        assert_eq!(fixture.alive(), 500);
        Ok(())
    }

    #[test]
    fn a_table_drops_what_is_in_it() -> Result {
        let Fixture { table, alive } = Fixture::new(300)?;
        drop(table);
        assert_eq!(alive.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn what_is_missing_in_an_index_stays_so() -> Result {
        let fixture = Fixture::new(100)?;
        assert!(fixture.insert(SOLITARY)?);
        {
            let guard = Guard::new();
            let table = &fixture.table;
            let wanted = |object: &Object| object.key == SOLITARY;
            let node = table.find::<0>(&guard, hash(SOLITARY), wanted);
            let node = node.ok_or(ENOENT)?;
            table.relink::<2>(&guard, node, 5, || {});
            assert!(table.find::<2>(&guard, 5, wanted).is_none());
            assert_eq!(node.far(), Some(&SOLITARY));
            // Nor has a narrow one a place there.
            let wanted = |object: &Object| object.key == 8;
            let node = table.find::<0>(&guard, hash(8), wanted).ok_or(ENOENT)?;
            table.relink::<2>(&guard, node, 8, || {});
            assert!(table.find::<2>(&guard, 8, wanted).is_none() && node.far().is_none());
        }
        let counts = |near, far| Sizes { near, far };
        assert_eq!(fixture.table.counts(), counts(101, 50));
        resize(&fixture.table, 1024)?;
        assert_eq!(fixture.table.sizes(), counts(1024, 512));
        assert!((0..100).all(|key| fixture.has(key)));
        assert!(fixture.remove(SOLITARY) && fixture.remove(7));
        assert_eq!(fixture.table.counts(), counts(99, 49));
        Ok(())
    }

    #[test]
    fn a_rival_remains() -> Result {
        let fixture = Fixture::new(10)?;
        assert!(!fixture.insert(3)?);
        assert_eq!(fixture.table.count(), 10);
        assert_eq!(fixture.alive(), 10);
        Ok(())
    }

    #[test]
    fn the_latest_comes_first() -> Result {
        let fixture = Fixture::new(64)?;
        let guard = Guard::new();
        let first = fixture.table.find::<1>(&guard, 5, |_| true);
        assert_eq!(first.map(|node| node.key), Some(53));
        // Whoever is linked anew is the latest.
        let Some(old) = fixture
            .table
            .find::<1>(&guard, 5, |object| object.key == 21)
        else {
            return Err(ENOENT);
        };
        fixture.table.relink::<1>(&guard, old, 5, || {});
        let first = fixture.table.find::<1>(&guard, 5, |_| true);
        assert_eq!(first.map(|node| node.key), Some(21));
        Ok(())
    }

    #[test]
    fn what_is_relinked_is_found_by_its_new_hash_only() -> Result {
        let fixture = Fixture::new(64)?;
        let guard = Guard::new();
        let wanted = |object: &Object| object.key == 7;
        let Some(node) = fixture.table.find::<1>(&guard, 7, wanted) else {
            return Err(ENOENT);
        };
        fixture.table.relink::<1>(&guard, node, 4711, || {});
        assert!(fixture.table.find::<1>(&guard, 7, wanted).is_none());
        assert!(fixture.table.find::<1>(&guard, 4711, wanted).is_some());
        assert!(fixture.table.find::<0>(&guard, hash(7), wanted).is_some());
        // What is out of the table stays out.
        assert!(fixture.table.remove(&guard, node));
        fixture.table.relink::<1>(&guard, node, 7, || {});
        assert!(fixture.table.find::<1>(&guard, 7, wanted).is_none());
        Ok(())
    }

    #[test]
    fn another_tables_object_stays_where_it_is() -> Result {
        let (fixture, other) = (Fixture::new(64)?, Fixture::new(64)?);
        {
            let guard = Guard::new();
            for key in [6, 7] {
                let wanted = |object: &Object| object.key == key;
                let node = fixture.table.find::<0>(&guard, hash(key), wanted);
                let node = node.ok_or(ENOENT)?;
                assert!(!other.table.remove(&guard, node));
                other
                    .table
                    .relink::<1>(&guard, node, 4711, || unreachable!());
                assert!(other.table.find::<1>(&guard, 4711, |_| true).is_none());
                assert!(fixture.has(key) && other.has(key));
            }
        }
        assert_eq!((fixture.table.count(), other.table.count()), (64, 64));
        assert_eq!((fixture.alive(), other.alive()), (64, 64));
        Ok(())
    }

    /// Number of objects met in all buckets, and the sum of their keys.
    fn visited(table: &Objects) -> (u32, u32) {
        let (mut count, mut sum) = (0, 0);
        for bucket in 0..=table.size() {
            let there = table.visit(&Guard::new(), bucket, |node| {
                count += 1;
                sum += node.key;
            });
            assert_eq!(there, bucket < table.size());
        }
        (count, sum)
    }

    #[test]
    fn a_resize_loses_nothing() -> Result {
        let fixture = Fixture::new(1000)?;
        for size in [4096, STRIPES, 1000, 1, 2048] {
            let before = fixture.table.generation();
            resize(&fixture.table, size)?;
            assert!(fixture.table.generation() != before);
            assert_eq!(fixture.table.size(), size.next_power_of_two().max(STRIPES));
            assert!((0..1000).all(|key| fixture.has(key)));
            assert_eq!(visited(&fixture.table), (1000, 999 * 500));
        }
        assert!((0..1000).all(|key| fixture.remove(key)));
        assert_eq!(fixture.alive(), 0);
        Ok(())
    }

    #[test]
    fn a_size_beyond_all_memory_is_refused() -> Result {
        let fixture = Fixture::new(10)?;
        assert_eq!(resize(&fixture.table, usize::MAX), Err(EINVAL));
        assert_eq!(fixture.table.size(), STRIPES);
        assert!(fixture.has(7));
        Ok(())
    }

    #[test]
    fn a_resize_that_finds_no_memory_has_changed_nothing() -> Result {
        let fixture = Fixture::new(1000)?;
        let before = fixture.table.generation();
        let sizes = Sizes {
            near: 1024,
            far: 1 << 60,
        };
        assert_eq!(fixture.table.resize(sizes), Err(ENOMEM));
        let size = |index| fixture.table.index(index).first(&Guard::new()).slots.len();
        assert_eq!([0, 1, 2].map(size), [STRIPES; 3]);
        assert_eq!(fixture.table.generation(), before);
        // The next one is not kept from what this one was.
        resize(&fixture.table, 1024)?;
        assert_eq!([0, 1, 2].map(size), [1024, 1024, 512]);
        assert!((0..1000).all(|key| fixture.has(key)));
        Ok(())
    }

    /// Keys that readers look for all the time.
    const LASTING: u32 = 500;

    /// Looks for what must be there, again and again.
    struct Reader {
        table: Arc<Objects>,
        rounds: Atomic<i32>,
        missed: Atomic<i32>,
        stop: Atomic<i32>,
    }

    impl Task for Reader {
        fn run(&self) -> Option<u64> {
            while self.stop.load(Relaxed) == 0 {
                for key in 0..LASTING {
                    if !has(&self.table, key) {
                        self.missed.add(1, Relaxed);
                    }
                }
                self.rounds.add(1, Relaxed);
                breathe();
            }
            None
        }
    }

    impl Reader {
        fn start(table: &Arc<Objects>) -> Result<Pin<KBox<Deferred<Self>>>> {
            let reader = Reader {
                table: table.clone(),
                rounds: Atomic::new(0),
                missed: Atomic::new(0),
                stop: Atomic::new(0),
            };
            let started = KBox::pin_init(Deferred::new(Ok(reader)), GFP_KERNEL)?;
            started.kick();
            while started.rounds.load(Relaxed) == 0 {
                breathe();
            }
            Ok(started)
        }

        /// How often it missed something.
        fn end(&self) -> i32 {
            self.stop.store(1, Relaxed);
            self.missed.load(Relaxed)
        }
    }

    #[test]
    fn readers_miss_nothing_while_the_table_changes() -> Result {
        let fixture = Fixture::new(LASTING)?;
        let reader = Reader::start(&fixture.table)?;
        for round in 0..10 {
            for key in LASTING..2 * LASTING {
                fixture.insert(key)?;
            }
            resize(&fixture.table, if round % 2 == 0 { 2048 } else { STRIPES })?;
            assert!((LASTING..2 * LASTING).all(|key| fixture.remove(key)));
        }
        assert_eq!(reader.end(), 0);
        drop(reader);
        assert_eq!(fixture.alive(), i32::try_from(LASTING)?);
        Ok(())
    }

    /// Looks for what is just being moved, in its old chain and in its new one.
    struct Follower {
        table: Arc<Objects>,
        key: Atomic<u32>,
        rounds: Atomic<i32>,
        missed: Atomic<i32>,
        stop: Atomic<i32>,
    }

    impl Task for Follower {
        fn run(&self) -> Option<u64> {
            while self.stop.load(Relaxed) == 0 {
                for _ in 0..100 {
                    let key = self.key.load(Relaxed);
                    let hashes = [!other_hash(key), other_hash(key)];
                    let wanted = |object: &Object| object.key == key;
                    let guard = Guard::new();
                    if self
                        .table
                        .find_moving::<1>(&guard, hashes, wanted)
                        .is_none()
                    {
                        self.missed.add(1, Relaxed);
                    }
                }
                self.rounds.add(1, Relaxed);
                breathe();
            }
            None
        }
    }

    #[test]
    fn what_is_relinked_is_found_at_every_moment() -> Result {
        let fixture = Fixture::new(LASTING)?;
        let follower = Follower {
            table: fixture.table.clone(),
            key: Atomic::new(0),
            rounds: Atomic::new(0),
            missed: Atomic::new(0),
            stop: Atomic::new(0),
        };
        let follower = KBox::pin_init(Deferred::new(Ok(follower)), GFP_KERNEL)?;
        follower.kick();
        for key in 0..LASTING {
            follower.key.store(key, Relaxed);
            let begun = follower.rounds.load(Relaxed);
            while follower.rounds.load(Relaxed) == begun {
                breathe();
            }
            let guard = Guard::new();
            let wanted = |object: &Object| object.key == key;
            let node = fixture.table.find::<0>(&guard, hash(key), wanted);
            let node = node.ok_or(ENOENT)?;
            fixture
                .table
                .relink::<1>(&guard, node, !other_hash(key), || {
                    (0..1000).for_each(|_| core::hint::spin_loop());
                });
        }
        follower.stop.store(1, Relaxed);
        assert_eq!(follower.missed.load(Relaxed), 0);
        Ok(())
    }

    /// Finds an object, and stays with it for a while after its bucket was given up.
    struct Lingerer {
        table: Arc<Objects>,
        /// 1 when it has begun, 2 when it has ended.
        step: Atomic<i32>,
        /// Whether the resize has.
        resized: Atomic<i32>,
        overtaken: Atomic<i32>,
    }

    impl Task for Lingerer {
        fn run(&self) -> Option<u64> {
            let wait = |milliseconds, has_come: &dyn Fn() -> bool| {
                let end = time::jiffies() + time::from_milliseconds(milliseconds);
                while time::jiffies() < end && !has_come() {}
            };
            let guard = Guard::new();
            self.table.find::<0>(&guard, hash(7), |object| {
                self.step.store(1, Relaxed);
                wait(2000, &|| self.table.size() != STRIPES);
                wait(200, &|| self.resized.load(Relaxed) != 0);
                self.overtaken.store(self.resized.load(Relaxed), Relaxed);
                object.key == 7
            });
            drop(guard);
            self.step.store(2, Relaxed);
            None
        }
    }

    #[test]
    fn a_resize_waits_for_who_reads_what_it_frees() -> Result {
        let fixture = Fixture::new(8)?;
        let lingerer = Lingerer {
            table: fixture.table.clone(),
            step: Atomic::new(0),
            resized: Atomic::new(0),
            overtaken: Atomic::new(0),
        };
        let lingerer = KBox::pin_init(Deferred::new(Ok(lingerer)), GFP_KERNEL)?;
        lingerer.kick();
        while lingerer.step.load(Relaxed) == 0 {
            breathe();
        }
        resize(&fixture.table, 1024)?;
        lingerer.resized.store(1, Relaxed);
        while lingerer.step.load(Relaxed) != 2 {
            breathe();
        }
        assert_eq!(lingerer.overtaken.load(Relaxed), 0);
        Ok(())
    }
}
