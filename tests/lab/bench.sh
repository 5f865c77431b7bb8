#!/usr/bin/env bash
# bench.sh [idle|load|crash]...: what a roll costs, measured on hosts of the lab; without an argument, all of it. Fails beyond the
# limits.
#   idle   the time of `rollgate restart` against a bare loop over ssh, and its peak memory
#   load   40 clients a server, a publisher and a request/reply pair: rollgate against a playbook of Ansible
#   crash  the journal's cost an event; from the start of `resume` to its first decision
# ROLLGATE=PATH uses a binary that is built already (WITNESS=PATH likewise); ANSIBLE=PATH an ansible-playbook that is there,
# ANSIBLE=none leaves it out; ROUNDS=N is for `idle` and `crash`.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$HERE/../.."
lab=$HERE/lab
parts=("$@")
((${#parts[@]})) || parts=(idle load crash)

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

missed=0
for part in "${parts[@]}"; do
  case $part in
    idle | load | crash) "bench_$part" || missed=1 ;;
    *) echo "usage: bench.sh [idle|load|crash]..." >&2 && exit 2 ;;
  esac
done
# simulated rolls and clusters, without a lab
cargo run --quiet --release --example simbench || missed=1
exit $missed
