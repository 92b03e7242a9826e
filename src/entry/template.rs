// SPDX-License-Identifier: GPL-2.0

//! Persistence: what ties an initiator, or a prefix of initiators, to a server beyond the life of
//! its entries. After the connection templates of ip_vs_conn.c.
//!
//! A template lives as long as an entry that was made by it, and for the timeout of the service's
//! persistence after that; but only if one of them was established, so that a flood of first
//! messages leaves nothing behind.

use super::table::Entries;
use crate::{
    addr::Addr,
    kapi::{rcu::Guard, table::Inserted, time},
    reason::Reason,
    server::Server,
    service::{Key, Persistence},
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

/// Seconds within which the first entry must have been made.
const SETTLING: u64 = 1;

/// What ties initiators to a server.
pub(crate) struct Template {
    /// The service this is for.
    pub(super) service: Key,
    /// The address that the initiators' addresses begin with, other bits zero.
    pub(super) prefix: Addr,
    /// The server.
    pub(crate) server: Arc<Server>,
    /// Jiffies it outlives its entries.
    timeout: u64,
    entries: Atomic<i32>,
    proved: Atomic<bool>,
    deadline: Atomic<u64>,
}

impl Template {
    fn new(service: Key, prefix: Addr, server: Arc<Server>, (now, timeout): (u64, u64)) -> Self {
        Template {
            service,
            prefix,
            server,
            timeout,
            entries: Atomic::new(0),
            proved: Atomic::new(false),
            deadline: Atomic::new(now + time::from_seconds(SETTLING)),
        }
    }

    /// Whether it ties still.
    pub(super) fn is_alive(&self, now: u64) -> bool {
        !self.server.account.is_removed()
            && (self.entries.load(Relaxed) > 0 || self.deadline.load(Relaxed) > now)
    }

    /// An entry was made by it.
    pub(super) fn enter(&self) {
        self.entries.add(1, Relaxed);
    }

    /// One of its entries was established.
    pub(super) fn prove(&self) {
        self.proved.store(true, Relaxed);
    }

    /// One of its entries has gone.
    pub(super) fn leave(&self, now: u64) {
        let more = if self.proved.load(Relaxed) {
            self.timeout
        } else {
            0
        };
        self.deadline.store(now + more, Relaxed);
        self.entries.add(-1, Relaxed);
    }
}

impl Entries {
    /// What ties an initiator to a server of a service.
    pub(crate) fn template<'g>(
        &'g self,
        guard: &'g Guard,
        service: &Key,
        prefix: &Addr,
        now: u64,
    ) -> Option<&'g Arc<Template>> {
        let hash = self.template_hash(service, prefix);
        let wanted = |template: &Arc<Template>| {
            template.prefix == *prefix && template.service == *service && template.is_alive(now)
        };
        let found = self.templates.find::<0>(guard, hash, wanted)?;
        Some(found)
    }

    /// Ties an initiator to a server of a service, unless another CPU was faster; then what that
    /// did is returned.
    pub(crate) fn tie<'g>(
        &'g self,
        guard: &'g Guard,
        service: &Key,
        prefix: Addr,
        server: &Arc<Server>,
        (now, persistence): (u64, &Persistence),
    ) -> Result<&'g Arc<Template>, Reason> {
        if !self.has_room(self.templates.count()) {
            return Err(Reason::TableFull);
        }
        let hash = self.template_hash(service, &prefix);
        let timeout = time::from_seconds(persistence.timeout.into());
        let template = Template::new(*service, prefix, server.clone(), (now, timeout));
        let template = Arc::new(template, GFP_ATOMIC).map_err(|_| Reason::NoMemory)?;
        let rival = |rival: &Arc<Template>| {
            rival.prefix == prefix && rival.service == *service && rival.is_alive(now)
        };
        let inserted = self
            .templates
            .insert(guard, template, [hash], None, rival)
            .map_err(|_| Reason::NoMemory)?;
        Ok(match inserted {
            Inserted::New(template) => {
                self.occupy(1);
                server.account.tie(1);
                template
            }
            Inserted::Rival(rival) => rival,
        })
    }

    fn template_hash(&self, service: &Key, prefix: &Addr) -> u32 {
        let ([a, b], [c, d]) = (service.words(), prefix.words());
        self.key.hash([a, b, c, d], 0)
    }
}
