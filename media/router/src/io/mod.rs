//! The only sockets, the only clock, the only thread: UDP batches in, `Core`, UDP batches out (GSO where it serves).

mod batch;
mod socket;

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::core::{Command, Core, Event, Snapshot};
use crate::outbox::{Outbox, Peer};
use crate::stats::Counter;
use batch::{BATCH, Receive, Transmit};
use socket::{Socket, check};

/// Batches before commands and timers get a turn.
const ROUNDS: usize = 4;
/// Events that Python has not fetched; beyond this they are dropped and counted, the packets go on. Handshake records,
/// which a peer can send at will, may take half of it.
const MAX_EVENTS: usize = 16_384;

enum Order {
    Command(Command),
    Snapshot(Sender<Snapshot>),
    Stop,
}

#[derive(Default)]
struct Orders {
    queue: Vec<Order>,
    /// Set by the thread when it ends: nobody will read the queue any more.
    closed: bool,
}

struct Shared {
    orders: Mutex<Orders>,
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
            orders: Mutex::new(Orders::default()),
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
        let mut orders = lock(&self.shared.orders);
        if orders.closed {
            return false;
        }
        orders.queue.push(order);
        let first = orders.queue.len() == 1;
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
            self.push(Order::Stop);
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
        let orders = std::mem::take(&mut lock(&self.shared.orders).queue);
        let now_us = self.now_us();
        for order in orders {
            match order {
                Order::Command(command) => self.core.apply(now_us, command, &mut self.outbox),
                // A caller that went away meanwhile does not miss the answer.
                Order::Snapshot(to) => drop(to.send(self.core.snapshot(now_us))),
                Order::Stop => {
                    self.deliver(now_us);
                    let mut orders = lock(&self.shared.orders);
                    orders.closed = true;
                    // Whoever waits for an answer is told that there will be none.
                    orders.queue.clear();
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
        for event in self.events.drain(..) {
            let limit = if matches!(event, Event::Dtls { .. }) { MAX_EVENTS / 2 } else { MAX_EVENTS };
            if queue.len() < limit {
                queue.push_back(event);
            } else {
                self.core.counters.inc(Counter::EventsDropped);
            }
        }
        drop(queue);
        signal(&self.shared.event_fd);
    }
}
