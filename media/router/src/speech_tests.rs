use proptest::prelude::*;

use super::*;

const START_US: u64 = 5_000_000;
const PACKET_MS: u64 = 20;

/// A source that sends a packet every 20 ms, as long as it is told to.
struct Source {
    speech: Speech,
    now_us: u64,
    changes: Vec<(u64, bool)>,
}

impl Source {
    fn new() -> Self {
        Self { speech: Speech::default(), now_us: START_US, changes: Vec::new() }
    }

    fn note(&mut self, change: Option<bool>) {
        self.changes.extend(change.map(|speaking| (self.now_us, speaking)));
    }

    /// `dbov(ms since the call)`; the voice flag stays clear.
    fn sends(&mut self, ms: u64, dbov: impl Fn(u64) -> i32) {
        for at_ms in (0..ms).step_by(PACKET_MS as usize) {
            let change = self.speech.hear(self.now_us, -dbov(at_ms) as u8);
            self.note(change);
            self.now_us += PACKET_MS * 1000;
        }
    }

    fn sends_nothing(&mut self, ms: u64) {
        for _ in (0..ms).step_by(PACKET_MS as usize) {
            let change = self.speech.settle(self.now_us);
            self.note(change);
            self.now_us += PACKET_MS * 1000;
        }
    }

    fn states(&self) -> Vec<bool> {
        self.changes.iter().map(|(_, speaking)| *speaking).collect()
    }
}

/// Syllables of 180 ms with gaps of 80 ms, a pause of 500 ms in every three seconds.
fn talk(at_ms: u64) -> i32 {
    if at_ms % 3000 < 500 || at_ms % 260 < 80 { -62 } else { -25 - (at_ms % 7) as i32 }
}

#[test]
fn a_talk_with_pauses_is_one_stretch_of_speech() {
    let mut source = Source::new();
    source.sends(3000, |_| -62);
    let began_us = source.now_us + 500_000;
    source.sends(30_000, talk);
    let ended_us = source.now_us;
    source.sends(5000, |_| -62);
    assert_eq!(source.states(), [true, false]);
    let onset_us = source.changes[0].0 - began_us;
    assert!(onset_us <= 300_000, "noticed after {onset_us} us");
    let hangover_us = source.changes[1].0 - ended_us;
    assert!((900_000..=1_200_000).contains(&hangover_us), "ended {hangover_us} us after the last word");
}

#[test]
fn silence_noise_and_hum_are_not_speech() {
    for dbov in [-127, -70, -52, -40, -20] {
        let mut source = Source::new();
        source.sends(60_000, |at_ms| dbov + (at_ms / 20 % 3) as i32 - 1 + i32::from(dbov == -127));
        assert_eq!(source.states(), [] as [bool; 0], "{dbov} dBov, unchanging");
    }
}

#[test]
fn a_click_is_not_speech_and_clicks_do_not_prolong_it() {
    let mut source = Source::new();
    let clicks = |at_ms: u64| if at_ms % 800 < 40 { -15 } else { -62 };
    source.sends(20_000, clicks);
    assert_eq!(source.states(), [] as [bool; 0]);
    source.sends(2000, talk);
    let ended_us = source.now_us;
    source.sends(20_000, clicks);
    assert_eq!(source.states(), [true, false]);
    assert!(source.changes[1].0 - ended_us <= 1_200_000);
}

#[test]
fn noise_after_a_muted_microphone_is_soon_seen_as_noise() {
    let mut source = Source::new();
    source.sends(10_000, |_| -127);
    source.sends(30_000, |_| -45);
    assert!(!source.speech.is_speaking());
    assert!(source.changes.len() <= 2 && source.changes.iter().all(|(at_us, _)| *at_us < START_US + 16_000_000));
}

#[test]
fn a_source_that_stops_sending_stops_speaking() {
    let mut source = Source::new();
    source.sends(1000, |_| -62);
    source.sends(2000, talk);
    assert_eq!(source.states(), [true]);
    source.sends_nothing(1200);
    assert_eq!(source.states(), [true, false]);
    assert_eq!(source.speech.level_dbov(source.now_us), Some(-127));
}

#[test]
fn discontinuous_transmission_is_understood_as_silence_between() {
    let mut source = Source::new();
    source.sends(500, |_| -62);
    source.sends(1500, |at_ms| talk(at_ms + 500));
    for _ in 0..20 {
        source.sends_nothing(380);
        source.sends(20, |_| -60);
    }
    source.sends(1500, |at_ms| talk(at_ms + 500));
    assert_eq!(source.states(), [true, false, true]);
}

#[test]
fn the_senders_own_detector_helps_with_a_low_voice() {
    let low = |voice: u8| {
        let mut source = Source::new();
        for number in 0..250u64 {
            let dbov: u8 = if number % 25 < 8 { 54 } else { 46 };
            let change = source.speech.hear(source.now_us, dbov | voice);
            source.note(change);
            source.now_us += 20_000;
        }
        source.states()
    };
    assert_eq!(low(0), [] as [bool; 0]);
    assert_eq!(low(0x80), [true]);
}

#[test]
fn the_level_that_people_see_follows_the_sound() {
    let mut source = Source::new();
    assert_eq!(source.speech.level_dbov(source.now_us), None);
    source.sends(1000, |_| -60);
    source.sends(1000, |_| -20);
    assert!((-22..=-20).contains(&source.speech.level_dbov(source.now_us).unwrap()));
}

proptest! {
    #[test]
    fn changes_alternate_and_speech_lasts_as_long_as_the_hangover(
        packets in prop::collection::vec((0u64..500_000, any::<u8>()), 1..2000),
    ) {
        let mut speech = Speech::default();
        let mut now_us = START_US;
        let mut began_us = None;
        for (step_us, extension) in packets {
            now_us += step_us;
            for change in [speech.settle(now_us), speech.hear(now_us, extension)].into_iter().flatten() {
                match began_us {
                    None => prop_assert!(change),
                    Some(began_us) => prop_assert!(!change && now_us - began_us >= HANGOVER_US),
                }
                began_us = change.then_some(now_us);
                prop_assert_eq!(speech.is_speaking(), change);
            }
            let level = speech.level_dbov(now_us).unwrap();
            prop_assert!((-127..=0).contains(&level));
        }
    }

    #[test]
    fn what_is_below_hearing_never_speaks(levels in prop::collection::vec((0u64..100_000, 51u8..=127, any::<bool>()), 1..500)) {
        let mut speech = Speech::default();
        let mut now_us = START_US;
        for (step_us, level, voice) in levels {
            now_us += step_us;
            prop_assert_eq!(speech.hear(now_us, level | if voice { 0x80 } else { 0 }), None);
        }
    }

    #[test]
    fn a_voice_out_of_silence_is_noticed_within_300_ms(quiet in 60u8..=127, loud in 10u8..=40, quiet_packets in 1u64..500) {
        let mut source = Source::new();
        source.sends(quiet_packets * PACKET_MS, |_| -i32::from(quiet));
        source.sends(300, |_| -i32::from(loud));
        prop_assert_eq!(source.states(), [true]);
    }

    #[test]
    fn a_clock_that_jumps_does_no_harm(packets in prop::collection::vec((any::<u64>(), any::<u8>()), 1..100)) {
        let mut speech = Speech::default();
        for (now_us, extension) in packets {
            speech.hear(now_us, extension);
            speech.settle(now_us);
            speech.level_dbov(now_us);
        }
    }
}
