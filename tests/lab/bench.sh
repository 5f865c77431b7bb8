#!/usr/bin/env bash
# bench.sh [idle|causes|load|crash]...: what a roll costs, measured on hosts of the lab; without an argument, all of it. Fails beyond the
# limits.
#   idle   the time of `rollgate restart` against a bare loop over ssh, and its peak memory
#   causes from the start of a doomed server to its root cause in print, beside a careful playbook's wait; `check` of 50 hosts
#   load   40 clients a server, a publisher and a request/reply pair: rollgate against a playbook of Ansible
#   crash  the journal's cost an event; from the start of `resume` to its first decision
# ROLLGATE=PATH uses a binary that is built already (WITNESS=PATH likewise); ANSIBLE=PATH an ansible-playbook that is there,
# ANSIBLE=none leaves it out; ROUNDS=N is for `idle` and `crash`.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$HERE/../.."
lab=$HERE/lab
parts=("$@")
((${#parts[@]})) || parts=(idle causes load crash)

"$lab" install cc:build-essential
[[ -n ${ROLLGATE:-} ]] || cargo build --release --bins
rollgate=${ROLLGATE:-$PWD/target/release/rollgate}
name=bench-$$ work=$(mktemp -d)
trap '"$lab" down "$name" >&2 || true; rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
export XDG_STATE_HOME=$work/state

now() { echo "${EPOCHREALTIME/[.,]/}"; }
# shellcheck source=tests/lab/bench/idle.sh
. "$HERE/bench/idle.sh"
# shellcheck source=tests/lab/bench/load.sh
. "$HERE/bench/load.sh"
# shellcheck source=tests/lab/bench/crash.sh
. "$HERE/bench/crash.sh"

# The faults of the matrix, met in a roll: tests/lab/matrix/figures.rs has the limits. What asks is built as the tests are,
# what is measured is the release.
bench_causes() {
  "$lab" base >&2
  ROLLGATE_REQUIRE_LAB=1 ROLLGATE=$rollgate CARGO_PROFILE_TEST_OPT_LEVEL=1 cargo test --quiet --test lab -- --ignored --exact matrix::figures::figures >"$work/causes" 2>&1 &&
    sed -n '/^from the start/,/peak memory/p' "$work/causes" && return
  cat "$work/causes"
  return 1
}

missed=0
for part in "${parts[@]}"; do
  case $part in
    idle | causes | load | crash) "bench_$part" || missed=1 ;;
    *) echo "usage: bench.sh [idle|causes|load|crash]..." >&2 && exit 2 ;;
  esac
done
exit $missed
