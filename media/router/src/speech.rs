//! Whether a source speaks, judged from the audio levels that its packets carry (RFC 6464); nothing is decoded.
//!
//! Three quantities, each a few bytes: the noise floor (the quietest level of the last seconds), a leaky sum of the time
//! that stood out from it, and when it last did. A hum that never pauses becomes the floor itself; a click is too short
//! for the sum; a pause between words is shorter than the hangover. The idea of weighing a short window against a longer
//! one is Volfin and Cohen's ("Dominant speaker identification", 2013); the sums here need no history of levels.

/// Time above the floor until a source counts as speaking.
const ONSET_US: u64 = 120_000;
/// With less than this of the sum left a sound does not prolong speech: single clicks must not keep it alive.
const SUSTAIN_US: u64 = 60_000;
/// Speech goes on for this long after its last sound: the pauses between sentences.
pub const HANGOVER_US: u64 = 1_000_000;
/// One packet stands for no more time than this (Opus packets last 10 to 60 ms), whatever was lost before it.
const PACKET_US: u64 = 60_000;
const FIRST_PACKET_US: u64 = 20_000;
/// Longer without a packet and the sender was silent (Opus DTX sends one packet in 400 ms), or muted.
const SILENT_GAP_US: u64 = 200_000;
/// The floor is the minimum over one to two such spans. People draw breath or close their lips more often.
const FLOOR_SPAN_US: u64 = 2_000_000;
/// A muted microphone sends digital silence (-127 dBov); the room's noise after it must not pass for speech.
const LOWEST_FLOOR_DBOV: f32 = -70.0;
const AUDIBLE_DBOV: f32 = -50.0;
/// How far above the floor a sound has to be; less once it speaks, or when the sender's own detector says voice.
const ONSET_MARGIN_DB: f32 = 10.0;
const SUSTAIN_MARGIN_DB: f32 = 6.0;
/// The level that people are shown rises at once and falls this fast, as a sound meter's needle does.
const FALL_DB_PER_S: f32 = 30.0;
const SILENCE_DBOV: f32 = -127.0;

#[derive(Debug, Clone, Default)]
pub struct Speech {
    last_us: Option<u64>,
    level_dbov: f32,
    /// The quietest of the span before and of the one that runs.
    floors_dbov: [f32; 2],
    span_from_us: u64,
    /// The leaky sum.
    voiced_us: u64,
    sounded_us: u64,
    speaking: bool,
}

impl Speech {
    /// Takes one packet's extension byte: the sender's voice flag (bit 7, which may never be set) and its level in
    /// -dBov. Answers whether the source speaks from now on, if that changed.
    pub fn hear(&mut self, now_us: u64, extension: u8) -> Option<bool> {
        let dbov = -f32::from(extension & 0x7F);
        let gap_us = match self.last_us {
            Some(last_us) => now_us.saturating_sub(last_us),
            None => {
                self.floors_dbov = [dbov.max(LOWEST_FLOOR_DBOV); 2];
                self.span_from_us = now_us;
                self.level_dbov = dbov;
                FIRST_PACKET_US
            }
        };
        self.last_us = Some(self.last_us.map_or(now_us, |last_us| last_us.max(now_us)));
        self.level_dbov = dbov.max(self.level_dbov - FALL_DB_PER_S * gap_us as f32 / 1e6);
        self.note_floor(now_us, if gap_us > SILENT_GAP_US { LOWEST_FLOOR_DBOV } else { dbov });

        let own_us = gap_us.min(PACKET_US);
        self.voiced_us = self.voiced_us.saturating_sub((gap_us - own_us) / 2);
        let voice_flag = extension & 0x80 != 0;
        let margin_db = if self.speaking || voice_flag { SUSTAIN_MARGIN_DB } else { ONSET_MARGIN_DB };
        let floor_dbov = self.floors_dbov[0].min(self.floors_dbov[1]);
        if dbov >= AUDIBLE_DBOV && dbov >= floor_dbov + margin_db {
            self.voiced_us = (self.voiced_us + own_us).min(ONSET_US);
            if self.speaking && self.voiced_us >= SUSTAIN_US {
                self.sounded_us = self.sounded_us.max(now_us);
            }
        } else {
            self.voiced_us = self.voiced_us.saturating_sub(own_us / 2);
        }
        if !self.speaking && self.voiced_us >= ONSET_US {
            self.speaking = true;
            self.sounded_us = now_us;
            return Some(true);
        }
        self.settle(now_us)
    }

    fn note_floor(&mut self, now_us: u64, dbov: f32) {
        let dbov = dbov.max(LOWEST_FLOOR_DBOV);
        if now_us.saturating_sub(self.span_from_us) >= FLOOR_SPAN_US {
            self.floors_dbov = [self.floors_dbov[1], dbov];
            self.span_from_us = now_us;
        }
        self.floors_dbov[1] = self.floors_dbov[1].min(dbov);
    }

    /// To be called now and then: a source that sends nothing any more has stopped speaking. Answers the change.
    pub fn settle(&mut self, now_us: u64) -> Option<bool> {
        let over = self.speaking && now_us.saturating_sub(self.sounded_us) >= HANGOVER_US;
        if over {
            self.speaking = false;
            self.voiced_us = 0;
        }
        over.then_some(false)
    }

    /// For people: about how loud the source is, -127 (silence) to 0. None before its first level.
    pub fn level_dbov(&self, now_us: u64) -> Option<i8> {
        let silent = now_us.saturating_sub(self.last_us?) > SILENT_GAP_US;
        Some(if silent { SILENCE_DBOV } else { self.level_dbov } as i8)
    }

    pub fn is_speaking(&self) -> bool {
        self.speaking
    }
}

#[cfg(test)]
#[path = "speech_tests.rs"]
mod tests;
