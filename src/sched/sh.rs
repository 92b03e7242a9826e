// SPDX-License-Identifier: GPL-2.0

//! Source hash (pure): the address of the initiator says which server. After
//! net/netfilter/ipvs/ip_vs_sh.c.
//!
//! ip_vs gives a server of weight 0 a slot, too, and turns its clients away. Here a server that is
//! taken out by weight 0 leaves its slots to the others. Most clients move when servers come or go;
//! mh spares those of the other servers.

use super::{
    slots::{in_order, index, look_up, quotas, NONE},
    Pool, Request, Scheduler,
};
use core::ffi::CStr;

/// The server whose slot the initiator hashes to.
pub(super) struct SourceHash;

impl Scheduler for SourceHash {
    fn name(&self) -> &'static CStr {
        c"sh"
    }

    fn choose(&self, pool: &dyn Pool, request: &Request) -> Option<usize> {
        look_up(pool, request)
    }

    /// ip_vs's, with the default of its CONFIG_IP_VS_SH_TAB_BITS.
    fn slots(&self) -> usize {
        256
    }

    fn prepare(&self, pool: &dyn Pool, slots: &mut [u16], scratch: &mut [u32]) {
        let servers = in_order(pool, scratch).iter().map(|word| index(*word));
        let weights = servers.clone().map(|server| pool.weight(server.into()));
        let quotas = quotas(weights, slots.len()).map(|quota| usize::try_from(quota).unwrap_or(0));
        let owners = servers
            .zip(quotas)
            .flat_map(|(server, quota)| core::iter::repeat(server).take(quota))
            .chain(core::iter::repeat(NONE));
        for (slot, owner) in slots.iter_mut().zip(owners) {
            *slot = owner;
        }
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_sched_sh))]
mod tests {
    use super::super::tests::{chi_square, decide, limit, request, slots_of, Servers, DECISIONS};
    use super::*;

    fn prepare(pool: &Servers<'_>) -> [u16; 256] {
        let mut slots = [7; 256];
        SourceHash.prepare(pool, &mut slots, &mut [u32::MAX; 8]);
        slots
    }

    #[test]
    fn slots_are_shared_out_by_weight() {
        let slots = |weights: &[u32; 3]| slots_of(&prepare(&Servers::of(weights)));
        assert_eq!(slots(&[1, 2, 1]), [64, 128, 64]);
        assert_eq!(slots(&[0, 2, 2]), [0, 128, 128]);
        assert_eq!(slots(&[10_000, 20_000, 10_000]), [64, 128, 64]);
        assert_eq!(slots(&[65_535, 1, 0]), [255, 1, 0]);
        assert_eq!(slots(&[0, 0, 0]), [0, 0, 0]);
        assert!(prepare(&Servers::of(&[])) == [NONE; 256]);
    }

    #[test]
    fn clients_are_spread_as_the_slots_are() {
        for weights in [[1, 2, 0, 5], [1, 1, 1, 1], [40, 30, 20, 10]] {
            let pool = Servers::of(&weights);
            let slots = prepare(&pool);
            let counts = decide::<4>(
                &SourceHash,
                &Servers {
                    slots: &slots,
                    ..pool
                },
                false,
            );
            let freedom = weights.iter().filter(|weight| **weight > 0).count() - 1;
            assert!(chi_square(&counts, &slots_of::<4>(&slots)) <= limit(freedom));
        }
    }

    #[test]
    fn clients_of_an_overloaded_server_fall_back_on_all_others() {
        let pool = Servers::of(&[1, 1, 1, 1]);
        let slots = prepare(&pool);
        let pool = Servers {
            overloaded: &[true],
            slots: &slots,
            ..pool
        };
        let mut counts = [0; 4];
        let mut turned_away = 0;
        for ticket in 0..0x1_0000 {
            let mut request = request(ticket);
            let before = SourceHash.choose(&pool, &request);
            request.options.fallback = true;
            let after = SourceHash.choose(&pool, &request);
            // Nobody else is affected.
            assert!(before.is_none() || before == after);
            if before.is_none() {
                turned_away += 1;
                counts[after.unwrap_or(0)] += 1;
            }
            if turned_away == DECISIONS {
                break;
            }
        }
        assert!(chi_square(&counts, &[0, 1, 1, 1]) <= limit(2));
    }
}
