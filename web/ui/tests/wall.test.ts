import { describe, expect, it } from 'vitest'
import { assignSlots, changedSlots, placeTiles } from '../src/live/wallOrder'

describe('places on the wall', () => {
  it('brings a new alarm to the front by one exchange and leaves the rest where they are', () => {
    expect(placeTiles(['a', 'b', 'c', 'd'], ['a', 'b', 'c', 'd'], new Set(['c']))).toEqual(['c', 'b', 'a', 'd'])
  })

  it('does not move anybody while nothing new happens', () => {
    const order = ['c', 'b', 'a', 'd']
    expect(placeTiles(order, ['a', 'b', 'c', 'd'], new Set(['c']))).toEqual(order)
    expect(placeTiles(order, ['a', 'b', 'c', 'd'], new Set())).toEqual(order)
  })

  it('puts a second alarm behind the first', () => {
    expect(placeTiles(['c', 'b', 'a', 'd'], ['a', 'b', 'c', 'd'], new Set(['c', 'd']))).toEqual(['c', 'd', 'a', 'b'])
  })

  it('lets newcomers in at the end and drops who is no longer enrolled', () => {
    expect(placeTiles(['a', 'b'], ['b', 'e'], new Set())).toEqual(['b', 'e'])
  })
})

describe('slots of the wall', () => {
  it('keeps people in their slots and gives free ones to newcomers', () => {
    const before = assignSlots({}, ['a', 'b', 'c'], ['w0', 'w1', 'w2'])
    expect(before).toEqual({ w0: 'a', w1: 'b', w2: 'c' })
    expect(assignSlots(before, ['c', 'a', 'd'], ['w0', 'w1', 'w2'])).toEqual({ w0: 'a', w1: 'd', w2: 'c' })
  })

  it('shows nobody in slots that are not needed, and never one person twice', () => {
    expect(assignSlots({ w0: 'a', w1: 'a' }, ['a'], ['w0', 'w1'])).toEqual({ w0: 'a', w1: null })
  })

  it('says only what changed', () => {
    expect(changedSlots({ w0: 'a', w1: 'b' }, { w0: 'a', w1: 'c', w2: null })).toEqual({ w1: 'c' })
  })
})
