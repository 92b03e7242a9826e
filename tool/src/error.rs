// SPDX-License-Identifier: GPL-2.0
//! What can go wrong, in the words the administrator reads.

use std::fmt;
use std::io;

use netlink_packet_core::DecodeError;

/// Result with this command's error.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Error {
    /// The kernel does not know the netlink family.
    NotLoaded,
    /// No device of this network namespace has this name.
    NoDevice(String),
    /// The kernel said no.
    Refused(Refusal),
    /// The netlink socket failed.
    Netlink(io::Error),
    /// The kernel's answer is not what the spec says.
    Malformed(DecodeError),
    /// Standard output cannot be written.
    Output(io::Error),
}

/// The kernel's no: an errno, and what its extended ack says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Positive errno.
    pub(crate) errno: i32,
    /// The kernel's own words.
    pub(crate) text: Option<String>,
    /// Name of the attribute that was refused.
    pub(crate) bad: Option<String>,
    /// Name of an attribute that was not given.
    pub(crate) missing: Option<String>,
}

impl Error {
    /// Whether the reader of standard output went away, as `head` does.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Error::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotLoaded => {
                f.write_str("the kernel module ip_vs_ipsec is not loaded (modprobe ip_vs_ipsec)")
            }
            Error::NoDevice(name) => write!(f, "no such device: {name}"),
            Error::Refused(refusal) => refusal.fmt(f),
            Error::Netlink(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                f.write_str("netlink: the kernel's answer did not fit and is incomplete, try again")
            }
            Error::Netlink(error) => write!(f, "netlink: {}", words(error)),
            Error::Malformed(error) => {
                write!(f, "netlink: cannot read the kernel's answer: {error}")
            }
            Error::Output(error) => write!(f, "write error: {}", words(error)),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blame = match (&self.missing, &self.bad) {
            (Some(name), _) => Some(format!("missing attribute {name}")),
            (None, Some(name)) => Some(format!("attribute {name}")),
            (None, None) => None,
        };
        match (&self.text, blame) {
            (Some(text), Some(blame)) => write!(f, "{text} ({blame})"),
            (Some(text), None) => f.write_str(text),
            (None, Some(blame)) => write!(f, "{} ({blame})", errno_words(self.errno)),
            (None, None) if self.errno == libc::EPERM => {
                write!(f, "{} (CAP_NET_ADMIN is needed)", errno_words(self.errno))
            }
            (None, None) => f.write_str(&errno_words(self.errno)),
        }
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Error::Malformed(error)
    }
}

/// The errno's text as every Unix command prints it.
fn errno_words(errno: i32) -> String {
    words(&io::Error::from_raw_os_error(errno))
}

/// The error's text without the number that Rust appends.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" (os error ") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(errno: i32, text: Option<&str>, bad: Option<&str>, missing: Option<&str>) -> String {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Error::Refused(Refusal {
            errno,
            text: owned(text),
            bad: owned(bad),
            missing: owned(missing),
        })
        .to_string()
    }

    #[test]
    fn the_kernel_s_words_come_first() {
        assert_eq!(
            refusal(libc::EEXIST, Some("service exists"), None, None),
            "service exists"
        );
        assert_eq!(
            refusal(
                libc::ERANGE,
                Some("integer out of range"),
                Some("weight"),
                None
            ),
            "integer out of range (attribute weight)"
        );
    }

    #[test]
    fn without_words_the_errno_s() {
        assert_eq!(
            refusal(libc::ENOENT, None, None, None),
            "No such file or directory"
        );
        assert_eq!(
            refusal(libc::EINVAL, None, None, Some("address")),
            "Invalid argument (missing attribute address)"
        );
        assert_eq!(
            refusal(libc::EPERM, None, None, None),
            "Operation not permitted (CAP_NET_ADMIN is needed)"
        );
    }

    #[test]
    fn only_a_broken_pipe_is_quiet() {
        let output = |errno| Error::Output(io::Error::from_raw_os_error(errno));
        assert!(output(libc::EPIPE).is_broken_pipe());
        assert!(!output(libc::ENOSPC).is_broken_pipe());
        assert_eq!(
            output(libc::ENOSPC).to_string(),
            "write error: No space left on device"
        );
        assert!(!Error::Netlink(io::Error::from_raw_os_error(libc::EPIPE)).is_broken_pipe());
    }
}
