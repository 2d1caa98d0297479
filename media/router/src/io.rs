//! The only sockets, the only clock, the only thread: UDP batches in, `Core`, UDP batches out (GSO where it serves).

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Result};
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::core::{Command, Core, Event, Snapshot};
use crate::outbox::{Datagrams, MAX_DATAGRAM_BYTES, Outbox, Peer};
use crate::stats::Counter;

/// Datagrams taken per system call; more gained nothing measurable, fewer cost a call per frame of video.
const BATCH: usize = 64;
/// Batches before commands and timers get a turn.
const ROUNDS: usize = 4;
/// One byte more than allowed, so that an oversized datagram shows.
const BUFFER_BYTES: usize = MAX_DATAGRAM_BYTES + 1;
/// Socket buffers asked for: a second of 30 Mbit/s in, a burst to a thousand viewers out.
const SOCKET_BUFFER_BYTES: libc::c_int = 8 << 20;
/// Segments of one GSO send: what every kernel with UDP_SEGMENT takes (UDP_MAX_SEGMENTS was 64 before Linux 6.9).
const GSO_SEGMENTS: usize = 64;
/// IPv4's largest UDP payload.
const GSO_BYTES: usize = 65_507;
/// Events that Python has not fetched; beyond this they are dropped and counted, the packets go on.
const MAX_EVENTS: usize = 65_536;
/// A full socket buffer is waited for this long before the rest of the batch is given up.
const SEND_WAIT_MS: libc::c_int = 5;
const CONTROL_BYTES: usize = 32;

enum Order {
    Command(Command),
    Snapshot(Sender<Snapshot>),
    Stop,
}

struct Shared {
    orders: Mutex<Vec<Order>>,
    wake: OwnedFd,
    events: Mutex<VecDeque<Event>>,
    event_fd: OwnedFd,
}

/// A running router; dropping it stops the thread.
pub struct Handle {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    addresses: Vec<SocketAddr>,
}

fn check(result: libc::c_int) -> Result<libc::c_int> {
    if result < 0 { Err(Error::last_os_error()) } else { Ok(result) }
}

fn eventfd() -> Result<OwnedFd> {
    // SAFETY: plain system call; the descriptor it returns is owned by nobody else.
    unsafe { Ok(OwnedFd::from_raw_fd(check(libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC))?)) }
}

fn signal(fd: &OwnedFd) {
    // SAFETY: eight bytes from a live u64. A full counter (EAGAIN) is as readable as it can be.
    unsafe { libc::write(fd.as_raw_fd(), (&raw const ONE).cast(), 8) };
}

static ONE: u64 = 1;

fn drain(fd: &OwnedFd) {
    let mut value = 0u64;
    // SAFETY: eight bytes into a live u64; nothing to read (EAGAIN) is fine.
    unsafe { libc::read(fd.as_raw_fd(), (&raw mut value).cast(), 8) };
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // The values under our locks are queues: whatever a panicking holder left is still a queue.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Handle {
    /// Binds one socket per address and starts the thread.
    pub fn start(bind: &[SocketAddr], history_packets: usize) -> Result<Self> {
        if bind.is_empty() || bind.len() > 16 {
            return Err(Error::new(ErrorKind::InvalidInput, "one to sixteen addresses to bind"));
        }
        let sockets = bind.iter().map(|address| Socket::bind(*address)).collect::<Result<Vec<_>>>()?;
        let addresses = sockets.iter().map(|socket| socket.local).collect();
        let shared = Arc::new(Shared {
            orders: Mutex::new(Vec::new()),
            wake: eventfd()?,
            events: Mutex::new(VecDeque::new()),
            event_fd: eventfd()?,
        });
        let inside = Arc::clone(&shared);
        let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64)
            ^ u64::from(std::process::id()).rotate_left(40);
        let thread = std::thread::Builder::new().name("anke-router".into()).spawn(move || {
            // A router that silently stopped would look like everyone's network failing; the process must go instead.
            let abort = AbortOnPanic;
            Worker::new(inside, sockets, Core::new(history_packets, seed)).run();
            std::mem::forget(abort);
        })?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)), addresses })
    }

    pub fn local_addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Readable while `take_events` has something to give.
    pub fn event_fd(&self) -> RawFd {
        self.shared.event_fd.as_raw_fd()
    }

    pub fn take_events(&self, max_events: usize) -> Vec<Event> {
        let mut events = lock(&self.shared.events);
        let count = events.len().min(max_events);
        let taken = events.drain(..count).collect();
        drain(&self.shared.event_fd);
        if !events.is_empty() {
            signal(&self.shared.event_fd);
        }
        taken
    }

    /// False once the router is closed.
    pub fn order(&self, command: Command) -> bool {
        self.push(Order::Command(command))
    }

    /// None once the router is closed.
    pub fn snapshot(&self) -> Option<Snapshot> {
        let (sender, receiver) = channel();
        self.push(Order::Snapshot(sender)).then(|| receiver.recv().ok()).flatten()
    }

    fn push(&self, order: Order) -> bool {
        if lock(&self.thread).is_none() {
            return false;
        }
        let mut orders = lock(&self.shared.orders);
        orders.push(order);
        let first = orders.len() == 1;
        drop(orders);
        if first {
            signal(&self.shared.wake);
        }
        true
    }

    /// Stops the thread and closes the sockets. May be called more than once.
    pub fn close(&self) {
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            lock(&self.shared.orders).push(Order::Stop);
            signal(&self.shared.wake);
            if thread.join().is_err() {
                // The thread aborts the process before it could unwind to here.
                std::process::abort();
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        std::process::abort();
    }
}

struct Socket {
    fd: OwnedFd,
    local: SocketAddr,
    gso: bool,
}

impl Socket {
    fn bind(address: SocketAddr) -> Result<Self> {
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

fn set_option(fd: &OwnedFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> Result<()> {
    // SAFETY: the pointer is to a live c_int and the size is its own.
    let result = unsafe {
        let len = size_of::<libc::c_int>() as libc::socklen_t;
        libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), len)
    };
    check(result).map(|_| ())
}

fn write_address(storage: &mut libc::sockaddr_storage, address: SocketAddr) -> libc::socklen_t {
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

fn read_address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
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

struct Worker {
    shared: Arc<Shared>,
    sockets: Vec<Socket>,
    core: Core,
    outbox: Outbox,
    events: Vec<Event>,
    started: Instant,
    receive: Receive,
    send: Transmit,
}

impl Worker {
    fn new(shared: Arc<Shared>, sockets: Vec<Socket>, core: Core) -> Self {
        Self {
            shared,
            sockets,
            core,
            outbox: Outbox::default(),
            events: Vec::new(),
            started: Instant::now(),
            receive: Receive::new(),
            send: Transmit::default(),
        }
    }

    /// Microseconds since start, plus an hour: no subtraction of a duration ever meets zero.
    fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64 + 3_600_000_000
    }

    fn run(mut self) {
        loop {
            let readable = self.wait();
            if readable & 1 != 0 && !self.orders() {
                return;
            }
            for at in 0..self.sockets.len() {
                if readable & (2 << at) != 0 {
                    self.read(at);
                }
            }
            let now_us = self.now_us();
            let wall_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as i64);
            self.core.set_wall_offset_us(wall_us - now_us as i64);
            self.core.handle_timeout(now_us, &mut self.outbox);
            self.deliver(now_us);
        }
    }

    /// Which descriptors are readable: bit 0 the orders, bit n+1 socket n.
    fn wait(&self) -> u32 {
        let mut fds: [libc::pollfd; 17] = [libc::pollfd { fd: -1, events: libc::POLLIN, revents: 0 }; 17];
        fds[0].fd = self.shared.wake.as_raw_fd();
        for (slot, socket) in fds[1..].iter_mut().zip(&self.sockets) {
            slot.fd = socket.fd.as_raw_fd();
        }
        let wait_us = self.core.next_timeout_us().map_or(1_000_000, |at| at.saturating_sub(self.now_us()));
        let timeout = libc::timespec {
            tv_sec: (wait_us / 1_000_000) as libc::time_t,
            tv_nsec: (wait_us % 1_000_000 * 1000) as libc::c_long,
        };
        // SAFETY: the array is live and its length is given; entries with fd -1 are ignored.
        let ready = unsafe {
            libc::ppoll(fds.as_mut_ptr(), 1 + self.sockets.len() as libc::nfds_t, &raw const timeout, std::ptr::null())
        };
        if ready <= 0 {
            return 0;
        }
        fds.iter().enumerate().filter(|(_, fd)| fd.revents != 0).fold(0, |bits, (at, _)| bits | 1 << at)
    }

    /// False when the router is to stop.
    fn orders(&mut self) -> bool {
        drain(&self.shared.wake);
        let orders = std::mem::take(&mut *lock(&self.shared.orders));
        let now_us = self.now_us();
        for order in orders {
            match order {
                Order::Command(command) => self.core.apply(now_us, command, &mut self.outbox),
                // A caller that went away meanwhile does not miss the answer.
                Order::Snapshot(to) => drop(to.send(self.core.snapshot(now_us))),
                Order::Stop => {
                    self.deliver(now_us);
                    return false;
                }
            }
            if self.outbox.is_full() {
                self.deliver(now_us);
            }
        }
        self.deliver(now_us);
        true
    }

    fn read(&mut self, at: usize) {
        for _ in 0..ROUNDS {
            let count = self.receive.batch(&self.sockets[at].fd);
            if count == 0 {
                return;
            }
            self.core.counters.inc(Counter::RxBatches);
            let now_us = self.now_us();
            for i in 0..count {
                let Some((address, datagram)) = self.receive.datagram(i) else { continue };
                let from = Peer { socket: at as u8, address };
                self.core.handle_datagram(now_us, from, datagram, &mut self.outbox);
                if self.outbox.is_full() {
                    self.send.all(&self.sockets, &mut self.outbox, &mut self.core);
                }
            }
            self.deliver(now_us);
            if count < BATCH {
                return;
            }
        }
    }

    /// Sends what is due and hands events to Python.
    fn deliver(&mut self, now_us: u64) {
        while self.core.poll(now_us, &mut self.outbox) {
            self.send.all(&self.sockets, &mut self.outbox, &mut self.core);
        }
        self.send.all(&self.sockets, &mut self.outbox, &mut self.core);
        self.core.take_events(&mut self.events);
        if self.events.is_empty() {
            return;
        }
        let mut queue = lock(&self.shared.events);
        let room = MAX_EVENTS.saturating_sub(queue.len());
        if self.events.len() > room {
            self.core.counters.add(Counter::EventsDropped, (self.events.len() - room) as u64);
            self.events.truncate(room);
        }
        queue.extend(self.events.drain(..));
        drop(queue);
        signal(&self.shared.event_fd);
    }
}

/// `recvmmsg` and the memory it writes to.
struct Receive {
    buffers: Box<[[u8; BUFFER_BYTES]]>,
    addresses: Box<[libc::sockaddr_storage]>,
    lengths: [usize; BATCH],
}

impl Receive {
    fn new() -> Self {
        // SAFETY: a sockaddr_storage of zeros is valid (family AF_UNSPEC).
        let address: libc::sockaddr_storage = unsafe { zeroed() };
        Self {
            buffers: vec![[0; BUFFER_BYTES]; BATCH].into_boxed_slice(),
            addresses: vec![address; BATCH].into_boxed_slice(),
            lengths: [0; BATCH],
        }
    }

    fn batch(&mut self, fd: &OwnedFd) -> usize {
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

    fn datagram(&mut self, at: usize) -> Option<(SocketAddr, &mut [u8])> {
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
struct Transmit {
    vectors: Vec<libc::iovec>,
    runs: Vec<Run>,
    headers: Vec<libc::mmsghdr>,
    controls: Vec<Control>,
}

impl Transmit {
    fn all(&mut self, sockets: &[Socket], outbox: &mut Outbox, core: &mut Core) {
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
            let vector =
                libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: datagram.len() };
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

