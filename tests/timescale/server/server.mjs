// A PostgreSQL 17 with TimescaleDB, in WebAssembly, behind a unix socket.
//   node server.mjs SOCKET [DATA]     serves what DATA (a tar) holds, else a new cluster
// A line "save FILE" on stdin writes what it holds to FILE, a line "free" waits until nobody is
// connected: whoever comes before that is turned away. It ends when its stdin does, so that it never
// outlives the tests.
import fs from 'node:fs'
import readline from 'node:readline'
import { setTimeout } from 'node:timers/promises'
import { PGlite } from '@electric-sql/pglite'
import { timescaledb } from '@electric-sql/pglite/timescaledb'
import { PGLiteSocketServer } from '@electric-sql/pglite-socket'

const [socket, data] = process.argv.slice(2)
const options = { extensions: { timescaledb } }
if (data) options.loadDataDir = new Blob([fs.readFileSync(data)])
const db = await PGlite.create(options)
const server = new PGLiteSocketServer({ db, path: socket })
await server.start()

const save = async (file) => {
  const dump = await db.dumpDataDir('none')
  fs.writeFileSync(`${file}.${process.pid}`, Buffer.from(await dump.arrayBuffer()))
  fs.renameSync(`${file}.${process.pid}`, file)
  console.log('saved')
}
const connected = () => new Promise((tell) => server.server.getConnections((_, n) => tell(n)))
const free = async () => {
  while (server.getStats().activeConnections || (await connected())) await setTimeout(5)
  console.log('free')
}

const commands = readline.createInterface({ input: process.stdin })
commands.on('close', () => process.exit(0))
commands.on('line', (line) => (line === 'free' ? free() : save(line.replace(/^save /, ''))))
console.log('ready')
