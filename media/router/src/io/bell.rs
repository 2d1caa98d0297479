//! Waking a thread (ours or Python's) that waits for descriptors.

use std::io::Result;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::socket::check;

/// An eventfd: readable from `ring` until `quiet`.
pub(super) struct Bell(OwnedFd);

static ONE: u64 = 1;

impl Bell {
    pub fn new() -> Result<Self> {
        // SAFETY: plain system call; the descriptor it returns is owned by nobody else.
        unsafe { Ok(Self(OwnedFd::from_raw_fd(check(libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC))?))) }
    }

    pub fn ring(&self) {
        // SAFETY: eight bytes from a live u64. A full counter (EAGAIN) is as readable as it can be.
        unsafe { libc::write(self.0.as_raw_fd(), (&raw const ONE).cast(), 8) };
    }

    pub fn quiet(&self) {
        let mut value = 0u64;
        // SAFETY: eight bytes into a live u64; nothing to read (EAGAIN) is fine.
        unsafe { libc::read(self.0.as_raw_fd(), (&raw mut value).cast(), 8) };
    }

    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
