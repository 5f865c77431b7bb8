#!/usr/bin/env bash
# service start|stop|reload|status|logs: what systemctl and journalctl are to a real host.
# `status` exits 3 when the server does not run; it prints pid, restarts (since the last start) and exit.
set -euo pipefail
dir=${ROLLGATE_PLAIN_HOST:?set by the sshd of the plain lab}

pid() { sed -n 's/^pid=//p' "$dir/status"; }
poll() { # until COMMAND succeeds; whoever called us sets the time limit
  until "$@"; do sleep 0.05; done
}
case ${1:-} in
  start)
    echo start >"$dir/control"
    # shellcheck disable=SC2317
    running() { [[ -n $(pid) ]]; }
    poll running
    ;;
  stop)
    echo stop >"$dir/control"
    # shellcheck disable=SC2317
    stopped() { [[ -z $(pid) ]]; }
    poll stopped
    ;;
  reload) echo reload >"$dir/control" ;;
  status)
    cat "$dir/status"
    [[ -n $(pid) ]] || exit 3
    ;;
  logs) tail -n "${2:-50}" "$dir/nats.log" ;;
  *)
    echo "usage: service start|stop|reload|status|logs" >&2
    exit 2
    ;;
esac
