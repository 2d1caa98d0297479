/** A pasted list of learners → people, or what is wrong with which line. */

export interface PastedPerson {
  login: string
  name: string
  password?: string
}

export interface Pasted {
  people: PastedPerson[]
  bad: { line: number; text: string }[]
}

// What the server takes as an account.
const LOGIN = /^[A-Za-z0-9._@-]{3,60}$/
const SHORTEST_PASSWORD = 8

/** Columns may be parted by comma (either width), tab, semicolon or blanks, as spreadsheets and people do. */
export function parseLearners(text: string): Pasted {
  const people: PastedPerson[] = []
  const bad: Pasted['bad'] = []
  const known = new Set<string>()
  text.split(/\r?\n/).forEach((raw, index) => {
    const line = raw.trim()
    if (!line) return
    const [login = '', name = '', password] = line.split(/\s*[,，;；\t]\s*|\s+/)
    const wrong = !LOGIN.test(login) || !name || (password !== undefined && password !== '' && password.length < SHORTEST_PASSWORD) || known.has(login)
    if (wrong) {
      bad.push({ line: index + 1, text: line })
      return
    }
    known.add(login)
    people.push(password ? { login, name, password } : { login, name })
  })
  return { people, bad }
}
