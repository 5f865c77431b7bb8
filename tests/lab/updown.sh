# shellcheck shell=bash
# `lab up`, `lab down`, `lab list`, `lab wait`, `lab check-leftovers`: the life of a lab.

up() { # NAME [OPTIONS]
  local wait=nats
  HOSTS=3 NATS=$NATS_DEFAULT STORE_MB=256 SUBNET=10.77.0 MONITOR=direct TLS=no
  name_lab "${1:-}"
  shift
  while (($#)); do
    case $1 in
      --monitor-localhost) MONITOR=localhost; shift; continue ;;
      --tls) TLS=yes; shift; continue ;;
      --hosts | --nats | --store-mb | --wait | --subnet) [[ -n ${2:-} ]] || usage_error "$1 needs a value" ;;
      *) usage_error "up does not know '$1'" ;;
    esac
    case $1 in
      --hosts) HOSTS=$2 ;;
      --nats) NATS=$2 ;;
      --store-mb) STORE_MB=$2 ;;
      --wait) wait=$2 ;;
      --subnet) SUBNET=$2 ;;
    esac
    shift 2
  done
  check_options "$wait"
  local began=${EPOCHREALTIME/[.,]/}
  install_missing
  build_base
  mkdir "$RUN" 2>/dev/null || die "lab '$NAME' is there already (take it down: lab down $NAME)"
  # from here on a failure, or Ctrl-C, takes away what was made
  trap 'say "up failed, taking \"$NAME\" down"; trap - EXIT; down "$NAME" >&2 || true; exit 1' EXIT
  trap 'exit 1' INT TERM HUP
  write_run_dir
  start_holder
  [[ $wait == none ]] || wait_for "$wait" "$(all_hosts)"
  trap - EXIT INT TERM HUP
  printf "lab '%s': %s hosts with nats-server %s, %s after %s ms\n" "$NAME" "$HOSTS" "$NATS" \
    "$(case $wait in none) echo started ;; *) echo "$wait answers" ;; esac)" "$(((${EPOCHREALTIME/[.,]/} - began) / 1000))"
}

check_options() { # WAIT
  [[ $HOSTS =~ ^[1-9][0-9]*$ ]] && ((HOSTS <= 50)) || usage_error "--hosts: 1 to 50, not '$HOSTS'"
  [[ " ${NATS_VERSIONS[*]} " == *" $NATS "* ]] || usage_error "--nats: one of ${NATS_VERSIONS[*]}, not '$NATS'"
  [[ $STORE_MB =~ ^(0|[1-9][0-9]*)$ ]] && ((STORE_MB == 0 || STORE_MB >= 8)) || usage_error "--store-mb: 0 (none of its own), or 8 and up"
  [[ $SUBNET =~ ^[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}$ ]] || usage_error "--subnet: three numbers such as 10.77.0"
  [[ $1 =~ ^(nats|ssh|none)$ ]] || usage_error "--wait: nats, ssh or none"
}

write_run_dir() {
  local host
  for host in $(all_hosts); do
    mkdir "$RUN/$host"
    mkfifo "$RUN/$host/power"
    echo off >"$RUN/$host/state"
    nats_conf "$host" >"$RUN/$host/nats-server.conf"
  done
  write_ssh_files
  [[ $TLS == no ]] || make_tls 2>"$RUN/tls.log" || { cat "$RUN/tls.log" >&2; die "could not make certificates"; }
  write_inventory
  local setting
  for setting in HOSTS NATS STORE_MB SUBNET MONITOR TLS BASE; do
    printf '%s=%q\n' "$setting" "${!setting}"
  done >"$RUN/lab.conf"
  chmod -R a+rX "$RUN"
  chmod 600 "$RUN"/h*/ssh_host_ed25519_key
}

start_holder() {
  # its own session and no descriptor of ours: whoever called `up` must not wait for the lab to end, nor a lock that it holds
  (
    for descriptor in /proc/self/fd/*; do
      ((${descriptor##*/} <= 2)) || eval "exec ${descriptor##*/}>&-"
    done
    exec setsid "$HERE/holder.sh" "$RUN" </dev/null >"$RUN/holder.log" 2>&1
  ) &
  local started=$!
  holder_settled() { [[ -e $RUN/ready ]] || ! start_time "$started" >/dev/null; }
  poll 60 0.02 holder_settled || true
  [[ -e $RUN/ready ]] || { cat "$RUN/holder.log" >&2; die "the lab did not start"; }
  open_lab "$NAME"
}

wait_for() { # ssh|nats HOSTS
  local what=$1 host
  for host in $2; do
    poll 120 0.1 answers_ssh "$host" || { tail -n 20 "$RUN/$host/console.log" >&2; die "$host does not answer ssh"; }
  done
  [[ $what == nats ]] || return 0
  for host in $2; do
    poll 120 0.1 is_healthy "$host" || die "$host: /healthz is not 200: $(in_host_net "$host" curl -s -m 2 "$(monitor_url "$host")/healthz" || echo no answer)"
  done
}
# the port first: a failing ssh costs ten times as much
answers_ssh() {
  in_net timeout 1 bash -c ": </dev/tcp/$(address "$1")/22" 2>/dev/null &&
    in_net ssh -F "$RUN/ssh_config" -o ConnectTimeout=2 "$1" true 2>/dev/null
}
monitor_url() { [[ $MONITOR == direct ]] && echo "http://$(address "$1"):8222" || echo http://127.0.0.1:8222; }
is_healthy() { in_host_net "$1" curl -sf -m 2 -o /dev/null "$(monitor_url "$1")/healthz"; }

down() { # NAME
  name_lab "$1"
  [[ -d $RUN ]] || { say "no lab '$NAME'"; return 0; }
  local began=${EPOCHREALTIME/[.,]/} outer
  if outer=$(recorded_pid "$RUN/holder"); then
    # hosts are disposable: no shutdown, the kernel ends all that is in the namespaces
    kill -KILL "$outer"
    holder_gone() { ! start_time "$outer" >/dev/null; }
    poll 20 0.02 holder_gone || true
  fi
  # namespaces, loop devices and cgroups go a moment after the last process
  no_leftovers() { [[ -z $(leftovers "$ID" "$RUN") ]]; }
  remove_cgroups "$ID"
  if ! poll 5 0.05 no_leftovers; then
    leftovers "$ID" "$RUN" >&2
    say "lab '$NAME' left the above behind; its files stay in $RUN"
    return 1
  fi
  rm -rf --one-file-system "$RUN"
  echo "lab '$NAME': down in $(((${EPOCHREALTIME/[.,]/} - began) / 1000)) ms"
}

down_all() {
  local dir status=0
  for dir in "$LAB_DIR"/run/*/ "$LAB_DIR"/plain/*/; do
    [[ -d $dir ]] || continue
    case $dir in
      "$LAB_DIR"/run/*) down "$(basename "$dir")" || status=1 ;;
      *) plain_down "$(basename "$dir")" || status=1 ;;
    esac
  done
  return $status
}

# Runs a command with cgroup v2 mounted on a place of its own, wherever the machine has it.
with_cgroups() { # SCRIPT ARGS...
  unshare --mount bash -c 'at=$(mktemp -d) && trap "umount \"$at\"; rmdir \"$at\"" EXIT && mount -t cgroup2 lab-cgroup "$at" && cd "$at" && '"$1"'; cd /' -- "${@:2}"
}
remove_cgroups() { # ID: once they are empty
  # shellcheck disable=SC2016
  with_cgroups '
    [[ -d $1 ]] || exit 0
    for _ in {1..500}; do grep -q "populated 0" "$1/cgroup.events" && break; sleep 0.02; done
    find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || true' "$1"
}

# Everything of a lab that the machine still has, a line each. ID may be a prefix that several labs share.
leftovers() { # ID RUN
  local file pid
  # shellcheck disable=SC2016
  with_cgroups 'for c in "$1"*; do [[ -d $c ]] || continue; echo "left over: cgroup $c"
    find "$c" -name cgroup.procs -exec cat {} + | while read -r p; do echo "left over: process $p ($(tr "\0" " " </proc/$p/cmdline))"; done
    done' "$1"
  for file in /sys/block/loop*/loop/backing_file; do
    [[ -e $file ]] && grep -qF "$1" "$file" 2>/dev/null && echo "left over: loop device $file of $(cat "$file" 2>/dev/null)"
  done
  for file in $(grep -lsF " $2/" /proc/[0-9]*/mountinfo || true); do
    pid=${file#/proc/} pid=${pid%/*}
    echo "left over: mounts below $2, seen by process $pid ($(cat "/proc/$pid/comm" 2>/dev/null))"
  done
  [[ ! -s $2/netns ]] || for file in /proc/[0-9]*/ns/net; do
    pid=${file#/proc/} pid=${pid%%/*}
    [[ $(readlink "$file" 2>/dev/null) != "$(cat "$2/netns")" ]] ||
      echo "left over: process $pid ($(cat "/proc/$pid/comm" 2>/dev/null)) in the lab's network"
  done
  return 0
}

# Of labs that are gone: whatever carries our mark but belongs to no lab that is up.
check_leftovers() {
  local dir known=(-e ' nothing is named this ') status=0
  for dir in "$LAB_DIR"/run/*/; do
    [[ -d $dir ]] || continue
    name_lab "$(basename "$dir")"
    known+=(-e "$ID")
    recorded_pid "$RUN/holder" >/dev/null || { echo "left over: lab '$NAME' is dead (clear it: lab down $NAME)"; status=1; }
  done
  ! leftovers "$(mark)-" "$LAB_DIR/no-lab" | grep -v '^left over: process' | grep -vF "${known[@]}" || status=1
  return $status
}

list() {
  local dir state
  for dir in "$LAB_DIR"/run/*/; do
    [[ -d $dir ]] || continue
    name_lab "$(basename "$dir")"
    if [[ -e $RUN/lab.conf ]]; then
      # shellcheck source=/dev/null
      . "$RUN/lab.conf"
    else
      HOSTS='?' NATS='?' SUBNET='?'
    fi
    state=dead
    ! recorded_pid "$RUN/holder" >/dev/null || state=up
    printf '%-20s %-5s %s hosts, nats-server %s, %s.11 and on, holder %s\n' "$NAME" "$state" "$HOSTS" "$NATS" "$SUBNET" \
      "$(cut -d' ' -f1 "$RUN/holder" 2>/dev/null || echo none)"
  done
}
