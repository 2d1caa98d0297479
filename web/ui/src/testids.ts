/**
 * `data-testid` of every control that a browser test needs. Components take them from here, so a rename is seen by the
 * type checker; tests read the values below. Ids with a parameter are functions.
 */
export const T = {
  // sign in
  signInLogin: 'sign-in-login',
  signInPassword: 'sign-in-password',
  signInSubmit: 'sign-in-submit',
  signInError: 'sign-in-error',
  demoPanel: 'demo-panel',
  /** One-click account of the demo class: `demo-account-learner`, … */
  demoAccount: (role: string) => `demo-account-${role}`,
  browserNotice: 'browser-notice',

  // shell
  localeSwitch: 'locale-switch',
  personMenu: 'person-menu',
  signOut: 'sign-out',
  demoClock: 'demo-clock',
  navLessons: 'nav-lessons',
  navClasses: 'nav-classes',
  navOperations: 'nav-operations',

  // my classes
  lessonCard: (lesson_id: string) => `lesson-card-${lesson_id}`,
  /** The card's button for one's role there: `enter-learner-<id>`, `enter-instructor-<id>`, … */
  enterLesson: (role: string, lesson_id: string) => `enter-${role}-${lesson_id}`,

  // getting ready: device check → consent → face → class
  checkCamera: 'check-camera',
  checkMicrophone: 'check-microphone',
  checkSpeakerPlay: 'check-speaker-play',
  checkSpeakerHeard: 'check-speaker-heard',
  /** Leg of the network check: `http`, `live`, `udp`, `tcp`, `relay`, and `media` for what they mean together. Its
   * `data-state` is waiting | running | good | warn | bad | off. */
  networkLeg: (leg: string) => `network-leg-${leg}`,
  networkAgain: 'network-again',
  checkContinue: 'check-continue',
  consentText: 'consent-text',
  consentBox: 'consent-box',
  consentGive: 'consent-give',
  consentDecline: 'consent-decline',
  enrolShoot: 'enrol-shoot',
  enrolSend: 'enrol-send',
  enrolAgain: 'enrol-again',
  enrolShot: (index: number) => `enrol-shot-${index}`,
  enrolDone: 'enrol-done',
  enterClassroom: 'enter-classroom',

  // classroom
  classroom: 'classroom',
  stageVideo: 'stage-video',
  screenVideo: 'screen-video',
  startSound: 'start-sound',
  ownVideo: 'own-video',
  raiseHand: 'raise-hand',
  leaveLesson: 'leave-lesson',
  chatInput: 'chat-input',
  chatSend: 'chat-send',
  chatList: 'chat-list',
  creditClock: 'credit-clock',
  creditStrip: 'credit-strip',
  creditAdvice: 'credit-advice',
  pingDialog: 'ping-dialog',
  pingAnswer: 'ping-answer',
  quizPanel: 'quiz-panel',
  quizOption: (question: number, option: number) => `quiz-option-${question}-${option}`,
  quizNext: 'quiz-next',
  quizResult: 'quiz-result',
  quizResultClose: 'quiz-result-close',
  faceNews: 'face-news',
  connectionBanner: 'connection-banner',
  seatEnded: 'seat-ended',
  classSummary: 'class-summary',
  tab: (name: string) => `tab-${name}`,

  // the stage: guests who have the floor, here and in the studio
  /** One's own floor; its `data-state` is opening | speaking | muted | failed. */
  speakPanel: 'speak-panel',
  speakEnd: 'speak-end',
  speakClose: 'speak-close',
  stageStrip: 'stage-strip',
  /** A guest, with `data-speaking` and `data-muted`. */
  stageGuest: (person_id: string) => `stage-guest-${person_id}`,
  guestVideo: 'guest-video',
  voiceSound: (slot: string) => `voice-sound-${slot}`,
  floorDesk: 'floor-desk',
  floorGrant: (person_id: string) => `floor-grant-${person_id}`,
  floorMute: (person_id: string) => `floor-mute-${person_id}`,
  floorTake: (person_id: string) => `floor-take-${person_id}`,
  floorMuteAll: 'floor-mute-all',

  // studio
  studio: 'studio',
  startClass: 'start-class',
  endClass: 'end-class',
  confirmYes: 'confirm-yes',
  shareScreen: 'share-screen',
  cameraPick: 'camera-pick',
  microphonePick: 'microphone-pick',
  levelMeter: 'level-meter',
  publishState: 'publish-state',
  rosterRow: (person_id: string) => `roster-row-${person_id}`,
  countPresent: 'count-present',
  countAway: 'count-away',
  startQuiz: 'start-quiz',
  closeQuiz: 'close-quiz',
  quizProgress: 'quiz-progress',
  noticeInput: 'notice-input',
  noticeSend: 'notice-send',

  // recording
  recordingState: 'recording-state',
  replay: 'replay',
  replayVideo: 'replay-video',
  replayBegin: 'replay-begin',
  replayAnswer: 'replay-answer',
  replayWatched: 'replay-watched',
  openReplay: (lesson_id: string) => `open-replay-${lesson_id}`,
  fallback: 'lecture-fallback',
  fallbackVideo: 'lecture-fallback-video',

  // wall
  wall: 'wall',
  wallTile: (person_id: string) => `wall-tile-${person_id}`,
  wallTileVideo: (person_id: string) => `wall-video-${person_id}`,
  wallFilter: (name: string) => `wall-filter-${name}`,
  wallGrid: (size: number) => `wall-grid-${size}`,
  wallPage: (page: number) => `wall-page-${page}`,
  demandCheck: 'demand-check',
  markSeen: 'mark-seen',
  wallLarge: 'wall-large',
  wallLargeVideo: 'wall-large-video',
  wallLargeClose: 'wall-large-close',
  alarmList: 'alarm-list',

  // organiser
  classRow: (class_id: string) => `class-row-${class_id}`,
  newClass: 'new-class',
  newClassTitle: 'new-class-title',
  newClassSave: 'new-class-save',
  addLearners: 'add-learners',
  addLearnersText: 'add-learners-text',
  addLearnersSave: 'add-learners-save',
  newLesson: 'new-lesson',
  newLessonTitle: 'new-lesson-title',
  newLessonSave: 'new-lesson-save',
  openScoreBoard: (lesson_id: string) => `open-score-board-${lesson_id}`,
  scoreBoard: 'score-board',
  scoreRow: (person_id: string) => `score-row-${person_id}`,
  exportXlsx: 'export-xlsx',
  verify: 'verify',
  verifyResult: 'verify-result',
  evidence: 'evidence',

  // operations
  operations: 'operations',
  opsSearch: 'ops-search',
  opsTroubled: 'ops-troubled',
  opsNode: (node_id: string) => `ops-node-${node_id}`,
  opsLesson: (lesson_id: string) => `ops-lesson-${lesson_id}`,
  opsPublication: (id: string) => `ops-publication-${id}`,
  opsViewer: (id: string) => `ops-viewer-${id}`,
  opsDetail: 'ops-detail',
  opsWhy: 'ops-why',
} as const
