//! One bound UDP socket, and addresses as the kernel writes them.

use std::io::{Error, ErrorKind, Result};
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Socket buffers asked for: a second of 30 Mbit/s in, a burst to a thousand viewers out.
const SOCKET_BUFFER_BYTES: libc::c_int = 8 << 20;

pub(super) fn check(result: libc::c_int) -> Result<libc::c_int> {
    if result < 0 { Err(Error::last_os_error()) } else { Ok(result) }
}

pub(super) struct Socket {
    pub fd: OwnedFd,
    pub local: SocketAddr,
    /// The kernel knows UDP_SEGMENT.
    pub gso: bool,
}

impl Socket {
    /// As many sockets on one address and port as there are shards; the kernel spreads peers over them. OSError as one
    /// alone would have it: a port that another process has is not shared with it.
    pub fn bind_group(address: SocketAddr, shards: usize) -> Result<Vec<Self>> {
        // The first is bound alone, as the sole owner of the port, which keeps two nodes from sharing one by mistake.
        let first = Self::bind(address, false)?;
        if shards == 1 {
            return Ok(vec![first]);
        }
        let address = first.local;
        drop(first);
        (0..shards).map(|_| Self::bind(address, true)).collect()
    }

    fn bind(address: SocketAddr, shared: bool) -> Result<Self> {
        let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        // SAFETY: plain system calls on a descriptor we own, with pointers to live values of the sizes given.
        unsafe {
            let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
            let fd = OwnedFd::from_raw_fd(check(libc::socket(family, kind, 0))?);
            if address.is_ipv6() {
                // IPv4 has its own socket on the same port.
                set_option(&fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
            }
            for (forced, plain) in [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)] {
                // Without the privilege the kernel gives what its limit allows.
                set_option(&fd, libc::SOL_SOCKET, forced, SOCKET_BUFFER_BYTES)
                    .or_else(|_| set_option(&fd, libc::SOL_SOCKET, plain, SOCKET_BUFFER_BYTES))?;
            }
            if shared {
                set_option(&fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
            }
            let mut storage: libc::sockaddr_storage = zeroed();
            let len = write_address(&mut storage, address);
            check(libc::bind(fd.as_raw_fd(), (&raw const storage).cast(), len))?;
            let mut len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            check(libc::getsockname(fd.as_raw_fd(), (&raw mut storage).cast(), &raw mut len))?;
            let local = read_address(&storage).ok_or(ErrorKind::AddrNotAvailable)?;
            // Setting no segment size for the socket is how to ask whether the kernel knows the option.
            let gso = set_option(&fd, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok();
            Ok(Self { fd, local, gso })
        }
    }
}

pub(super) fn set_option(fd: &impl AsRawFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> Result<()> {
    // SAFETY: the pointer is to a live c_int and the size is its own.
    let result = unsafe {
        let len = size_of::<libc::c_int>() as libc::socklen_t;
        libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), len)
    };
    check(result).map(|_| ())
}

pub(super) fn write_address(storage: &mut libc::sockaddr_storage, address: SocketAddr) -> libc::socklen_t {
    let to: *mut libc::sockaddr_storage = storage;
    // SAFETY: sockaddr_storage is large enough and aligned for every sockaddr.
    unsafe {
        match address {
            SocketAddr::V4(v4) => {
                let mut out: libc::sockaddr_in = zeroed();
                out.sin_family = libc::AF_INET as libc::sa_family_t;
                out.sin_port = v4.port().to_be();
                out.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
                to.cast::<libc::sockaddr_in>().write(out);
                size_of::<libc::sockaddr_in>() as libc::socklen_t
            }
            SocketAddr::V6(v6) => {
                let mut out: libc::sockaddr_in6 = zeroed();
                out.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                out.sin6_port = v6.port().to_be();
                out.sin6_addr.s6_addr = v6.ip().octets();
                out.sin6_scope_id = v6.scope_id();
                to.cast::<libc::sockaddr_in6>().write(out);
                size_of::<libc::sockaddr_in6>() as libc::socklen_t
            }
        }
    }
}

pub(super) fn read_address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let from: *const libc::sockaddr_storage = storage;
    // SAFETY: the family says which sockaddr the kernel wrote, and the storage holds any of them.
    unsafe {
        match libc::c_int::from(storage.ss_family) {
            libc::AF_INET => {
                let v4 = &*from.cast::<libc::sockaddr_in>();
                let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(v4.sin_port))))
            }
            libc::AF_INET6 => {
                let v6 = &*from.cast::<libc::sockaddr_in6>();
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                Some(SocketAddr::V6(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id)))
            }
            _ => None,
        }
    }
}
