/** Values of the contract for tests: whole and plausible, changed where a test wants it. */

import type { Envelope, Joined, LessonFacts, Participant, TellType, Tells } from '../src/protocol'

export const NOW_MS = 1_795_400_000_000

export function person(id: string, more: Partial<Participant> = {}): Participant {
  return {
    person_id: id, name: id, role: 'learner', state: 'present', connected: true, publishing: true, hand_raised: false,
    last_outcome: null, last_check_at_ms: null, credited_s: 0, alarm: null, publication_id: null, ...more,
  }
}

export function lessonFacts(more: Partial<LessonFacts> = {}): LessonFacts {
  return {
    lesson_id: 'l1', title: 'Lesson', course: 'Course', class_name: 'Class', instructor: 'I', state: 'live',
    started_at_ms: NOW_MS, ended_at_ms: null, planned_s: 240,
    profile: {
      profile_id: 'x', title: 'x', title_en: 'x', clock_factor: 1, seconds_per_hour: 2700, daily_cap_hours: 6,
      questions_per_hour: 5, pass_score: 80, ping_window_s: 90, max_gap_s: 420,
    },
    ...more,
  }
}

export function joined(more: Partial<Joined> = {}): Joined {
  return {
    you: person('me'), lesson: lessonFacts(), participants: [person('me'), person('other')], seq: 10, server_ms: NOW_MS,
    publish: [], play: null, chat: [], open_ping: null, open_quiz: null, credit: null, recording: null,
    stage: { guests: [], speaking: [], dominant: null, shown: null, version_ms: 0 }, missed: [], ...more,
  }
}

export function envelope<T extends TellType>(seq: number, type: T, data: Tells[T], to = 'all'): Envelope {
  return { seq, at_ms: NOW_MS + seq * 1000, type, to, data } as Envelope
}
