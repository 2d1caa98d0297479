//! A class in which two participants are hostile: they have valid keys and say whatever the input tells them to.
//!
//! Whatever that is: nothing panics, the honest viewer gets every packet of the honest publisher, every packet that leaves
//! is authentic, and no two leave under one nonce (`World` checks the last two).

use std::net::SocketAddr;

use _router::core::Command;
use _router::outbox::Peer;
use _router::parameters::{CodecParameters, ExtensionIds, IngestParameters, Kind, SlotParameters};
use _router::payload::Codec;
use _router::rtcp::Compound;

use crate::world::{World, address};

const PUBLISHER: u16 = 1;
const VIEWER: u16 = 2;
const HOSTILE: [u16; 2] = [10, 11];
const VIDEO_SSRC: u32 = 11;
const AUDIO_SSRC: u32 = 12;
/// A frame time of the honest publisher, of which one passes every few deeds of the hostile ones.
const FRAME_US: u64 = 40_000;
const DEEDS_PER_FRAME: u32 = 3;
/// A packet of the honest publisher is at the honest viewer by then, whatever it waits for.
const FLUSH_US: u64 = 2_000_000;
const MAX_DEEDS: u32 = 400;

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn u8(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    fn bytes(&mut self, at_most: usize) -> &'a [u8] {
        let len = usize::from(self.u8()) % (at_most + 1);
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.u8()) % from.len()]
    }
}

fn codecs(kind: Kind) -> Vec<CodecParameters> {
    let codec = |codec, payload_type, clock_rate_hz, rtx_payload_type| CodecParameters {
        codec,
        payload_type,
        clock_rate_hz,
        rtx_payload_type,
    };
    match kind {
        Kind::Audio => vec![codec(Codec::Opus, 111, 48_000, None)],
        Kind::Video => vec![
            codec(Codec::Vp8, 96, 90_000, Some(97)),
            codec(Codec::H264, 98, 90_000, Some(99)),
            codec(Codec::Vp9, 100, 90_000, None),
            codec(Codec::Av1, 101, 90_000, None),
        ],
    }
}

fn extensions() -> ExtensionIds {
    ExtensionIds {
        mid: Some(1),
        rid: Some(2),
        repaired_rid: Some(3),
        transport_cc: Some(4),
        audio_level: Some(5),
        ..ExtensionIds::default()
    }
}

fn ingest(kind: Kind, mid: &str, ssrc: Option<u32>, rid: Option<&str>) -> Box<IngestParameters> {
    let plain = IngestParameters::new(kind, mid, codecs(kind));
    let rid = rid.map(Into::into);
    let extensions = extensions();
    Box::new(IngestParameters { ssrc, rid, extensions, nack: true, pli: true, transport_cc: true, ..plain })
}

fn slot(kind: Kind, mid: &str, ssrc: u32, rtx_ssrc: Option<u32>) -> Box<SlotParameters> {
    let plain = SlotParameters::new(kind, mid, ssrc, codecs(kind));
    Box::new(SlotParameters { rtx_ssrc, extensions: extensions(), nack: true, ..plain })
}

/// The honest viewer's: without bandwidth feedback, so that what it gets depends on nothing that it would have to say.
fn honest_slot(kind: Kind, mid: &str, ssrc: u32, rtx_ssrc: Option<u32>) -> Box<SlotParameters> {
    let offered = slot(kind, mid, ssrc, rtx_ssrc);
    Box::new(SlotParameters { extensions: ExtensionIds { transport_cc: None, ..extensions() }, ..*offered })
}

struct Class {
    world: World,
    next_seq: u64,
    asked: u64,
    /// Where each hostile stream's numbers are.
    cursors: std::collections::HashMap<(u16, u32), u64>,
}

impl Class {
    fn new() -> Self {
        let mut world = World::new(256);
        for port in [PUBLISHER, VIEWER, HOSTILE[0], HOSTILE[1]] {
            world.join(port);
        }
        let mut add_ingest = |ingest_id, port: u16, parameters| {
            world.order(Command::AddIngest { ingest_id, transport_id: u64::from(port), parameters });
        };
        add_ingest(1, PUBLISHER, ingest(Kind::Video, "v", Some(VIDEO_SSRC), None));
        add_ingest(2, PUBLISHER, ingest(Kind::Audio, "a", Some(AUDIO_SSRC), None));
        add_ingest(3, HOSTILE[0], ingest(Kind::Video, "v", None, Some("l")));
        add_ingest(4, HOSTILE[0], ingest(Kind::Video, "v", None, Some("h")));
        add_ingest(5, HOSTILE[0], ingest(Kind::Audio, "a", Some(105), None));
        add_ingest(6, HOSTILE[1], ingest(Kind::Video, "v", Some(106), None));
        let mut add_slot = |slot_id, port: u16, parameters| {
            world.order(Command::AddSlot { slot_id, transport_id: u64::from(port), parameters });
        };
        add_slot(1, VIEWER, honest_slot(Kind::Video, "0", 1001, Some(1002)));
        add_slot(2, VIEWER, honest_slot(Kind::Audio, "1", 1003, None));
        add_slot(3, VIEWER, honest_slot(Kind::Video, "2", 1004, None)); // shows whatever the hostile publisher makes
        add_slot(4, HOSTILE[0], slot(Kind::Video, "0", 1005, Some(1006)));
        add_slot(5, HOSTILE[1], slot(Kind::Video, "0", 1007, None));
        add_slot(6, HOSTILE[1], slot(Kind::Audio, "1", 1008, None));
        for (slot_id, ingest_ids) in
            [(1, vec![1]), (2, vec![2]), (3, vec![3, 4]), (4, vec![1]), (5, vec![6]), (6, vec![2])]
        {
            world.order(Command::Route { slot_id, ingest_ids });
        }
        Self { world, next_seq: 0, asked: 0, cursors: Default::default() }
    }

    /// The honest publisher's next frame and its sound; a key frame when it was asked for one, and at the beginning.
    fn frame(&mut self) {
        let seq = self.next_seq;
        self.next_seq += 1;
        let asked = self.world.links[&PUBLISHER].asked.get(&VIDEO_SSRC).copied().unwrap_or(0);
        let key = seq == 0 || asked != self.asked;
        self.asked = asked;
        let payload: &[u8] = if key { b"\x10\x00\x00\x00\x9d\x01\x2a\x40\x01\xf0\x00" } else { b"\x10\x01 delta" };
        self.world.rtp(PUBLISHER, 96, true, seq, (seq * 3600) as u32, VIDEO_SSRC, &[], payload);
        self.world.rtp(PUBLISHER, 111, false, seq, (seq * 1920) as u32, AUDIO_SSRC, &[], b"sound");
        self.world.pass_us(FRAME_US);
        for port in [PUBLISHER, VIEWER] {
            self.world.check(port, address(port));
        }
    }

    fn deed(&mut self, input: &mut Reader<'_>) {
        let port = input.pick(&HOSTILE);
        let world = &mut self.world;
        match input.u8() % 12 {
            0..=2 => {
                let ssrc = match input.u8() % 6 {
                    0 => 105,
                    1 => 106,
                    2 => VIDEO_SSRC,
                    other => 200 + u32::from(other),
                };
                let payload_type = input.pick(&[96, 97, 98, 99, 100, 101, 111, 127]);
                let cursor = self.cursors.entry((port, ssrc)).or_insert(70_000);
                let step = u64::from(input.u16());
                *cursor = match input.u8() % 8 {
                    0 => cursor.saturating_sub(step % 300).max(66_000),
                    1 => *cursor + step % 30_000,
                    _ => *cursor + step % 4,
                };
                let (seq, rtp_ts, marker) = (*cursor, input.u32(), input.u8() & 1 == 1);
                let mut extensions = match input.u8() % 4 {
                    0 => b"\x10v\x20l".to_vec(),
                    1 => b"\x10v\x20h".to_vec(),
                    2 => b"\x10v\x30h".to_vec(),
                    _ => Vec::new(),
                };
                extensions.extend_from_slice(input.bytes(24));
                let payload = input.bytes(60);
                world.rtp(port, payload_type, marker, seq, rtp_ts, ssrc, &extensions, payload);
            }
            3 => {
                let mut bytes = vec![0x80 | input.u8() & 0x3f, 200 + input.u8() % 8, 0, 0];
                bytes.extend_from_slice(&input.u32().to_be_bytes());
                bytes.extend_from_slice(input.bytes(120));
                bytes.resize(bytes.len().next_multiple_of(4), 0);
                let words = if input.u8() % 8 == 0 { input.u16() } else { (bytes.len() / 4 - 1) as u16 };
                bytes[2..4].copy_from_slice(&words.to_be_bytes());
                world.rtcp(port, Compound { bytes });
            }
            4 => {
                let mut compound = Compound::default();
                let media_ssrc = input.pick(&[1005, 1006, 1007, 1008, 1001, VIDEO_SSRC]);
                let from = input.u16();
                let count = input.u8();
                let seqs: Vec<u16> = (0..u16::from(count)).map(|i| from.wrapping_add(i * 3)).collect();
                compound.nack(7, media_ssrc, &seqs);
                world.rtcp(port, compound);
            }
            5 => {
                let mut compound = Compound::default();
                let media_ssrc = input.pick(&[1005, 1007, 1008, 1001]);
                match input.u8() % 4 {
                    0 => compound.pli(7, media_ssrc),
                    1 => compound.fir(7, media_ssrc, input.u8()),
                    2 => compound.transport_cc(7, media_ssrc, input.bytes(100)),
                    _ => compound.sender_report(media_ssrc, u64::from(input.u32()) << 20, input.u32(), 1, 1),
                }
                world.rtcp(port, compound);
            }
            6 => world.datagram(address(port), &mut input.bytes(200).to_vec()),
            7 => {
                let from = Peer { socket: 0, address: SocketAddr::from(([10, 0, 0, 9], u16::from(input.u8()))) };
                world.check(port, from);
            }
            8 => world.datagram(
                Peer { socket: 0, address: SocketAddr::from(([10, 0, 1, input.u8()], 9)) },
                &mut input.bytes(200).to_vec(),
            ),
            9 => {
                let slot_id = input.pick(&[3, 4, 5, 6, 99]);
                let ingest_ids = match input.u8() % 6 {
                    0 => vec![],
                    1 => vec![1],
                    2 => vec![3, 4],
                    3 => vec![4, 3, 6],
                    4 => vec![u64::from(input.u8() % 8)],
                    _ => vec![2],
                };
                world.order(Command::Route { slot_id, ingest_ids });
                let max_height_px = (input.u8() % 2 == 0).then(|| u32::from(input.u16()));
                world.order(Command::LimitSlot { slot_id, max_height_px });
            }
            10 => match input.u8() % 4 {
                0 => world.order(Command::RequestKeyframe { ingest_id: u64::from(input.u8() % 8) }),
                1 => world.order(Command::Tap {
                    ingest_id: u64::from(input.u8() % 8),
                    tap_id: u64::from(input.u16()),
                    deadline_us: u64::from(input.u32() % 3_000_000),
                }),
                2 => {
                    world.order(Command::RemoveIngest { ingest_id: 6 });
                    world.order(Command::AddIngest {
                        ingest_id: 6,
                        transport_id: u64::from(HOSTILE[1]),
                        parameters: ingest(Kind::Video, "v", Some(106), None),
                    });
                }
                _ => {
                    // A fresh SSRC, as `add_slot`'s contract wants: an index may never come back under the same key.
                    world.order(Command::RemoveSlot { slot_id: 5 });
                    let ssrc = 2000 + self.next_seq as u32 * 256 + u32::from(input.u8());
                    if !world.links[&HOSTILE[1]].media.contains_key(&ssrc) {
                        world.order(Command::AddSlot {
                            slot_id: 5,
                            transport_id: u64::from(HOSTILE[1]),
                            parameters: slot(Kind::Video, "0", ssrc, None),
                        });
                        world.order(Command::Route { slot_id: 5, ingest_ids: vec![1] });
                    }
                }
            },
            _ => world.pass_us(u64::from(input.u8()) * 1_000),
        }
    }
}

/// Plays the whole input, then asks for the honest viewer's account.
pub fn play(bytes: &[u8]) {
    let mut class = Class::new();
    let mut input = Reader(bytes);
    class.frame();
    let mut deeds = 0;
    while !input.0.is_empty() && deeds < MAX_DEEDS {
        class.deed(&mut input);
        deeds += 1;
        if deeds.is_multiple_of(DEEDS_PER_FRAME) {
            class.frame();
        }
    }
    class.frame();
    class.world.pass_us(FLUSH_US);
    let got = &class.world.links[&VIEWER].media;
    for ssrc in [1001, 1003] {
        assert_eq!(got.get(&ssrc).copied(), Some(class.next_seq), "packets of {ssrc} at the honest viewer");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_undisturbed_class_loses_nothing() {
        super::play(&[]);
        super::play(&[0; 300]);
    }
}
