// SPDX-License-Identifier: GPL-2.0
//! `ipvs-ipsec list`: services with their servers, laid out as `ipvsadm -Ln` does.

mod collect;

use std::io::{self, Write};
use std::net::IpAddr;

use crate::complain;
use crate::error::{Error, Result};
use crate::netlink::{Connection, Wire};
use crate::output;

use collect::{Configured, Listing, collect};

/// Asks the kernel and prints.
pub(crate) fn run<W: Wire>(
    kernel: &mut Connection<W>,
    vip: Option<IpAddr>,
    stats: bool,
    json: bool,
) -> Result<()> {
    let (listing, settled) = collect(kernel, vip)?;
    if json {
        output::json(&listing)?;
    } else {
        let mut out = output::stdout();
        let print = if stats {
            Listing::print_stats
        } else {
            Listing::print
        };
        print(&listing, &mut out).map_err(Error::Output)?;
        output::finish(out)?;
    }
    if !settled {
        complain(
            "warning: services changed while they were listed; the listing may be inconsistent",
        );
    }
    Ok(())
}

impl Listing {
    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{}", self.title)?;
        writeln!(out, "Prot LocalAddress Scheduler Flags")?;
        writeln!(
            out,
            "  -> {:<28} Forward Weight ActiveConn InActConn",
            "RemoteAddress"
        )?;
        for Configured { service, servers } in &self.services {
            writeln!(out, "IPSEC {} {}", service.address, service.scheduler)?;
            for server in servers {
                writeln!(
                    out,
                    "  -> {:<28} {:<7} {:<6} {:<10} {}",
                    server.address.to_string(),
                    server.method.forward(),
                    server.weight,
                    server.established,
                    server.initial
                )?;
            }
        }
        Ok(())
    }

    /// The layout of `ipvsadm -Ln --stats --exact`, without the columns of what goes out: it does
    /// not pass here.
    fn print_stats(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{}", self.title)?;
        writeln!(
            out,
            "{:<33} {:>8} {:>8} {:>8}",
            "Prot LocalAddress", "Conns", "InPkts", "InBytes"
        )?;
        writeln!(out, "  -> RemoteAddress")?;
        for Configured { service, servers } in &self.services {
            let name = format!("IPSEC {}", service.address);
            writeln!(
                out,
                "{name:<33} {:>8} {:>8} {:>8}",
                service.conns, service.in_packets, service.in_bytes
            )?;
            for server in servers {
                let name = format!("  -> {}", server.address);
                writeln!(
                    out,
                    "{name:<33} {:>8} {:>8} {:>8}",
                    server.conns, server.in_packets, server.in_bytes
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Method, Server, Service};

    fn server(service: IpAddr, address: IpAddr, method: u32, weight: u32) -> Server {
        Server {
            service,
            address,
            method: Method(method),
            weight,
            established: 2,
            initial: 0,
            conns: 3,
            in_packets: 123_456_789,
            in_bytes: 12_345_678_900,
        }
    }

    fn service(address: &str, scheduler: &str) -> Service {
        let address = address.parse().unwrap();
        Service {
            address,
            scheduler: scheduler.into(),
            conns: 7,
            in_packets: 70,
            in_bytes: 7000,
        }
    }

    fn listing(services: Vec<Configured>) -> Listing {
        let title = "IPsec Virtual Server version 0.1.0 (size=4096)".into();
        Listing {
            version: "0.1.0".into(),
            table_size: 4096,
            services,
            title,
        }
    }

    fn full() -> Listing {
        let (v4, v6) = (
            service("192.0.2.1", "wrr"),
            service("2001:db8:1:2:3:4:5:6", "rr"),
        );
        let servers = [
            server(v4.address, "10.0.0.11".parse().unwrap(), 3, 1),
            server(v4.address, "10.0.0.12".parse().unwrap(), 0, 65535),
            server(
                v6.address,
                "2001:db8:1000:2000:3000:4000:5000:6000".parse().unwrap(),
                2,
                0,
            ),
        ];
        let [a, b, c] = servers;
        listing(vec![
            Configured {
                service: v4,
                servers: vec![a, b],
            },
            Configured {
                service: v6,
                servers: vec![c],
            },
        ])
    }

    fn printed(print: impl Fn(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        print(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_empty_table_is_three_lines() {
        assert_eq!(
            printed(|out| listing(Vec::new()).print(out)),
            "\
IPsec Virtual Server version 0.1.0 (size=4096)
Prot LocalAddress Scheduler Flags
  -> RemoteAddress                Forward Weight ActiveConn InActConn
"
        );
    }

    #[test]
    fn a_full_table() {
        assert_eq!(
            printed(|out| full().print(out)),
            "\
IPsec Virtual Server version 0.1.0 (size=4096)
Prot LocalAddress Scheduler Flags
  -> RemoteAddress                Forward Weight ActiveConn InActConn
IPSEC 192.0.2.1 wrr
  -> 10.0.0.11                    Route   1      2          0
  -> 10.0.0.12                    Masq    65535  2          0
IPSEC 2001:db8:1:2:3:4:5:6 rr
  -> 2001:db8:1000:2000:3000:4000:5000:6000 Tunnel  0      2          0
"
        );
    }

    #[test]
    fn what_was_forwarded() {
        assert_eq!(
            printed(|out| full().print_stats(out)),
            "\
IPsec Virtual Server version 0.1.0 (size=4096)
Prot LocalAddress                    Conns   InPkts  InBytes
  -> RemoteAddress
IPSEC 192.0.2.1                          7       70     7000
  -> 10.0.0.11                           3 123456789 12345678900
  -> 10.0.0.12                           3 123456789 12345678900
IPSEC 2001:db8:1:2:3:4:5:6               7       70     7000
  -> 2001:db8:1000:2000:3000:4000:5000:6000        3 123456789 12345678900
"
        );
    }

    #[test]
    fn json() {
        assert_eq!(
            serde_json::to_string(&listing(vec![Configured {
                service: service("192.0.2.1", "rr"),
                servers: vec![]
            }]))
            .unwrap(),
            concat!(
                r#"{"version":"0.1.0","table_size":4096,"services":[{"address":"192.0.2.1","scheduler":"rr","#,
                r#""conns":7,"in_packets":70,"in_bytes":7000,"servers":[]}]}"#
            )
        );
    }
}
