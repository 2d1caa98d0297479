//! One thread of the router: its sockets, its `Core`, and what it hands to and takes from the other shards.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::batch::{BATCH, Receive, Transmit};
use super::post::{Parcels, Post, What};
use super::socket::Socket;
use super::tcp::{Tcp, Token};
use super::{Order, Shared, lock};
use crate::core::{Core, Event, MirrorWish};
use crate::demux::{Protocol, classify_untrusted};
use crate::outbox::{Outbox, Peer};
use crate::stats::Counter;
use crate::stun;

/// Batches before commands and timers get a turn.
const ROUNDS: usize = 4;
/// Events that Python has not fetched; beyond this they are dropped and counted, the packets go on. Handshake records,
/// which a peer can send at will, may take half of it.
const MAX_EVENTS: usize = 16_384;

pub(super) struct Worker {
    shared: Arc<Shared>,
    post: Post,
    sockets: Vec<Socket>,
    tcp: Tcp,
    readable: Vec<Token>,
    core: Core,
    outbox: Outbox,
    events: Vec<Event>,
    parcels: Parcels,
    started: Instant,
    receive: Receive,
    send: Transmit,
}

impl Worker {
    pub fn new(
        shared: Arc<Shared>,
        post: Post,
        (sockets, tcp): (Vec<Socket>, Tcp),
        mut core: Core,
        started: Instant,
    ) -> Self {
        if !post.is_alone() {
            core.watch_addresses();
        }
        Self {
            shared,
            post,
            sockets,
            tcp,
            readable: Vec::new(),
            core,
            outbox: Outbox::default(),
            events: Vec::new(),
            parcels: Parcels::default(),
            started,
            receive: Receive::new(),
            send: Transmit::default(),
        }
    }

    /// Microseconds since start, plus an hour: no subtraction of a duration ever meets zero. The same for all shards.
    fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64 + 3_600_000_000
    }

    pub fn run(mut self) {
        loop {
            let readable = self.wait();
            if readable & 1 != 0 && !self.bell() {
                return;
            }
            for at in 0..self.sockets.len() {
                if readable & (2 << at) != 0 {
                    self.read(at);
                }
            }
            if readable & (2 << self.sockets.len()) != 0 {
                self.read_tcp();
            }
            let now_us = self.now_us();
            self.tcp.sweep(now_us, &mut self.core);
            let wall_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as i64);
            self.core.set_wall_offset_us(wall_us - now_us as i64);
            self.core.handle_timeout(now_us, &mut self.outbox);
            self.deliver(now_us);
        }
    }

    /// Which descriptors are readable: bit 0 the bell, bit n+1 socket n, behind the last one TCP.
    fn wait(&self) -> u32 {
        let mut fds: [libc::pollfd; 18] = [libc::pollfd { fd: -1, events: libc::POLLIN, revents: 0 }; 18];
        fds[0].fd = self.shared.desks[self.post.me].bell.fd();
        for (slot, socket) in fds[1..].iter_mut().zip(&self.sockets) {
            slot.fd = socket.fd.as_raw_fd();
        }
        fds[1 + self.sockets.len()].fd = self.tcp.fd();
        let next_us = self.core.next_timeout_us().into_iter().chain(self.tcp.next_timeout_us()).min();
        let wait_us = next_us.map_or(1_000_000, |at| at.saturating_sub(self.now_us()));
        let timeout = libc::timespec {
            tv_sec: (wait_us / 1_000_000) as libc::time_t,
            tv_nsec: (wait_us % 1_000_000 * 1000) as libc::c_long,
        };
        // SAFETY: the array is live and its length is given; entries with fd -1 are ignored.
        let ready = unsafe {
            libc::ppoll(fds.as_mut_ptr(), 2 + self.sockets.len() as libc::nfds_t, &raw const timeout, std::ptr::null())
        };
        if ready <= 0 {
            return 0;
        }
        fds.iter().enumerate().filter(|(_, fd)| fd.revents != 0).fold(0, |bits, (at, _)| bits | 1 << at)
    }

    /// Orders and parcels. False when the router is to stop.
    fn bell(&mut self) -> bool {
        let desk = &self.shared.desks[self.post.me];
        desk.bell.quiet();
        let orders = std::mem::take(&mut lock(&desk.queue).orders);
        let now_us = self.now_us();
        for order in orders {
            match order {
                Order::Command(command) => self.core.apply(now_us, command, &mut self.outbox),
                Order::Mirror { ingest_id, transport_id, home, parameters } => {
                    if self.core.add_mirror(ingest_id, transport_id, home, &parameters) {
                        let what = What::Subscribe { ingest_id, shard: self.post.me, on: true };
                        self.post.add(home, what, &[]);
                    }
                }
                Order::Connection(handed) => {
                    if let Some(token) = self.tcp.take(handed, &mut self.core) {
                        self.serve(now_us, token, true);
                    }
                }
                // A caller that went away meanwhile does not miss the answer.
                Order::Snapshot(to) => drop(to.send(self.core.snapshot(now_us))),
                Order::Stop => {
                    self.deliver(now_us);
                    let mut queue = lock(&self.shared.desks[self.post.me].queue);
                    queue.closed = true;
                    // Whoever waits for an answer is told that there will be none.
                    queue.orders.clear();
                    return false;
                }
            }
            if self.outbox.is_full() {
                self.deliver(now_us);
            }
        }
        self.parcels(now_us);
        self.deliver(now_us);
        true
    }

    /// What other shards sent.
    fn parcels(&mut self, now_us: u64) {
        if self.post.is_alone() {
            return;
        }
        let mut parcels = std::mem::take(&mut self.parcels);
        self.post.take(&mut parcels);
        parcels.for_each(|what, bytes| {
            match what {
                What::Datagram(from) => self.core.handle_datagram(now_us, from, bytes, &mut self.outbox),
                What::Shared { ingest_id, share } => self.core.handle_shared_untrusted(now_us, ingest_id, share, bytes),
                What::Subscribe { ingest_id, shard, on } => self.core.share_with(ingest_id, shard, on),
                What::KeyframeWanted { ingest_id } => self.core.want_keyframe(now_us, ingest_id, &mut self.outbox),
                What::Forget(peer) => self.core.forget_address(&peer),
            }
            if self.outbox.is_full() {
                self.send_out();
            }
        });
        self.parcels = parcels;
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
                let elsewhere = if self.post.is_alone() {
                    None
                } else {
                    elsewhere(&self.core, &self.shared, &self.post, from, datagram)
                };
                if let Some(shard) = elsewhere {
                    self.core.counters.inc(Counter::HandedOver);
                    self.post.add(shard, What::Datagram(from), datagram);
                    continue;
                }
                self.core.handle_datagram(now_us, from, datagram, &mut self.outbox);
                if self.outbox.is_full() {
                    self.send_out();
                }
            }
            self.deliver(now_us);
            if count < BATCH {
                return;
            }
        }
    }

    fn read_tcp(&mut self) {
        let now_us = self.now_us();
        let mut readable = std::mem::take(&mut self.readable);
        self.tcp.ready(now_us, &mut self.core, &mut readable);
        for token in readable.drain(..) {
            self.serve(now_us, token, false);
        }
        self.readable = readable;
        self.deliver(now_us);
    }

    /// Handles what one TCP connection has brought. One whose first check names a transport of another shard goes there
    /// whole, so that none of its packets is handed over.
    fn serve(&mut self, now_us: u64, token: Token, taken: bool) {
        for round in 0..ROUNDS {
            if !self.tcp.fill(token, taken && round == 0, &mut self.core) {
                return;
            }
            loop {
                let stranger = !self.tcp.is_proved(token);
                let Some((from, frame)) = self.tcp.frame(token, &mut self.core) else { break };
                self.core.counters.inc(Counter::RxBatches);
                let bytes = frame.len();
                if stranger
                    && !self.post.is_alone()
                    && let Some(shard) = elsewhere(&self.core, &self.shared, &self.post, from, frame)
                {
                    if let Some(handed) = self.tcp.hand_over(token, bytes) {
                        self.core.counters.inc(Counter::HandedOver);
                        self.shared.desks[shard].push(Order::Connection(handed));
                    }
                    return;
                }
                self.core.handle_datagram(now_us, from, frame, &mut self.outbox);
                if stranger {
                    self.tcp.handled(token, &self.core);
                }
                if self.outbox.is_full() {
                    self.send_out();
                }
            }
        }
    }

    /// Empties the outbox.
    fn send_out(&mut self) {
        self.tcp.send(self.now_us(), &self.outbox, &mut self.core);
        self.send.all(&self.sockets, &mut self.outbox, &mut self.core);
    }

    /// Sends what is due, hands parcels to other shards and events to Python.
    fn deliver(&mut self, now_us: u64) {
        // Before anything is sent: a peer that has our answer may speak to any shard's socket.
        self.publish_addresses();
        while self.core.poll(now_us, &mut self.outbox) {
            self.send_out();
        }
        self.send_out();
        if !self.post.is_alone() {
            self.hand_over();
        }
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
        self.shared.event_bell.ring();
    }

    fn publish_addresses(&mut self) {
        let (doors, post) = (&self.shared.doors, &mut self.post);
        self.core.take_address_changes(|peer, ours| {
            if !ours {
                doors.remove_address(&peer, post.me);
            } else if let Some(before) = doors.add_address(peer, post.me) {
                post.add(before, What::Forget(peer), &[]);
            }
        });
    }

    fn hand_over(&mut self) {
        let post = &mut self.post;
        self.core.take_shared(|to, ingest_id, share, bytes| {
            for shard in (0..u64::BITS as usize).filter(|shard| to & 1 << shard != 0) {
                post.add(shard, What::Shared { ingest_id, share }, bytes);
            }
        });
        self.core.take_mirror_wishes(|home, ingest_id, wish| {
            let what = match wish {
                MirrorWish::Keyframe => What::KeyframeWanted { ingest_id },
                MirrorWish::Unsubscribe => What::Subscribe { ingest_id, shard: post.me, on: false },
            };
            post.add(home, what, &[]);
        });
        post.send();
        self.core.counters.add(Counter::ParcelsDropped, std::mem::take(&mut post.dropped));
    }
}

/// The shard that `datagram` is for, when it is not this one. Who is unknown everywhere is counted where it came.
fn elsewhere(core: &Core, shared: &Shared, post: &Post, from: Peer, datagram: &[u8]) -> Option<usize> {
    let shard = match classify_untrusted(datagram).ok()? {
        // By name, not by address: a check is how an address comes to belong to a transport.
        Protocol::Stun => {
            let message = stun::Message::parse_untrusted(datagram).ok()?;
            let (ufrag, _) = message.ufrags()?;
            if core.has_ufrag(ufrag) { None } else { shared.doors.of_ufrag(ufrag) }
        }
        _ if core.has_address(&from) => None,
        _ => shared.doors.of_address(&from),
    };
    shard.filter(|shard| *shard != post.me)
}
