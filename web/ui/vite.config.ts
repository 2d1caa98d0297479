import vue from '@vitejs/plugin-vue'
import { defineConfig } from 'vitest/config'

// While the page is being worked on, `npm run dev` serves it and passes everything else to `anke web`.
const SERVER = process.env.ANKE_DEV_SERVER ?? 'http://127.0.0.1:8080'

export default defineConfig({
  plugins: [vue()],
  build: {
    target: 'es2022',
    outDir: 'dist',
    // Data URLs would need a wider Content-Security-Policy than default-src 'self'.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 700,
  },
  server: {
    port: 5173,
    proxy: {
      '/api': SERVER,
      '/socket.io': { target: SERVER, ws: true },
      '/healthz': SERVER,
    },
  },
  test: {
    include: ['tests/**/*.test.ts'],
  },
})
