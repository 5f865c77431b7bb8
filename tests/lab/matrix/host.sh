# shellcheck shell=sh
# What the faults of the matrix are made with, and how a host becomes whole again. Put on the host and sourced there, as root.

CONF=/etc/nats/nats-server.conf TLS=/etc/nats/tls KEPT=/root/kept DATA=/var/lib/nats STORE=/var/lib/nats/jetstream
UNITS=/etc/systemd/system

# ---- making
conf_add() { printf '\n%s\n' "$1" >>"$CONF"; }
conf_edit() { sed -i "$@" "$CONF"; }
unit_drop_in() { # SECTION LINES
  mkdir -p "$UNITS/nats-server.service.d"
  printf '[%s]\n%s\n' "$1" "$2" >>"$UNITS/nats-server.service.d/fault.conf"
  systemctl daemon-reload
}
# A unit of a stranger that waits until the port is free, takes it, and keeps it.
squat() { # UNIT PORT
  printf '[Service]\nExecStart=/usr/local/sbin/port-squatter %s\n' "$2" >"/run/systemd/system/$1.service"
  systemctl daemon-reload
  systemctl start "$1"
}
tls_block() { # CERT KEY [CA LINES]
  printf 'tls {\n  cert_file: "%s/%s"\n  key_file: "%s/%s"\n' "$TLS" "$1" "$TLS" "$2"
  [ -z "${3:-}" ] || printf '  ca_file: "%s/%s"\n' "$TLS" "$3"
  [ -z "${4:-}" ] || printf '  %s\n' "$4"
  printf '}\n'
}
client_tls() { conf_add "$(tls_block "$@")"; }
# The server has TLS already, so what a fault does to its files is the only change.
with_tls() { client_tls server.pem server.key ca.pem; }
# A certificate of the lab's CA with dates of its own: certificate NAME START END [SAN] [CA]
certificate() {
  [ "$1" = server ] || cp "$TLS/server.key" "$TLS/$1.key"
  openssl req -new -key "$TLS/$1.key" -subj "/CN=$(hostname)" -out "/tmp/$1.csr"
  rm -f /tmp/ca-index && : >/tmp/ca-index
  printf '[ca]\ndefault_ca=c\n[c]\ndatabase=/tmp/ca-index\nnew_certs_dir=/tmp\nrand_serial=yes\ndefault_md=sha256\npolicy=p\nunique_subject=no\n[p]\ncommonName=supplied\n[x]\nsubjectAltName=%s\n' \
    "${4:-$NAMES}" >"/tmp/$1.cnf"
  openssl ca -batch -notext -config "/tmp/$1.cnf" -extensions x -startdate "$2" -enddate "$3" \
    -cert "$TLS/${5:-ca}.pem" -keyfile "$TLS/${5:-ca}.key" -in "/tmp/$1.csr" -out "$TLS/$1.pem" 2>/dev/null
  chown nats: "$TLS/$1.key"
}
in_days() { date -u -d "$1 days" +%Y%m%d%H%M%SZ; }
NAMES="DNS:$(hostname),DNS:localhost,IP:127.0.0.1,IP:$(hostname -I | cut -d' ' -f1)"

new_ca() { # NAME
  openssl ecparam -genkey -name prime256v1 -noout -out "$TLS/$1.key"
  openssl req -x509 -new -key "$TLS/$1.key" -subj "/CN=$1" -days 3650 -out "$TLS/$1.pem" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
}
# The lab's CA is there already, with its key; each host is given what else the faults need.
make_tls() {
  new_ca other-ca
  openssl ecparam -genkey -name prime256v1 -noout -out "$TLS/server.key"
  openssl ecparam -genkey -name prime256v1 -noout -out "$TLS/other.key"
  certificate server "$(in_days -1)" "$(in_days 365)"
  openssl ecparam -genkey -name prime256v1 -noout -out "$TLS/middle.key"
  openssl req -new -key "$TLS/middle.key" -subj /CN=middle |
    openssl x509 -req -CA "$TLS/ca.pem" -CAkey "$TLS/ca.key" -CAcreateserial -days 3650 -out "$TLS/middle.pem" \
      -extfile /dev/fd/3 3<<X 2>/dev/null
basicConstraints=critical,CA:TRUE
X
  chown nats: "$TLS"/*.key
  chmod 400 "$TLS"/*.key
}

# An operator and its accounts in place of those in the file: operator_mode RESOLVER [expired]
operator_mode() {
  # shellcheck source=tests/lab/matrix/jwt.sh
  . /usr/local/lib/matrix-jwt.sh
  app=$APP_JWT
  [ "${2:-}" != expired ] || app=$APP_EXPIRED
  conf_edit '/^system_account/d; /^no_auth_user/d; /^accounts {/,/^}/d'
  conf_add "operator: $OPERATOR
system_account: $SYS_ID
resolver: $1"
  [ "$1" != MEMORY ] || conf_add "resolver_preload {
  $SYS_ID: $SYS_JWT
  $APP_ID: $app
}"
}

# Limits that the kernel keeps, by the unit; or, where a machine counts by cgroups of version 1, which systemd does not use
# in a host that sees version 2, in a group that the process moves itself to: limited CONTROLLER FILE VALUE SETTING
limited() {
  if grep -qw "${1%blkio}io" /sys/fs/cgroup/cgroup.controllers || grep -qw "$1" /sys/fs/cgroup/cgroup.controllers; then
    unit_drop_in Service "$4"
    return
  fi
  mkdir -p /run/limit
  mount -t cgroup -o "$1" limit /run/limit
  # the hierarchy is the machine's: other labs use it, too
  group=$(mktemp -d /run/limit/nats-matrix-XXXXXXXX)
  chmod 755 "$group"
  echo "$group" >/run/limit-group
  echo "$3" >"$group/$2"
  chown nats "$group/tasks"
  printf '#!/bin/sh\necho $$ >%s/tasks\nexec "$@"\n' "$group" >/run/limited
  chmod 755 /run/limited
  unit_drop_in Service "ExecStart=
ExecStart=/run/limited /usr/local/bin/nats-server -c /etc/nats/nats-server.conf"
}
unlimited() {
  [ -e /run/limit-group ] || return 0
  stop_nats
  within 5 rmdir "$(cat /run/limit-group)"
  umount /run/limit
  rm /run/limit-group
}
# The store's data is read at so many MB a second, none of it from memory.
slow_disk() { # MB
  bytes=$(($1 * 1000000)) number=$(cat "/sys/block/$(sed 's|/dev/||' "$KEPT/device")/dev")
  limited blkio blkio.throttle.read_bps_device "$number $bytes" "IOReadBandwidthMax=$DATA ${1}M"
  unit_drop_in Service "ExecStopPost=+/bin/sh -c 'cd $STORE/jetstream/APP/streams/ORDERS/msgs; rm -f index.db; sync -f .; for f in *.blk; do dd if=\$\$f iflag=nocache count=0; done'"
}

# Waits for a condition: within SECONDS COMMAND...
within() {
  end=$(($(date +%s) + $1))
  shift
  until "$@"; do
    [ "$(date +%s)" -lt "$end" ] || return 1
    sleep 0.05
  done
}
nats_pid() { systemctl show -p MainPID --value nats-server; }
healthy() { curl -sf -m 2 -o /dev/null "http://$(sed -n 's/^http: //p' "$CONF")/healthz"; }
# The first 200 of a member of a cluster is often not the last.
steady() { healthy && sleep 1 && healthy && sleep 1 && healthy; }
stopped() { [ "$(systemctl is-active nats-server)" != active ] && [ "$(nats_pid)" = 0 ]; }
# Ends the server at once, and for good.
stop_nats() {
  systemctl kill -s KILL nats-server 2>/dev/null
  systemctl stop nats-server 2>/dev/null
  systemctl reset-failed nats-server 2>/dev/null
  return 0
}

# ---- being whole again
# Remembers how the host is: called once, with the server healthy and its streams filled.
keep() {
  stop_nats
  mkdir -p "$KEPT"
  findmnt -no SOURCE "$DATA" >"$KEPT/device"
  read -r device <"$KEPT/device"
  mknod "$device" b 7 "${device#/dev/loop}"
  echo "$device $DATA ext4 noauto 0 0" >>/etc/fstab
  systemctl daemon-reload
  cp -a /etc/nats "$KEPT/nats"
  cp -a "$UNITS/nats-server.service" "$KEPT/"
  readlink /usr/local/bin/nats-server >"$KEPT/binary"
  cp -a "$STORE" "$KEPT/store"
  systemctl start nats-server
  within 60 healthy
}
# Undoes whatever a fault did. `store` puts the data back as well, where no peer would.
restore() { # [store]
  stop_nats
  for unit in $(cd /run/systemd/system && ls -d squat-*.service 2>/dev/null); do
    systemctl stop "${unit%.service}"
    rm "/run/systemd/system/$unit"
  done
  while read -r _ at _; do case $at in "$DATA"/* | /var/log/nats* | /run/nats*) umount -l "$at" ;; esac; done </proc/mounts
  mountpoint -q "$DATA" || mount "$DATA"
  mount -o remount,rw "$DATA"
  rm -rf "$DATA"/filler*
  rm -rf "$DATA"/inodes "$UNITS"/nats-server.service.d /run/systemd/system/nats-server.service.d "$UNITS/nats-server.service" /var/log/nats /run/nats
  cp -a "$KEPT/nats-server.service" "$UNITS/"
  ln -sfn ../nats-server.service "$UNITS/multi-user.target.wants/nats-server.service"
  rm -rf /etc/nats && cp -a "$KEPT/nats" /etc/nats
  rm -f /usr/local/bin/nats-server && ln -s "$(cat "$KEPT/binary")" /usr/local/bin/nats-server
  chown nats: "$DATA" && chmod 750 "$DATA"
  if [ "${1:-}" = store ]; then
    chattr -R -i "$STORE" 2>/dev/null
    rm -rf "$STORE" && cp -a "$KEPT/store" "$STORE"
  fi
  nft flush ruleset
  systemctl daemon-reload
  systemctl reset-failed nats-server 2>/dev/null
  journalctl --rotate --vacuum-time=1s -q 2>/dev/null
  systemctl start nats-server
  if [ "${1:-}" = store ]; then
    within 60 healthy
    return
  fi
  # what a member of a cluster does not mend by itself, its peers replace
  within 20 healthy && return
  stop_nats
  rm -rf "${STORE:?}"/*
  systemctl start nats-server
  within 60 healthy
}

# ---- a client, in perl-base: no host has another
nats_request() { nats_request_as app 127.0.0.1 "$@"; } # SUBJECT PAYLOAD
nats_system_request() { nats_request_as sys "$@"; }    # ADDRESS SUBJECT PAYLOAD
nats_request_as() { # USER ADDRESS SUBJECT PAYLOAD
  perl -MIO::Socket::INET -e '
    my ($user, $address, $subject, $payload) = @ARGV;
    my $s = IO::Socket::INET->new(PeerAddr => "$address:4222", Timeout => 5) or die "no server: $!\n";
    $s->autoflush(1);
    local $SIG{ALRM} = sub { die "no answer to $subject\n" };
    alarm 10;
    <$s>;
    print $s "CONNECT {\"verbose\":false,\"user\":\"$user\",\"pass\":\"s3cret-$user\",\"headers\":true,\"no_responders\":true}\r\nSUB _I 1\r\nPUB $subject _I " . length($payload) . "\r\n$payload\r\nPING\r\n";
    while (defined(my $line = <$s>)) {
      if ($line =~ /^MSG \S+ \S+ (\d+)/) { read $s, my $body, $1; print "$body\n"; exit($body =~ /"error"/ ? 1 : 0) }
      die $line if $line =~ /^(-ERR|HMSG)/;
    }' "$@"
}
# Publishes COUNT messages of 1 kB on SUBJECT and waits until all are taken.
nats_fill() { # SUBJECT COUNT
  perl -MIO::Socket::INET -e '
    my ($subject, $count) = @ARGV;
    my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:4222", Timeout => 5) or die "no server: $!\n";
    alarm 30;
    <$s>;
    print $s "CONNECT {\"verbose\":false,\"user\":\"app\",\"pass\":\"s3cret-app\"}\r\n";
    my $body = "x" x 1000;
    print $s "PUB $subject 1000\r\n$body\r\n" for 1 .. $count;
    print $s "PING\r\n";
    $s->flush;
    while (defined(my $line = <$s>)) { exit 0 if $line =~ /^PONG/ }
    die "closed\n"' "$1" "$2"
}
# Two messages on `batches` as one atomic batch, which a server before 2.12 does not know: atomic_batch ADDRESS
atomic_batch() {
  perl -MIO::Socket::INET -e '
    my $s = IO::Socket::INET->new(PeerAddr => "$ARGV[0]:4222", Timeout => 5) or die "no server: $!\n";
    $s->autoflush(1);
    alarm 10;
    <$s>;
    print $s "CONNECT {\"verbose\":false,\"user\":\"app\",\"pass\":\"s3cret-app\",\"headers\":true,\"no_responders\":true}\r\nSUB _I 1\r\n";
    for my $number (1, 2) {
      my $head = "NATS/1.0\r\nNats-Batch-Id: one-$$\r\nNats-Batch-Sequence: $number\r\n" . ($number == 2 ? "Nats-Batch-Commit: 1\r\n" : "") . "\r\n";
      print $s "HPUB batches _I " . length($head) . " " . (length($head) + 1) . "\r\n${head}x\r\n";
    }
    print $s "PING\r\n";
    while (defined(my $line = <$s>)) {
      next unless $line =~ /^MSG \S+ \S+ (\d+)/ && $1 > 0;
      read $s, my $body, $1;
      print "$body\n";
      exit($body =~ /"error"/ ? 1 : 0);
    }' "$1"
}
# Entries in the meta group's log that no snapshot has yet: new streams, since 2.10 takes a snapshot where one is deleted. A
# snapshot may fall between them, so the log itself says when it has enough.
nats_meta_entries() { # COUNT
  passing=0
  within 30 meta_log_has "$1"
}
meta_log_has() {
  passing=$((passing + 1))
  nats_request '$JS.API.STREAM.CREATE.PASSING'$passing '{"name":"PASSING'$passing'","subjects":["passing'$passing'"],"num_replicas":3,"storage":"file","retention":"limits"}' >/dev/null
  [ "$(block_records "$STORE"/jetstream/SYS/_js_/_meta_/msgs/*.blk)" -ge "$1" ]
}
nats_meta_passed() {
  for passing in $(cd "$STORE/jetstream/APP/streams" && ls -d PASSING*); do nats_request '$JS.API.STREAM.DELETE.'"$passing" '' >/dev/null; done
}
# Message blocks are records: a length, with the highest bit for headers, a sequence, and so on; a deletion is a record with a bit
# in the sequence (filestore.go). A log's deletions are of its first entries: those after them count.
BLOCK='sub entries { my ($at, $gone, @all) = (0, 0);
  while ($at + 22 < length $_[0]) {
    my ($size, $number) = unpack("VQ<", substr $_[0], $at, 12);
    last if ($size &= 0x7fffffff) < 22;
    if ($number >> 62) { $number &= 0x3fffffffffffffff; $gone = $number if $number > $gone } else { push @all, [$at, $size, $number] }
    $at += $size }
  grep { $_->[2] > $gone } @all }'
block_records() { # FILE...
  perl -0777 -ne "$BLOCK"' $n += entries($_); END { print $n + 0 }' "$@"
}
# Takes the last entry but one out of a block.
block_hole() { # FILE
  perl -0777 -i -ne "$BLOCK"' my @all = entries($_); substr($_, $all[-2][0], $all[-2][1]) = "" if @all > 2; print' "$1"
  chown nats: "$1"
}
# A stream with messages and a consumer. What the server has against it is printed.
seed() { # REPLICAS
  nats_request '$JS.API.STREAM.CREATE.ORDERS' '{"name":"ORDERS","subjects":["orders"],"num_replicas":'"$1"',"storage":"file","retention":"limits"}' &&
    nats_request '$JS.API.CONSUMER.DURABLE.CREATE.ORDERS.worker' '{"stream_name":"ORDERS","config":{"durable_name":"worker","ack_policy":"explicit"}}' &&
    filled
}
# A stream that has just been made may not take all at once on a busy machine (376 of 3,000, seen): what lacks is sent again.
filled() {
  for _ in 1 2 3 4 5 6 7 8; do
    have=$(nats_request '$JS.API.STREAM.INFO.ORDERS' '{}' | sed -n 's/.*"messages":\([0-9]*\).*/\1/p')
    [ "${have:-0}" -lt 3000 ] || return 0
    nats_fill orders $((3000 - ${have:-0})) && sleep 0.5
  done
  echo "only ${have:-0} of 3000 messages are in the stream"
  return 1
}
