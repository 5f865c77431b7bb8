//! Reloads on real hosts: certificates change under clients that stay, and nothing that is bad goes live.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
};

use crate::harness::{Lab, Options, until};

/// A TLS client that stays: prints the serial number of the certificate that it was shown, and `off` when it is cut off.
const CLIENT: &str = r#"
import socket, ssl, sys
host, ca = sys.argv[1:]
plain = socket.create_connection((host, 4222))
plain.recv(65536)
context = ssl.create_default_context(cafile=ca)
stream = context.wrap_socket(plain, server_hostname=host)
stream.sendall(b'CONNECT {"verbose":false,"tls_required":true,"user":"app","pass":"app"}\r\nPING\r\n')
print(int(stream.getpeercert()["serialNumber"], 16), flush=True)
while True:
    said = stream.recv(65536)
    if not said:
        break
    if b"PING" in said:
        stream.sendall(b"PONG\r\n")
print("off", flush=True)
"#;

struct Client {
    child: Child,
    serial: String,
}

impl Client {
    fn of(lab: &Lab, host: &str) -> Self {
        let ca = lab.path.join("ca.pem").display().to_string();
        let mut command = lab.exec("python3", &["-c", CLIENT, &Lab::address(host), &ca]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("python3");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("its output")).read_line(&mut line).expect("a line");
        Self { child, serial: line.trim().to_owned() }
    }

    fn is_connected(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_none()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Puts a certificate of the lab's CA on a host, with a new key, and its serial number, which is in decimal.
fn renew(lab: &Lab, host: &str, days: &str) -> String {
    let (cert, key) = (lab.file("new.pem"), lab.file("new.key"));
    let (run, address) = (lab.path.display(), Lab::address(host));
    let script = format!(
        "openssl ecparam -genkey -name prime256v1 -noout -out {key} && openssl req -new -key {key} -subj /CN={host} | \
         openssl x509 -req -CA {run}/ca.pem -CAkey {run}/ca.key -CAcreateserial -days {days} -out {cert} \
         -extfile <(echo subjectAltName=DNS:{host},IP:{address}) 2>/dev/null && \
         python3 -c \"print(int('$(openssl x509 -in {cert} -noout -serial | cut -d= -f2)', 16))\""
    );
    let output = std::process::Command::new("bash").args(["-c", &script]).output().expect("bash");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for (name, path) in [("server.pem", &cert), ("server.key", &key)] {
        lab.put(host, &format!("/etc/nats/tls/{name}"), &std::fs::read_to_string(path).expect("a file"));
    }
    lab.root(host, "cd /etc/nats/tls && chown nats:nats server.key && chmod 400 server.key");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn reloads() {
    let Some(lab) = Lab::up(Options { tls: true, ..Options::default() }) else { return };
    let ca = format!("defaults:\n  client: {{ca: {}}}\n", lab.path.join("ca.pem").display());
    let inventory = lab.inventory_with(|text| text.replacen("defaults:\n", &ca, 1));
    let ids = lab.server_ids();
    let mut clients: Vec<Client> = lab.hosts().iter().map(|host| Client::of(&lab, host)).collect();

    // New certificates everywhere, and nobody is disconnected.
    let serials: Vec<String> = lab.hosts().iter().map(|host| renew(&lab, host, "20")).collect();
    let ended = lab.rollgate(&["run", "reload", "-i", &inventory, "--yes"]);
    ended.exits(0).journal_is_whole();
    assert_eq!(ended.rolled().len(), 3, "{ended}");
    ended.says(&["reloaded: configuration ", "client certificate "]);
    for ((host, serial), client) in lab.hosts().iter().zip(&serials).zip(&mut clients) {
        assert_ne!(client.serial, *serial);
        assert!(client.is_connected(), "the client of {host} was cut off:\n{ended}");
        assert_eq!(Client::of(&lab, host).serial, *serial, "{host}");
    }
    assert_eq!(lab.server_ids(), ids, "{ended}");

    // One that has expired, which a server would take, is not shown to it. Nor is a key that belongs to another.
    let first = lab.plan(&inventory).remove(0);
    let host = ["run", "reload", "-i", &inventory, "--yes", "--host", first.as_str()];
    let served = Client::of(&lab, &first).serial.clone();
    let loaded = || {
        lab.root(
            &first,
            "journalctl -u nats-server -o cat --no-pager | grep -c 'Reloaded server configuration' || true",
        )
    };
    let before = loaded();
    renew(&lab, &first, "-1");
    let ended = lab.rollgate(&host);
    assert!([3, 4].contains(&ended.status.code().unwrap_or(-1)), "{ended}");
    ended.says(&["expired"]);
    lab.root(&first, "cd /etc/nats/tls && openssl ecparam -genkey -name prime256v1 -noout -out server.key && chown nats:nats server.key");
    let ended = lab.rollgate(&host);
    assert!([3, 4].contains(&ended.status.code().unwrap_or(-1)), "{ended}");
    assert_eq!((Client::of(&lab, &first).serial.clone(), loaded()), (served, before), "{ended}");

    // A setting that no reload can change is named, and the server goes on as it was.
    let serial = renew(&lab, &first, "20");
    let conf = "/etc/nats/nats-server.conf";
    lab.root(&first, &format!("cp {conf} {conf}.old && sed -i 's/^listen: .*/listen: 0.0.0.0:4333/' {conf}"));
    let ended = lab.rollgate(&host);
    let halt = ended.exits(4).journal_is_whole().halt("not-reloadable").clone();
    assert_eq!(halt["setting"], "Port", "{ended}");
    ended.says(&["restart it", &format!("rollgate restart --host {first}")]);
    lab.root(&first, &format!("mv {conf}.old {conf}"));

    // Mended, it goes on where it was, and tells the server once more.
    lab.plainly(&["resume", "-i", &inventory, "--yes"]).exits(0).terminal("finished");
    until("the new certificate is shown", || Client::of(&lab, &first).serial == serial);
    assert!(clients.iter_mut().all(Client::is_connected));
    assert_eq!(lab.server_ids(), ids);
}
