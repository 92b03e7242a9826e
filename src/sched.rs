// SPDX-License-Identifier: GPL-2.0

//! How the server of a new entry is chosen (pure): a trait, and a file for each scheduler.

mod rr;
mod wrr;

use core::ffi::CStr;

/// The real servers of a service as a scheduler sees them, in the order they were configured.
pub trait Pool {
    /// Number of servers.
    fn count(&self) -> usize;

    /// Capacity of server `index` relative to the others, 0 to 65,535. 0 takes no new entries, as
    /// does a server that is not there.
    fn weight(&self, index: usize) -> u32;
}

/// A way to choose.
pub trait Scheduler: Sync {
    /// The name an administrator calls it by, that of the ip_vs scheduler of the same kind.
    fn name(&self) -> &'static CStr;

    /// Index of the server for a new entry; `None` when no server takes any.
    ///
    /// `ticket` counts the decisions of the service, so that a scheduler needs neither memory nor
    /// lock of its own.
    fn choose(&self, pool: &dyn Pool, ticket: u64) -> Option<usize>;
}

/// Name of the scheduler of a service that was added without one.
pub const DEFAULT: &CStr = c"wrr";

/// The scheduler called `name`.
pub fn by_name(name: &CStr) -> Option<&'static dyn Scheduler> {
    const ALL: [&dyn Scheduler; 2] = [&rr::RoundRobin, &wrr::WeightedRoundRobin];
    ALL.into_iter().find(|scheduler| scheduler.name() == name)
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_sched))]
mod tests {
    use super::*;

    pub(super) struct Weights<'a>(pub(super) &'a [u32]);

    impl Pool for Weights<'_> {
        fn count(&self) -> usize {
            self.0.len()
        }

        fn weight(&self, index: usize) -> u32 {
            self.0.get(index).copied().unwrap_or(0)
        }
    }

    #[test]
    fn each_is_found_by_its_name() {
        for name in [c"rr", c"wrr", DEFAULT] {
            assert_eq!(by_name(name).map(|s| s.name()), Some(name));
        }
        assert!(by_name(c"").is_none());
        assert!(by_name(c"wr").is_none());
    }

    #[test]
    fn no_server_that_takes_entries_is_no_choice() {
        for name in [c"rr", c"wrr"] {
            let scheduler = by_name(name).unwrap();
            for weights in [&[][..], &[0], &[0, 0, 0]] {
                for ticket in [0, 1, u64::MAX] {
                    let chosen = scheduler.choose(&Weights(weights), ticket);
                    assert_eq!((name, chosen), (name, None));
                }
            }
        }
    }
}
