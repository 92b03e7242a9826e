// SPDX-License-Identifier: GPL-2.0

//! How the server of a new entry is chosen (pure): a trait, and a file for each scheduler.
//!
//! A decision takes no lock and keeps nothing in mind; that of a scheduler which needs to remember
//! where it was depends on a ticket, the number of the decision. Weights stay what they are during
//! a decision, but packets of other processors change load and overload in the middle of it. So
//! what a scheduler counted may be out of date when it comes back to it, and it must cope.

mod cost;
mod fo;
mod hash;
mod lc;
mod mh;
mod nq;
mod ovf;
mod rr;
mod sed;
mod sh;
mod slots;
mod twos;
mod wlc;
mod wrr;

use crate::addr::Addr;
use core::ffi::CStr;

/// The real servers of a service as a scheduler sees them, in the order they were configured.
pub trait Pool {
    /// Number of servers.
    fn count(&self) -> usize;

    /// Capacity of server `index` relative to the others, 0 to 65,535. 0 takes no new entries, as
    /// does a server that is not there.
    fn weight(&self, index: usize) -> u32;

    /// Entries of the server now.
    fn load(&self, index: usize) -> Load;

    /// Whether it has as many entries as its upper threshold allows.
    fn is_overloaded(&self, index: usize) -> bool;

    /// Its address.
    fn address(&self, index: usize) -> Addr;

    /// What [`Scheduler::prepare`] wrote for the present servers and weights.
    fn slots(&self) -> &[u16];
}

/// Entries of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Those whose initiator finished the IKE handshake: ip_vs's active connections.
    pub established: u32,
    /// The others: ip_vs's inactive connections.
    pub initial: u32,
}

/// What is known of the initiator a server is chosen for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its address.
    pub client: Addr,
    /// Its UDP port.
    pub client_port: u16,
    /// Counts the decisions of the service.
    pub ticket: u64,
    /// Those of the service.
    pub options: Options,
}

/// How sh and mh choose: ip_vs's flags sh-fallback and sh-port, mh-fallback and mh-port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Look for another server when that of the initiator takes no entries.
    pub fallback: bool,
    /// The port of the initiator counts, too.
    pub port: bool,
}

/// A way to choose.
pub trait Scheduler: Sync {
    /// The name an administrator calls it by, that of the ip_vs scheduler of the same kind.
    fn name(&self) -> &'static CStr;

    /// Index of the server for a new entry; `None` when no server takes it.
    fn choose(&self, pool: &dyn Pool, request: &Request) -> Option<usize>;

    /// Number of slots it looks its choices up in, 0 if none.
    fn slots(&self) -> usize {
        0
    }

    /// Fills the slots from servers and weights, whenever these change; `u16::MAX` is no server.
    /// `slots` is as long as [`Self::slots`] says, `scratch` has one word a server, and what is in
    /// them does not matter. Process context.
    fn prepare(&self, _pool: &dyn Pool, _slots: &mut [u16], _scratch: &mut [u32]) {}
}

/// Name of the scheduler of a service that was added without one; ipvsadm has the same.
pub const DEFAULT: &CStr = c"wlc";

const ALL: [&dyn Scheduler; 11] = [
    &rr::RoundRobin,
    &wrr::WeightedRoundRobin,
    &lc::LeastConnection,
    &wlc::WeightedLeastConnection,
    &sed::ShortestExpectedDelay,
    &nq::NeverQueue,
    &sh::SourceHash,
    &mh::MaglevHash,
    &fo::FailOver,
    &ovf::Overflow,
    &twos::TwoChoices,
];

/// The scheduler called `name`.
pub fn by_name(name: &CStr) -> Option<&'static dyn Scheduler> {
    ALL.into_iter().find(|scheduler| scheduler.name() == name)
}

/// Weight of server `index` for a new entry: 0 also while it is overloaded.
fn room(pool: &dyn Pool, index: usize) -> u32 {
    let weight = pool.weight(index);
    if weight > 0 && pool.is_overloaded(index) {
        0
    } else {
        weight
    }
}

/// The servers that take entries, each with its weight.
fn willing(pool: &dyn Pool) -> impl Iterator<Item = (usize, u32)> + '_ {
    (0..pool.count())
        .map(|index| (index, room(pool, index)))
        .filter(|(_, weight)| *weight > 0)
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_sched))]
mod tests {
    use super::*;
    use core::cell::Cell;

    /// Decisions of a measurement.
    pub(super) const DECISIONS: u32 = 10_000;

    /// Greatest [`chi_square`] of a choice that is as even as whole numbers are.
    pub(super) const EXACT: u64 = 10;

    /// Servers on paper. What a slice is too short for is nothing, or an address of the server's
    /// own.
    #[derive(Clone, Copy, Default)]
    pub(super) struct Servers<'a> {
        pub(super) weights: &'a [u32],
        pub(super) loads: &'a [Load],
        pub(super) overloaded: &'a [bool],
        pub(super) addresses: &'a [Addr],
        pub(super) slots: &'a [u16],
    }

    impl<'a> Servers<'a> {
        /// Idle servers of these weights.
        pub(super) fn of(weights: &'a [u32]) -> Self {
            Servers {
                weights,
                ..Servers::default()
            }
        }
    }

    impl Pool for Servers<'_> {
        fn count(&self) -> usize {
            self.weights.len()
        }

        fn weight(&self, index: usize) -> u32 {
            self.weights.get(index).copied().unwrap_or(0)
        }

        fn load(&self, index: usize) -> Load {
            self.loads.get(index).copied().unwrap_or_default()
        }

        fn is_overloaded(&self, index: usize) -> bool {
            self.overloaded.get(index).copied().unwrap_or(false)
        }

        fn address(&self, index: usize) -> Addr {
            let own = || Addr::V4((0x0a00_0001 + u32::try_from(index).unwrap_or(0)).to_be_bytes());
            self.addresses.get(index).copied().unwrap_or_else(own)
        }

        fn slots(&self) -> &[u16] {
            self.slots
        }
    }

    /// Decision `ticket`, for a client of its own: they have consecutive addresses.
    pub(super) fn request(ticket: u64) -> Request {
        let client = 0xc612_0000_u32.wrapping_add(u32::try_from(ticket % 0x1_0000).unwrap_or(0));
        Request {
            client: Addr::V4(client.to_be_bytes()),
            client_port: 500,
            ticket,
            options: Options::default(),
        }
    }

    /// How often each server is chosen in 10,000 decisions. If entries stay, each decision adds an
    /// established one to the server's load; else all remain idle.
    pub(super) fn decide<const N: usize>(
        scheduler: &dyn Scheduler,
        pool: &Servers<'_>,
        entries_stay: bool,
    ) -> [u32; N] {
        let mut loads = [Load::default(); N];
        for ticket in 0..DECISIONS {
            let pool = Servers {
                loads: if entries_stay { &loads } else { &[] },
                ..*pool
            };
            let chosen = scheduler.choose(&pool, &request(ticket.into()));
            if let Some(load) = chosen.and_then(|index| loads.get_mut(index)) {
                load.established += 1;
            }
        }
        loads.map(|load| load.established)
    }

    /// How far 10,000 decisions are from these shares, by Pearson's chi-square test, in
    /// thousandths: over all servers the square of the difference between the number of decisions
    /// and the number expected, divided by the latter. `u64::MAX` if decisions are missing, or if
    /// there is one without a share.
    pub(super) fn chi_square(counts: &[u32], shares: &[u32]) -> u64 {
        if counts.iter().sum::<u32>() != DECISIONS || counts.len() != shares.len() {
            return u64::MAX;
        }
        let n = u64::from(DECISIONS);
        let all = u64::from(shares.iter().sum::<u32>());
        let one = |(count, share): (&u32, &u32)| {
            let (count, share) = (u64::from(*count), u64::from(*share));
            // Times `all`, so that the number expected is a whole one.
            let off = (count * all).abs_diff(n * share);
            match (off * off).checked_div(n / 1000 * share * all) {
                Some(term) => term,
                None if count == 0 => 0,
                None => u64::MAX,
            }
        };
        counts
            .iter()
            .zip(shares)
            .map(one)
            .fold(0, u64::saturating_add)
    }

    /// What the [`chi_square`] of a fair random choice exceeds once in 1000 times, by degrees of
    /// freedom: the number of servers less one.
    pub(super) fn limit(freedom: usize) -> u64 {
        const LIMITS: [u64; 8] = [0, 10_828, 13_816, 16_266, 18_467, 20_515, 22_458, 24_322];
        LIMITS.get(freedom).copied().unwrap_or(0)
    }

    /// Slots of at most 251, which is prime as mh needs, small enough for the stack of the kernel.
    pub(super) fn prepared<'a>(
        scheduler: &dyn Scheduler,
        pool: &Servers<'_>,
        slots: &'a mut [u16; 251],
    ) -> &'a [u16] {
        let size = scheduler.slots().min(slots.len());
        let slots = slots.get_mut(..size).unwrap_or_default();
        scheduler.prepare(pool, slots, &mut [u32::MAX; 16]);
        slots
    }

    /// Number of slots of each server.
    pub(super) fn slots_of<const N: usize>(slots: &[u16]) -> [u32; N] {
        let mut counts = [0; N];
        for slot in slots {
            if let Some(count) = counts.get_mut(usize::from(*slot)) {
                *count += 1;
            }
        }
        counts
    }

    #[test]
    fn each_is_found_by_its_name() {
        for name in [
            c"rr", c"wrr", c"lc", c"wlc", c"sed", c"nq", c"sh", c"mh", c"fo", c"ovf", c"twos",
            DEFAULT,
        ] {
            assert_eq!(by_name(name).map(|s| s.name()), Some(name));
        }
        assert!(by_name(c"").is_none());
        assert!(by_name(c"wr").is_none());
        assert!(by_name(c"wrr ").is_none());
    }

    #[test]
    fn the_measure_measures() {
        // (30 - 20)^2 / 20 twice, if there were 40 decisions.
        assert_eq!(chi_square(&[7500, 2500], &[1, 1]), 2 * 1_250_000);
        assert_eq!(chi_square(&[2500, 0, 7500], &[1, 0, 3]), 0);
        assert_eq!(chi_square(&[2500, 1, 7499], &[1, 0, 3]), u64::MAX);
        assert_eq!(chi_square(&[2500, 7499], &[1, 3]), u64::MAX);
    }

    #[test]
    fn only_servers_that_take_entries_are_chosen() {
        let mut slots = [0; 251];
        for scheduler in ALL {
            for (weights, overloaded) in [
                (&[][..], &[][..]),
                (&[0], &[]),
                (&[0, 0, 0], &[]),
                (&[1], &[true]),
                (&[1, 65_535, 0], &[true, true, false]),
                (&[0, 3, 0], &[]),
                (&[9, 3, 9], &[true, false, true]),
                (&[0, 3, 65_535], &[false, false, true]),
            ] {
                let pool = Servers {
                    overloaded,
                    ..Servers::of(weights)
                };
                let slots = prepared(scheduler, &pool, &mut slots);
                let pool = Servers { slots, ..pool };
                let only = (0..weights.len()).find(|index| room(&pool, *index) > 0);
                for ticket in [0, 1, 2, 3, 500, 1 << 63, u64::MAX - 1, u64::MAX] {
                    let mut request = request(ticket);
                    let chosen = scheduler.choose(&pool, &request);
                    // A client of sh and mh has its one server.
                    assert!(chosen == only || chosen.is_none() && scheduler.slots() > 0);
                    request.options.fallback = true;
                    assert_eq!(scheduler.choose(&pool, &request), only);
                }
            }
        }
    }

    #[test]
    fn a_thousand_servers_and_extreme_weights() {
        const LOADS: [Load; 2] = [
            Load {
                established: u32::MAX,
                initial: u32::MAX,
            },
            Load {
                established: 65_535,
                initial: u32::MAX,
            },
        ];
        // sh and mh need more memory for a thousand: mh/clusters.rs.
        for scheduler in ALL.into_iter().filter(|s| s.slots() == 0) {
            for weights in [&[65_535; 1000][..], &[1, 65_535], &[65_535, 1], &[1]] {
                for loads in [&[][..], &LOADS, &[LOADS[1]; 2]] {
                    let pool = Servers {
                        loads,
                        ..Servers::of(weights)
                    };
                    for ticket in [0, 1, 65_535, 1 << 63, u64::MAX - 1, u64::MAX] {
                        let chosen = scheduler.choose(&pool, &request(ticket));
                        let is_ovf = scheduler.name() == c"ovf";
                        assert!(chosen.is_some_and(|index| index < weights.len()) || is_ovf);
                    }
                }
            }
        }
    }

    /// Servers that become overloaded, and are no more, whenever they are looked at.
    struct Restless<'a>(Servers<'a>, Cell<u64>);

    impl Pool for Restless<'_> {
        fn count(&self) -> usize {
            self.0.count()
        }

        fn weight(&self, index: usize) -> u32 {
            self.0.weight(index)
        }

        fn load(&self, _: usize) -> Load {
            self.1.set(self.1.get() + 1);
            let random = hash::random(self.1.get());
            Load {
                established: u32::try_from(random >> 32).unwrap_or(0),
                initial: u32::try_from(random >> 48).unwrap_or(0),
            }
        }

        fn is_overloaded(&self, _: usize) -> bool {
            self.1.set(self.1.get() + 1);
            hash::random(self.1.get()) % 3 == 0
        }

        fn address(&self, index: usize) -> Addr {
            self.0.address(index)
        }

        fn slots(&self) -> &[u16] {
            self.0.slots()
        }
    }

    #[test]
    fn servers_may_change_in_the_middle_of_a_decision() {
        let mut slots = [0; 251];
        for scheduler in ALL {
            for weights in [&[2, 3, 4, 0][..], &[1, 65_535], &[10, 20, 40]] {
                let pool = Servers::of(weights);
                let slots = prepared(scheduler, &pool, &mut slots);
                let pool = Restless(Servers { slots, ..pool }, Cell::new(0));
                for ticket in 0..2000 {
                    let chosen = scheduler.choose(&pool, &request(hash::mix(ticket)));
                    assert!(chosen.is_none_or(|index| pool.weight(index) > 0));
                }
            }
        }
    }
}
