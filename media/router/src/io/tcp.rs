//! ICE over TCP (RFC 6544, passive end): a listener beside each UDP socket on the same port number, and the connections
//! of one shard. To the core a connection is a peer like any other, by a socket index of its own range.
//!
//! Whoever connects has five seconds and a few frames to show a valid connectivity check; until then they count against
//! what their address and all strangers may hold open. Nothing here blocks: what a slow stream does not take waits in a
//! bounded queue.

use std::collections::HashMap;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::mem::zeroed;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::framing::{Queue, frame_untrusted};
use super::socket::{check, set_option, write_address};
use crate::core::Core;
use crate::outbox::{Outbox, Peer, TCP};
use crate::stats::Counter;

/// Connections of one shard, far above the transports that a thread can serve.
const MAX_CONNECTIONS: usize = 8192;
/// Connections that have shown no valid check yet: of all, and of one address (a school behind one NAT joins at once).
const MAX_STRANGERS: usize = 1024;
const MAX_STRANGERS_OF_ADDRESS: usize = 256;
/// A browser sends its check as soon as the connection stands.
const STRANGER_US: u64 = 5_000_000;
const STRANGER_FRAMES: u32 = 16;
const SWEEP_US: u64 = 1_000_000;
const BACKLOG: libc::c_int = 512;
const READ_BYTES: usize = 64 * 1024;
const EVENTS: usize = 64;
/// Unsent octets that the kernel keeps for us: enough to keep a fast path busy, little to wait behind.
const NOTSENT_LOWAT_BYTES: libc::c_int = 32 * 1024;
const LISTENER: u64 = 1 << 63;

struct Connection {
    stream: TcpStream,
    peer: Peer,
    opened_us: u64,
    /// A valid check came over it.
    proved: bool,
    frames: u32,
    /// The beginning of a frame whose rest has not come.
    partial: Vec<u8>,
    queue: Queue,
    writing: bool,
}

/// A connection on its way to the shard that its first check named.
pub(super) struct Handed {
    stream: TcpStream,
    peer: Peer,
    opened_us: u64,
    bytes: Vec<u8>,
}

/// What is ready: a connection by its place and age, so that a place taken again is not mistaken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token(u64);

impl Token {
    fn new(at: usize, generation: u32) -> Self {
        Self(at as u64 | u64::from(generation & 0x7FFF_FFFF) << 32)
    }

    fn at(self) -> usize {
        (self.0 & 0xFFFF_FFFF) as usize
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

#[derive(Default)]
struct Place {
    generation: u32,
    connection: Option<Connection>,
}

pub(super) struct Tcp {
    epoll: OwnedFd,
    listeners: Vec<TcpListener>,
    places: Vec<Place>,
    free: Vec<usize>,
    by_peer: HashMap<Peer, usize>,
    strangers: HashMap<IpAddr, usize>,
    stranger_count: usize,
    /// What was read last: `parsed..filled` is still to be taken by `frame`.
    scratch: Box<[u8]>,
    parsed: usize,
    filled: usize,
    next_sweep_us: u64,
    closing: Vec<usize>,
}

/// Listeners on one address and port, one for each shard. OSError when another process has the port.
pub(super) fn listen_group(address: SocketAddr, shards: usize) -> Result<Vec<TcpListener>> {
    // As for UDP: the first alone, so that a port of another process is not shared with it by mistake.
    let first = listen(address, false)?;
    if shards == 1 {
        return Ok(vec![first]);
    }
    drop(first);
    (0..shards).map(|_| listen(address, true)).collect()
}

fn listen(address: SocketAddr, shared: bool) -> Result<TcpListener> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: plain system calls on a descriptor we own, with pointers to live values of the sizes given.
    unsafe {
        let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        let fd = OwnedFd::from_raw_fd(check(libc::socket(family, kind, 0))?);
        if address.is_ipv6() {
            set_option(&fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
        }
        // A node that starts again finds connections of the one before in TIME_WAIT.
        set_option(&fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
        if shared {
            set_option(&fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        }
        let mut storage: libc::sockaddr_storage = zeroed();
        let len = write_address(&mut storage, address);
        check(libc::bind(fd.as_raw_fd(), (&raw const storage).cast(), len))?;
        check(libc::listen(fd.as_raw_fd(), BACKLOG))?;
        Ok(TcpListener::from(fd))
    }
}

impl Tcp {
    /// `listeners` in the order of the UDP sockets; none where TCP is off.
    pub fn new(listeners: Vec<TcpListener>) -> Result<Self> {
        // SAFETY: plain system call; the descriptor it returns is owned by nobody else.
        let epoll = unsafe { OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        for (at, listener) in listeners.iter().enumerate() {
            control(&epoll, libc::EPOLL_CTL_ADD, listener.as_raw_fd(), libc::EPOLLIN, LISTENER | at as u64)?;
        }
        Ok(Self {
            epoll,
            listeners,
            places: Vec::new(),
            free: Vec::new(),
            by_peer: HashMap::new(),
            strangers: HashMap::new(),
            stranger_count: 0,
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
            parsed: 0,
            filled: 0,
            next_sweep_us: 0,
            closing: Vec::new(),
        })
    }

    /// Readable while `ready` has something to say.
    pub fn fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    pub fn next_timeout_us(&self) -> Option<u64> {
        (!self.by_peer.is_empty()).then_some(self.next_sweep_us)
    }

    /// Accepts, writes what waited, and names the connections that have something to read.
    pub fn ready(&mut self, now_us: u64, core: &mut Core, readable: &mut Vec<Token>) {
        // SAFETY: zeros are valid epoll_events; the kernel writes at most as many as there are.
        let (events, count) = unsafe {
            let mut events: [libc::epoll_event; EVENTS] = zeroed();
            let count = libc::epoll_wait(self.fd(), events.as_mut_ptr(), EVENTS as libc::c_int, 0);
            (events, usize::try_from(count).unwrap_or(0))
        };
        for event in &events[..count] {
            let (flags, token) = ({ event.events } as libc::c_int, Token(event.u64));
            if token.0 & LISTENER != 0 {
                self.accept((token.0 & !LISTENER) as usize, now_us, core);
                continue;
            }
            if flags & libc::EPOLLOUT != 0 && self.connection(token).is_some() {
                self.write(token.at(), now_us, core);
            }
            if flags & !libc::EPOLLOUT != 0 {
                readable.push(token);
            }
        }
        self.close_failed(core);
    }

    fn accept(&mut self, at: usize, now_us: u64, core: &mut Core) {
        for _ in 0..EVENTS {
            let (stream, address) = match self.listeners[at].accept() {
                Ok(accepted) => accepted,
                Err(why) if why.kind() == ErrorKind::Interrupted => continue,
                Err(why) if why.kind() == ErrorKind::WouldBlock => return,
                // Gone before we came (ECONNABORTED), or no descriptor left: the others wait for the next turn.
                Err(_) => {
                    core.counters.inc(Counter::TcpRefused);
                    return;
                }
            };
            let peer = Peer { socket: TCP | at as u8, address };
            let of_address = self.strangers.get(&address.ip()).copied().unwrap_or(0);
            let crowded = self.by_peer.len() >= MAX_CONNECTIONS
                || self.stranger_count >= MAX_STRANGERS
                || of_address >= MAX_STRANGERS_OF_ADDRESS;
            if crowded || self.add(stream, peer, now_us, Vec::new()).is_err() {
                core.counters.inc(Counter::TcpRefused);
                continue;
            }
            core.counters.inc(Counter::TcpAccepted);
        }
    }

    fn add(&mut self, stream: TcpStream, peer: Peer, opened_us: u64, partial: Vec<u8>) -> Result<Token> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        set_option(&stream, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, NOTSENT_LOWAT_BYTES)?;
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            self.places.len() - 1
        });
        let token = Token::new(at, self.places[at].generation);
        if let Err(why) = control(&self.epoll, libc::EPOLL_CTL_ADD, stream.as_raw_fd(), libc::EPOLLIN, token.0) {
            self.free.push(at);
            return Err(why);
        }
        let queue = Queue::default();
        let connection =
            Connection { stream, peer, opened_us, proved: false, frames: 0, partial, queue, writing: false };
        self.places[at].connection = Some(connection);
        self.by_peer.insert(peer, at);
        *self.strangers.entry(peer.address.ip()).or_default() += 1;
        self.stranger_count += 1;
        Ok(token)
    }

    /// Takes over a connection that another shard accepted. The token says that its first frame is there already.
    pub fn take(&mut self, handed: Handed, core: &mut Core) -> Option<Token> {
        let Handed { stream, peer, opened_us, bytes } = handed;
        let taken = self.add(stream, peer, opened_us, bytes);
        if taken.is_err() {
            core.counters.inc(Counter::TcpClosed);
        }
        taken.ok()
    }

    fn connection(&mut self, token: Token) -> Option<&mut Connection> {
        let place = self.places.get_mut(token.at())?;
        if place.generation & 0x7FFF_FFFF != token.generation() {
            return None;
        }
        place.connection.as_mut()
    }

    /// Reads what a connection has; to be taken by `frame` until that says None, then called again until this says
    /// false. `first`: what another shard had read already comes before anything is read.
    pub fn fill(&mut self, token: Token, first: bool, core: &mut Core) -> bool {
        (self.parsed, self.filled) = (0, 0);
        let Some(place) = self.places.get_mut(token.at()) else { return false };
        if place.generation & 0x7FFF_FFFF != token.generation() {
            return false;
        }
        let Some(connection) = place.connection.as_mut() else { return false };
        let kept = connection.partial.len();
        self.scratch[..kept].copy_from_slice(&connection.partial);
        connection.partial.clear();
        if first && kept > 0 {
            self.filled = kept;
            return true;
        }
        self.filled = loop {
            match connection.stream.read(&mut self.scratch[kept..]) {
                Ok(0) => {
                    self.close(token.at(), core);
                    return false;
                }
                Ok(bytes) => break kept + bytes,
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) if why.kind() == ErrorKind::WouldBlock => {
                    connection.partial.extend_from_slice(&self.scratch[..kept]);
                    return false;
                }
                Err(_) => {
                    self.close(token.at(), core);
                    return false;
                }
            }
        };
        true
    }

    /// The next whole frame of what `fill` read, and whom it is from. Closes the connection when its framing is wrong
    /// or a stranger talks too long.
    pub fn frame(&mut self, token: Token, core: &mut Core) -> Option<(Peer, &mut [u8])> {
        let connection = self.connection(token)?;
        let (peer, talkative) = (connection.peer, !connection.proved && connection.frames >= STRANGER_FRAMES);
        let found =
            if talkative { Err(()) } else { frame_untrusted(&self.scratch[self.parsed..self.filled]).map_err(drop) };
        match found {
            Ok(Some((start, end))) => {
                let (start, end) = (self.parsed + start, self.parsed + end);
                self.parsed = end;
                if let Some(connection) = self.connection(token) {
                    connection.frames = connection.frames.saturating_add(1);
                }
                Some((peer, &mut self.scratch[start..end]))
            }
            Ok(None) => {
                self.keep(token);
                None
            }
            Err(()) => {
                core.counters.inc(Counter::TcpRefused);
                self.close(token.at(), core);
                None
            }
        }
    }

    /// Keeps the beginning of a frame for the next read.
    fn keep(&mut self, token: Token) {
        let (parsed, filled) = (self.parsed, self.filled);
        self.parsed = filled;
        let rest: Vec<u8> = self.scratch[parsed..filled].to_vec();
        if let Some(connection) = self.connection(token) {
            connection.partial = rest;
        }
    }

    /// A frame was handled: did it prove the connection?
    pub fn handled(&mut self, token: Token, core: &Core) {
        let Some(connection) = self.connection(token) else { return };
        if connection.proved || !core.has_address(&connection.peer) {
            return;
        }
        connection.proved = true;
        let ip = connection.peer.address.ip();
        self.known(ip);
    }

    pub fn is_proved(&mut self, token: Token) -> bool {
        self.connection(token).is_some_and(|connection| connection.proved)
    }

    /// Lets a connection go to another shard, with its frame that was just read and all that came behind it.
    pub fn hand_over(&mut self, token: Token, frame_bytes: usize) -> Option<Handed> {
        let from = self.parsed.checked_sub(frame_bytes + super::framing::LENGTH_BYTES)?;
        let bytes = self.scratch[from..self.filled].to_vec();
        self.parsed = self.filled;
        let connection = self.forget(token.at())?;
        // The other shard's own epoll takes it up; closing the descriptor alone would leave it in ours as well.
        let none = control(&self.epoll, libc::EPOLL_CTL_DEL, connection.stream.as_raw_fd(), 0, 0);
        none.ok()?;
        Some(Handed { stream: connection.stream, peer: connection.peer, opened_us: connection.opened_us, bytes })
    }

    fn known(&mut self, ip: IpAddr) {
        self.stranger_count -= 1;
        if let Some(count) = self.strangers.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                self.strangers.remove(&ip);
            }
        }
    }

    fn forget(&mut self, at: usize) -> Option<Connection> {
        let place = self.places.get_mut(at)?;
        let connection = place.connection.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(at);
        if self.by_peer.get(&connection.peer) == Some(&at) {
            self.by_peer.remove(&connection.peer);
        }
        if !connection.proved {
            self.known(connection.peer.address.ip());
        }
        Some(connection)
    }

    fn close(&mut self, at: usize, core: &mut Core) {
        let Some(connection) = self.forget(at) else { return };
        core.counters.inc(Counter::TcpClosed);
        core.drop_address(&connection.peer);
    }

    fn close_failed(&mut self, core: &mut Core) {
        while let Some(at) = self.closing.pop() {
            self.close(at, core);
        }
    }

    /// Sends what the outbox has for TCP peers; the rest is left in it.
    pub fn send(&mut self, now_us: u64, outbox: &Outbox, core: &mut Core) {
        if self.by_peer.is_empty() {
            return;
        }
        for (peer, datagrams) in outbox.chains().filter(|(peer, _)| peer.is_tcp()) {
            let at = self.by_peer.get(&peer).copied();
            let Some(connection) = at.and_then(|at| self.places[at].connection.as_mut()) else {
                core.counters.add(Counter::TxDropped, datagrams.count() as u64);
                continue;
            };
            for datagram in datagrams {
                if connection.queue.push(now_us, datagram) {
                    core.counters.inc(Counter::TxDatagrams);
                    core.counters.add(Counter::TxBytes, datagram.len() as u64);
                } else {
                    core.counters.inc(Counter::TcpDropped);
                }
            }
            if let Some(at) = at.filter(|at| self.places[*at].connection.as_ref().is_some_and(|c| !c.writing)) {
                self.write(at, now_us, core);
            }
        }
        self.close_failed(core);
    }

    /// Writes what waits, as far as the stream takes it.
    fn write(&mut self, at: usize, now_us: u64, core: &mut Core) {
        let place = &mut self.places[at];
        let token = Token::new(at, place.generation);
        let Some(connection) = place.connection.as_mut() else { return };
        while !connection.queue.is_empty() {
            match connection.stream.write(connection.queue.waiting()) {
                Ok(bytes) => {
                    core.counters.inc(Counter::TxMessages);
                    connection.queue.wrote(now_us, bytes);
                }
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) if why.kind() == ErrorKind::WouldBlock => {
                    connection.queue.wrote(now_us, 0);
                    break;
                }
                Err(_) => {
                    self.closing.push(at);
                    return;
                }
            }
        }
        let writing = !connection.queue.is_empty();
        if writing != connection.writing {
            connection.writing = writing;
            let events = if writing { libc::EPOLLIN | libc::EPOLLOUT } else { libc::EPOLLIN };
            if control(&self.epoll, libc::EPOLL_CTL_MOD, connection.stream.as_raw_fd(), events, token.0).is_err() {
                self.closing.push(at);
            }
        }
    }

    /// Closes connections that nobody needs: strangers that said nothing valid in time, and those whose transport ended
    /// or has given their address up.
    pub fn sweep(&mut self, now_us: u64, core: &mut Core) {
        if now_us < self.next_sweep_us {
            return;
        }
        self.next_sweep_us = now_us + SWEEP_US;
        for at in 0..self.places.len() {
            let Some(connection) = &self.places[at].connection else { continue };
            let over = if connection.proved {
                !core.has_address(&connection.peer)
            } else {
                now_us.saturating_sub(connection.opened_us) >= STRANGER_US
            };
            if over {
                self.close(at, core);
            }
        }
    }
}

fn control(epoll: &OwnedFd, operation: libc::c_int, fd: RawFd, events: libc::c_int, data: u64) -> Result<()> {
    let mut event = libc::epoll_event { events: events as u32, u64: data };
    // SAFETY: the event is live for the call, both descriptors are open.
    if unsafe { libc::epoll_ctl(epoll.as_raw_fd(), operation, fd, &raw mut event) } < 0 {
        return Err(Error::last_os_error());
    }
    Ok(())
}
