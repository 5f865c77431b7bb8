#!/usr/bin/env bash
# holder.sh RUN_DIR: holds one lab. The recorded process ends up as `unshare`, whose only child is PID 1 of
# the lab: killing the recorded one makes the kernel end every process, mount and network in it.
#
# Stages, since each needs what the one before it made (the pid stays the same until the last):
#   record   its own identity, before there is anything to clean up
#   cgroup   a private mount of cgroup v2, wherever the machine has it, and a cgroup of its own
#   hold     in all the namespaces: network, hosts' file systems, and one power supply a host
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
RUN=$1 STAGE=${2:-record}
# shellcheck source=tests/lab/common.sh
. "$HERE/common.sh"
# shellcheck source=tests/lab/host-files.sh
. "$HERE/host-files.sh"
name_lab "$(basename "$RUN")"
# shellcheck source=/dev/null
. "$RUN/lab.conf"
CG=$RUN/cgroup/$ID

stage_record() {
  record_process $$ "$RUN/holder"
  exec unshare --mount "$0" "$RUN" cgroup
}

stage_cgroup() {
  local host
  mkdir "$RUN/cgroup"
  mount -t cgroup2 lab-cgroup "$RUN/cgroup"
  # two systemds in one cgroup would stop each other's units: one cgroup a host, and one for us
  mkdir -p "$CG/holder"
  for host in $(all_hosts); do mkdir -p "$CG/$host"; done
  echo 0 >"$CG/holder/cgroup.procs"
  exec unshare --pid --mount --net --uts --ipc --fork --kill-child --mount-proc "$0" "$RUN" hold
}

stage_hold() {
  local host
  readlink /proc/self/ns/net >"$RUN/netns"
  make_network
  make_file_systems
  for host in $(all_hosts); do power_supply "$host" & done
  touch "$RUN/ready"
  wait
}

# A bridge, and no default route anywhere: nothing can leave the lab.
make_network() {
  local host
  mkdir -p /run/netns
  mount -t tmpfs lab-netns /run/netns
  ip link set lo up
  ip link add lab0 type bridge stp_state 0 forward_delay 0
  ip address add "$SUBNET.1/24" dev lab0
  ip link set lab0 up
  for host in $(all_hosts); do
    ip netns add "$host"
    ip link add "$host" type veth peer name eth0 netns "$host"
    ip link set "$host" master lab0 up
    ip -n "$host" link set lo up
    ip -n "$host" address add "$(address "$host")/24" dev eth0
    ip -n "$host" link set eth0 up
  done
}

# What hosts write is in memory, in a file system each: nothing is left on disk, and it has an end.
make_file_systems() {
  local host dir
  mkdir "$RUN/fs"
  mount -t tmpfs -o mode=755,size=16m lab-fs "$RUN/fs"
  for host in $(all_hosts); do
    dir=$RUN/fs/$host
    mkdir "$dir"
    mount -t tmpfs -o "mode=755,size=$((STORE_MB + 1024))m" "lab-$host" "$dir"
    mkdir "$dir"/{upper,work,root}
    mount -t overlay "lab-$host" -o "lowerdir=$BASE,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"
    ((STORE_MB == 0)) || mount_store "$dir" "$host"
    write_host_files "$host" "$dir/root"
  done
}

# The store is a small ext4 of its own, so that a full disk is the real thing.
mount_store() { # DIR hN
  local image=$1/$ID-$2.img owner
  owner=$(stat -c %u:%g "$BASE/var/lib/nats")
  truncate -s "${STORE_MB}M" "$image"
  mkfs.ext4 -q -F -m 0 -O ^has_journal -E "lazy_itable_init=1,nodiscard,root_owner=$owner" "$image"
  mount -o loop "$image" "$1/root/var/lib/nats"
  chmod 750 "$1/root/var/lib/nats"
  install -d -m 750 -o "${owner%:*}" -g "${owner#*:}" "$1/root/var/lib/nats/jetstream"
}

# Boots the host whenever it has power. A reboot ends its PID 1 by SIGHUP; after anything else (poweroff,
# a power cut) the host stays off until `lab poweron` writes to its FIFO.
power_supply() { # hN
  local host=$1 status
  exec 3<>"$RUN/$host/power" </dev/null >>"$RUN/$host/console.log" 2>&1
  while :; do
    echo on >"$RUN/$host/state"
    status=0
    boot "$host" || status=$?
    echo "$(date +%T.%3N) $host ended with status $status"
    # its processes take a moment to go; what the dead systemd made must not confuse the next one
    poll 20 0.01 grep -q 'populated 0' "$CG/$host/cgroup.events" || echo "$host: processes stay"
    find "$CG/$host" -mindepth 1 -depth -type d -exec rmdir {} + || true
    ((status == 129)) && continue
    # an order to switch on that came before this moment is not for this outage
    while read -r -t 0.01 -u 3 _; do :; done
    echo off >"$RUN/$host/state"
    read -r -u 3 _
  done
}

boot() ( # hN
  echo 0 >"$CG/$1/cgroup.procs"
  exec 3>&-
  exec nsenter --net="/run/netns/$1" \
    unshare --mount --pid --uts --ipc --cgroup --fork --kill-child \
    "$HERE/host-boot.sh" "$RUN/fs/$1/root" "$1" "$LAB_DIR/bin"
)

"stage_$STAGE"
