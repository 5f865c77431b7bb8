//! Certificates among the files of a `configure`: taken by a reload, seen on the wire, and never live where they don't do.

use std::fs;

use crate::{
    harness::{Lab, Options},
    process::{Ended, strings},
    reload::{Client, signed},
};

/// A certificate and its key, each from a variable of its host.
const PLAYBOOK: &str = "name: rotate
turn:
  - drain
  - stop
  - configure:
      files:
        - {from: server.pem.j2, to: /etc/nats/tls/server.pem}
        - {from: server.key.j2, to: /etc/nats/tls/server.key}
  - start
  - reload
  - gate: {looks: 2}
  - settle: {for: 300ms, interval: 100ms}
";

struct Rotation<'a> {
    lab: &'a Lab,
    playbook: String,
    inventory: String,
}

impl<'a> Rotation<'a> {
    fn new(lab: &'a Lab) -> Self {
        // Relative paths are taken from the working directory, which is not the playbook's.
        let pem = lab.write("server.pem.j2", "{{ certificate }}\n");
        let key = lab.write("server.key.j2", "{{ key }}\n");
        let playbook = PLAYBOOK.replace("server.pem.j2", &pem).replace("server.key.j2", &key);
        let vars = |host: &String| {
            let at = |end: &str| lab.file(&format!("{host}.{end}"));
            format!("{{name: {host}, vars: {{certificate: {{file: {}}}, key: {{file: {}}}}}}}", at("pem"), at("key"))
        };
        let hosts: Vec<String> = lab.hosts().iter().map(vars).collect();
        let ca = lab.path.join("ca.pem").display().to_string();
        let inventory = lab.inventory_with(|text| {
            let client = format!("defaults:\n  client: {{ca: {ca}}}\n");
            text.replacen("hosts: [h1, h2, h3]", &format!("hosts: [{}]", hosts.join(", ")), 1).replacen(
                "defaults:\n",
                &client,
                1,
            )
        });
        Self { lab, playbook: lab.write("rotate.yaml", &playbook), inventory }
    }

    fn run(&self) -> Ended {
        self.lab.rollgate(&["run", &self.playbook, "-i", &self.inventory, "--yes"])
    }

    fn plan(&self) -> Ended {
        self.lab.plainly(&["plan", &self.playbook, "-i", &self.inventory])
    }

    /// New ones for these hosts; their serial numbers.
    fn renew(&self, hosts: &[String], days: &str) -> Vec<String> {
        hosts.iter().map(|host| signed(self.lab, host, days).2).collect()
    }

    fn on_disk(&self) -> Vec<String> {
        let script = "cd /etc/nats/tls; sha256sum server.pem server.key; stat -c %U:%a server.pem server.key";
        self.lab.hosts().iter().map(|host| self.lab.root(host, script)).collect()
    }

    fn served(&self) -> Vec<String> {
        self.lab.hosts().iter().map(|host| Client::of(self.lab, host).serial.clone()).collect()
    }
}

#[test]
fn certificates_are_rotated_by_a_push() {
    let Some(lab) = Lab::up(Options { tls: true, ..Options::default() }) else { return };
    lab.all_settled();
    let (rotation, hosts, ids) = (Rotation::new(&lab), lab.hosts(), lab.server_ids());
    let modes = |all: &[String]| all.iter().map(|one| one.lines().skip(2).collect::<String>()).collect::<Vec<_>>();
    let before = rotation.on_disk();
    let mut clients: Vec<Client> = hosts.iter().map(|host| Client::of(&lab, host)).collect();

    // New ones everywhere: by a reload, nobody is disconnected, and a new client is shown the new one.
    let serials = rotation.renew(&hosts, "20");
    let key = fs::read_to_string(lab.file("h1.key")).expect("a key");
    let secret = key.lines().find(|line| line.len() == 64).expect("a line of it");
    let plan = rotation.plan();
    plan.exits(0);
    assert!(plan.stdout.contains("h1, h2, h3: reload") && plan.stdout.contains("/etc/nats/tls/server.key"), "{plan}");
    let ended = rotation.run();
    ended.exits(0).journal_is_whole().says(&["client port 4222 certificate "]);
    assert_eq!((ended.rolled().len(), ended.of("files-staged").len()), (3, 3), "{ended}");
    assert_eq!(rotation.served(), serials, "{ended}");
    assert_eq!(modes(&rotation.on_disk()), modes(&before), "{ended}");
    for told in [&plan, &ended] {
        assert!(!told.to_string().contains(secret), "a key is told:\n{told}");
    }

    // One host has another, of one of the two files: it alone has a turn, and that file alone is put in place.
    let pem = lab.file("h2.pem");
    let longer = format!("# renewed\n{}", fs::read_to_string(&pem).expect("a certificate"));
    fs::write(&pem, longer).expect("written");
    let ended = rotation.run();
    ended.exits(0).journal_is_whole();
    assert_eq!(
        (ended.rolled(), strings(&ended.of("files-staged")[0]["files"])),
        (vec!["h2"], vec!["/etc/nats/tls/server.pem"])
    );
    assert_eq!(rotation.served(), serials, "{ended}");

    // One that has expired, and one that another key belongs to, do not come near a server.
    let before = rotation.on_disk();
    let key = fs::read_to_string(lab.file("h3.key")).expect("a key");
    for (days, said) in [("-1", "expired"), ("20", "private key does not match public key")] {
        rotation.renew(&hosts[2..], days);
        if days == "20" {
            fs::write(lab.file("h3.key"), &key).expect("written");
        }
        let ended = rotation.run();
        let halt = ended.exits(3).terminal("refused")["halt"].clone();
        assert_eq!(
            (&halt["cause"], halt["hosts"].as_array().map(Vec::len)),
            (&"not-proven".into(), Some(1)),
            "{ended}"
        );
        ended.says(&["h3", said]);
        assert_eq!((rotation.on_disk(), rotation.served()), (before.clone(), serials.clone()), "{ended}");
    }
    assert!(clients.iter_mut().all(Client::is_connected));
    assert_eq!(lab.server_ids(), ids);
}
