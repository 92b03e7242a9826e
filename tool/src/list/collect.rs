// SPDX-License-Identifier: GPL-2.0
//! What is listed: the kernel is asked for services and servers apart, and they are put together.

use std::collections::HashMap;

use serde::Serialize;

use crate::error::Result;
use crate::model::{Server, Service, ServiceKey, Status};
use crate::names::{SERVER, SERVICE};
use crate::netlink::{Connection, Request, Wire};
use crate::uapi;

/// How often services and servers are asked for anew when they change meanwhile.
const TRIES: usize = 5;

/// What is listed.
#[derive(Debug, Serialize)]
pub(super) struct Listing {
    pub(super) version: String,
    pub(super) table_size: u32,
    pub(super) services: Vec<Configured>,
    #[serde(skip)]
    pub(super) title: String,
}

/// A service and its servers.
#[derive(Debug, Serialize)]
pub(super) struct Configured {
    #[serde(flatten)]
    pub(super) service: Service,
    pub(super) servers: Vec<Server>,
}

/// What is to be listed, and whether it held still.
pub(super) fn collect<W: Wire>(
    kernel: &mut Connection<W>,
    only: Option<ServiceKey>,
) -> Result<(Listing, bool)> {
    let status = Status::get(kernel)?;
    let mut services = Vec::new();
    let mut settled = false;
    for _ in 0..TRIES {
        (services, settled) = configured(kernel, only)?;
        if settled {
            break;
        }
    }
    let listing = Listing {
        title: status.title(),
        version: status.version,
        table_size: status.table_size,
        services,
    };
    Ok((listing, settled))
}

/// Services with their servers, and whether nothing changed between the kernel's answers as far as
/// it can be seen.
fn configured<W: Wire>(
    kernel: &mut Connection<W>,
    only: Option<ServiceKey>,
) -> Result<(Vec<Configured>, bool)> {
    let mut services = Vec::new();
    let mut settled = true;
    let mut get_services = Request::new(uapi::IPVS_IPSEC_CMD_SERVICE_GET, &SERVICE);
    let mut get_servers = Request::new(uapi::IPVS_IPSEC_CMD_SERVER_GET, &SERVER);
    if let Some(key) = only {
        get_services = key.in_service(get_services);
        get_servers = key.in_server(get_servers);
        let service = kernel.get(&get_services, Service::decode)?;
        services.push(Configured {
            service,
            servers: Vec::new(),
        });
    } else {
        settled &= !kernel.dump(&get_services, |attributes| {
            services.push(Configured {
                service: Service::decode(attributes)?,
                servers: Vec::new(),
            });
            Ok(())
        })?;
    }

    let mut by_key: HashMap<ServiceKey, &mut Vec<Server>> = services
        .iter_mut()
        .map(|configured| (configured.service.key, &mut configured.servers))
        .collect();
    let mut strangers = false;
    let interrupted = kernel.dump(&get_servers, |attributes| {
        let server = Server::decode(attributes)?;
        match by_key.get_mut(&server.service) {
            Some(servers) => servers.push(server),
            // Its service was added after the services were told.
            None => strangers = true,
        }
        Ok(())
    })?;
    settled &= !interrupted && !strangers;
    Ok((services, settled))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::script::{self, Script, acknowledged, answer, attributes, done};
    use netlink_packet_core::NLM_F_DUMP_INTR;

    fn service_answer(flags: u16, last: u8) -> Vec<u8> {
        answer(flags, &attributes(&[(1, &[192, 0, 2, last]), (4, b"rr\0")]))
    }

    fn server_answer(service: u8, last: u8) -> Vec<u8> {
        answer(
            0,
            &attributes(&[(1, &[192, 0, 2, service]), (4, &[10, 0, 0, last])]),
        )
    }

    fn collected(only: Option<&str>, dumps: Vec<Vec<u8>>) -> (Listing, bool, Connection<Script>) {
        let mut answers = vec![answer(0, &[]), acknowledged(&[])];
        answers.extend(dumps);
        let mut kernel = script::connection(answers);
        let only = only.map(|word| word.parse().unwrap());
        let (listing, settled) = collect(&mut kernel, only).unwrap();
        (listing, settled, kernel)
    }

    #[test]
    fn servers_find_their_services() {
        let (listing, settled, _) = collected(
            None,
            vec![
                [service_answer(0, 1), service_answer(0, 2)].concat(),
                done(0, &[]),
                [
                    server_answer(2, 21),
                    server_answer(1, 11),
                    server_answer(2, 22),
                ]
                .concat(),
                done(0, &[]),
            ],
        );
        let found: Vec<Vec<String>> = listing
            .services
            .iter()
            .map(|configured| {
                configured
                    .servers
                    .iter()
                    .map(|server| server.address.to_string())
                    .collect()
            })
            .collect();
        assert_eq!(found, [vec!["10.0.0.11"], vec!["10.0.0.21", "10.0.0.22"]]);
        assert!(settled);
    }

    #[test]
    fn an_interrupted_dump_is_repeated() {
        let (listing, settled, kernel) = collected(
            None,
            vec![
                [service_answer(NLM_F_DUMP_INTR, 1), service_answer(0, 1)].concat(),
                done(0, &[]),
                done(0, &[]),
                service_answer(0, 1),
                done(0, &[]),
                server_answer(1, 11),
                done(0, &[]),
            ],
        );
        assert_eq!(listing.services.len(), 1);
        assert_eq!(listing.services[0].servers.len(), 1);
        assert_eq!(kernel.commands(), [11, 4, 8, 4, 8]);
        assert!(settled);
    }

    #[test]
    fn a_server_of_a_new_service_makes_it_ask_again() {
        let (listing, settled, _) = collected(
            None,
            vec![
                done(0, &[]),
                server_answer(1, 11),
                done(0, &[]),
                service_answer(0, 1),
                done(0, &[]),
                server_answer(1, 11),
                done(0, &[]),
            ],
        );
        assert_eq!(listing.services[0].servers.len(), 1);
        assert!(settled);
    }

    #[test]
    fn it_does_not_try_for_ever() {
        let one = vec![
            service_answer(NLM_F_DUMP_INTR, 1),
            done(0, &[]),
            done(0, &[]),
        ];
        let (listing, settled, _) = collected(None, vec![one; TRIES].concat());
        assert_eq!(listing.services.len(), 1);
        assert!(!settled);
    }

    #[test]
    fn one_service() {
        let (listing, settled, kernel) = collected(
            Some("192.0.2.1"),
            vec![
                service_answer(0, 1),
                acknowledged(&[]),
                server_answer(1, 11),
                done(0, &[]),
            ],
        );
        assert_eq!(listing.services.len(), 1);
        assert_eq!(kernel.commands(), [11, 4, 8]);
        assert!(settled);
    }
    /// The same mark in both families, and an address, are three services.
    #[test]
    fn servers_of_marks_find_their_services() {
        let marked = |family: u32, server: Option<u8>| {
            let address = [10, 0, 0, server.unwrap_or_default()];
            let (mark, family) = (7u32.to_ne_bytes(), family.to_ne_bytes());
            let mut told: Vec<(u16, &[u8])> = vec![(2, &mark), (3, &family)];
            if server.is_some() {
                told.push((4, &address));
            }
            answer(0, &attributes(&told))
        };
        let (listing, settled, _) = collected(
            None,
            vec![
                [marked(2, None), service_answer(0, 1), marked(10, None)].concat(),
                done(0, &[]),
                [
                    marked(10, Some(30)),
                    server_answer(1, 20),
                    marked(2, Some(10)),
                ]
                .concat(),
                done(0, &[]),
            ],
        );
        let found: Vec<String> = listing
            .services
            .iter()
            .map(|configured| configured.servers[0].address.to_string())
            .collect();
        assert_eq!(found, ["10.0.0.10", "10.0.0.20", "10.0.0.30"]);
        assert!(settled);
    }

    #[test]
    fn one_service_is_asked_for_by_its_key() {
        for word in ["192.0.2.1", "fwmark6:7"] {
            let (_, _, kernel) = collected(
                Some(word),
                vec![service_answer(0, 1), acknowledged(&[]), done(0, &[])],
            );
            let key: ServiceKey = word.parse().unwrap();
            let [_, service, servers] = kernel.sent() else {
                panic!("{word}")
            };
            let request = Request::new(uapi::IPVS_IPSEC_CMD_SERVICE_GET, &SERVICE);
            assert!(service.ends_with(&key.in_service(request).attributes()));
            let request = Request::new(uapi::IPVS_IPSEC_CMD_SERVER_GET, &SERVER);
            assert!(servers.ends_with(&key.in_server(request).attributes()));
        }
    }
}
