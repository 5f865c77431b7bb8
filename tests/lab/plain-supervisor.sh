#!/usr/bin/env bash
# plain-supervisor.sh HOST_DIR NATS_SERVER: keeps one nats-server of the plain lab running.
# Takes the words start, stop and reload from a FIFO; writes pid, restarts and exit to HOST_DIR/status.
set -uo pipefail
dir=$1 server=$2
child='' wanted=up restarts=0 last_exit='' again=0 begun=''

note() { printf 'pid=%s\nrestarts=%s\nexit=%s\n' "$child" "$restarts" "$last_exit" >"$dir/status.new" && mv "$dir/status.new" "$dir/status"; }
launch() {
  "$server" -c "$dir/nats-server.conf" </dev/null >>"$dir/nats.log" 2>&1 3>&- &
  child=$!
  note
}
reap() {
  wait "$child"
  last_exit=$?
  child=''
  note
  # a second between attempts, as a service manager would leave
  again=$((SECONDS + 1))
}

mkfifo "$dir/control"
exec 3<>"$dir/control"
launch
while :; do
  # the time out is how soon the end of the server is noticed
  if ! read -r -t 0.1 -u 3 word; then
    # a time out in the middle of a word leaves its beginning, which the next read does not see again
    begun+=$word
  else
    word=$begun$word begun=''
    case $word in
      start)
        [[ $wanted == up ]] || restarts=0
        wanted=up again=0
        ;;
      stop)
        wanted=down
        [[ -z $child ]] || kill -USR2 "$child" # lame duck
        ;;
      reload) [[ -z $child ]] || kill -HUP "$child" ;;
    esac
  fi
  if [[ -n $child ]]; then
    kill -0 "$child" 2>/dev/null || reap
  elif [[ $wanted == up ]] && ((SECONDS >= again)); then
    [[ -z $last_exit || $again == 0 ]] || restarts=$((restarts + 1))
    launch
  fi
done
