# shellcheck shell=bash
# Paths, messages, process identity and root: what every part of the lab needs.

LAB_DIR=${ROLLGATE_LAB_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/rollgate-lab}
# who gets the client key when root does the work for somebody (sudo)
LAB_OWNER=${ROLLGATE_LAB_OWNER:-$(id -u):$(id -g)}
# the tools live in sbin, which is not on every user's PATH
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

NATS_VERSIONS=(2.10.26 2.11.11 2.12.8 2.14.6 2.15.1)
NATS_DEFAULT=2.15.1

die() { printf 'lab: %s\n' "$*" >&2; exit 1; }
usage_error() { printf 'lab: %s (see: lab help)\n' "$*" >&2; exit 2; }
say() { printf 'lab: %s\n' "$*" >&2; }

# A process is known by pid and start time, since a pid alone may be somebody else's by now.
start_time() { # PID
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  stat=${stat##*) } # the name may hold blanks; what follows it does not
  # shellcheck disable=SC2086
  set -- $stat
  [[ $1 != [ZX] ]] || return 1 # a zombie is gone; only its parent has not asked
  echo "${20}"
}
record_process() { echo "$1 $(start_time "$1")" >"$2"; } # PID FILE
recorded_pid() { # FILE: the pid, if it is still that process
  local pid start
  [[ -s $1 ]] || return 1
  read -r pid start <"$1"
  [[ $(start_time "$pid") == "$start" ]] && echo "$pid"
}

# Becomes root by sudo, once, and says what for.
need_root() { # REASON ARGS-OF-LAB...
  local reason=$1
  shift
  ((EUID != 0)) || return 0
  command -v sudo >/dev/null || die "needs root for $reason, and there is no sudo (without root: lab plain-up)"
  say "using sudo for $reason"
  mkdir -p "$LAB_DIR" # as the caller, so that no directory on the way belongs to root
  # sudo drops the environment; pip and apt may need these to get out
  local variable passed=()
  for variable in $(compgen -e | grep -E '^(PIP_|SSL_CERT_|https?_proxy$|HTTPS?_PROXY$|no_proxy$|NO_PROXY$)' || true); do
    passed+=("$variable=${!variable}")
  done
  exec sudo -- env "${passed[@]}" "ROLLGATE_LAB_DIR=$LAB_DIR" "ROLLGATE_LAB_OWNER=$LAB_OWNER" \
    "ROLLGATE_LAB_WHEELS=${ROLLGATE_LAB_WHEELS:-}" "$HERE/lab" "$@"
}

# Polls a condition; nothing in the lab waits for a fixed time.
poll() { # SECONDS INTERVAL COMMAND...
  local end=$((SECONDS + $1)) interval=$2
  shift 2
  until "$@"; do
    ((SECONDS < end)) || return 1
    sleep "$interval"
  done
}

# ---- one lab
# sets NAME, RUN and, for one that is there, what `up` wrote down
valid_name() { [[ $1 =~ ^[a-z0-9][a-z0-9-]{0,40}$ ]] || usage_error "bad name '$1': lower case letters, digits and dashes"; }
# on cgroups and disk images of this lab directory
mark() { echo "rgl-$(printf %s "$LAB_DIR" | sha256sum | cut -c1-8)"; }
name_lab() { # NAME
  [[ -n ${1:-} ]] || usage_error "which lab? give its name"
  valid_name "$1"
  NAME=$1 RUN=$LAB_DIR/run/$1
  # the same name in another lab directory is another lab
  ID=$(mark)-$NAME. # the dot, so that none is the beginning of another
}
open_lab() { # NAME: it must be up
  name_lab "${1:-}"
  [[ -e $RUN/lab.conf ]] || die "no lab '$NAME' (bring it up: lab up $NAME)"
  # shellcheck source=/dev/null
  . "$RUN/lab.conf"
  local outer
  outer=$(recorded_pid "$RUN/holder") || die "lab '$NAME' is dead (clear it: lab down $NAME)"
  # PID 1 of the lab's namespaces is the only child of the recorded process
  read -r HOLDER _ <"/proc/$outer/task/$outer/children" || true
  [[ -n ${HOLDER:-} ]] || die "lab '$NAME' is not ready yet, or is going down"
}
is_host() { [[ $1 =~ ^h[1-9][0-9]*$ ]] && ((${1#h} <= HOSTS)); }
need_host() { [[ -n ${1:-} ]] && is_host "$1" || usage_error "lab '$NAME' has h1 to h$HOSTS, not '${1:-}'"; }
address() { echo "$SUBNET.$((10 + ${1#h}))"; } # hN
all_hosts() { seq -f 'h%g' "$HOSTS"; }

in_net() { nsenter -t "$HOLDER" -n -- "$@"; }        # the control side's network
in_lab() { nsenter -t "$HOLDER" -n -m -r -- "$@"; }  # and the lab's mounts
in_host_net() { local h=$1; shift; nsenter --net="/proc/$HOLDER/root/run/netns/$h" -- "$@"; }
cgroup_of() { echo "$RUN/cgroup/$ID/$1"; }           # hN, as the holder sees it
host_root() { echo "$RUN/fs/$1/root"; }              # hN, as the holder sees it

# The host's systemd, as a pid of ours. It moves itself to init.scope early in its boot.
init_pid() { # hN
  local pid
  pid=$(in_lab cat "$(cgroup_of "$1")/init.scope/cgroup.procs" 2>/dev/null | head -n 1)
  [[ -n $pid ]] && echo "$pid"
}
host_is_on() { [[ $(cat "$RUN/$1/state") == on ]]; }
