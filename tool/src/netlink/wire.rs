// SPDX-License-Identifier: GPL-2.0
//! The socket.

use std::io;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};

/// The kernel sends at most so much at once, in a dump too (netlink_dump() in
/// net/netlink/af_netlink.c).
const DATAGRAM: usize = 32 * 1024;

/// What carries messages to the kernel and back.
pub(crate) trait Wire {
    /// Sends one message.
    fn send(&mut self, message: &[u8]) -> io::Result<()>;
    /// Puts the next datagram in place of what is in `buffer`.
    fn receive(&mut self, buffer: &mut Vec<u8>) -> io::Result<()>;
}

impl Wire for Socket {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        Socket::send(self, message, 0).map(drop)
    }

    fn receive(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.clear();
        buffer.reserve(DATAGRAM);
        loop {
            // With MSG_TRUNC the length is the datagram's, even if it did not fit.
            match self.recv(buffer, libc::MSG_TRUNC) {
                Ok(length) if length > buffer.len() => {
                    return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
                }
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A generic netlink socket in this network namespace, with all the help the kernel offers.
pub(super) fn socket() -> io::Result<Socket> {
    let socket = Socket::new(NETLINK_GENERIC)?;
    socket.set_ext_ack(true)?;
    socket.set_cap_ack(true)?;
    socket.set_netlink_get_strict_chk(true)?;
    // Nobody but the kernel can answer on a connected socket.
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}
