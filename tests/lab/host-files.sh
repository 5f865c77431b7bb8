# shellcheck shell=bash
# The files that make one host this host: names, keys, configuration. Written into its file system by
# the holder before the first boot; a copy of the configuration stays in the run directory.

write_host_files() { # hN ROOT
  local host=$1 root=$2 dir=$RUN/$1
  echo "$host" >"$root/etc/hostname"
  # each sudo would wait 5 s for the name of its host if it were not here
  { echo 127.0.0.1 localhost && local h && for h in $(all_hosts); do echo "$(address "$h") $h"; done; } >"$root/etc/hosts"
  : >"$root/etc/resolv.conf"
  tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
  install -m 600 "$dir/ssh_host_ed25519_key" "$root/etc/ssh/ssh_host_ed25519_key"
  install -m 644 "$dir/ssh_host_ed25519_key.pub" "$root/etc/ssh/ssh_host_ed25519_key.pub"
  ln -sfn "/opt/nats/nats-server-$NATS" "$root/usr/local/bin/nats-server"
  install -m 644 "$dir/nats-server.conf" "$root/etc/nats/nats-server.conf"
  [[ $TLS == no ]] || install_tls "$host" "$root"
}

install_tls() { # hN ROOT
  local owner
  owner=$(stat -c %u:%g "$BASE/var/lib/nats")
  install -d -m 755 "$2/etc/nats/tls"
  install -m 644 "$RUN/ca.pem" "$RUN/$1/server.pem" "$2/etc/nats/tls/"
  install -m 400 -o "${owner%:*}" -g "${owner#*:}" "$RUN/$1/server.key" "$2/etc/nats/tls/"
}

nats_conf() { # hN
  local host=$1 routes='' monitor h
  for h in $(all_hosts); do routes+="    nats://$(address "$h"):6222"$'\n'; done
  monitor=$(address "$host")
  [[ $MONITOR == direct ]] || monitor=127.0.0.1
  cat <<CONF
server_name: $host
listen: 0.0.0.0:4222
http: $monitor:8222

lame_duck_duration: 30s
lame_duck_grace_period: 2s

jetstream {
  store_dir: /var/lib/nats/jetstream
  max_memory_store: 64MB
  max_file_store: 200MB
}

system_account: SYS
no_auth_user: app
accounts {
  SYS { users: [ { user: sys, password: sys } ] }
  APP { jetstream: enabled, users: [ { user: app, password: app } ] }
}
CONF
  # alone, a clustered server would wait for peers for ever
  ((HOSTS == 1)) || cat <<CONF

cluster {
  name: lab
  listen: 0.0.0.0:6222
  routes: [
$routes  ]
}
CONF
  [[ $TLS == no ]] || cat <<CONF

tls {
  cert_file: /etc/nats/tls/server.pem
  key_file: /etc/nats/tls/server.key
  ca_file: /etc/nats/tls/ca.pem
}
CONF
}

# A CA for the lab and a certificate a host, valid for its address and its name.
make_tls() {
  local host
  make_key() { openssl ecparam -genkey -name prime256v1 -noout -out "$1"; }
  make_key "$RUN/ca.key"
  openssl req -x509 -new -key "$RUN/ca.key" -subj /CN=rollgate-lab-ca -days 30 -out "$RUN/ca.pem" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
  for host in $(all_hosts); do
    make_key "$RUN/$host/server.key"
    openssl req -new -key "$RUN/$host/server.key" -subj "/CN=$host" |
      openssl x509 -req -CA "$RUN/ca.pem" -CAkey "$RUN/ca.key" -CAcreateserial -days 30 -out "$RUN/$host/server.pem" \
        -extfile <(echo "subjectAltName=DNS:$host,DNS:localhost,IP:127.0.0.1,IP:$(address "$host")")
  done
}

write_ssh_files() {
  local host
  cat >"$RUN/ssh_config" <<CONF
Host *
  User deploy
  IdentityFile $LAB_DIR/keys/deploy
  IdentitiesOnly yes
  UserKnownHostsFile $RUN/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  BatchMode yes
  ConnectTimeout 5
CONF
  for host in $(all_hosts); do
    ssh-keygen -q -t ed25519 -N '' -C "$host" -f "$RUN/$host/ssh_host_ed25519_key"
    printf 'Host %s\n  HostName %s\n' "$host" "$(address "$host")" >>"$RUN/ssh_config"
    echo "$host,$(address "$host") $(cut -d' ' -f1,2 "$RUN/$host/ssh_host_ed25519_key.pub")" >>"$RUN/known_hosts"
  done
}

write_inventory() {
  local url='http://{address}:8222' via=direct hosts
  [[ $MONITOR == direct ]] || { url=http://127.0.0.1:8222 via=ssh; }
  hosts=$(all_hosts | paste -sd, | sed 's/,/, /g')
  cat >"$RUN/inventory.yaml" <<CONF
defaults:
  ssh: {config: $RUN/ssh_config}
  service: {systemd: nats-server}
  monitoring: {url: "$url", via: $via}
clusters:
  lab:
    hosts: [$hosts]
CONF
}
