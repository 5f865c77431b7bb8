# shellcheck shell=bash
# Things that go wrong, as commands: on the network, with power and disks, and before the next restart.

# ---- network
cut_link() { in_lab ip link set "$1" down; }
heal_link() { in_lab ip link set "$1" up; }

# The bridge forwards between hosts only, so these rules never touch the control side.
rules() { # reads rules from stdin, each for chain `between`
  { echo 'add table bridge faults'
    echo 'add chain bridge faults between { type filter hook forward priority 0; policy accept; }'
    # frames from and to the control side do not pass `forward` but these
    echo 'add chain bridge faults from_control { type filter hook output priority 0; policy accept; }'
    echo 'add chain bridge faults to_control { type filter hook input priority 0; policy accept; }'
    sed 's/^/add rule bridge faults /'; } | in_net nft -f -
}
drop_between() { # hA hB: one direction
  echo "between ip saddr $(address "$1") ip daddr $(address "$2") drop"
}
split() { # hA,hB hC,hD
  local a b
  for a in ${1//,/ }; do for b in ${2//,/ }; do
    need_host "$a"
    need_host "$b"
    drop_between "$a" "$b"
    drop_between "$b" "$a"
  done; done | rules
}
lose_packets() { # hN PERCENT: also between the host and the control side
  local a
  [[ ${2:-} =~ ^[0-9]+$ ]] && (($2 <= 100)) || usage_error "loss needs a percentage"
  a=$(address "$1")
  { echo "between ip saddr $a numgen random mod 100 < $2 drop"
    echo "between ip daddr $a numgen random mod 100 < $2 drop"
    echo "to_control ip saddr $a numgen random mod 100 < $2 drop"
    echo "from_control ip daddr $a numgen random mod 100 < $2 drop"; } | rules
}
clear_rules() { in_net nft delete table bridge faults 2>/dev/null || true; }

# ---- power
power_cut() { # hN
  host_is_on "$1" || die "$1 is off already"
  # the link first: dying sockets would say goodbye, which a host without power cannot
  cut_link "$1"
  in_lab sh -c 'echo 1 >"$1/cgroup.kill"' -- "$(cgroup_of "$1")"
  is_off() { ! host_is_on "$1"; }
  poll 20 0.02 is_off "$1" || die "$1 is still on"
}
power_on() { # hN
  ! host_is_on "$1" || die "$1 is on already"
  heal_link "$1"
  echo on >"$RUN/$1/power"
  poll 20 0.02 host_is_on "$1" || die "$1 did not start"
}
reboot_host() { as_host_root "$1" systemctl --no-block reboot; } # hN

# ---- disk
fill_disk() { # hN: until nothing fits any more
  # shellcheck disable=SC2016
  as_host_root "$1" sh -c '[ "$(stat -f -c %T /var/lib/nats)" != overlayfs ] || { echo "no disk of its own (--store-mb 0)" >&2; exit 1; }
    dd if=/dev/zero of=/var/lib/nats/filler bs=64k 2>/dev/null || true
    dd if=/dev/zero of=/var/lib/nats/filler2 bs=1k 2>/dev/null || true; df -h /var/lib/nats'
}
free_disk() { as_host_root "$1" rm -f /var/lib/nats/filler /var/lib/nats/filler2; }

# ---- faults that show at the next restart of nats-server, and leave the running one alone
FAULTS='port-conflict bad-config tls-missing store-owner store-readonly wrong-cluster disk-full'

unclosed_bracket() { printf '\n# a bracket that nobody closed\nlimits {\n  max_connections: 1000\n'; }
absent_certificate() { printf '\ntls {\n  cert_file: /etc/nats/tls/renewed.pem\n  key_file: /etc/nats/tls/renewed.key\n}\n'; }
fault() { # hN FAULT
  local conf=$RUN/$1/nats-server.conf
  case ${2:-} in
    port-conflict) as_host_root "$1" systemctl -q enable --now port-squatter ;;
    bad-config) { cat "$conf" && unclosed_bracket; } | write_conf "$1" ;;
    tls-missing) { sed '/^tls {/,/^}/d' "$conf" && absent_certificate; } | write_conf "$1" ;;
    wrong-cluster) sed 's/^  name: lab$/  name: lab-new/' "$conf" | write_conf "$1" ;;
    # the running server only makes files further down; a starting one tries its store first
    store-owner) as_host_root "$1" sh -c 'chown root:root /var/lib/nats/jetstream/jetstream && chmod 755 /var/lib/nats/jetstream/jetstream' ;;
    store-readonly) drop_in "$1" 'ReadOnlyPaths=/var/lib/nats' ;;
    # once the server has stopped, so that it is not the running one that loses its disk
    disk-full) drop_in "$1" "ExecStopPost=+/bin/sh -c 'dd if=/dev/zero of=/var/lib/nats/filler bs=64k; dd if=/dev/zero of=/var/lib/nats/filler2 bs=1k; true'" ;;
    *) usage_error "faults: $FAULTS" ;;
  esac
}
# Takes the cause away; a server that keeps trying (Restart=always) comes back by itself.
mend() { # hN FAULT
  case ${2:-} in
    port-conflict) as_host_root "$1" systemctl -q disable --now port-squatter ;;
    bad-config | tls-missing | wrong-cluster) write_conf "$1" <"$RUN/$1/nats-server.conf" ;;
    store-owner) as_host_root "$1" sh -c 'chown nats:nats /var/lib/nats/jetstream/jetstream && chmod 750 /var/lib/nats/jetstream/jetstream' ;;
    store-readonly) drop_in "$1" '' ;;
    disk-full)
      drop_in "$1" ''
      free_disk "$1"
      ;;
    *) usage_error "faults: $FAULTS" ;;
  esac
}
drop_in() { # hN LINE: none takes it away
  # shellcheck disable=SC2016
  as_host_root "$1" sh -c 'dir=/etc/systemd/system/nats-server.service.d
    if [ -n "$1" ]; then mkdir -p $dir && printf "[Service]\n%s\n" "$1" >$dir/fault.conf; else rm -f $dir/fault.conf; fi
    systemctl daemon-reload' -- "$2"
}
