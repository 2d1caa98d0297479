/// <reference types="vite/client" />

// The same player without what a lecture does not have (subtitles, encryption); its package types the whole one only.
declare module 'hls.js/light' {
  export { default } from 'hls.js'
}
