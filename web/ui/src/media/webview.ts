/** Which browser this is, as far as it decides whether a class can work in it. */

export interface BrowserFacts {
  wechat: boolean
  in_app: boolean
  media_devices: boolean
  web_rtc: boolean
  secure: boolean
}

export function browserFacts(agent = navigator.userAgent): BrowserFacts {
  const wechat = /MicroMessenger/i.test(agent)
  const devices = navigator.mediaDevices as MediaDevices | undefined
  return {
    wechat,
    in_app: wechat || /DingTalk|QQ\/|Weibo|AlipayClient|aweme|; wv\)/i.test(agent),
    media_devices: typeof devices?.getUserMedia === 'function',
    web_rtc: typeof RTCPeerConnection === 'function',
    secure: window.isSecureContext,
  }
}

/** True when the class should be opened in the system's own browser. */
export function needsOtherBrowser(facts = browserFacts()): boolean {
  return !facts.media_devices || !facts.web_rtc || facts.in_app
}
