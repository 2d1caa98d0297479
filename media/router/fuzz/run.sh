#!/usr/bin/env bash
# run.sh [SECONDS] [TARGET…]: builds the fuzz targets for the stable toolchain and runs each for SECONDS (30), two at a time.
#
# The compiler's coverage pass needs no nightly toolchain, only the sanitizers do; bounds, overflow and `debug_assert!` are
# checked all the same. What is found on the way is kept in build/fuzz/TARGET; inputs that the repository keeps are in seeds/.
# Exits with an error if any target failed, after printing what it said; the input that did it is then in build/fuzz.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-30}
shift || true
targets=("$@")
[ "${#targets[@]}" -gt 0 ] || targets=(wire srtp core hostile)
build=$(cd ../../.. && pwd)/build/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
flags=(
  -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
  -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing
)
# `--target` keeps the flags away from build scripts.
RUSTFLAGS="${flags[*]}" cargo build --quiet --release --bins --target "$host" --target-dir "$build/target"

one() {
  mkdir -p "$build/$1"
  # The corpus on disk grows between runs; the seeds are only read.
  "$build/target/$host/release/$1" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=1024 -max_len=2048 -print_final_stats=1 \
    -artifact_prefix="$build/$1-" "$build/$1" "seeds/$1" >"$build/$1.log" 2>&1 ||
    { echo "fuzz: $1 failed"; tail -40 "$build/$1.log"; return 1; }
  echo "fuzz: $1 $(grep -oE 'number_of_executed_units: *[0-9]+' "$build/$1.log" | grep -oE '[0-9]+$') runs in $seconds s," \
    "$(grep -oE 'cov: [0-9]+' "$build/$1.log" | tail -1), $(grep -oE 'peak_rss_mb: *[0-9]+' "$build/$1.log" | grep -oE '[0-9]+$') MB"
}
export -f one
export build host seconds
printf '%s\n' "${targets[@]}" | xargs -P 2 -I{} bash -c 'one "$1"' _ {}
