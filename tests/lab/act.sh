# shellcheck shell=bash
# Commands in a lab: on its control side, on a host by ssh, on a host past ssh.

# Becomes COMMAND in the lab's network, as the caller, with the caller's directory, environment and terminal.
exec_in_net() { # NAME [--] COMMAND...
  open_lab "${1:-}"
  shift
  [[ ${1:-} != -- ]] || shift
  (($#)) || usage_error "exec needs a command"
  ((EUID != 0)) || exec nsenter -t "$HOLDER" -n -- "$@"
  # only the change of network needs root; sudo drops some variables, which are given again
  command -v sudo >/dev/null || die "needs root to enter the lab's network, and there is no sudo"
  local again=("PATH=$PATH" "HOME=$HOME") variable
  for variable in LD_LIBRARY_PATH TMPDIR; do
    [[ -z ${!variable:-} ]] || again+=("$variable=${!variable}")
  done
  exec sudo -E -- nsenter -t "$HOLDER" -n -- \
    setpriv --reuid="$(id -u)" --regid="$(id -g)" --init-groups -- env "${again[@]}" "$@"
}

ssh_to_host() { # NAME hN [COMMAND...]
  open_lab "${1:-}"
  need_host "${2:-}"
  shift
  exec_in_net "$NAME" -- ssh -F "$RUN/ssh_config" "$@"
}

# As root in all namespaces of the host: for what must work when its ssh does not.
as_host_root() { # hN COMMAND...
  local host=$1 pid
  shift
  booted() { host_is_on "$host" && init_pid "$host" >/dev/null; }
  poll 10 0.05 booted || die "$host is off (switch it on: lab poweron $NAME $host)"
  pid=$(init_pid "$host")
  # what is started here must end with the host, so it goes to the host's cgroup
  # shellcheck disable=SC2016
  bash -c '
    in_lab=(nsenter -t "$1" -m -r --) cgroup=$2 init=$3 term=$4
    "${in_lab[@]}" bash -c "echo $$ >\"\$1/cgroup.procs\"" -- "$cgroup"
    shift 4
    exec nsenter -t "$init" -m -u -i -n -p -C -r -w -- env -i TERM="$term" HOME=/root \
      PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"' \
    -- "$HOLDER" "$(cgroup_of "$host")" "$pid" "${TERM:-dumb}" "$@"
}

run_as_root() { # NAME hN [--] COMMAND...
  open_lab "${1:-}"
  need_host "${2:-}"
  local host=$2
  shift 2
  [[ ${1:-} != -- ]] || shift
  (($#)) || usage_error "root needs a command"
  as_host_root "$host" "$@"
}

put() { # NAME hN PATH: stdin becomes that file on the host
  open_lab "${1:-}"
  need_host "${2:-}"
  [[ ${3:-} == /* ]] || usage_error "put needs an absolute path"
  # shellcheck disable=SC2016
  as_host_root "$2" sh -c 'mkdir -p "$(dirname "$1")" && cat >"$1"' -- "$3"
}

replace_conf() { # NAME hN: stdin becomes its nats-server.conf, also if the host is off
  open_lab "${1:-}"
  need_host "${2:-}"
  cat >"$RUN/$2/nats-server.conf"
  write_conf "$2" <"$RUN/$2/nats-server.conf"
}
write_conf() { # hN
  # shellcheck disable=SC2016
  in_lab sh -c 'cat >"$1/nats-server.conf.new" && mv "$1/nats-server.conf.new" "$1/nats-server.conf" && chmod 644 "$1/nats-server.conf"' -- \
    "$(host_root "$1")/etc/nats"
}

switch_nats() { # NAME hN VERSION
  open_lab "${1:-}"
  need_host "${2:-}"
  [[ " ${NATS_VERSIONS[*]} " == *" ${3:-} "* ]] || usage_error "versions at hand: ${NATS_VERSIONS[*]}"
  in_lab ln -sfn "/opt/nats/nats-server-$3" "$(host_root "$2")/usr/local/bin/nats-server"
}
