//! The only sockets, the only clock, the only threads: UDP batches in, `Core`, UDP batches out (GSO where it serves);
//! TCP beside it for whoever gets no UDP through.
//!
//! A router is one or more shards: threads with a `Core`, an outbox and sockets of their own that share nothing but
//! inboxes (`post`) and the table of whose address is whose (`doors`). Above this module there are no shards.

mod batch;
mod bell;
mod directory;
mod doors;
pub mod framing;
mod post;
mod shard;
mod socket;
mod tcp;

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::core::{Command, Core, Event, Snapshot};
use crate::parameters::IngestParameters;
use bell::Bell;
use directory::Directory;
use doors::Doors;
use post::{Inbox, Post};
use shard::Worker;
use socket::Socket;
use tcp::{Handed, Tcp, listen_group};

/// More shards than this gain nothing on the machines there are.
pub const MAX_THREADS: usize = 16;

enum Order {
    Command(Command),
    /// Prepare to show an ingest that lives in shard `home`.
    Mirror {
        ingest_id: u64,
        transport_id: u64,
        home: usize,
        parameters: Arc<IngestParameters>,
    },
    /// A TCP connection that another shard accepted and whose peer belongs here.
    Connection(Handed),
    Snapshot(Sender<Snapshot>),
    Stop,
}

#[derive(Default)]
struct Queue {
    orders: Vec<Order>,
    /// Set by the thread when it ends: nobody will read the queue any more.
    closed: bool,
}

/// What one shard's thread shares with the callers.
struct Desk {
    queue: Mutex<Queue>,
    bell: Arc<Bell>,
}

impl Desk {
    /// False when the thread has ended.
    fn push(&self, order: Order) -> bool {
        let mut queue = lock(&self.queue);
        if queue.closed {
            return false;
        }
        queue.orders.push(order);
        let first = queue.orders.len() == 1;
        drop(queue);
        if first {
            self.bell.ring();
        }
        true
    }
}

/// What all shards share with the callers.
struct Shared {
    desks: Vec<Desk>,
    doors: Doors,
    events: Mutex<VecDeque<Event>>,
    event_bell: Bell,
}

/// A running router; dropping it stops its threads.
pub struct Handle {
    shared: Arc<Shared>,
    directory: Mutex<Directory>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    addresses: Vec<SocketAddr>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The values under our locks are queues and tables: whatever a panicking holder left is still one.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Handle {
    /// Binds one socket per address and shard, with `tcp` a listener on the same port beside each, and starts `threads`
    /// shards.
    pub fn start(bind: &[SocketAddr], history_packets: usize, threads: usize, tcp: bool) -> Result<Self> {
        if bind.is_empty() || bind.len() > 16 {
            return Err(Error::new(ErrorKind::InvalidInput, "one to sixteen addresses to bind"));
        }
        if !(1..=MAX_THREADS).contains(&threads) {
            return Err(Error::new(ErrorKind::InvalidInput, "one to sixteen threads"));
        }
        let mut sockets: Vec<Vec<Socket>> = (0..threads).map(|_| Vec::new()).collect();
        for address in bind {
            for (shard, socket) in Socket::bind_group(*address, threads)?.into_iter().enumerate() {
                sockets[shard].push(socket);
            }
        }
        let addresses: Vec<SocketAddr> = sockets[0].iter().map(|socket| socket.local).collect();
        let mut listeners: Vec<Vec<_>> = (0..threads).map(|_| Vec::new()).collect();
        for address in addresses.iter().filter(|_| tcp) {
            for (shard, listener) in listen_group(*address, threads)?.into_iter().enumerate() {
                listeners[shard].push(listener);
            }
        }
        let desk = || -> Result<Desk> { Ok(Desk { queue: Mutex::default(), bell: Arc::new(Bell::new()?) }) };
        let shared = Arc::new(Shared {
            desks: (0..threads).map(|_| desk()).collect::<Result<_>>()?,
            doors: Doors::default(),
            events: Mutex::default(),
            event_bell: Bell::new()?,
        });
        let inboxes: Arc<[Inbox]> = shared.desks.iter().map(|desk| Inbox::new(Arc::clone(&desk.bell))).collect();
        let handle = Self {
            shared: Arc::clone(&shared),
            directory: Mutex::new(Directory::new(threads)),
            threads: Mutex::default(),
            addresses,
        };
        let started = Instant::now();
        let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64)
            ^ u64::from(std::process::id()).rotate_left(40);
        for (me, (sockets, listeners)) in sockets.into_iter().zip(listeners).enumerate() {
            let (shared, post) = (Arc::clone(&shared), Post::new(me, Arc::clone(&inboxes)));
            let tcp = Tcp::new(listeners)?;
            let core = Core::new(history_packets, seed.wrapping_add((me as u64).rotate_left(48)));
            let thread = std::thread::Builder::new().name("anke-router".into()).spawn(move || {
                // A router that silently stopped would look like everyone's network failing; the process must go instead.
                let abort = AbortOnPanic;
                Worker::new(shared, post, (sockets, tcp), core, started).run();
                std::mem::forget(abort);
            })?;
            lock(&handle.threads).push(thread);
        }
        Ok(handle)
    }

    pub fn local_addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Readable while `take_events` has something to give.
    pub fn event_fd(&self) -> RawFd {
        self.shared.event_bell.fd()
    }

    pub fn take_events(&self, max_events: usize) -> Vec<Event> {
        let mut events = lock(&self.shared.events);
        let count = events.len().min(max_events);
        let taken: Vec<Event> = events.drain(..count).collect();
        self.shared.event_bell.quiet();
        if !events.is_empty() {
            self.shared.event_bell.ring();
        }
        drop(events);
        for event in &taken {
            if let Event::Closed { transport_id, .. } = event {
                lock(&self.directory).forget(*transport_id, &self.shared.doors);
            }
        }
        taken
    }

    /// False once the router is closed.
    pub fn order(&self, command: Command) -> bool {
        // Placed and queued under one lock: what one caller orders first, every shard sees first.
        let mut directory = lock(&self.directory);
        let mut open = true;
        directory.place(command, &self.shared.doors, |shard, order| open &= self.push(shard, order));
        open
    }

    /// None once the router is closed.
    pub fn snapshot(&self) -> Option<Snapshot> {
        let (sender, receiver) = channel();
        for shard in 0..self.shared.desks.len() {
            self.push(shard, Order::Snapshot(sender.clone())).then_some(())?;
        }
        drop(sender);
        let mut whole: Option<Snapshot> = None;
        for _ in &self.shared.desks {
            let part = receiver.recv().ok()?;
            match &mut whole {
                None => whole = Some(part),
                Some(whole) => whole.merge(part),
            }
        }
        whole
    }

    fn push(&self, shard: usize, order: Order) -> bool {
        self.shared.desks[shard].push(order)
    }

    /// Stops the threads and closes the sockets. May be called more than once.
    pub fn close(&self) {
        let threads = std::mem::take(&mut *lock(&self.threads));
        for shard in 0..self.shared.desks.len() {
            self.push(shard, Order::Stop);
        }
        for thread in threads {
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
