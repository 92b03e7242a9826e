// SPDX-License-Identifier: GPL-2.0

//! Unit tests of cells and snapshots, which need a kernel: KUnit runs them when the module is
//! loaded.

use super::{Barrier, Cell, Guard, Unpublished};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

#[kunit_tests(ipvs_ipsec_rcu)]
mod tests {
    use super::*;

    /// A number that is counted while it lives.
    struct Number(u32, Arc<Atomic<i32>>);

    impl Drop for Number {
        fn drop(&mut self) {
            self.1.add(-1, Relaxed);
        }
    }

    fn number(value: u32, alive: &Arc<Atomic<i32>>) -> Number {
        alive.add(1, Relaxed);
        Number(value, alive.clone())
    }

    #[test]
    fn a_value_goes_when_nobody_has_it() -> Result {
        let alive = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let cell = Cell::new(number(1, &alive))?;
        let snapshot = cell.snapshot();
        cell.replace(Unpublished::new(number(2, &alive))?);
        drop(Barrier);
        assert_eq!(snapshot.0.value.0, 1);
        assert_eq!(cell.read(&Guard::new()).0, 2);
        assert_eq!(alive.load(Relaxed), 2);
        drop(snapshot);
        assert_eq!(alive.load(Relaxed), 1);
        drop(cell);
        assert_eq!(alive.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn a_reader_keeps_what_it_reads() -> Result {
        let alive = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let cell = Cell::new(number(1, &alive))?;
        let next = Unpublished::new(number(2, &alive))?;
        {
            let guard = Guard::new();
            let old = cell.read(&guard);
            cell.replace(next);
            assert_eq!((old.0, cell.read(&guard).0), (1, 2));
            assert_eq!(alive.load(Relaxed), 2);
        }
        drop(Barrier);
        assert_eq!(alive.load(Relaxed), 1);
        Ok(())
    }
}
