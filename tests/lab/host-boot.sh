#!/usr/bin/env bash
# host-boot.sh ROOT NAME BINARIES: PID 1 of a host's namespaces until systemd takes its place.
# Prepares what systemd expects of a container manager: /proc, /sys, /dev, /run, and `container=`.
set -euo pipefail
root=$1 name=$2 binaries=$3

hostname "$name"
mount --make-rprivate /
mount --rbind "$root" "$root"
cd "$root"

mount -t proc -o nosuid,nodev,noexec proc proc
# the machine's kernel settings are not a host's to change
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
# as the cgroup namespace begins at the host's own cgroup, so does this mount
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup

mount -t tmpfs -o mode=755,size=64m,nosuid,nodev tmpfs run
mount -t tmpfs -o mode=1777,size=64m,nosuid,nodev tmpfs tmp
mount -t tmpfs -o mode=755,size=1m,nosuid tmpfs dev
mkdir dev/pts dev/shm
mount -t tmpfs -o mode=1777,size=64m,nosuid,nodev tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5,nosuid,noexec devpts dev/pts
while read -r node major minor; do
  mknod -m 666 "dev/$node" c "$major" "$minor"
done <<<'null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0'
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for number in 0:stdin 1:stdout 2:stderr; do ln -s "fd/${number%:*}" "dev/${number#*:}"; done

mount --bind "$binaries" opt/nats
mount -o remount,bind,ro opt/nats

# A boot has its own id, as on a machine; the kernel would show the machine's.
cat proc/sys/kernel/random/uuid >run/boot-id
chmod 444 run/boot-id
mount --bind run/boot-id proc/sys/kernel/random/boot_id

mkdir -p run/old-root
pivot_root . run/old-root
umount --lazy /run/old-root
rmdir /run/old-root
# without these nobody in a host can set the machine's clock, load a module or reach a device
exec env -i container=lab PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  setpriv --bounding-set=-sys_time,-sys_module,-sys_rawio,-mknod /sbin/init </dev/null
