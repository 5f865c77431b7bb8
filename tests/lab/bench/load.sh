# shellcheck shell=bash
# shellcheck disable=SC2154 # what bench.sh sets
# Three servers in use: 40 clients each, a publisher that wants acknowledgements, a client that asks another, lame duck as
# nats-server has it by default, and an observer that asks every server every 20 ms. rollgate and Ansible roll the same lab.

bench_load() {
  local inventory address host column ansible
  ansible=$(find_ansible)
  witness=${WITNESS:-$PWD/target/release/examples/witness}
  [[ -n ${WITNESS:-} ]] || cargo build --release --example witness
  "$lab" up "$name" >&2
  for host in h1 h2 h3; do
    "$lab" root "$name" "$host" -- sh -c "sed -i '/^lame_duck/d' /etc/nats/nats-server.conf && systemctl restart nats-server"
    "$lab" wait "$name" nats
  done
  echo sys >"$work/sys.password"
  inventory=$work/inventory.yaml
  sed "s|^clusters:|  nats: {user: sys, password_file: $work/sys.password}\n&|" "$("$lab" path "$name")/inventory.yaml" >"$inventory"

  local columns=()
  if [[ -n $ansible ]]; then
    for host in 1 2 3; do echo "h$host address=10.77.0.1$host"; done | sed '1i [nats]' >"$work/hosts.ini"
    under_load ansible next env ANSIBLE_HOST_KEY_CHECKING=True ANSIBLE_RETRY_FILES_ENABLED=False \
      ANSIBLE_LOCALHOST_WARNING=False ANSIBLE_HOME="$work/ansible" ANSIBLE_PYTHON_INTERPRETER="$(command -v python3)" \
      ANSIBLE_SSH_ARGS="-F $("$lab" ssh-config "$name") -o ControlMaster=auto -o ControlPersist=60s" \
      "$ansible" -i "$work/hosts.ini" "$HERE/bench/rolling.yaml" && columns+=(ansible)
  else
    echo "bench: no ansible-playbook, so its column is missing" >&2
  fi
  for column in next any; do
    under_load "rollgate-$column" "$column" "$rollgate" run "$HERE/bench/three-looks.yaml" -i "$inventory" --yes || return 1
    columns+=("rollgate-$column")
  done
  "$lab" down "$name" >&2
  python3 "$HERE/bench/table.py" "$work" "${columns[@]}"
}

# Runs a command while the witness watches; its seconds and the witness's report stay in $work.
under_load() { # COLUMN PICK COMMAND...
  local column=$1 pick=$2 pid began status=0 stdin
  shift 2
  "$lab" wait "$name" nats
  rm -f "$work/stop"
  mkfifo "$work/stop"
  "$lab" exec "$name" -- "$witness" --servers 10.77.0.11,10.77.0.12,10.77.0.13 --clients-per-server 40 --poll-ms 20 \
    --pick "$pick" --report "$work/$column.json" <"$work/stop" >/dev/null 2>"$work/witness.log" &
  pid=$!
  exec {stdin}>"$work/stop"
  until grep -q '^ready$' "$work/witness.log"; do
    kill -0 "$pid" 2>/dev/null || { cat "$work/witness.log" >&2 && return 1; }
    sleep 0.1
  done
  began=$(now)
  "$lab" exec "$name" -- "$@" >"$work/$column.log" 2>&1 || status=$?
  echo $((($(now) - began) / 1000)) >"$work/$column.ms"
  exec {stdin}>&-
  wait "$pid" || status=$?
  echo "load, $column: $(cat "$work/$column.ms") ms, status $status" >&2
  grep -E '(drained|ready|done) ' "$work/$column.log" >&2 || true
  ((status == 0)) || { cat "$work/$column.log" "$work/witness.log" >&2; return 1; }
}

# An ansible-playbook: the one given, the one on the PATH, or one from PyPI in a directory of its own.
find_ansible() {
  case ${ANSIBLE:-} in
    none) return ;;
    '') ;;
    *) echo "$ANSIBLE" && return ;;
  esac
  command -v ansible-playbook && return
  local venv=${XDG_CACHE_HOME:-$HOME/.cache}/rollgate-lab/ansible
  [[ -x $venv/bin/ansible-playbook ]] ||
    { python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --disable-pip-version-check ansible-core; } >&2 || return 0
  echo "$venv/bin/ansible-playbook"
}
