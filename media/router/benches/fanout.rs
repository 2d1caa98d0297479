//! CPU of the router's thread per forwarded packet: one lecture (25 frames/s of eight 1150-byte packets, 50 Opus
//! packets/s, paced) to N viewers over loopback with AES-128-GCM. Prints one JSON line per N.
//!
//! `cargo bench --manifest-path media/router/Cargo.toml -- [viewers ...] [--seconds N] [--threads N]`

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use _router::core::{Command, Keys};
use _router::io::Handle;
use _router::parameters::{CodecParameters, ExtensionIds, IngestParameters, Kind, SlotParameters};
use _router::payload::Codec;
use _router::srtp::{Outbound, Profile};
use _router::stats::Counter;
use aws_lc_rs::hmac;

const PASSWORD: &str = "a password of the bench";
const PROFILE: Profile = Profile::AeadAes128Gcm;

fn binding_request(username: &str) -> Vec<u8> {
    let mut raw = vec![0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42];
    raw.extend_from_slice(&[7; 12]);
    raw.extend_from_slice(&[0, 6, 0, username.len() as u8]);
    raw.extend_from_slice(username.as_bytes());
    raw.resize(raw.len().next_multiple_of(4), 0);
    raw.extend_from_slice(&[0, 0x25, 0, 0]);
    let length = (raw.len() + 24 - 20) as u16;
    raw[2..4].copy_from_slice(&length.to_be_bytes());
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, PASSWORD.as_bytes());
    let tag = hmac::sign(&key, &raw);
    raw.extend_from_slice(&[0, 8, 0, 20]);
    raw.extend_from_slice(tag.as_ref());
    raw
}

fn join(router: &Handle, transport_id: u64) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    socket.connect(router.local_addresses()[0]).expect("loopback");
    router.order(Command::AddTransport {
        transport_id,
        local_ufrag: format!("u{transport_id}"),
        local_pwd: PASSWORD.into(),
        remote_ufrag: None,
    });
    let keys =
        Keys { profile: PROFILE, rx_key: vec![1; 16], rx_salt: vec![2; 12], tx_key: vec![3; 16], tx_salt: vec![4; 12] };
    router.order(Command::SetKeys { transport_id, keys: Box::new(keys) });
    socket.send(&binding_request(&format!("u{transport_id}:x"))).expect("loopback");
    let mut answer = [0; 200];
    socket.recv(&mut answer).expect("a binding response");
    socket
}

fn codec(codec: Codec, payload_type: u8, clock_rate_hz: u32) -> Vec<CodecParameters> {
    vec![CodecParameters { codec, payload_type, clock_rate_hz, rtx_payload_type: None }]
}

fn cpu_of_router_us() -> u64 {
    // The router's threads name themselves; utime and stime are fields 14 and 15, schedstat is in nanoseconds.
    let mut total_ns = 0;
    for task in std::fs::read_dir("/proc/self/task").expect("procfs").flatten() {
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        if name.trim() == "anke-router" {
            let schedstat = std::fs::read_to_string(task.path().join("schedstat")).expect("schedstat");
            total_ns += schedstat.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).expect("a number");
        }
    }
    total_ns / 1000
}

/// Reads all viewers' sockets until told to stop; counts datagrams.
fn sink(sockets: Vec<UdpSocket>, stop: Arc<AtomicBool>, received: Arc<AtomicU64>) {
    let mut fds: Vec<libc::pollfd> =
        sockets.iter().map(|s| libc::pollfd { fd: s.as_raw_fd(), events: libc::POLLIN, revents: 0 }).collect();
    let mut buffer = [0u8; 2000];
    for socket in &sockets {
        socket.set_nonblocking(true).expect("fcntl");
    }
    while !stop.load(Ordering::Relaxed) {
        // SAFETY: the array is live and its length is given.
        unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, 50) };
        for (fd, socket) in fds.iter().zip(&sockets) {
            if fd.revents != 0 {
                while socket.recv(&mut buffer).is_ok() {
                    received.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

struct Sender {
    socket: UdpSocket,
    srtp: Outbound,
    buffer: [u8; 1600],
}

impl Sender {
    fn send(&mut self, ssrc: u32, payload_type: u8, ext_seq: u64, rtp_ts: u32, payload: &[u8]) {
        self.buffer[0] = 0x80;
        self.buffer[1] = payload_type;
        self.buffer[2..4].copy_from_slice(&(ext_seq as u16).to_be_bytes());
        self.buffer[4..8].copy_from_slice(&rtp_ts.to_be_bytes());
        self.buffer[8..12].copy_from_slice(&ssrc.to_be_bytes());
        self.buffer[12..12 + payload.len()].copy_from_slice(payload);
        let len = self.srtp.protect_rtp(&mut self.buffer, 12 + payload.len(), 12, ssrc, ext_seq).expect("protected");
        self.socket.send(&self.buffer[..len]).expect("loopback");
    }
}

fn run(viewers: u64, seconds: u64, threads: usize) {
    let router = Handle::start(&[SocketAddr::from(([127, 0, 0, 1], 0))], 1024, threads, false).expect("a router");
    let socket = join(&router, 1);
    for (ingest_id, kind, ssrc, codecs) in
        [(1, Kind::Video, 11, codec(Codec::Vp8, 96, 90_000)), (2, Kind::Audio, 12, codec(Codec::Opus, 111, 48_000))]
    {
        let parameters = Box::new(IngestParameters {
            kind,
            mid: ingest_id.to_string(),
            rid: None,
            ssrc: Some(ssrc),
            rtx_ssrc: None,
            codecs,
            extensions: ExtensionIds::default(),
            nack: kind == Kind::Video,
            pli: true,
            fir: false,
            transport_cc: false,
        });
        router.order(Command::AddIngest { ingest_id, transport_id: 1, parameters });
    }
    let mut sockets = Vec::new();
    for viewer in 0..viewers {
        let transport_id = 100 + viewer;
        sockets.push(join(&router, transport_id));
        for (slot, kind, codecs) in
            [(0, Kind::Video, codec(Codec::Vp8, 96, 90_000)), (1, Kind::Audio, codec(Codec::Opus, 111, 48_000))]
        {
            let slot_id = 1000 + 2 * viewer + slot;
            let extensions = ExtensionIds { mid: Some(1), ..ExtensionIds::default() };
            let parameters = Box::new(SlotParameters {
                kind,
                mid: slot.to_string(),
                ssrc: 20 + slot as u32,
                rtx_ssrc: None,
                codecs,
                extensions,
                nack: true,
            });
            router.order(Command::AddSlot { slot_id, transport_id, parameters });
            router.order(Command::Route { slot_id, ingest_ids: vec![1 + slot] });
        }
    }
    let (stop, received) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let drain = {
        let (stop, received) = (Arc::clone(&stop), Arc::clone(&received));
        std::thread::spawn(move || sink(sockets, stop, received))
    };

    let srtp = Outbound::new(PROFILE, &[1; 16], &[2; 12]).expect("keys");
    let mut sender = Sender { socket, srtp, buffer: [0; 1600] };
    // Parts of one frame differ by a byte, as encoders cut them.
    let mut video = [0x55u8; 1150];
    video[..5].copy_from_slice(&[0x90, 0x80, 0x80, 0x01, 0x00]);
    let start = Instant::now();
    let (mut video_seq, mut audio_seq) = (0u64, 0u64);
    let mut measured_from = (0, 0, 0, 0);
    for tick in 0..(seconds + 1) * 50 {
        if tick == 50 {
            let counters = router.snapshot().expect("a snapshot").counters;
            measured_from = (
                cpu_of_router_us(),
                counters.get(Counter::RtpOut),
                received.load(Ordering::Relaxed),
                counters.get(Counter::TxMessages),
            );
        }
        if tick % 2 == 0 {
            for part in 0..8u64 {
                video[0] = if part == 0 { 0x90 } else { 0x80 };
                let marker = if part == 7 { 0x80 } else { 0 };
                let bytes = if part == 7 { 1140 } else { 1150 - (part as usize % 2) };
                sender.send(11, 96 | marker, video_seq, tick as u32 * 1800, &video[..bytes]);
                video_seq += 1;
            }
        }
        sender.send(12, 111, audio_seq, tick as u32 * 960, &video[..100]);
        audio_seq += 1;
        std::thread::sleep((start + Duration::from_millis(20 * (tick + 1))).saturating_duration_since(Instant::now()));
    }
    let counters = router.snapshot().expect("a snapshot").counters;
    let cpu_us = cpu_of_router_us() - measured_from.0;
    let packets = counters.get(Counter::RtpOut) - measured_from.1;
    let messages = counters.get(Counter::TxMessages) - measured_from.3;
    std::thread::sleep(Duration::from_millis(100));
    let arrived = received.load(Ordering::Relaxed) - measured_from.2;
    stop.store(true, Ordering::Relaxed);
    drain.join().expect("the sink");
    router.close();
    println!(
        "{{\"server\": \"anke\", \"viewers\": {viewers}, \"us_per_packet\": {:.2}, \"packets\": {packets}, \
         \"loss\": {:.4}, \"messages\": {messages}}}",
        cpu_us as f64 / packets.max(1) as f64,
        1.0 - (arrived as f64 / packets.max(1) as f64).min(1.0),
    );
}

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let mut option = |name: &str, default: u64| {
        let Some(at) = arguments.iter().position(|a| a == name) else { return default };
        arguments.drain(at..(at + 2).min(arguments.len())).nth(1).and_then(|s| s.parse().ok()).unwrap_or(default)
    };
    let (seconds, threads) = (option("--seconds", 5), option("--threads", 1));
    let viewers: Vec<u64> = arguments.iter().filter_map(|a| a.parse().ok()).collect();
    for n in if viewers.is_empty() { vec![40, 120] } else { viewers } {
        run(n, seconds, threads as usize);
    }
}
