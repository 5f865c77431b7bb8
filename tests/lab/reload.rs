//! Reloads on real hosts: certificates change under clients that stay, and nothing that is bad goes live.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
};

use crate::harness::Lab;

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

pub struct Client {
    child: Child,
    pub serial: String,
}

impl Client {
    pub fn of(lab: &Lab, host: &str) -> Self {
        let ca = lab.path.join("ca.pem").display().to_string();
        let mut command = lab.exec("python3", &["-c", CLIENT, &Lab::address(host), &ca]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("python3");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("its output")).read_line(&mut line).expect("a line");
        Self { child, serial: line.trim().to_owned() }
    }

    pub fn is_connected(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_none()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes a certificate of the lab's CA for a host, with a new key: the two files, and its serial number in decimal.
pub fn signed(lab: &Lab, host: &str, days: &str) -> (String, String, String) {
    let (cert, key) = (lab.file(&format!("{host}.pem")), lab.file(&format!("{host}.key")));
    let (run, address) = (lab.path.display(), Lab::address(host));
    let script = format!(
        "openssl ecparam -genkey -name prime256v1 -noout -out {key} && openssl req -new -key {key} -subj /CN={host} | \
         openssl x509 -req -CA {run}/ca.pem -CAkey {run}/ca.key -CAcreateserial -days {days} -out {cert} \
         -extfile <(echo subjectAltName=DNS:{host},IP:{address}) 2>/dev/null && \
         python3 -c \"print(int('$(openssl x509 -in {cert} -noout -serial | cut -d= -f2)', 16))\""
    );
    let output = std::process::Command::new("bash").args(["-c", &script]).output().expect("bash");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (cert, key, String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Puts such a certificate on its host, for all its listeners; its serial number.
fn renew(lab: &Lab, host: &str, days: &str) -> String {
    let (cert, key, serial) = signed(lab, host, days);
    for (name, path) in [("server.pem", &cert), ("leaf.pem", &cert), ("server.key", &key)] {
        lab.put(host, &format!("/etc/nats/tls/{name}"), &std::fs::read_to_string(path).expect("a file"));
    }
    lab.root(host, "cd /etc/nats/tls && chown nats:nats server.key && chmod 400 server.key");
    serial
}

/// On servers with TLS on every listener. Nothing is restarted, and nobody is disconnected.
pub fn certificates_and_settings(lab: &Lab, inventory: &str) {
    let ids = lab.server_ids();
    let mut clients: Vec<Client> = lab.hosts().iter().map(|host| Client::of(lab, host)).collect();

    // New certificates everywhere.
    let serials: Vec<String> = lab.hosts().iter().map(|host| renew(lab, host, "20")).collect();
    let ended = lab.rollgate(&["run", "reload", "-i", inventory, "--yes"]);
    ended.exits(0).journal_is_whole();
    assert_eq!(ended.rolled().len(), 3, "{ended}");
    for port in
        ["client port 4222", "route port 6222", "leafnode port 7422", "gateway port 7222", "websocket port 8443"]
    {
        ended.says(&[&format!("{port} certificate ")]);
    }
    ended.says(&["reloaded: ", "MQTT port 8883 certificate "]);
    for ((host, serial), client) in lab.hosts().iter().zip(&serials).zip(&mut clients) {
        assert_ne!(client.serial, *serial);
        assert!(client.is_connected(), "the client of {host} was cut off:\n{ended}");
        assert_eq!(Client::of(lab, host).serial, *serial, "{host}");
    }

    // One that has expired, which a server would take, is not shown to it. Nor is a key that belongs to another.
    let host = ["run", "reload", "-i", inventory, "--yes", "--host", "h1"];
    let served = Client::of(lab, "h1").serial.clone();
    let reloads = "journalctl -u nats-server -o cat --no-pager | grep -c 'Reloaded server configuration' || true";
    let before = lab.root("h1", reloads);
    renew(lab, "h1", "-1");
    lab.rollgate(&host).exits(3).began_nothing().says(&["expired"]);
    let other = "cd /etc/nats/tls && openssl ecparam -genkey -name prime256v1 -noout -out server.key && chown nats:nats server.key";
    lab.root("h1", other);
    let ended = lab.rollgate(&host);
    ended.exits(3).began_nothing();
    assert_eq!((Client::of(lab, "h1").serial.clone(), lab.root("h1", reloads)), (served, before), "{ended}");

    // A setting that no reload can change is named, whichever way the server is told, and it goes on as it was.
    let serial = renew(lab, "h1", "20");
    let conf = "/etc/nats/nats-server.conf";
    lab.root("h1", &format!("cp -p {conf} {conf}.old && sed -i 's/^listen: .*/listen: 0.0.0.0:4555/' {conf}"));
    let password = lab.write("sys.password", "sys\n");
    let text = std::fs::read_to_string(inventory).expect("the inventory");
    let account = format!("defaults:\n  nats: {{user: sys, password_file: {password}}}\n");
    let with_account = lab.write("account.yaml", &text.replacen("defaults:\n", &account, 1));
    let over_account = ["run", "reload", "-i", &with_account, "--yes", "--host", "h1"];
    for way in [host, over_account] {
        let ended = lab.rollgate(&way);
        let halt = ended.exits(4).journal_is_whole().halt("not-reloadable").clone();
        assert_eq!(halt["setting"], "Port", "{ended}");
        ended.says(&["restart it", "rollgate restart --host h1"]);
    }
    lab.root("h1", &format!("mv {conf}.old {conf}"));

    // Mended, it goes on where it was, and tells the server once more.
    let ended = lab.plainly(&["resume", "-i", &with_account, "--yes"]);
    ended.exits(0).terminal("finished");
    assert_eq!(Client::of(lab, "h1").serial, serial, "{ended}");
    assert!(clients.iter_mut().all(Client::is_connected), "{ended}");
    assert_eq!(lab.server_ids(), ids, "{ended}");
}
