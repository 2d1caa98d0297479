#!/usr/bin/env bash
# Installs what Anke needs from the system, where apt may; otherwise names what is missing in one clear line.
# Idempotent: does nothing when everything is there. Run by `make setup`.
set -euo pipefail

declare -A package_of=(
  [chromium]=chromium
  [redis-server]=redis-server
  [turnserver]=coturn
  [cc]=build-essential
  [ip]=iproute2
  [nft]=nftables
)
missing=()
for command in "${!package_of[@]}"; do
  command -v "$command" >/dev/null 2>&1 || missing+=("${package_of[$command]}")
done
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null 2>&1 || missing+=(postgresql)
fc-list 2>/dev/null | grep -qi 'cjk' || missing+=(fonts-noto-cjk fontconfig)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)

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
