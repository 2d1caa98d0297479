//! Speech as the core tells it: by events, from header extensions, whatever else happens to the packets.

use super::*;

const PUBLISHER: u16 = 1;
const MICROPHONE: u64 = 10;
const LEVEL_ID: u8 = 3;

fn microphone(world: &mut World) {
    world.join(PUBLISHER);
    let mut parameters = publishing(Kind::Audio, "a", Some(7));
    parameters.extensions.audio_level = Some(LEVEL_ID);
    world.ingest(MICROPHONE, PUBLISHER, parameters);
}

/// 20-ms packets; no level, no extension.
fn send(world: &mut World, packets: std::ops::Range<u64>, level: impl Fn(u64) -> Option<u8>) {
    for ext_seq in packets {
        let extensions = level(ext_seq).map(|level| [LEVEL_ID << 4, level]);
        let extensions = extensions.as_ref().map_or(&[][..], |bytes| &bytes[..]);
        world.rtp(PUBLISHER, &Sent { extensions, ..opus(7, 1000 + ext_seq, ext_seq as u32 * 960) });
        world.pass_ms(20);
    }
}

fn told(world: &mut World) -> Vec<bool> {
    let told = world.events.iter().filter_map(|event| match event {
        Event::Speaking { ingest_id: MICROPHONE, is_speaking } => Some(*is_speaking),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_voice_is_told_once_and_its_end_even_when_no_packet_follows() {
    let mut world = World::new();
    microphone(&mut world);
    send(&mut world, 0..50, |_| Some(70));
    assert_eq!(told(&mut world), [] as [bool; 0]);
    send(&mut world, 50..65, |_| Some(25));
    assert_eq!(told(&mut world), [true]);
    let level = world.core.snapshot(world.now_us).ingests[0].level_dbov;
    assert!(level.is_some_and(|level| (-40..=-25).contains(&level)), "{level:?}");
    world.pass_ms(900);
    assert_eq!(told(&mut world), [true]);
    world.pass_ms(200);
    assert_eq!(told(&mut world), [true, false]);
}

#[test]
fn sources_without_levels_never_speak() {
    let mut world = World::new();
    microphone(&mut world);
    send(&mut world, 0..200, |_| None);
    assert_eq!(told(&mut world), [] as [bool; 0]);
    assert_eq!(world.core.snapshot(world.now_us).ingests[0].level_dbov, None);
}

#[test]
fn a_copy_in_another_shard_tells_nothing_of_its_own() {
    let (mut home, mut away) = (World::new(), World::new());
    microphone(&mut home);
    let mut parameters = publishing(Kind::Audio, "a", Some(7));
    parameters.extensions.audio_level = Some(LEVEL_ID);
    assert!(away.core.add_mirror(MICROPHONE, u64::from(PUBLISHER), 0, &parameters));
    home.core.share_with(MICROPHONE, 1, true);
    for (packets, level) in [(0..50, 70), (50..65, 25)] {
        send(&mut home, packets, |_| Some(level));
        let mut shared = Vec::new();
        home.core.take_shared(|_, id, share, bytes| shared.push((id, share, bytes.to_vec())));
        assert!(!shared.is_empty());
        for (id, share, bytes) in shared {
            away.core.handle_shared_untrusted(home.now_us, id, share, &bytes);
        }
    }
    away.settle();
    assert_eq!((told(&mut home), told(&mut away)), (vec![true], vec![]));
}
