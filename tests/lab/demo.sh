#!/usr/bin/env bash
# demo.sh [--fault FAULT | --upgrade] [--reduced]: rolls a live cluster of three real hosts under load, and shows
# what its clients noticed. With a fault on the second host: shows the halt. With --upgrade: brings another nats-server to them.
# Takes everything down at the end.
# ROLLGATE=PATH uses a binary that is built already, WITNESS=PATH likewise.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$HERE/../.."
lab=$HERE/lab
fault='' reduced=no upgrade=no
old=2.14.6 new=2.15.1
while (($#)); do
  case $1 in
    --fault) fault=${2:?--fault needs a name} && shift 2 ;;
    --upgrade) upgrade=yes && shift ;;
    --reduced) reduced=yes && shift ;;
    *) echo "usage: demo.sh [--fault FAULT | --upgrade] [--reduced]" >&2 && exit 2 ;;
  esac
done
case $fault in '' | port-conflict | bad-config | tls-missing | store-owner | store-readonly | wrong-cluster | disk-full) ;;
  *) echo "demo: no fault '$fault' (see: tests/lab/lab help)" >&2 && exit 2 ;;
esac

[[ $upgrade == no || $fault$reduced == no ]] || { echo "demo: --upgrade goes with no fault, and needs real hosts" >&2 && exit 2; }

step() { if [[ -t 1 && -z ${NO_COLOR:-} ]]; then printf '\n\e[1m== %s\e[0m\n' "$*"; else printf '\n== %s\n' "$*"; fi; }
fail() { echo "demo: $*" >&2; exit 1; }

if [[ $reduced == no ]] && ((EUID != 0)); then
  if command -v sudo >/dev/null; then
    echo "demo: not root. sudo is used to install packages, and to make the network namespaces and mounts of three hosts."
  else
    [[ $upgrade == no ]] || fail "neither root nor sudo: an upgrade needs real hosts"
    echo "demo: neither root nor sudo, so no hosts of their own can be made (network namespaces and mounts need root)."
    echo "demo: showing the reduced demo: three servers on loopback addresses, sshd as you, no systemd."
    reduced=yes
  fi
fi

name=demo-$$ witness='' work=$(mktemp -d)
clean_up() {
  trap '' INT TERM HUP # nothing may keep the lab from going
  [[ -z ${load:-} ]] || exec {load}>&-
  [[ -z $witness ]] || wait "$witness" 2>/dev/null || true
  if [[ -n ${is_up:-} ]]; then
    step "taking the lab down"
    if [[ $reduced == yes ]]; then "$lab" plain-down "$name"; else "$lab" down "$name"; fi
  fi
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

step "building"
command -v cargo >/dev/null || fail "cargo is missing; install Rust first (https://rustup.rs)"
[[ $reduced == yes ]] || "$lab" install cc:build-essential
[[ -n ${ROLLGATE:-} ]] || cargo build --release --bins
[[ -n ${WITNESS:-} ]] || cargo build --release --example witness
rollgate=${ROLLGATE:-$PWD/target/release/rollgate}
observer=${WITNESS:-$PWD/target/release/examples/witness}

step "bringing up three hosts"
is_up=maybe # from here on there may be something to take down
if [[ $reduced == yes ]]; then
  "$lab" plain-up "$name"
  run=$(sed -n "s|^$name .* \(/.*\)/inventory.yaml\$|\1|p" < <("$lab" plain-list))
  network=127.$("$lab" plain-list | sed -n "s/^$name 127\.\([0-9.]*\)\.11 .*/\1/p")
  inside=() ports=(--client-port 24222 --monitor-port 28222)
else
  "$lab" base
  if [[ $upgrade == yes ]]; then "$lab" up "$name" --nats "$old"; else "$lab" up "$name"; fi
  run=$("$lab" path "$name") network=10.77.0
  inside=("$lab" exec "$name" --) ports=()
fi
inventory=$run/inventory.yaml
if [[ $reduced == no ]]; then
  # with the system account rollgate moves leaders and clients away before it stops a server
  echo sys >"$work/sys.password"
  sed "s|^clusters:|  nats: {user: sys, password_file: $work/sys.password}\n&|" "$inventory" >"$work/inventory.yaml"
  inventory=$work/inventory.yaml
fi
cat "$inventory"

step "clients and a publisher: 5 clients a server, 200 messages a second to a stream with 3 replicas"
mkfifo "$work/stop"
# the witness ends with its stdin, which also works through sudo
"${inside[@]}" "$observer" --servers "$network.11,$network.12,$network.13" "${ports[@]}" --text --report "$work/report.json" \
  <"$work/stop" >"$work/table" 2>"$work/log" &
witness=$!
exec {load}>"$work/stop"
until grep -q '^ready$' "$work/log"; do
  kill -0 "$witness" 2>/dev/null || [[ -d /proc/$witness ]] || fail "the witness did not start: $(cat "$work/log")"
  sleep 0.1
done

# the journal of the demo goes with the demo
export XDG_STATE_HOME=$work/state
command=(restart) settings=()
if [[ $upgrade == yes ]]; then
  cp "${ROLLGATE_LAB_DIR:-$HOME/.cache/rollgate-lab}/bin/nats-server-$new" "$work/nats-server"
  command=(upgrade) settings=(--set "binary=$work/nats-server" --set "version=$new" --set canary=10s)
fi
step "rollgate plan ${command[*]} -i inventory.yaml ${settings[*]}"
"${inside[@]}" "$rollgate" plan "${command[@]}" -i "$inventory" "${settings[@]}" || fail "plan failed"
if [[ -n $fault ]]; then
  # the order is rollgate's: the meta leader goes last, whichever it is
  mapfile -t order < <("${inside[@]}" "$rollgate" plan -i "$inventory" -o json | grep -o '"host": *"h[1-3]"' | grep -o 'h[1-3]')
  ((${#order[@]} == 3)) || fail "the plan does not name three hosts"
  second=${order[1]} third=${order[2]}
  step "a fault on the second host of the plan, $second: $fault (it shows when nats-server restarts)"
  if [[ $reduced == yes ]]; then "$lab" plain-fault "$name" "$second" "$fault"; else "$lab" fault "$name" "$second" "$fault"; fi
fi
if [[ $fault == wrong-cluster ]]; then
  # this server lives, so nothing but the deadline ends the wait: 10 minutes is long for a demo
  printf 'name: hasty\nturn: [stop, start, gate: {deadline: 20s}, settle]\n' >"$work/hasty.yaml"
  command=(run "$work/hasty.yaml")
fi
step "rollgate ${command[*]} -i inventory.yaml ${settings[*]} --yes"
status=0
"${inside[@]}" "$rollgate" "${command[@]}" -i "$inventory" "${settings[@]}" --yes || status=$?
echo "(exit status $status)"

step "what the clients and an independent observer saw"
exec {load}>&-
unset load
seen=0
wait "$witness" || seen=$?
witness=''
cat "$work/table"
[[ -s $work/report.json ]] || fail "the witness gave no report: $(cat "$work/log")"
((seen == 0)) || fail "the stream does not hold what was acknowledged"

# the report is one line of JSON; a few of its numbers decide
number() { grep -o "\"$1\":[0-9]*" "$work/report.json" | head -n 1 | cut -d: -f2; }
(($(number most_not_ready_at_once) <= 1)) || fail "more than one server was not ready at once"
mapfile -t restarts < <(grep -o '"restarts":[0-9]*' "$work/report.json" | cut -d: -f2)
untouched=0
for count in "${restarts[@]}"; do ((count > 0)) || untouched=$((untouched + 1)); done
step "verdict"
if [[ -z $fault ]]; then
  ((status == 0)) || fail "rollgate ended with $status, not 0"
  ((untouched == 0)) || fail "$untouched servers were not restarted"
  (($(number failed) == 0)) || fail "$(number failed) publishes failed"
  echo "as expected: all three servers restarted, one at a time, and no publish failed"
else
  ((status == 4)) || fail "rollgate ended with $status, not 4 (halted)"
  mapfile -t ready < <(grep -o '"ready_at_end":[a-z]*' "$work/report.json" | cut -d: -f2)
  at() { echo $((${1#h} - 1)); } # hN: its place in the report
  [[ ${restarts[$(at "${order[0]}")]} == 1 ]] || fail "${order[0]} was not restarted"
  [[ ${ready[$(at "$second")]} == false ]] || fail "$second is ready, so the fault did not show"
  [[ ${ready[$(at "$third")]} == true && ${restarts[$(at "$third")]} == 0 ]] || fail "$third was touched"
  echo "as expected: rollgate halted at $second, and $third was not touched"
fi
