#!/usr/bin/env bash
# Installs what Anke needs from the system, where apt may; otherwise names what is missing in one clear line.
# Idempotent: does nothing when everything is there. Run by `make setup`; with the argument `tests` also what only the
# tests need: the foreign peers of the interop table.
set -euo pipefail

declare -A package_of=(
  [chromium]=chromium
  [redis-server]=redis-server
  [turnserver]=coturn
  [cc]=build-essential
  [ip]=iproute2
  [nft]=nftables
)
if [ "${1:-}" = tests ]; then
  package_of+=([firefox-esr]=firefox-esr [whip-client]=simple-whip-client)
fi
missing=()
for command in "${!package_of[@]}"; do
  command -v "$command" >/dev/null 2>&1 || missing+=("${package_of[$command]}")
done
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null 2>&1 || missing+=(postgresql)
fc-list 2>/dev/null | grep -qi 'cjk' || missing+=(fonts-noto-cjk fontconfig)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
if [ "${1:-}" = tests ]; then
  # GStreamer's bindings belong to the system's Python, whichever `python3` is first in the path.
  /usr/bin/python3 -c 'import gi; [gi.require_version(name, "1.0") for name in ("Gst", "GstSdp", "GstWebRTC")]' 2>/dev/null ||
    missing+=(python3-gi python3-gst-1.0 gir1.2-gst-plugins-base-1.0 gir1.2-gst-plugins-bad-1.0 gstreamer1.0-nice gstreamer1.0-plugins-good)
fi

if [ "${#missing[@]}" -gt 0 ]; then
  as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo -n)
  if command -v apt-get >/dev/null 2>&1 && "${as_root[@]}" true 2>/dev/null; then
    echo "setup: installing from the system's packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  else
    echo "setup: please install these system packages first: ${missing[*]}" >&2
    exit 1
  fi
fi

for tool in cargo:'Rust 1.88 or newer (https://rustup.rs)' node:'Node.js 20.19 or newer' npm:'npm 10 or newer' python3:'Python 3.11 or 3.12'; do
  command -v "${tool%%:*}" >/dev/null 2>&1 || { echo "setup: please install ${tool#*:}" >&2; exit 1; }
done
