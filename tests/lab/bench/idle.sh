# shellcheck shell=bash
# shellcheck disable=SC2154 # what bench.sh sets
# Three idle servers: rollgate against a bare loop over ssh, in turns, with the same time to settle; and its peak memory.

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

median() { sort -n "$1" | awk '{v[NR]=$1} END {print (NR % 2) ? v[(NR+1)/2] : (v[NR/2] + v[NR/2+1]) / 2}'; }

bench_idle() {
  local rounds=${ROUNDS:-3} ratio_limit=1.5 rss_limit=40 config inventory began pid watcher round settle
  settle=$(sed -n '/^ *- settle:/,$ s/^ *for: *\([0-9.]*\)s.*/\1/p' playbooks/restart.yaml | head -n 1)
  "$lab" up "$name" >&2
  config=$("$lab" ssh-config "$name") inventory=$("$lab" path "$name")/inventory.yaml
  for ((round = 1; round <= rounds; round++)); do
    "$lab" wait "$name" nats
    began=$(now)
    "$lab" exec "$name" -- "$HERE/bench/bare-loop.sh" "$config" "$settle" h1=10.77.0.11 h2=10.77.0.12 h3=10.77.0.13
    echo $((($(now) - began) / 1000)) >>"$work/bare"
    "$lab" wait "$name" nats
    began=$(now)
    "$lab" exec "$name" -- "$rollgate" restart -i "$inventory" --yes >"$work/log" 2>&1 &
    pid=$!
    watch_memory "$pid" "$work/rss" &
    watcher=$!
    wait "$pid" || { cat "$work/log" >&2 && return 1; }
    echo $((($(now) - began) / 1000)) >>"$work/rollgate"
    wait "$watcher"
    echo "idle, round $round: bare loop $(tail -n 1 "$work/bare") ms, rollgate $(tail -n 1 "$work/rollgate") ms" >&2
  done
  "$lab" down "$name" >&2
  [[ -s $work/rss ]] || { echo "bench: could not measure rollgate's memory" >&2 && return 1; }
  awk -v bare="$(median "$work/bare")" -v rg="$(median "$work/rollgate")" -v rss="$(sort -n "$work/rss" | tail -n 1)" \
    -v ratio_limit="$ratio_limit" -v rss_limit="$rss_limit" -v settle="$settle" -v rounds="$rounds" 'BEGIN {
    printf "three idle servers, settle %s s, median of %d rounds in turn\n", settle, rounds
    printf "%-12s %8.2f s\n%-12s %8.2f s\n", "bare loop", bare / 1000, "rollgate", rg / 1000
    printf "%-12s %8.2f    (limit %s)\n", "ratio", rg / bare, ratio_limit
    printf "%-12s %8.1f MB (limit %s MB)\n", "peak memory", rss / 1024, rss_limit
    exit !(rg / bare <= ratio_limit && rss / 1024 <= rss_limit)
  }'
}
