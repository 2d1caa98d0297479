/**
 * What an ICE restart by PATCH exchanges (RFC 9725 4.3.3): our new credentials as an SDP fragment (RFC 8840), and the
 * node's, which are put into the answer of before. Nothing else of the session changes.
 */

export const FRAGMENT_TYPE = 'application/trickle-ice-sdpfrag'

function valueOf(sdp: string, name: string): string | null {
  return new RegExp(`^a=${name}:([^\\r\\n]*)`, 'm').exec(sdp)?.[1]?.trim() ?? null
}

/** The credentials of an offer made with `iceRestart`, under its first m-line, whose transport all others share. */
export function fragmentOf(offer: string): string {
  const lines = ['ice-ufrag', 'ice-pwd'].map((name) => `a=${name}:${valueOf(offer, name) ?? ''}`)
  const media = /^m=[^\r\n]*/m.exec(offer)?.[0]
  const mid = valueOf(offer, 'mid')
  if (media) lines.unshift(media)
  if (mid !== null) lines.push(`a=mid:${mid}`)
  return lines.map((line) => `${line}\r\n`).join('')
}

/** `answer` with the credentials and candidates of `fragment`; null when the fragment names no credentials. */
export function withFragment(answer: string, fragment: string): string | null {
  const ufrag = valueOf(fragment, 'ice-ufrag')
  const pwd = valueOf(fragment, 'ice-pwd')
  if (!ufrag || !pwd) return null
  const candidates = fragment.split(/\r?\n/).filter((line) => line.startsWith('a=candidate:'))
  const lines: string[] = []
  let placed = candidates.length === 0
  for (const line of answer.split(/\r?\n/)) {
    if (line.startsWith('a=candidate:')) {
      if (!placed) lines.push(...candidates)
      if (placed && candidates.length === 0) lines.push(line)
      placed = true
    } else if (line.startsWith('a=ice-ufrag:')) lines.push(`a=ice-ufrag:${ufrag}`)
    else if (line.startsWith('a=ice-pwd:')) lines.push(`a=ice-pwd:${pwd}`)
    else lines.push(line)
  }
  return lines.join('\r\n')
}
