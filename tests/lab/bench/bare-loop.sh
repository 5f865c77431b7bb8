#!/usr/bin/env bash
# bare-loop.sh SSH_CONFIG SETTLE HOST=ADDRESS...: the least that restarts a cluster one server at a time,
# as one would type it. What rollgate is measured against.
set -euo pipefail
config=$1 settle=$2
shift 2
sockets=$(mktemp -d)
trap 'for h in "$sockets"/*; do [[ ! -S $h ]] || ssh -F "$config" -o ControlPath="$h" -O exit x 2>/dev/null || true; done; rm -rf "$sockets"' EXIT
on() { ssh -F "$config" -o ControlMaster=auto -o ControlPersist=60 -o ControlPath="$sockets/%n" "$@"; }

for pair in "$@"; do
  host=${pair%%=*} address=${pair#*=}
  on "$host" sudo systemctl stop nats-server
  on "$host" sudo systemctl start nats-server
  until curl -sf -m 1 -o /dev/null "http://$address:8222/healthz"; do sleep 0.2; done
  # not a wait for something: the time that rollgate watches a server which is back, too
  sleep "$settle"
done
