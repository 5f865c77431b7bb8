#!/usr/bin/env bash
# bench.sh [ROUNDS]: time of `rollgate restart` against bare-loop.sh, in turns on the same idle lab of three
# hosts, with the same settle time; and rollgate's peak memory. Fails beyond the limits.
# ROLLGATE=PATH uses a binary that is built already; SETTLE=SECONDS is for the bare loop, in place of what the playbook says.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$HERE/../.."
lab=$HERE/lab rounds=${1:-3}
RATIO_LIMIT=1.5 RSS_LIMIT_MB=40
playbook=playbooks/restart.yaml
of_playbook=$(sed -n '/^ *- settle:/,$ s/^ *for: *\([0-9.]*\)s.*/\1/p' "$playbook" | head -n 1)
settle=${SETTLE:-${of_playbook:-3}}

"$lab" install cc:build-essential
[[ -n ${ROLLGATE:-} ]] || cargo build --release --bins
rollgate=${ROLLGATE:-$PWD/target/release/rollgate}
name=bench-$$ work=$(mktemp -d)
trap '"$lab" down "$name" || true; rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
"$lab" up "$name"
config=$("$lab" ssh-config "$name") inventory=$("$lab" path "$name")/inventory.yaml

now() { echo "${EPOCHREALTIME/[.,]/}"; }
# The kernel keeps the peak of a process; the last look before its end is all but the end.
watch_memory() { # PID FILE
  local pid peak
  while [[ -d /proc/$1 ]]; do
    pid=$(named_rollgate "$1")
    peak=$(sed -n 's/^VmHWM:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/${pid:-none}/status" 2>/dev/null) || true
    [[ -z $peak ]] || echo "$peak" >>"$2"
    sleep 0.1
  done
}
# `lab exec` becomes rollgate, or with sudo has it as a child.
named_rollgate() { # PID
  local child children=''
  if [[ $(cat "/proc/$1/comm" 2>/dev/null) == rollgate ]]; then
    echo "$1"
    return
  fi
  read -r children 2>/dev/null <"/proc/$1/task/$1/children" || true
  for child in $children; do named_rollgate "$child"; done
}

export XDG_STATE_HOME=$work/state
for ((round = 1; round <= rounds; round++)); do
  "$lab" wait "$name" nats
  began=$(now)
  "$lab" exec "$name" -- "$HERE/bare-loop.sh" "$config" "$settle" h1=10.77.0.11 h2=10.77.0.12 h3=10.77.0.13
  echo $((($(now) - began) / 1000)) >>"$work/bare"
  "$lab" wait "$name" nats
  began=$(now)
  "$lab" exec "$name" -- "$rollgate" restart -i "$inventory" --yes >"$work/log" 2>&1 &
  pid=$!
  watch_memory "$pid" "$work/rss" &
  watcher=$!
  wait "$pid" || { cat "$work/log" >&2 && exit 1; }
  echo $((($(now) - began) / 1000)) >>"$work/rollgate"
  wait "$watcher"
  echo "round $round: bare loop $(tail -n 1 "$work/bare") ms, rollgate $(tail -n 1 "$work/rollgate") ms" >&2
done

[[ -s $work/rss ]] || { echo "bench: could not measure rollgate's memory" >&2 && exit 1; }
median() { sort -n "$1" | awk '{v[NR]=$1} END {print (NR % 2) ? v[(NR+1)/2] : (v[NR/2] + v[NR/2+1]) / 2}'; }
awk -v bare="$(median "$work/bare")" -v rg="$(median "$work/rollgate")" -v rss="$(sort -n "$work/rss" | tail -n 1)" \
  -v ratio_limit="$RATIO_LIMIT" -v rss_limit="$RSS_LIMIT_MB" -v settle="$settle" -v rounds="$rounds" 'BEGIN {
  printf "three idle servers, settle %s s, median of %d rounds in turn\n", settle, rounds
  printf "%-12s %8.2f s\n%-12s %8.2f s\n", "bare loop", bare / 1000, "rollgate", rg / 1000
  printf "%-12s %8.2f    (limit %s)\n", "ratio", rg / bare, ratio_limit
  printf "%-12s %8.1f MB (limit %s MB)\n", "peak memory", rss / 1024, rss_limit
  exit !(rg / bare <= ratio_limit && rss / 1024 <= rss_limit)
}'
