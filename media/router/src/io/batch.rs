//! Many datagrams per system call: `recvmmsg` in, `sendmmsg` with GSO runs out.

use std::io::{Error, ErrorKind};
use std::mem::{size_of, zeroed};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use super::socket::{Socket, read_address, write_address};
use crate::core::Core;
use crate::outbox::{Datagrams, MAX_DATAGRAM_BYTES, Outbox};
use crate::stats::Counter;

/// Datagrams taken per system call; more gained nothing measurable, fewer cost a call per frame of video.
pub(super) const BATCH: usize = 64;
/// One byte more than allowed, so that an oversized datagram shows.
const BUFFER_BYTES: usize = MAX_DATAGRAM_BYTES + 1;
/// Segments of one GSO send: what every kernel with UDP_SEGMENT takes (UDP_MAX_SEGMENTS was 64 before Linux 6.9).
const GSO_SEGMENTS: usize = 64;
/// IPv4's largest UDP payload.
const GSO_BYTES: usize = 65_507;
/// A full socket buffer is waited for this long before the rest of the batch is given up.
const SEND_WAIT_MS: libc::c_int = 5;
const CONTROL_BYTES: usize = 32;

/// `recvmmsg` and the memory it writes to.
pub(super) struct Receive {
    buffers: Box<[[u8; BUFFER_BYTES]]>,
    addresses: Box<[libc::sockaddr_storage]>,
    lengths: [usize; BATCH],
}

impl Receive {
    pub fn new() -> Self {
        // SAFETY: a sockaddr_storage of zeros is valid (family AF_UNSPEC).
        let address: libc::sockaddr_storage = unsafe { zeroed() };
        Self {
            buffers: vec![[0; BUFFER_BYTES]; BATCH].into_boxed_slice(),
            addresses: vec![address; BATCH].into_boxed_slice(),
            lengths: [0; BATCH],
        }
    }

    pub fn batch(&mut self, fd: &OwnedFd) -> usize {
        // SAFETY: every pointer is to memory of `self` that outlives the call, with its true size.
        unsafe {
            let mut vectors: [libc::iovec; BATCH] = zeroed();
            let mut headers: [libc::mmsghdr; BATCH] = zeroed();
            for i in 0..BATCH {
                vectors[i].iov_base = self.buffers[i].as_mut_ptr().cast();
                vectors[i].iov_len = BUFFER_BYTES;
                let header = &mut headers[i].msg_hdr;
                header.msg_name = (&raw mut self.addresses[i]).cast();
                header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
                header.msg_iov = &raw mut vectors[i];
                header.msg_iovlen = 1;
            }
            let count = libc::recvmmsg(
                fd.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            );
            let count = usize::try_from(count).unwrap_or(0);
            for (length, header) in self.lengths.iter_mut().zip(&headers[..count]) {
                *length = header.msg_len as usize;
            }
            count
        }
    }

    pub fn datagram(&mut self, at: usize) -> Option<(SocketAddr, &mut [u8])> {
        let address = read_address(&self.addresses[at])?;
        Some((address, &mut self.buffers[at][..self.lengths[at]]))
    }
}

/// One message of `sendmmsg`: a run of equally long datagrams to one destination (the last may be shorter).
struct Run {
    address: libc::sockaddr_storage,
    address_len: libc::socklen_t,
    first_vector: usize,
    datagrams: usize,
    segment_bytes: usize,
    bytes: usize,
}

#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

#[derive(Default)]
pub(super) struct Transmit {
    vectors: Vec<libc::iovec>,
    runs: Vec<Run>,
    headers: Vec<libc::mmsghdr>,
    controls: Vec<Control>,
}

impl Transmit {
    pub fn all(&mut self, sockets: &[Socket], outbox: &mut Outbox, core: &mut Core) {
        if outbox.is_empty() {
            return;
        }
        for (at, socket) in sockets.iter().enumerate() {
            self.vectors.clear();
            self.runs.clear();
            for (peer, datagrams) in outbox.chains() {
                if usize::from(peer.socket) == at {
                    self.chain(peer.address, datagrams, socket.gso);
                }
            }
            self.send_runs(socket, core);
        }
        outbox.clear();
    }

    fn chain(&mut self, address: SocketAddr, datagrams: Datagrams<'_>, gso: bool) {
        // SAFETY: zeros are a valid sockaddr_storage.
        let mut storage: libc::sockaddr_storage = unsafe { zeroed() };
        let address_len = write_address(&mut storage, address);
        let mut open = false;
        for datagram in datagrams {
            let vector = libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: datagram.len() };
            let first_vector = self.vectors.len();
            self.vectors.push(vector);
            if let Some(run) = self.runs.last_mut().filter(|_| open) {
                let fits = run.datagrams < GSO_SEGMENTS && run.bytes + datagram.len() <= GSO_BYTES;
                if fits && datagram.len() <= run.segment_bytes {
                    run.datagrams += 1;
                    run.bytes += datagram.len();
                    open = datagram.len() == run.segment_bytes; // a shorter one ends the run
                    continue;
                }
            }
            self.runs.push(Run {
                address: storage,
                address_len,
                first_vector,
                datagrams: 1,
                segment_bytes: datagram.len(),
                bytes: datagram.len(),
            });
            open = gso;
        }
    }

    fn send_runs(&mut self, socket: &Socket, core: &mut Core) {
        self.headers.clear();
        self.controls.clear();
        self.controls.resize_with(self.runs.len(), || Control([0; CONTROL_BYTES]));
        for (run, control) in self.runs.iter_mut().zip(&mut self.controls) {
            // SAFETY: the message points into vectors, runs and controls of `self`, none of which grows before it
            // is sent; CMSG_FIRSTHDR is within `control`, which is aligned and large enough for one u16.
            unsafe {
                let mut header: libc::mmsghdr = zeroed();
                let message = &mut header.msg_hdr;
                message.msg_name = (&raw mut run.address).cast();
                message.msg_namelen = run.address_len;
                message.msg_iov = self.vectors.as_mut_ptr().add(run.first_vector);
                message.msg_iovlen = run.datagrams as _;
                if run.datagrams > 1 {
                    message.msg_control = control.0.as_mut_ptr().cast();
                    message.msg_controllen = libc::CMSG_SPACE(size_of::<u16>() as u32) as _;
                    let part = libc::CMSG_FIRSTHDR(message);
                    (*part).cmsg_level = libc::SOL_UDP;
                    (*part).cmsg_type = libc::UDP_SEGMENT;
                    (*part).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as _;
                    libc::CMSG_DATA(part).cast::<u16>().write_unaligned(run.segment_bytes as u16);
                }
                self.headers.push(header);
            }
        }
        let mut at = 0;
        let mut waited = false;
        while at < self.headers.len() {
            let rest = &mut self.headers[at..];
            // SAFETY: as above; the kernel reads at most `rest.len()` messages.
            let sent = unsafe {
                let count = rest.len().min(1024) as libc::c_uint;
                libc::sendmmsg(socket.fd.as_raw_fd(), rest.as_mut_ptr(), count, libc::MSG_DONTWAIT)
            };
            if sent > 0 {
                for run in &self.runs[at..at + sent as usize] {
                    core.counters.inc(Counter::TxMessages);
                    core.counters.add(Counter::TxDatagrams, run.datagrams as u64);
                    core.counters.add(Counter::TxBytes, run.bytes as u64);
                }
                at += sent as usize;
                continue;
            }
            match Error::last_os_error().kind() {
                ErrorKind::Interrupted => {}
                ErrorKind::WouldBlock if !waited => {
                    // Once per batch: a stuck interface must not stop everyone's timers.
                    waited = !wait_writable(&socket.fd);
                    core.counters.inc(Counter::TxWaits);
                }
                ErrorKind::WouldBlock => {
                    let lost: usize = self.runs[at..].iter().map(|run| run.datagrams).sum();
                    core.counters.add(Counter::TxDropped, lost as u64);
                    return;
                }
                _ => {
                    // This destination only (unreachable, or a device without checksum offload refusing GSO).
                    self.send_singly(socket, at, core);
                    at += 1;
                }
            }
        }
    }

    /// The datagrams of a refused message one by one, without GSO; what fails again is lost and counted.
    fn send_singly(&mut self, socket: &Socket, at: usize, core: &mut Core) {
        let run = &self.runs[at];
        for vector in &self.vectors[run.first_vector..run.first_vector + run.datagrams] {
            // SAFETY: the vector is a datagram in the outbox, the address was written by `write_address`.
            let sent = unsafe {
                libc::sendto(
                    socket.fd.as_raw_fd(),
                    vector.iov_base,
                    vector.iov_len,
                    libc::MSG_DONTWAIT,
                    (&raw const run.address).cast(),
                    run.address_len,
                )
            };
            core.counters.inc(if sent < 0 { Counter::TxDropped } else { Counter::TxDatagrams });
        }
    }
}

fn wait_writable(fd: &OwnedFd) -> bool {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: one live pollfd.
    unsafe { libc::poll(&raw mut poll, 1, SEND_WAIT_MS) > 0 }
}
