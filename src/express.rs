// SPDX-License-Identifier: GPL-2.0

//! Data packets of established entries: most of all packets, on the shortest way.
//!
//! They move nothing in the entry, so that nothing need be known of them but where they go. Whatever
//! is not as plain as that, if only by a setting, is for `admit.rs`, which does the same with it and
//! more.

use crate::{
    addr::Flow,
    entry::table::EntryNode,
    kapi::{rcu::Guard, skb::Packet, time},
    netns::Netns,
    proto::{Data, Kind},
};

impl Netns {
    /// The entry that a data packet belongs to, if it is established, and what the packet is.
    #[inline(always)]
    pub(crate) fn express<'g>(
        &'g self,
        guard: &'g Guard,
        packet: &Packet<'_>,
    ) -> Option<(&'g EntryNode, Kind)> {
        let data = Data::of(packet.protocol(), packet)?;
        // A mark may be a service's; timers may have to be restarted.
        if packet.mark() != 0 || self.settings.esp_refreshes() {
            return None;
        }
        let (client, vip) = (packet.source(), packet.destination());
        let (entries, now) = (&self.entries, time::jiffies());
        let (entry, kind) = match data {
            Data::Esp => (
                entries.established_at(guard, &client, &vip, now)?,
                Kind::Esp,
            ),
            Data::InUdp(ports, spi) => {
                let flow = Flow {
                    transport: ports.transport,
                    client,
                    client_port: ports.source,
                    vip,
                    vip_port: ports.destination,
                };
                let entry = entries.established(guard, &flow, now)?;
                // An SPI that was not seen before has to be remembered.
                entry.has_seen(spi).then_some((entry, Kind::EspInUdp))?
            }
        };
        entry.server.takes_express().then_some((entry, kind))
    }
}
