# Gathers the evidence on one host: one process tree, one stream of tagged lines, no file written.
#
# POSIX sh; what is missing on the host is a `g` line (a gap), never the end. Rust puts conf_awk, scrub_awk, listeners_awk, swap_awk
# and probe_sh, the texts of the files beside this one, in front.
#
# $1 manager, $2 its unit or container, $3 since (seconds; 0: the last lines), $4 limit of one part in seconds,
# $5 configuration and $6 program where not the unit's; $7 how many of the words after the next one are the status command,
# the rest being the logs command. $8 files of runs that stand in for some of the service's, a line each, with tabs between: program or
# config, the run and the name there, the place, the name beside it, mode and owner (- for those of what stands there).
# shellcheck disable=SC2154 # those five
kind=$1 name=$2 since=$3 limit=$4 conf=$5 program=$6 status_words=$7 stand_ins=$8
shift 8
LC_ALL=C
export LC_ALL
tab=$(printf '\t')
nl='
'
me=$(id -u)

if timeout 1 true 2>/dev/null; then T="timeout $limit"; else T=; fi
have() { command -v "$1" >/dev/null 2>&1; }
say() { printf '%s\t%s\t%s\n' "$1" "$2" "$3"; }
gap() { printf 'g\t%s\t%s\n' "$1" "$(printf '%s' "$2" | tr '\n\t' '  ' | head -c 300)"; }
# Lines of standard input, each with a tag.
tagged() { awk -v tag="$1" '{ print tag "\t" substr($0, 1, 3000); fflush() }'; }
file_line() { if read -r line 2>/dev/null <"$1"; then printf '%s' "$line"; fi; }

machine() {
  say m hostname "$(file_line /proc/sys/kernel/hostname)"
  say m clock "$(date +%s)"
  say m zone "$(date +%z)"
  say m boot "$(file_line /proc/sys/kernel/random/boot_id)"
  say m uptime "$(file_line /proc/uptime)"
  say m arch "$(uname -m)"
  say m user "$(id -un 2>/dev/null || echo "$me")"
  say m uid "$me"
  # What the kernel answers to itself: its own addresses, without those of the loopback.
  say m addresses "$(awk '/^ *\|-- / { at = $2 } /host LOCAL/ && at !~ /^127\./ { if (!(at in seen)) printf "%s ", at; seen[at] = 1 }' /proc/net/fib_trie 2>/dev/null)"
  # timesyncd(8) makes this file when it has set the clock.
  if [ -d /run/systemd/timesync ]; then say m synchronized "$([ -e /run/systemd/timesync/synchronized ] && echo 1 || echo 0)"; fi
  awk '/^(MemTotal|MemAvailable|SwapTotal|SwapFree):/ { sub(":", "", $1); print "m\t" $1 "\t" $2 }' /proc/meminfo 2>/dev/null
}

# ---- the service: fills pid, user, group, exec_line, service_env, workdir, sandbox; unit_lines is printed later.
pid='' user='' group='' lame_duck='' exec_line='' service_env='' workdir='' sandbox='' unit_lines='' root='' listening='' first_work='' first_at=0

of_unit() { printf '%s\n' "$unit_lines" | sed -n "s/^$1=//p" | head -n 1; }

systemd_unit() {
  if ! have systemctl; then gap unit 'no systemctl on this host'; return; fi
  unit_lines=$($T systemctl show "$name" --no-pager --property=Id,LoadState,ActiveState,SubState,Result,NRestarts,MainPID,ExecMainCode,ExecMainStatus,ExecMainStartTimestamp,TimeoutStopUSec,UnitFileState,FragmentPath,DropInPaths,NeedDaemonReload,User,Group,SupplementaryGroups,DynamicUser,ExecStart,ExecStop,KillSignal,Environment,EnvironmentFiles,WorkingDirectory,RootDirectory,LimitNOFILE,MemoryMax,ProtectSystem,ProtectHome,PrivateTmp,ReadWritePaths,ReadOnlyPaths,InaccessiblePaths,BindPaths,BindReadOnlyPaths,TemporaryFileSystem,RequiresMountsFor 2>&1 </dev/null)
  case $unit_lines in *LoadState=*) ;; *) gap unit "systemctl show: $unit_lines"; unit_lines=''; return ;; esac
  pid=$(of_unit MainPID)
  [ "$pid" = 0 ] && pid=''
  user=$(of_unit User) group=$(of_unit Group) workdir=$(of_unit WorkingDirectory)
  workdir=${workdir#!} workdir=${workdir#-}
  exec_line=$(of_unit ExecStart | sed -n 's/.*argv\[\]=\(.*\) ; ignore_errors=.*/\1/p')
  service_env=$(of_unit Environment | awk '
    { for (i = 1; i <= length($0); i++) { c = substr($0, i, 1)
        if (c == "\\" && quoted) { i++; word = word substr($0, i, 1) }
        else if (c == "\"") quoted = !quoted
        else if (c == " " && !quoted) { if (word != "") print word; word = "" }
        else word = word c }
      if (word != "") print word }')
  for file in $(printf '%s\n' "$unit_lines" | sed -n 's/^EnvironmentFiles=\(.*\) (ignore_errors=.*/\1/p'); do
    if [ -r "$file" ]; then
      service_env=$service_env$nl$(sed -n 's/^[[:space:]]*\([A-Za-z_][A-Za-z0-9_]*=\)"\{0,1\}\([^"]*\)"\{0,1\}[[:space:]]*$/\1\2/p' "$file" | head -c 50000)
    else
      gap "environment file $file" 'cannot be read'
    fi
  done
  # nats-server's lame duck is SIGUSR2, 12 where this runs.
  case $(of_unit ExecStop)$(of_unit KillSignal) in *USR2* | *ldm* | 12) lame_duck=1 ;; *) lame_duck=0 ;; esac
  for word in ProtectSystem=yes ProtectSystem=full ProtectSystem=strict ProtectHome=yes ProtectHome=read-only ProtectHome=tmpfs DynamicUser=yes; do
    case $nl$unit_lines$nl in *"$nl$word$nl"*) sandbox="$sandbox$nl$word" ;; esac
  done
  for key in ReadWritePaths ReadOnlyPaths InaccessiblePaths BindPaths BindReadOnlyPaths TemporaryFileSystem RootDirectory; do
    value=$(of_unit "$key")
    [ -n "$value" ] && sandbox="$sandbox$nl$key=$value"
  done
}

container() {
  if ! have "$kind"; then gap unit "no $kind on this host"; return; fi
  unit_lines=$($T "$kind" inspect --type container --format 'Status={{.State.Status}}
ExitCode={{.State.ExitCode}}
OOMKilled={{.State.OOMKilled}}
Pid={{.State.Pid}}
RestartCount={{.RestartCount}}
User={{.Config.User}}
WorkingDirectory={{.Config.WorkingDir}}
Path={{.Path}}
Args={{range .Args}}{{.}} {{end}}' "$name" 2>&1 </dev/null)
  case $unit_lines in *Status=*) ;; *) gap unit "$kind inspect: $unit_lines"; unit_lines=''; return ;; esac
  unit_lines="Id=$name$nl$unit_lines"
  pid=$(of_unit Pid) workdir=$(of_unit WorkingDirectory)
  workdir=${workdir%/}
  [ "$pid" = 0 ] && pid=''
  exec_line="$(of_unit Path) $(of_unit Args)"
  if [ -n "$pid" ] && [ -r "/proc/$pid/root/etc" ]; then
    inner_server
    root=/proc/$pid/root
    user=$(of_unit User)
    [ -n "$user" ] || user=$(awk '/^Uid:/ { print $2 }' "/proc/$pid/status")
    # An entrypoint script that has become the server is no program of its own.
    if [ "$(file_line "/proc/$pid/comm")" = nats-server ]; then program=$(readlink "/proc/$pid/exe"); fi
  else
    gap container 'its files can be seen only while it runs, and as root'
  fi
}

# Under an init of the container's own (`--init`) the server is another process of its namespace.
inner_server() {
  [ "$(file_line "/proc/$pid/comm")" != nats-server ] || return
  space=$(readlink "/proc/$pid/ns/pid")
  for one in /proc/[0-9]*; do
    if [ "$(file_line "$one/comm")" = nats-server ] && [ "$(readlink "$one/ns/pid")" = "$space" ]; then pid=${one#/proc/}; return; fi
  done
}

# Only where one nats-server runs is it clear that it is the one.
find_process() {
  found=''
  for one in /proc/[0-9]*; do
    [ "$(file_line "$one/comm")" = nats-server ] || continue
    if [ -n "$found" ]; then gap process 'more than one nats-server runs here, and the inventory names no unit'; return; fi
    found=${one#/proc/}
  done
  pid=$found
}

own_command() {
  if [ "$kind" = command ]; then
    n=0 command=''
    # The status command's words, kept apart from those of the logs command.
    for word in "$@"; do
      [ "$n" -lt "$status_words" ] || break
      command="$command '$(printf %s "$word" | sed "s/'/'\\\\''/g")'"
      n=$((n + 1))
    done
    eval "set -- $command"
    said=$($T "$@" 2>&1 </dev/null)
    unit_lines="StatusExit=$?$nl""StatusSaid=$(printf '%s' "$said" | head -n 1)"
  fi
  [ -n "$conf" ] || find_process
  if [ -n "$pid" ]; then
    exec_line=$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline")
    user=$(awk '/^Uid:/ { print $2 }' "/proc/$pid/status" 2>/dev/null)
    workdir=$(readlink "/proc/$pid/cwd" 2>/dev/null)
    [ -r "/proc/$pid/environ" ] && service_env=$(tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | head -c 50000)
  fi
  if [ "$kind" = none ]; then
    service_env=$(env | sed -n '/^[A-Za-z_][A-Za-z0-9_]*=/p' | head -c 50000)
    workdir=$(pwd)
  fi
}

env_value() { printf '%s\n' "$service_env" | sed -n "s/^$1=//p" | tail -n 1; }

# The configuration and the program from the command line of the service.
command_line() {
  previous='' first=''
  set -f
  for word in $exec_line; do
    [ -n "$first" ] || first=$word
    case $previous in -c | -config | --config) [ -n "$conf" ] || conf=$word ;; esac
    case $word in -c=* | -config=* | --config=*) [ -n "$conf" ] || conf=${word#*=} ;; esac
    previous=$word
  done
  set +f
  case $conf in
    \$\{*\}) conf=${conf#??} conf=$(env_value "${conf%?}") ;;
    \$*) conf=$(env_value "${conf#?}") ;;
  esac
  conf=$(printf '%s' "$conf" | sed "s/^[\"']//;s/[\"']\$//")
  # What runs is the truth; where nothing does, a wrapper (`numactl`, a script) is not the program that it wraps.
  if [ -z "$program" ] && [ -n "$pid" ] && [ "$(file_line "/proc/$pid/comm")" = nats-server ]; then wrapped=$(readlink "/proc/$pid/exe" 2>/dev/null); else wrapped=''; fi
  set -f
  for word in $exec_line; do
    case $word in */nats-server | nats-server) [ -n "$program" ] || [ "$word" = "$first" ] || program=$word ;; esac
  done
  set +f
  case $first in */nats-server | nats-server) ;; *) [ -n "$program" ] || program=${wrapped% (deleted)} ;; esac
  [ -n "$program" ] || program=$first
  case $program in
    '') if have nats-server; then program=$(command -v nats-server); fi ;;
    */*) ;;
    *) if have "$program"; then program=$(command -v "$program"); fi ;;
  esac
  if [ -n "$conf" ]; then conf=$(absolute "$conf"); fi
}

# Files of runs beside those that they stand in for, with the owner and mode that they will have, until this ends. What names them
# in the configuration names those beside them.
stand_in() {
  [ -n "$stand_ins" ] || return 0
  if [ "$me" = 0 ]; then base=/var/lib/rollgate; else base=${XDG_STATE_HOME:-$HOME/.local/state}/rollgate; fi
  besides='' swaps='' main=$conf
  trap 'stand_aside' EXIT
  trap 'stand_aside; exit 1' HUP INT TERM
  set -f
  old=$IFS
  IFS=$nl
  for line in $stand_ins; do
    IFS=$tab
    # shellcheck disable=SC2086 # words with tabs between
    set -- $line
    IFS=$nl
    # Nothing stood there before.
    if [ -e "$base/stage/$2.none" ]; then continue; fi
    besides="$besides$4$nl"
    said=$(beside "$base/stage/$2" "$3" "$4" "$5" "$6" 2>&1) || { gap 'stand-in' "$3: $said"; continue; }
    if [ "$1" = program ]; then program=$4; else swaps="$swaps$3$tab$4$nl"; fi
    if [ "$1" = config ] && [ "$3" = "$main" ]; then conf=$4; fi
  done
  if [ -n "$swaps" ] && [ "$conf" = "$main" ] && [ -n "$main" ]; then
    conf=${main%/*}/.${main##*/}.rollgate-proof
    besides="$besides$conf$nl"
    said=$(beside "$main" "$main" "$conf" - - 2>&1) || gap 'stand-in' "$main: $said"
    swap "$main" "$conf"
  fi
  for line in $swaps; do swap "${line%%"$tab"*}" "${line#*"$tab"}"; done
  IFS=$old
  set +f
}

stand_aside() {
  IFS=$nl
  for line in $besides; do rm -f "$line"; done
}

# `beside FILE PLACE BESIDE MODE OWNER`
beside() {
  if [ -d "$2" ]; then echo "it is a directory"; return 1; fi
  if [ ! -d "${3%/*}/" ]; then echo "there is no directory ${3%/*}"; return 1; fi
  # Nobody else may read it before it has its mode.
  umask 077
  cp "$1" "$3" || return
  mode=$4 owner=$5
  if [ "$mode" = - ]; then mode=$(stat -Lc %a "$2" 2>/dev/null || echo 644); fi
  if [ "$owner" = - ]; then owner=$(stat -Lc %u:%g "$2" 2>/dev/null || echo 0:0); fi
  if [ "$me" = 0 ]; then chown "$owner" "$3" || return; fi
  chmod "$mode" "$3"
}

# `swap PLACE BESIDE`: in a text, the names of what stands in for others. Anything else, such as a key, is left as it is.
swap() {
  if ! grep -qI '' "$2" 2>/dev/null || grep -q -e '-----BEGIN' "$2"; then return; fi
  swapped=$(RG_SWAPS=$swaps RG_DIR=${1%/*} awk "$swap_awk" "$2" && echo x) || return
  printf '%s' "${swapped%x}" >"$2"
}

absolute() {
  case $1 in
    /*) printf '%s' "$1" ;;
    *) printf '%s/%s' "${workdir:-}" "${1#./}" ;;
  esac
}

print_unit() {
  say u manager "$kind"
  [ -z "$lame_duck" ] || say u LameDuckStop "$lame_duck"
  printf '%s\n' "$unit_lines" | awk -F= '
    $1 == "Environment" || $1 == "EnvironmentFiles" || $1 == "ExecStart" || $1 == "ExecStop" || $0 == "" { next }
    { print "u\t" $1 "\t" substr($0, length($1) + 2, 2000); fflush() }'
  say u Argv "$exec_line"
  printf '%s\n' "$service_env" | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/u	EnvironmentName	\1/p' | head -n 200
}

# What the process has read and computed so far: bytes of system calls, bytes from disks, ticks of the processor.
work() {
  printf '%s %s\n' "$(awk '/^(rchar|read_bytes):/ { printf "%s ", $2 }' "/proc/$pid/io" 2>/dev/null)" \
    "$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | awk '{ printf "%d", $12 + $13 }')"
}

# Hundredths of a second since the boot.
uptime_cs() { file_line /proc/uptime | awk '{ printf "%d", $1 * 100 }'; }

# Whether a recovery goes on is seen in two looks. Until it is over, only the monitoring port is open (server.go, `Start`).
progress() {
  [ -n "$pid" ] && [ -n "$first_work" ] && [ "$me" = 0 ] || return 0
  [ "$(printf '%s\n' "$listening" | awk -F "$tab" -v pid="$pid" '$1 == "li" && $4 == pid' | wc -l)" -le 1 ] || return 0
  while [ $(($(uptime_cs) - first_at)) -lt 200 ]; do sleep 0.1 2>/dev/null || sleep 1; done
  say p work "$first_work"
  say p work "$(work)"
  say p work-s "$((($(uptime_cs) - first_at) / 100))"
}

process() {
  if [ -z "$pid" ] || [ ! -d "/proc/$pid" ]; then printf 'p\tnone\t1\n'; return; fi
  say p pid "$pid"
  first_at=$(uptime_cs) first_work=$(work)
  exe=$(readlink "/proc/$pid/exe" 2>/dev/null)
  say p exe "${exe:-}"
  say p argv "$(tr '\0' "$tab" 2>/dev/null <"/proc/$pid/cmdline")"
  awk '/^State:/ { print "p\tstate\t" $2 } /^VmRSS:/ { print "p\trss\t" $2 } /^Uid:/ { print "p\tuid\t" $2 }' "/proc/$pid/status" 2>/dev/null
  uid=$(awk '/^Uid:/ { print $2 }' "/proc/$pid/status" 2>/dev/null)
  say p user "$(awk -F: -v uid="$uid" '$3 == uid { print $1; exit }' "$root/etc/passwd" 2>/dev/null)"
  awk '/^NSpid:/ && NF > 2 { print "p\tinner-pid\t" $NF }' "/proc/$pid/status" 2>/dev/null
  awk '/^Max open files/ { print "p\tfiles-limit\t" $4 }' "/proc/$pid/limits" 2>/dev/null
  # shellcheck disable=SC2012 # names do not matter, only how many
  if [ -r "/proc/$pid/fd" ]; then say p files "$(ls "/proc/$pid/fd" 2>/dev/null | wc -l)"; fi
  ticks=$(getconf CLK_TCK 2>/dev/null || echo 100)
  boot=$(awk '/^btime/ { print $2 }' /proc/stat 2>/dev/null)
  # The program's name may have spaces and brackets: fields count from its last bracket.
  started=$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | awk -v hz="$ticks" -v boot="$boot" '{ printf "%d", boot + $20 / hz }')
  say p started "$started"
  group_path=$(sed -n 's/^0:://p' "/proc/$pid/cgroup" 2>/dev/null | head -n 1)
  if [ -n "$group_path" ]; then say p memory-max "$(file_line "/sys/fs/cgroup$group_path/memory.max")"; fi
}

# The first and the last lines: the start, and how it ended.
ends() { awk -v head=150 -v tail=250 -v tag="$1" '
  NR <= head { print tag "\t" substr($0, 1, 3000); fflush(); next }
  { ring[NR % tail] = $0 }
  END {
    from = NR - tail + 1
    if (from <= head) from = head + 1
    else if (from > head + 1) print tag "c\tcut"
    for (i = from; i <= NR; i++) { print tag "\t" substr(ring[i % tail], 1, 3000); fflush() }
  }'; }

journal() {
  case $kind in
    systemd)
      if ! have journalctl; then gap journal 'no journalctl on this host'; return; fi
      if [ "$since" -gt 0 ]; then range="--since=@$since"; else range=--lines=300; fi
      printf 'J\tjournalctl -u %s\n' "$name"
      # Without the right groups journalctl shows nothing, and says so on standard error only without --quiet.
      $T journalctl --unit="$name" "$range" --output=short-unix --no-pager 2>&1 </dev/null | head -c 2000000 | ends j
      ;;
    docker | podman)
      have "$kind" || return
      printf 'J\t%s logs %s\n' "$kind" "$name"
      if [ "$since" -gt 0 ]; then set -- --since "$since"; else set -- --tail 300; fi
      $T "$kind" logs --timestamps "$@" "$name" 2>&1 </dev/null | head -c 2000000 | ends j
      ;;
    command)
      [ $# -gt "$status_words" ] || return
      shift "$status_words"
      printf 'J\t%s\n' "$*"
      $T "$@" 2>&1 </dev/null | tail -n 400 | head -c 2000000 | ends j
      ;;
  esac
}

log_file() {
  [ -n "$log" ] || { printf 'L0\n'; return; }
  printf 'L\t%s\n' "$log"
  if [ -f "$root$log" ] && [ -r "$root$log" ]; then
    tail -c 200000 "$root$log" 2>/dev/null | tail -n 600 | ends l
  else
    printf 'le\t%s\n' "$(head -c 0 "$root$log" 2>&1 | sed 's/.*: //')"
  fi
}

# The kernel's log as the journal has it; a journal without it (in a container, or with ReadKMsg=no) leaves the kernel's own.
kernel_log() {
  if have journalctl && [ "$me" = 0 ]; then
    lines=$($T journalctl --dmesg --boot --no-pager --quiet --lines=3000 --output=short-unix 2>/dev/null </dev/null)
    if [ -n "$lines" ]; then printf '%s\n' "$lines"; return; fi
  fi
  # Seconds since the boot become seconds since 1970, in the journal's form.
  raw=$($T dmesg 2>&1 </dev/null) || { printf '%s\n' "$raw" | tail -n 1; return 1; }
  printf '%s\n' "$raw" | awk -v now="$(date +%s)" -v up="$(file_line /proc/uptime)" '
    match($0, /^\[ *[0-9]+\.[0-9]+\] /) { printf "%.6f - kernel: %s\n", now - up + substr($0, 2, RLENGTH - 3), substr($0, RLENGTH + 1); next }
    { print }'
}

oom() {
  if ! said=$(kernel_log); then gap 'kernel log' "$said"; return; fi
  printf 'k\n'
  printf '%s\n' "$said" | grep -iE 'out of memory|oom-kill|killed process' | tail -n 20 | tagged k
}

binary() {
  [ -n "$program" ] || { gap binary 'the service names no program'; return; }
  say b path "$program"
  if [ -e "$root$program" ]; then say b exists 1; else say b exists 0; return; fi
  # shellcheck disable=SC2012
  say b size "$(ls -Lln "$root$program" 2>/dev/null | awk '{ print $5 }')"
  # A file that was replaced by the same one is no other.
  if [ -n "$pid" ] && [ -r "/proc/$pid/exe" ]; then
    # dash, bash and busybox have -ef.
    # shellcheck disable=SC3013
    if [ "/proc/$pid/exe" -ef "$root$program" ]; then say b runs 1
    elif have cmp; then say b runs "$(cmp -s "/proc/$pid/exe" "$root$program" && echo 1 || echo 0)"; fi
  fi
  if have od; then say b elf "$(od -An -tx1 -N20 "$root$program" 2>/dev/null | tr -d ' \n')"; else gap binary 'no od to read its header with'; fi
}

listeners() {
  net=/proc/net
  if [ -n "$pid" ] && [ -r "/proc/$pid/net/tcp" ]; then net=/proc/$pid/net; fi
  printf 'li0\n'
  # shellcheck disable=SC2012 # of names there are only numbers
  listening=$($T ls -l /proc/[0-9]*/fd 2>/dev/null | RG_NET=$net awk "$listeners_awk")
  printf '%s\n' "$listening"
  [ "$me" = 0 ] || gap listeners 'not root: the processes of other users are not known'
}

# Ports at which the other side's first packet came, and our answer brought none. Such connections stay for a minute; looked at last,
# so that a peer had the time to dial.
half_open() {
  # 03 is SYN_RECV (net/tcp_states.h).
  awk '$4 == "03" { sub(/.*:/, "", $2); if (!seen[$2]++) print "lh\t" $2 }' "$net/tcp" "$net/tcp6" 2>/dev/null
}

# Every path once, with its roles; `paths` has lines of ROLE=PATH.
stats() {
  set -f
  old=$IFS
  IFS=$nl
  # shellcheck disable=SC2086 # split at line ends only, no patterns
  set -- $paths
  IFS=$old
  set +f
  mounts=/proc/self/mounts wanted=''
  [ -z "$root" ] || mounts=/proc/$pid/mounts
  # What the host mounts is no matter of a container.
  [ -n "$root" ] || wanted=$(sed -n 's/^[[:space:]]*[^#[:space:]][^[:space:]]*[[:space:]]\{1,\}\(\/[^[:space:]]*\).*/\1/p' /etc/fstab 2>/dev/null
    cat /etc/systemd/system/*.mount 2>/dev/null | sed -n 's/^Where=//p')
  for item in "$@"; do
    role=${item%%=*} path=${item#*=}
    printf 'f\t%s\trole\t%s\n' "$path" "$role"
    here=$root$path
    if [ -d "$here" ]; then what=directory
    elif [ -f "$here" ]; then what='file'
    elif [ -e "$here" ]; then what=other
    elif [ -h "$here" ]; then what=broken-link
    else
      what=none
      # Without the right to pass, what is there can't be told from nothing.
      if [ "$me" != 0 ] && ! seen_way "$path"; then what=unseen; fi
    fi
    printf 'f\t%s\tkind\t%s\n' "$path" "$what"
    [ "$what" = none ] || [ "$what" = unseen ] || [ "$what" = broken-link ] ||
      printf 'f\t%s\tstat\t%s\n' "$path" "$(stat -L -c '%U|%G|%a|%s' "$here" 2>/dev/null)"
    case $role in
      config | include | tls-cert | tls-key | tls-ca | operator | credentials)
        [ "$what" = none ] || [ "$what" = unseen ] || printf 'f\t%s\tchanged\t%s\n' "$path" "$(changed "$here")" ;;
    esac
    case $role in
      store | log | pid | ports-dir | resolver-dir)
        near=$here
        while [ ! -e "$near" ] && [ "$near" != / ] && [ "$near" != . ] && [ -n "$near" ]; do near=${near%/*}; near=${near:-/}; done
        printf 'f\t%s\tspace\t%s\n' "$path" "$(stat -f -c '%S|%b|%a|%c|%d' "$near" 2>/dev/null)"
        awk -v path="${near#"$root"}" '
          { point = $2; gsub(/\\040/, " ", point); under = point == "/" ? "/" : point "/"
            if ((path == point || index(path "/", under) == 1) && length(point) >= length(best)) { best = point; type = $3; from = $1; options = $4 } }
          END { if (best != "") print best "\t" type "\t" from "\t" options }' "$mounts" 2>/dev/null |
          while IFS= read -r line; do printf 'f\t%s\tmount\t%s\n' "$path" "$line"; done
        printf '%s\n' "$wanted" | awk -v path="$path" -v mounts="$mounts" '
          BEGIN { while ((getline line < mounts) > 0) { split(line, f, " "); there[f[2]] = 1 } }
          $0 ~ /^\// && $0 != "/" { if ((path == $0 || index(path, $0 "/") == 1) && !($0 in there)) { print; exit } }' |
          while IFS= read -r line; do printf 'f\t%s\tnot-mounted\t%s\n' "$path" "$line"; done
        ;;
    esac
  done
}

# When what a path leads to, or the link there, was last changed; whole seconds where stat knows no others.
changed() {
  times=$(stat -L -c '%.9Z' "$1"; stat -c '%.9Z' "$1")
  case $times in *[!0-9.$nl]* | '') times=$(stat -L -c %Z "$1"; stat -c %Z "$1") ;; esac
  printf '%s\n' "$times" | sort -n | tail -n 1
}

seen_way() {
  up=$1
  while :; do
    up=${up%/*}
    [ -n "$up" ] || return 0
    if [ -d "$root$up" ]; then [ -x "$root$up" ]; return; fi
  done
}

# Certificates that lie beside those configured: where a chain has a hole, the missing link is often there.
near_certificates() {
  printf '%s\n' "$paths" | sed -n 's/^tls-cert=\(.*\)\/[^/]*$/\1/p' | sort -u | head -n 3 | while IFS= read -r dir; do
    for file in "$root$dir"/*.pem "$root$dir"/*.crt "$root$dir"/*.cer; do
      if [ ! -f "$file" ] || [ ! -r "$file" ]; then continue; fi
      file=${file#"$root"}
      case $nl$paths in *"=$file$nl"*) ;; *) printf 'tls-near=%s\n' "$file" ;; esac
    done | head -n 20
  done
}

# Certificates and the labels of all blocks; of private keys only the public half.
tls() {
  printf 'x0\n'
  printf '%s%s\n' "$paths" "$(near_certificates)" | while IFS= read -r item; do
    role=${item%%=*} path=${item#*=}
    case $role in tls-cert | tls-key | tls-ca | tls-near) ;; *) continue ;; esac
    here=$root$path
    if [ ! -r "$here" ] || [ -d "$here" ]; then printf 'x\t%s\tunread\t1\n' "$path"; continue; fi
    head -c 300000 "$here" 2>/dev/null | awk -v path="$path" '
      { sub(/\r$/, "") }
      /^-----BEGIN / { label = $0; sub(/^-----BEGIN /, "", label); sub(/-----.*$/, "", label); n++; if (n <= 200) print "x\t" path "\tlabel\t" label; fflush(); if (label ~ /^(TRUSTED |X509 )?CERTIFICATE$/) within = 1; next }
      /^-----END / { if (within) print "x\t" path "\tend\t1"; within = 0; next }
      within && n <= 60 && /^[A-Za-z0-9+\/= \t]+$/ { print "x\t" path "\tpem\t" substr($0, 1, 200); fflush() }'
    case $role in
      tls-key | tls-cert)
        grep -q 'PRIVATE KEY' "$here" 2>/dev/null || continue
        if have openssl; then
          public=$($T openssl pkey -in "$here" -passin pass: -pubout 2>/dev/null </dev/null)
          if [ -n "$public" ]; then
            printf '%s\n' "$public" | awk -v path="$path" '!/^-----/ { print "x\t" path "\tpublic\t" $0; fflush() }'
          else
            printf 'x\t%s\tno-public\topenssl can not read the key\n' "$path"
          fi
        else
          printf 'x\t%s\tno-public\tno openssl on this host\n' "$path"
        fi
        ;;
    esac
  done
}

store_shape() {
  js=${store%/}/jetstream
  here=$root$js
  say s path "$js"
  if [ ! -d "$here" ]; then say s exists 0; return; fi
  say s exists 1
  # /ACCOUNT/streams/STREAM/{meta.inf,msgs/N.blk,obs/CONSUMER}, and raft groups in $SYS/_js_/GROUP.
  list=$($T find "$here" -maxdepth 5 2>&1)
  if [ $? = 124 ]; then gap store 'too large to be listed in time'; fi
  printf '%s\n' "$list" | awk -v base="$here/" '
    index($0, base) != 1 { next }
    { n = split(substr($0, length(base) + 1), part, "/") }
    n >= 3 && part[2] == "_js_" { if (n == 3) { groups++; if (part[3] == "_meta_") meta = 1 } ; next }
    n >= 3 && part[2] == "streams" {
      key = part[1] "\t" part[3]
      if (!(key in seen)) { seen[key] = ++count; names[count] = key }
      if (n == 4 && part[4] == "meta.inf") inf[key] = 1
      if (n == 4 && part[4] == "msgs") msgs[key] = 1
      if (n == 5 && part[4] == "msgs" && part[5] ~ /\.blk$/) blocks[key]++
      if (n == 5 && part[4] == "obs") consumers[key]++
    }
    END {
      print "s\tmeta\t" (meta + 0)
      print "s\tgroups\t" (groups + 0)
      print "s\tcount\t" (count + 0)
      for (i = 1; i <= count && i <= 500; i++) { key = names[i]
        print "st\t" key "\t" (inf[key] + 0) "\t" (msgs[key] + 0) "\t" (blocks[key] + 0) "\t" (consumers[key] + 0) }
    }'
  used=$($T du -sk "$here" 2>/dev/null | awk '{ print $1 }')
  [ -n "$used" ] && say s kib "$used"
  if [ -n "$user" ] && [ "$user" != root ] && [ "$user" != 0 ]; then
    $T find "$here" ! -user "$user" 2>/dev/null | head -n 5 | tagged sf
  fi
}

reach() {
  if have bash; then tool=bash; elif have nc; then tool=nc; elif have curl; then tool=curl; else
    gap reach 'neither bash, nc nor curl on this host'
    return
  fi
  printf 'r0\n'
  # 3 s: a SYN that was lost is sent again after one second, and once more after three.
  if [ -n "$T" ]; then W='timeout 3'; else W=; fi
  printf '%s\n' "$targets" | head -n 40 | {
    while IFS=$tab read -r role host port; do
      [ -n "$port" ] || continue
      {
        # shellcheck disable=SC2016 # for bash to expand
        case $tool in
          # A route port without TLS speaks first.
          bash) said=$($W bash -c 'exec 3<>"/dev/tcp/$0/$1" || exit; [ "$2" = route ] || exit 0; read -r -t 1 -n 4 word <&3; echo "$word"; exit 0' "$host" "$port" "$role" 2>&1 </dev/null) ;;
          nc) said=$($W nc -z -v -w 3 "$host" "$port" 2>&1 </dev/null) ;;
          curl) said=$($W curl -sS --noproxy '*' --connect-timeout 3 --max-time 3 -o /dev/null -w '%{time_connect}' "telnet://$host:$port" 2>&1 </dev/null) ;;
        esac
        code=$?
        case $tool:$said in curl:0.0*[1-9]* | curl:[1-9]*) code=0 ;; esac
        [ $code = 124 ] && said='timed out'
        said=$(printf '%s' "$said" | tail -n 1)
        if [ $code = 0 ]; then case $role:$tool:$said in route:bash:INFO) said=plain ;; route:bash:*) said=silent ;; *) said=ok ;; esac; else said="failed: ${said##*: }"; fi
        printf 'r\t%s\t%s\t%s\t%s\n' "$role" "$host" "$port" "$said"
      } &
    done
    wait
  }
}

# Runs probe_sh as the service's user, in the file system that its unit gives it; prints what it prints.
as_service() {
  runs=${user:-root}
  [ "$kind" = none ] && runs=$me
  case $runs in *[!0-9]*) uid=$(id -u "$runs" 2>/dev/null) ;; *) uid=$runs ;; esac
  tested=0
  if [ -n "$conf" ] && [ -n "$program" ]; then tested=1; fi
  # `-t` makes a resolver directory that is missing; looking must not.
  missing=$(printf '%s\n' "$paths" | sed -n 's/^resolver-dir=//p' | while IFS= read -r dir; do [ -d "$root$dir" ] || echo "$dir"; done)
  if [ -n "$missing" ] && [ $tested = 1 ]; then gap 'configuration test' "not run: it would make the resolver's directory $missing"; tested=0; fi
  if [ -n "$root" ]; then in_container; return; fi
  part=${limit:-5}
  set -f
  old=$IFS
  IFS=$nl
  # shellcheck disable=SC2086
  set -- "$part" "$program" "$conf" "$tested" $paths
  IFS=$old
  set +f
  if [ -z "$uid" ] && [ "$kind" = systemd ]; then
    case $sandbox in *DynamicUser*) ;; *) printf 'pn\t%s\n' "$runs"; return ;; esac
  fi
  if [ "$uid" = "$me" ] && [ -z "$sandbox" ]; then
    service_script | $T sh -s -- "$@"
  elif [ "$me" != 0 ]; then
    gap 'service user' "not root: tried as $(id -un 2>/dev/null || echo "$me"), not as ${runs}"
    service_script | $T sh -s -- "$@"
  else
    if [ -n "$sandbox" ] && have systemd-run; then
      told=$(in_sandbox "$@" 2>&1)
      case $nl$told$nl in *"$nl"pe"$nl"*) printf '%s\n' "$told"; return ;; esac
      gap sandbox "the unit's file system could not be made: $(printf '%s' "$told" | tail -n 1)"
    fi
    if have runuser; then
      service_script | $T runuser -u "$runs" ${group:+-g "$group"} -- sh -s -- "$@"
    elif have setpriv; then
      service_script | $T setpriv --reuid "$uid" --regid "${group:-$(id -g "$runs")}" --init-groups sh -s -- "$@"
    elif have sudo; then
      service_script | $T sudo -n -u "$runs" -- sh -s -- "$@"
    else
      gap 'service user' "no runuser, setpriv or sudo: tried as root, not as $runs"
      service_script | $T sh -s -- "$@"
    fi
  fi
}

# An image may have no shell to try files with: of a container's server, only its program is asked.
in_container() {
  gap 'service user' 'the files of a container are not tried as its user'
  printf 'pu\t%s\n' "$runs"
  [ -n "$program" ] || return
  said=$($T "$kind" exec "$name" "$program" --version 2>&1 </dev/null | head -n 3)
  case $said in nats-server:*) printf 'b\texecutable\t1\n' ;; *) gap "$kind exec" "$said"; return ;; esac
  printf '%s\n' "$said" | sed 's/^/b	version	/'
  [ $tested = 1 ] || return
  said=$($T "$kind" exec "$name" "$program" -t -c "$conf" 2>&1 </dev/null)
  printf 't\tstatus\t%s\n' $?
  printf '%s\n' "$said" | head -c 20000 | tagged to
}

in_sandbox() {
  words=''
  set -f
  old=$IFS
  IFS=$nl
  for setting in $sandbox; do
    words="$words -p '$(printf %s "$setting" | sed "s/'/'\\\\''/g")'"
  done
  IFS=$old
  set +f
  for word in "$@"; do
    # systemd expands $ in arguments, and $$ is one.
    words="$words${dashed:- -- /bin/sh -s --} '$(printf %s "$word" | sed "s/'/'\\\\''/g;s/\\\$/\$\$/g")'"
    dashed=' '
  done
  dashed=''
  eval "set -- $words"
  service_script | $T systemd-run --quiet --pipe --wait --collect --service-type=exec -p "User=$runs" ${group:+-p "Group=$group"} "$@"
}

# The environment goes in by standard input: arguments can be seen by every user of the host.
service_script() {
  printf '%s\n' "$service_env" | sed -n '/^[A-Za-z_][A-Za-z0-9_]*=/p' | sed "s/'/'\\\\''/g;s/^\([A-Za-z_][A-Za-z0-9_]*\)=\(.*\)\$/export \1='\2'/"
  [ -n "$workdir" ] && printf "cd '%s' 2>/dev/null\n" "$(printf %s "$workdir" | sed "s/'/'\\\\''/g")"
  # Read whole before anything runs: a command must not eat the rest.
  printf '{\n%s\nexit\n}\n' "$probe_sh"
}

collect() {
  printf 'v\t1\n'
  if [ -n "${sudo_said:-}" ]; then gap sudo "$sudo_said"; fi
  machine
  case $kind in
    systemd) systemd_unit ;;
    docker | podman) container ;;
    *) own_command "$@" ;;
  esac
  command_line
  stand_in
  targets='' paths='' log='' store=''
  if [ -n "$conf" ]; then
    # First of all that has secrets: scrub.awk learns from this what else to take out.
    read_conf=$(RG_CONF=$conf RG_ROOT=$root RG_ENV=$service_env awk "$conf_awk" 2>&1)
    printf '%s\n' "$read_conf" | awk '{ print substr($0, 1, 3900); fflush() }'
    targets=$(printf '%s\n' "$read_conf" | sed -n 's/^fr	//p')
    set -f
    old=$IFS
    IFS=$nl
    for line in $(printf '%s\n' "$read_conf" | sed -n 's/^fp	//p'); do
      role=${line%%"$tab"*} path=$(absolute "${line#*"$tab"}")
      paths="$paths$role=$path$nl"
      case $role in log) log=$path ;; store) store=$path ;; esac
    done
    IFS=$old
    set +f
    paths="$paths$(printf '%s\n' "$read_conf" | sed -n 's/^cf	[0-9]*	/include=/p' | grep -vxF "include=$conf")$nl"
    paths="${paths}config=$conf$nl"
    if [ -z "$store" ] && printf '%s\n' "$read_conf" | grep -q '^fj'; then store=/tmp/nats; fi
  else
    gap config 'the command line names no configuration file'
  fi
  [ -n "$program" ] && paths="${paths}binary=$program$nl"
  [ -n "$workdir" ] && paths="${paths}working-dir=$workdir$nl"
  if [ -n "$targets" ]; then reach & else printf 'r0\n'; fi
  print_unit
  process
  journal "$@"
  log_file
  oom
  binary
  listeners
  stats
  as_service
  tls
  if [ -n "$store" ]; then store_shape; else printf 's0\n'; fi
  progress
  wait
  half_open
  printf 'end\n'
}

collect "$@" 2>/dev/null | awk "$scrub_awk"
