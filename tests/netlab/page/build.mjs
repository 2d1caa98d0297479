// Builds watch.ts and the page's media code into one script: `node build.mjs OUT_FOLDER`, run inside web/ui.
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const require = createRequire(join(process.cwd(), 'package.json'))
const { build } = await import(pathToFileURL(join(dirname(require.resolve('vite/package.json')), 'dist/node/index.js')))

await build({
  configFile: false,
  root: process.cwd(),
  logLevel: 'warn',
  define: { 'process.env.NODE_ENV': '"production"' },
  resolve: { alias: { vue: join(process.cwd(), 'node_modules/vue') } },
  build: {
    outDir: process.argv[2],
    emptyOutDir: false,
    lib: {
      entry: join(dirname(fileURLToPath(import.meta.url)), 'watch.ts'),
      formats: ['iife'],
      name: 'ankeWatch',
      fileName: () => 'watch.js',
    },
  },
})
