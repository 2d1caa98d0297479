//! The core alone, without sockets: one frame of a lecture (eight VP8 packets) decrypted, kept, rewritten and protected
//! for N viewers. Per element: one packet sent.
//!
//! `cargo bench --manifest-path media/router/Cargo.toml --bench core`

use std::net::SocketAddr;
use std::time::Duration;

use _router::core::{Command, Core, Keys};
use _router::outbox::{Outbox, Peer};
use _router::parameters::{CodecParameters, ExtensionIds, IngestParameters, Kind, SlotParameters};
use _router::payload::Codec;
use _router::srtp::{Outbound, Profile};
use _router::stun;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const PASSWORD: &str = "a password of the bench";
const PROFILE: Profile = Profile::AeadAes128Gcm;
const PUBLISHER: u64 = 1;
const FRAME_PACKETS: u64 = 8;
const PACKET_BYTES: usize = 1150;

struct Lecture {
    core: Core,
    outbox: Outbox,
    now_us: u64,
    srtp: Outbound,
    ext_seq: u64,
}

fn peer(transport_id: u64) -> Peer {
    Peer { socket: 0, address: SocketAddr::from(([10, 0, 0, 1], 1000 + transport_id as u16)) }
}

fn vp8() -> Vec<CodecParameters> {
    vec![CodecParameters { codec: Codec::Vp8, payload_type: 96, clock_rate_hz: 90_000, rtx_payload_type: None }]
}

impl Lecture {
    fn new(viewers: u64) -> Self {
        let mut lecture = Self {
            core: Core::new(1024, 7),
            outbox: Outbox::default(),
            now_us: 3_600_000_000,
            srtp: Outbound::new(PROFILE, &[1; 16], &[2; 12]).expect("keys"),
            ext_seq: 0,
        };
        lecture.join(PUBLISHER);
        let parameters = IngestParameters {
            kind: Kind::Video,
            mid: "0".into(),
            rid: None,
            ssrc: Some(11),
            rtx_ssrc: None,
            codecs: vp8(),
            extensions: ExtensionIds::default(),
            nack: true,
            pli: true,
            fir: false,
            transport_cc: false,
        };
        let parameters = Box::new(parameters);
        lecture.order(Command::AddIngest { ingest_id: 1, transport_id: PUBLISHER, parameters });
        for transport_id in 100..100 + viewers {
            lecture.join(transport_id);
            let parameters = SlotParameters {
                kind: Kind::Video,
                mid: "0".into(),
                ssrc: 21,
                rtx_ssrc: None,
                codecs: vp8(),
                extensions: ExtensionIds { mid: Some(1), ..ExtensionIds::default() },
                nack: true,
            };
            lecture.order(Command::AddSlot { slot_id: transport_id, transport_id, parameters: Box::new(parameters) });
            lecture.order(Command::Route { slot_id: transport_id, ingest_ids: vec![1] });
        }
        let frame = lecture.frame();
        lecture.forward(frame);
        lecture
    }

    fn order(&mut self, command: Command) {
        self.core.apply(self.now_us, command, &mut self.outbox);
        self.outbox.clear();
    }

    fn join(&mut self, transport_id: u64) {
        self.order(Command::AddTransport {
            transport_id,
            local_ufrag: format!("u{transport_id}"),
            local_pwd: PASSWORD.into(),
            remote_ufrag: None,
        });
        let keys = Keys {
            profile: PROFILE,
            rx_key: vec![1; 16],
            rx_salt: vec![2; 12],
            tx_key: vec![3; 16],
            tx_salt: vec![4; 12],
        };
        self.order(Command::SetKeys { transport_id, keys: Box::new(keys) });
        let mut check = [0; 200];
        let (username, key) = (format!("u{transport_id}:x"), stun::short_term_key(PASSWORD));
        let len = stun::write_binding_request(&mut check, &[7; 12], &username, &key).expect("room");
        self.core.handle_datagram(self.now_us, peer(transport_id), &mut check[..len], &mut self.outbox);
        self.outbox.clear();
    }

    /// The next frame as its publisher sends it; the first is a key frame.
    fn frame(&mut self) -> Vec<Vec<u8>> {
        let key = self.ext_seq == 0;
        let packet = |part: u64| {
            let ext_seq = self.ext_seq + part;
            let mut packet = vec![0x55u8; PACKET_BYTES + 16];
            packet[0] = 0x80;
            packet[1] = 96 | if part == FRAME_PACKETS - 1 { 0x80 } else { 0 };
            packet[2..4].copy_from_slice(&(ext_seq as u16).to_be_bytes());
            packet[4..8].copy_from_slice(&((self.ext_seq / FRAME_PACKETS) as u32 * 3600).to_be_bytes());
            packet[8..12].copy_from_slice(&11u32.to_be_bytes());
            // RFC 7741 4.2: X, S on the first; I with a short picture id; then the frame tag's P bit.
            let start = if part == 0 { 0x90 } else { 0x80 };
            packet[12..16].copy_from_slice(&[start, 0x80, 1, if key { 0 } else { 1 }]);
            self.srtp.protect_rtp(&mut packet, PACKET_BYTES, 12, 11, ext_seq).expect("protected");
            packet
        };
        let packets = (0..FRAME_PACKETS).map(packet).collect();
        self.ext_seq += FRAME_PACKETS;
        packets
    }

    /// Returns the datagrams that would have been sent.
    fn forward(&mut self, packets: Vec<Vec<u8>>) -> usize {
        let mut sent = 0;
        for mut packet in packets {
            self.core.handle_datagram(self.now_us, peer(PUBLISHER), &mut packet, &mut self.outbox);
        }
        let mut more = true;
        while more {
            more = self.core.poll(self.now_us, &mut self.outbox);
            sent += self.outbox.chains().map(|(_, datagrams)| datagrams.count()).sum::<usize>();
            self.outbox.clear();
        }
        self.now_us += 40_000;
        sent
    }
}

fn fanout(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("core");
    group.sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for viewers in [40u64, 120, 1000] {
        let mut lecture = Lecture::new(viewers);
        let frame = lecture.frame();
        assert_eq!(lecture.forward(frame) as u64, viewers * FRAME_PACKETS, "every viewer gets every packet");
        group.throughput(Throughput::Elements(viewers * FRAME_PACKETS));
        group.bench_function(BenchmarkId::new("frame", viewers), |bencher| {
            let lecture = std::cell::RefCell::new(&mut lecture);
            bencher.iter_batched(
                || lecture.borrow_mut().frame(),
                |frame| lecture.borrow_mut().forward(frame),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, fanout);
criterion_main!(benches);
