# shellcheck shell=bash
# The plain lab, for when there is no root: each host is a loopback address with an sshd of yours on a high
# port and a nats-server under plain-supervisor.sh. No systemd, journal, partitions or disks of its own.

# not the usual ports, so that a nats-server or sshd on 0.0.0.0 does not get in the way
PLAIN_SSH=24022 PLAIN_CLIENT=24222 PLAIN_CLUSTER=26222 PLAIN_MONITOR=28222

name_plain() { # NAME
  [[ -n ${1:-} ]] || usage_error "which lab? give its name"
  valid_name "$1"
  NAME=$1 RUN=$LAB_DIR/plain/$1
  local hash
  hash=$(printf %s "$RUN" | sha256sum)
  # a loopback network for each lab, so that several have the same ports side by side
  SUBNET=127.$((64 + 16#${hash:0:2} % 64)).$((16#${hash:2:2}))
}

plain_up() { # NAME [--hosts N] [--nats VERSION]
  HOSTS=3 NATS=$NATS_DEFAULT
  name_plain "${1:-}"
  shift
  while (($#)); do
    case $1 in
      --hosts) HOSTS=${2:-} ;;
      --nats) NATS=${2:-} ;;
      *) usage_error "plain-up does not know '$1'" ;;
    esac
    shift 2 || usage_error "a value is missing"
  done
  [[ $HOSTS =~ ^[1-9][0-9]?$ ]] || usage_error "--hosts: a number, not '$HOSTS'"
  [[ " ${NATS_VERSIONS[*]} " == *" $NATS "* ]] || usage_error "--nats: one of ${NATS_VERSIONS[*]}, not '$NATS'"
  local began=${EPOCHREALTIME/[.,]/} host
  require_plain_tools
  mkdir -p "$LAB_DIR"/{bin,plain}
  (exec 9>"$LAB_DIR/lock" && flock 9 && build_binaries)
  mkdir "$RUN" 2>/dev/null || die "plain lab '$NAME' is there already (take it down: lab plain-down $NAME)"
  trap 'say "plain-up failed, taking \"$NAME\" down"; trap - EXIT; plain_down "$NAME" >&2 || true; exit 1' EXIT
  trap 'exit 1' INT TERM HUP
  write_plain_files
  for host in $(all_hosts); do
    start_plain "$HERE/plain-supervisor.sh" "$RUN/$host" "$LAB_DIR/bin/nats-server-$NATS"
    # sshd wants to be started by its full path
    start_plain "$(command -v sshd)" -D -f "$RUN/$host/sshd_config" -E "$RUN/$host/sshd.log"
  done
  for host in $(all_hosts); do
    poll 30 0.05 ssh -F "$RUN/ssh_config" "$host" true 2>/dev/null || { cat "$RUN/$host/sshd.log" >&2; die "$host does not answer ssh"; }
    poll 60 0.1 curl -sf -m 2 -o /dev/null "http://$(address "$host"):$PLAIN_MONITOR/healthz" ||
      { tail -n 20 "$RUN/$host/nats.log" >&2; die "$host: /healthz is not 200"; }
  done
  trap - EXIT INT TERM HUP
  printf "plain lab '%s': %s servers at %s.11 and on, after %s ms; inventory: %s\n" \
    "$NAME" "$HOSTS" "$SUBNET" "$(((${EPOCHREALTIME/[.,]/} - began) / 1000))" "$RUN/inventory.yaml"
}

require_plain_tools() {
  local tool missing=()
  for tool in ssh ssh-keygen sshd curl unzip setsid flock; do command -v "$tool" >/dev/null || missing+=("$tool"); done
  ((${#missing[@]} == 0)) || die "the plain lab needs: ${missing[*]} (Debian packages openssh-server openssh-client curl unzip util-linux)"
  # only root's sshd wants this directory
  ((EUID != 0)) || mkdir -p /run/sshd
}

# In a session of its own, with its identity on record.
start_plain() { # COMMAND...
  setsid "$@" </dev/null >>"$RUN/processes.log" 2>&1 &
  echo "$! $(start_time $!)" >>"$RUN/processes"
  disown
}

write_plain_files() {
  local host ip
  ssh-keygen -q -t ed25519 -N '' -C rollgate-plain -f "$RUN/key"
  cat >"$RUN/ssh_config" <<CONF
Host *
  User $(id -un)
  Port $PLAIN_SSH
  IdentityFile $RUN/key
  IdentitiesOnly yes
  UserKnownHostsFile $RUN/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  BatchMode yes
  ConnectTimeout 5
CONF
  install -m 755 "$HERE/plain-service.sh" "$RUN/service"
  for host in $(all_hosts); do
    ip=$(address "$host")
    mkdir -p "$RUN/$host/store"
    ssh-keygen -q -t ed25519 -N '' -C "$host" -f "$RUN/$host/hostkey"
    echo "[$ip]:$PLAIN_SSH $(cut -d' ' -f1,2 "$RUN/$host/hostkey.pub")" >>"$RUN/known_hosts"
    printf 'Host %s\n  HostName %s\n' "$host" "$ip" >>"$RUN/ssh_config"
    plain_sshd_config "$host" >"$RUN/$host/sshd_config"
    plain_conf "$host" >"$RUN/$host/nats-server.conf"
  done
  cat >"$RUN/inventory.yaml" <<CONF
defaults:
  ssh: {config: $RUN/ssh_config}
  become: none
  service:
    command:
      start: [$RUN/service, start]
      stop: [$RUN/service, stop]
      status: [$RUN/service, status]
      logs: [$RUN/service, logs]
  monitoring: {url: "http://{address}:$PLAIN_MONITOR", via: direct}
clusters:
  plain:
    hosts: [$(all_hosts | paste -sd, | sed 's/,/, /g')]
CONF
}

plain_sshd_config() { # hN
  cat <<CONF
ListenAddress $(address "$1"):$PLAIN_SSH
HostKey $RUN/$1/hostkey
PidFile none
AuthorizedKeysFile $RUN/key.pub
# the cache directory may be writable by the user's group
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
MaxStartups 64:50:128
MaxSessions 64
# tells the service command which of the hosts it is on
SetEnv ROLLGATE_PLAIN_HOST=$RUN/$1
CONF
}

plain_conf() { # hN
  local routes
  routes=$(for h in $(all_hosts); do printf 'nats://%s:%s, ' "$(address "$h")" "$PLAIN_CLUSTER"; done)
  cat <<CONF
server_name: $1
listen: $(address "$1"):$PLAIN_CLIENT
http: $(address "$1"):$PLAIN_MONITOR
lame_duck_duration: 30s
lame_duck_grace_period: 2s
jetstream { store_dir: $RUN/$1/store, max_memory_store: 64MB, max_file_store: 200MB }
system_account: SYS
no_auth_user: app
accounts {
  SYS { users: [ { user: sys, password: sys } ] }
  APP { jetstream: enabled, users: [ { user: app, password: app } ] }
}
CONF
  # alone, a clustered server would wait for peers for ever
  ((HOSTS == 1)) || echo "cluster { name: plain, listen: $(address "$1"):$PLAIN_CLUSTER, routes: [ ${routes%, } ] }"
}

plain_fault() { # NAME hN FAULT: shows at the next restart
  name_plain "${1:-}"
  [[ -f $RUN/${2:-}/nats-server.conf ]] || usage_error "no plain lab '$NAME' with a host '${2:-}'"
  case ${3:-} in
    bad-config) unclosed_bracket ;;
    tls-missing) absent_certificate ;;
    *) usage_error "faults of a plain lab: bad-config tls-missing" ;;
  esac >>"$RUN/$2/nats-server.conf"
}

plain_down() { # NAME
  name_plain "${1:-}"
  [[ -d $RUN ]] || { say "no plain lab '$NAME'"; return 0; }
  local pid start file
  [[ ! -e $RUN/processes ]] || while read -r pid start; do
    # leaders of their sessions: the group is the process and what it started
    [[ $(start_time "$pid") != "$start" ]] || kill -KILL -- "-$pid" 2>/dev/null || true
  done <"$RUN/processes"
  plain_leftovers() {
    for file in $(grep -lsF -- "$RUN/" /proc/[0-9]*/cmdline || true); do
      pid=${file#/proc/} pid=${pid%/*}
      [[ $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) != *"/lab "* ]] && echo "left over: process $pid ($(cat "/proc/$pid/comm" 2>/dev/null))"
    done
    return 0
  }
  none_left() { [[ -z $(plain_leftovers) ]]; }
  poll 5 0.05 none_left || { plain_leftovers >&2; return 1; }
  rm -rf --one-file-system "$RUN"
  echo "plain lab '$NAME': down"
}

plain_list() {
  local dir
  for dir in "$LAB_DIR"/plain/*/; do
    [[ ! -d $dir ]] || { name_plain "$(basename "$dir")"; echo "$NAME $SUBNET.11 and on, $RUN/inventory.yaml"; }
  done
}
