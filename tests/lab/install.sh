# shellcheck shell=bash
# `lab install`: the packages that the lab needs, only those that are missing.

# command → package; what is asked for is the command, so that any provider will do
LAB_TOOLS=(mmdebstrap:mmdebstrap unzip:unzip ssh:openssh-client ssh-keygen:openssh-client sshd:openssh-server
  ip:iproute2 nft:nftables curl:curl unshare:util-linux setpriv:util-linux losetup:mount
  mkfs.ext4:e2fsprogs openssl:openssl flock:util-linux)

install_missing() { # TOOL:PACKAGE... beside the lab's own
  local tool package missing=()
  for tool in "${LAB_TOOLS[@]}" "$@"; do
    package=${tool#*:}
    command -v "${tool%%:*}" >/dev/null || missing+=("$package")
  done
  python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
  apt_install "${missing[@]}"
}

# apt_install PACKAGE...: quiet when there is nothing to do
apt_install() {
  (($#)) || return 0
  command -v apt-get >/dev/null || die "missing: $* (no apt-get here; install them by hand)"
  local as_root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null || die "missing: $* (needs root to install, and there is no sudo)"
    say "using sudo to install: $*"
    as_root=(sudo)
  else
    say "installing: $*"
  fi
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y)
  # A started sshd is no use here: the plain lab runs its own, and the hosts have theirs.
  # The lists may be absent or old; fetch them only if the first try fails.
  local log
  log=$(mktemp)
  "${apt[@]}" --no-install-recommends install "$@" >"$log" 2>&1 ||
    { "${apt[@]}" update >"$log" 2>&1 && "${apt[@]}" --no-install-recommends install "$@" >>"$log" 2>&1; } ||
    { cat "$log" >&2; rm -f "$log"; die "could not install: $*"; }
  rm -f "$log"
}
