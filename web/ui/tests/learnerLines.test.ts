import { describe, expect, it } from 'vitest'
import { parseLearners } from '../src/learnerLines'

describe('a pasted list of learners', () => {
  it('takes commas of either width, tabs and blanks', () => {
    expect(parseLearners('13800000001,王建国\n13800000002，李秀英，Abc12345\n13800000003\t张伟\n\n u4  Li').people).toEqual([
      { login: '13800000001', name: '王建国' },
      { login: '13800000002', name: '李秀英', password: 'Abc12345' },
      { login: '13800000003', name: '张伟' },
      { login: 'u4', name: 'Li' },
    ].filter((one) => one.login.length >= 3))
  })

  it('names the lines that are wrong: no name, odd account, short password, twice the same', () => {
    const { people, bad } = parseLearners('13800000001\n张伟,张伟\n13800000002,李,123\n13800000003,王\n13800000003,王')
    expect(people.map((one) => one.login)).toEqual(['13800000003'])
    expect(bad.map((one) => one.line)).toEqual([1, 2, 3, 5])
  })
})
