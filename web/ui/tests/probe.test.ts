import { describe, expect, it } from 'vitest'
import { portOf, WAYS } from '../src/media/probe'
import type { MediaGrant } from '../src/protocol'

const ANSWER = [
  'a=candidate:40 1 udp 2130706431 192.0.2.1 8082 typ host',
  'a=candidate:40t 1 tcp 1518157311 192.0.2.1 8443 typ host tcptype passive',
].join('\r\n')
const peer = { remoteDescription: { sdp: ANSWER } } as unknown as RTCPeerConnection
const grant = (urls: string[]): MediaGrant => ({
  url: 'https://media.test:8081/whip/p1', token: 't', id: 'p1', slots: [], ice_servers: urls.length ? [{ urls, username: 'u', credential: 'c' }] : [],
})

describe('the port that a firewall would have to open', () => {
  it('is the candidate’s of that protocol, whatever the other one has', () => {
    expect([portOf('udp', peer, grant([])), portOf('tcp', peer, grant([]))]).toEqual(['8082', '8443'])
  })

  it('is the relay’s, each once', () => {
    const urls = ['turn:192.0.2.9:3478?transport=udp', 'turn:[2001:db8::9]:3478?transport=tcp', 'turns:turn.test:443?transport=tcp']
    expect(portOf('relay', null, grant(urls))).toBe('3478、443')
  })

  it('is the HTTP port as long as there is no answer', () => {
    expect(portOf('udp', null, grant([]))).toBe('8081')
  })

  it('has the direct ways before the relay', () => {
    expect(WAYS).toEqual(['udp', 'tcp', 'relay'])
  })
})
