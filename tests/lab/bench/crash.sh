# shellcheck shell=bash
# shellcheck disable=SC2154 # what bench.sh sets
# What crash safety costs, and how soon it is of use: the journal's events, and from the start of `rollgate resume` to its first
# decision, what became of the turn that a killed controller left.

left_in_a_stop() { # INVENTORY PLAYBOOK: kill -9 once the stop is announced
  local pid journal
  rm -rf "$XDG_STATE_HOME"
  "$lab" exec "$name" -- "$rollgate" run "$2" -i "$1" --yes >"$work/log" 2>&1 &
  pid=$!
  until grep -qs '"step":"stop"' "$XDG_STATE_HOME"/rollgate/runs/*/journal.ndjson; do
    [[ -d /proc/$pid ]] || { cat "$work/log" >&2 && return 1; }
    sleep 0.01
  done
  journal=$(named_rollgate "$pid")
  kill -9 "${journal:-$pid}"
  wait "$pid" 2>/dev/null || true
}

bench_crash() {
  local rounds=${ROUNDS:-5} limit=2000 inventory began round line missed=0
  # The state directory's own disk, where it is kept by default.
  mkdir -p "$HOME/.local/state"
  cargo run --release --quiet --example journal-cost "$HOME/.local/state" || missed=1
  printf 'name: quick\nturn:\n  - stop\n  - start\n  - gate: {looks: 2}\n  - settle: {for: 500ms, interval: 100ms}\n' >"$work/quick.yaml"
  "$lab" up "$name" >&2
  inventory=$("$lab" path "$name")/inventory.yaml
  for ((round = 1; round <= rounds; round++)); do
    "$lab" wait "$name" nats
    left_in_a_stop "$inventory" "$work/quick.yaml"
    began=$(now)
    "$lab" exec "$name" -- "$rollgate" resume -i "$inventory" --yes -o ndjson 2>"$work/log" | while read -r line; do
      [[ $line != *'"event":"settled"'* ]] || echo $((($(now) - began) / 1000)) >>"$work/resume"
    done || { cat "$work/log" >&2 && return 1; }
    echo "crash, round $round: first decision after $(tail -n 1 "$work/resume") ms" >&2
  done
  "$lab" down "$name" >&2
  awk -v median="$(median "$work/resume")" -v worst="$(sort -n "$work/resume" | tail -n 1)" -v limit="$limit" -v rounds="$rounds" 'BEGIN {
    printf "resume       %8.2f s from a cold start to the first decision on three hosts (limit %d s), median of %d; the longest %.2f s\n", median / 1000, limit / 1000, rounds, worst / 1000
    exit !(worst <= limit)
  }' || missed=1
  return $missed
}
