# shellcheck shell=bash
# `lab podman`: a host's server in a container, in place of the one that systemd runs.

# Podman with what it needs and the host lacks, from this machine. The container is called `nats`; it has the host's network,
# its configuration from /srv/nats and its store from /srv/data.
into_container() { # hN
  local host=$1 tool library files=()
  install_missing podman:podman crun:crun
  for tool in podman crun conmon; do files+=("$(command -v "$tool")"); done
  while read -r library; do
    [[ -e $BASE$library ]] || files+=("$library")
  done < <(ldd "${files[@]}" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u)
  tar -C / -ch "${files[@]#/}" | as_host_root "$host" tar -C / -x
  as_host_root "$host" bash -es <<'HOST'
ldconfig
mkdir -p /etc/containers /var/tmp /srv/nats /srv/data
echo '{"default":[{"type":"insecureAcceptAnything"}]}' >/etc/containers/policy.json
printf '[storage]\ndriver = "vfs"\nrunroot = "/run/containers"\ngraphroot = "/var/lib/containers"\n' >/etc/containers/storage.conf
printf '[engine]\nruntime = "crun"\n' >/etc/containers/containers.conf
image=$(mktemp -d)
chmod 755 "$image"
mkdir -p "$image/usr/local/bin" "$image/etc/nats" "$image/data" "$image/tmp"
cp -L /usr/local/bin/nats-server "$image/usr/local/bin/"
echo nats:x:999:999::/:/bin/false >"$image/etc/passwd"
tar -C "$image" -c . | podman --log-level=error import -q - nats
rm -r "$image"
systemctl disable -q --now nats-server
sed 's|/var/lib/nats[^ ]*|/data|' /etc/nats/nats-server.conf >/srv/nats/nats-server.conf
chown 999:999 /srv/data
# No more than this machine may give: its control groups are not for a host to divide, and a host makes no devices, so it lends
# its own.
podman run -q -d --name nats --network host --user nats --cgroups=disabled -v /dev:/dev \
  --ulimit "nofile=1024:$(ulimit -Hn)" --ulimit nproc=1000:1000 \
  -v /srv/nats:/etc/nats:ro -v /srv/data:/data nats /usr/local/bin/nats-server -c /etc/nats/nats-server.conf
HOST
}
