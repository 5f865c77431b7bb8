//! Every way to log in to the system account, on live servers; and what is said where it does not work.

use std::{collections::BTreeMap, env, path::Path, time::Duration};

use rollgate::{
    config::Inventory,
    fleet::{Fleet, live::Live},
};

use crate::{
    accounts::Operator,
    harness::{Lab, Options, WIDE},
};

/// Set where the program runs inside the lab: a directory of inventories.
const INSIDE: &str = "ROLLGATE_TEST_LOGINS";
/// What no failure may repeat.
const SECRET: &str = "hunter2";

/// Tries the login of every inventory in the directory; does nothing when it is run as a test like others.
#[test]
fn inside() {
    let Some(directory) = env::var_os(INSIDE) else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut paths: Vec<_> =
        std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "yaml")) {
        let said = runtime.block_on(async { tokio::time::timeout(WIDE, login(path)).await }).expect("in time");
        println!("login {}: {said}", path.file_stem().expect("a name").display());
    }
}

async fn login(inventory: &Path) -> String {
    let inventory = Inventory::load(inventory).expect("the inventory");
    let live = Live::new(&inventory.clusters[0]).await.expect("hosts");
    let view = live.observe_assets(&[], Duration::from_secs(10)).await;
    match view.system_account.expect("the inventory names a system account") {
        Ok(()) => match view.assets {
            Some(assets) if assets.gaps.is_empty() => "ok".into(),
            other => format!("in, but: {other:?}"),
        },
        Err(failure) => format!("{:?}: {failure}", failure.kind),
    }
}

/// Inventories of one lab, each with a login of its own.
pub struct Logins<'a> {
    lab: &'a Lab,
    expected: BTreeMap<String, String>,
    variables: Vec<(String, String)>,
}

impl<'a> Logins<'a> {
    pub fn of(lab: &'a Lab) -> Self {
        std::fs::create_dir_all(lab.work.path().join("logins")).expect("a directory");
        std::fs::create_dir_all(lab.work.path().join("config/nats/context")).expect("a directory");
        Self { lab, expected: BTreeMap::new(), variables: Vec::new() }
    }

    /// A case; `login` is what stands in `nats: {…}`, `says` the beginning of what comes of it.
    fn case(&mut self, name: &str, login: &str, says: &str) -> &mut Self {
        let text = std::fs::read_to_string(self.lab.inventory()).expect("the lab's inventory");
        let text = text.replacen("defaults:\n", &format!("defaults:\n  nats: {{{login}}}\n"), 1);
        self.inventory(name, &text, says)
    }

    /// The same with an inventory of its own.
    pub fn inventory(&mut self, name: &str, text: &str, says: &str) -> &mut Self {
        self.lab.write(&format!("logins/{name}.yaml"), text);
        self.expected.insert(name.to_owned(), says.to_owned());
        self
    }

    /// The same by a context of the NATS CLI.
    fn context(&mut self, name: &str, json: &str, says: &str) -> &mut Self {
        self.lab.write(&format!("config/nats/context/{name}.json"), json);
        self.case(name, &format!("context: {name}"), says)
    }

    fn variable(&mut self, name: &str, value: &str) -> &mut Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Tries them all, in the lab's network.
    #[track_caller]
    pub fn check(&self) {
        let this = env::current_exe().expect("this program");
        let mut command = self.lab.exec(this, &["--exact", "logins::inside", "--nocapture"]);
        command.env(INSIDE, self.lab.work.path().join("logins"));
        command.env("XDG_CONFIG_HOME", self.lab.work.path().join("config"));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let output = command.output().expect("this program runs");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{said}");
        assert!(!said.contains(SECRET) && !said.contains("SUA"), "a secret was told: {said}");
        let found: BTreeMap<&str, &str> =
            said.lines().filter_map(|line| line.split("login ").nth(1)?.split_once(": ")).collect();
        for (name, says) in &self.expected {
            let as_expected = |found: &&str| if says == "ok" { *found == "ok" } else { found.contains(says.as_str()) };
            assert!(found.get(name.as_str()).is_some_and(as_expected), "{name}: {said}");
        }
        println!("{said}");
    }
}

/// Replaces the accounts of every server by `accounts`, and restarts them.
pub fn with_accounts(lab: &Lab, accounts: &str) {
    for host in lab.hosts() {
        let conf = lab.root(&host, "cat /etc/nats/nats-server.conf");
        let (before, rest) = conf.split_once("system_account:").expect("a system account");
        let after = rest.split_once("\n}\n").expect("the end of the accounts").1;
        lab.put(&host, "/etc/nats/nats-server.conf", &format!("{before}{accounts}{after}"));
        lab.root(&host, "systemctl restart nats-server");
    }
    lab.all_healthy();
}

fn configuration_mode(nats: &'static str) {
    let Some(lab) = Lab::up(Options { hosts: 1, nats, ..Options::default() }) else { return };
    let (ours, stranger) = (nkeys::KeyPair::new_user(), nkeys::KeyPair::new_user());
    let (key, public) = (ours.seed().expect("a seed"), ours.public_key());
    let users = format!("{{ user: sys, password: {SECRET} }}, {{ nkey: {public} }}");
    with_accounts(
        &lab,
        &format!(
            "system_account: SYS\naccounts {{\n  SYS {{ users: [ {users} ] }}\n  APP {{ jetstream: enabled, users: [ {{ user: app, password: app }} ] }}\n}}\n"
        ),
    );
    let right = lab.write("right.password", &format!("{SECRET}\n"));
    let wrong = lab.write("wrong.password", &format!("{SECRET}x\n"));
    let app = lab.write("app.password", "app\n");
    let seed = lab.write("user.nk", &format!("# the system user\n{key}\n"));
    let other = lab.write("other.nk", &stranger.seed().expect("a seed"));
    let half = lab.write("half.nk", &key[..40]);
    let mut logins = Logins::of(&lab);
    logins
        .variable("SYS_PASSWORD", SECRET)
        .case("file", &format!("user: sys, password_file: {right}"), "ok")
        .case("variable", "user: sys, password_env: SYS_PASSWORD", "ok")
        .case("nkey", &format!("nkey: {seed}"), "ok")
        .case("servers", &format!("servers: [\"nats://10.77.0.11:4222\"], nkey: {seed}"), "ok")
        .context("ctx-user", r#"{"user":"sys","password":"env://SYS_PASSWORD"}"#, "ok")
        .context("ctx-url", &format!(r#"{{"url":"nats://sys:{SECRET}@10.77.0.11:4222"}}"#), "ok")
        .context("ctx-nkey", &format!(r#"{{"nkey":"{seed}"}}"#), "ok")
        .case("wrong-password", &format!("user: sys, password_file: {wrong}"), "the server did not take the login")
        .case("wrong-nkey", &format!("nkey: {other}"), "the server did not take the login")
        .case("half-nkey", &format!("nkey: {half}"), "has no nkey seed")
        .case("no-variable", "user: sys, password_env: NOT_SET", "the environment variable NOT_SET is not set")
        .case("no-file", "user: sys, password_file: /nowhere/pw", "/nowhere/pw: No such file")
        .case("no-context", "context: nowhere", "NATS context nowhere")
        .case("stranger", &format!("user: app, password_file: {app}"), "no user of the system account")
        .case("nobody-there", &format!("servers: [\"nats://10.77.0.11:4999\"], nkey: {seed}"), "connection refused");
    logins.check();
}

#[test]
fn configuration_mode_2_10() {
    configuration_mode("2.10.26");
}

#[test]
fn configuration_mode_2_15() {
    configuration_mode("2.15.1");
}

fn operator_mode(nats: &'static str) {
    let Some(lab) = Lab::up(Options { hosts: 1, nats, ..Options::default() }) else { return };
    let (ours, foreign) = (Operator::new(), Operator::new());
    // Nobody is anonymous in operator mode.
    let host = &lab.hosts()[0];
    lab.root(host, "sed -i '/^no_auth_user/d' /etc/nats/nats-server.conf");
    with_accounts(&lab, &ours.config);
    let creds = lab.write("sys.creds", ours.creds("sys"));
    let app = lab.write("app.creds", ours.creds("app"));
    let other = lab.write("foreign.creds", foreign.creds("sys"));
    let broken = lab.write("broken.creds", &ours.creds("sys").replace("SEED", "S"));
    let mut logins = Logins::of(&lab);
    logins
        .case("creds", &format!("creds: {creds}"), "ok")
        .context("ctx-creds", &format!(r#"{{"creds":"{creds}"}}"#), "ok")
        .case("stranger", &format!("creds: {app}"), "no user of the system account")
        .case("foreign", &format!("creds: {other}"), "the server did not take the login")
        .case("broken", &format!("creds: {broken}"), "is no credentials file");
    logins.check();
}

#[test]
fn operator_mode_2_10() {
    operator_mode("2.10.26");
}

#[test]
fn operator_mode_2_15() {
    operator_mode("2.15.1");
}

/// TLS: the CA is ours, the server asks for our certificate, and a user of the system account is named in it.
fn tls(nats: &'static str) {
    let Some(lab) = Lab::up(Options { hosts: 1, nats, tls: true, ..Options::default() }) else { return };
    let ca = lab.path.join("ca.pem").display().to_string();
    let (cert, key) = certificate(&lab, "sysuser");
    let stranger = lab.write("stranger.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let right = lab.write("right.password", "sys\n");
    let host = &lab.hosts()[0];
    let url = "servers: [\"tls://10.77.0.11:4222\"]";
    let login = format!("{url}, user: sys, password_file: {right}");

    lab.root(
        host,
        "sed -i 's|^tls {|tls {\\n  verify: true|' /etc/nats/nats-server.conf && systemctl restart nats-server",
    );
    let mut logins = Logins::of(&lab);
    logins
        .case("both", &format!("{login}, tls: {{ca: {ca}, cert: {cert}, key: {key}}}"), "ok")
        .case("no-certificate", &format!("{login}, tls: {{ca: {ca}}}"), "ertificate")
        .case("no-ca", &format!("{login}, tls: {{cert: {cert}, key: {key}}}"), "nknownIssuer")
        .case("bad-ca", &format!("{login}, tls: {{ca: {stranger}, cert: {cert}, key: {key}}}"), &stranger);
    logins.check();

    // The certificate says who we are; and the handshake comes before the server's INFO.
    lab.root(
        host,
        "sed -i -e 's|^no_auth_user.*||' -e 's|  verify: true|  verify_and_map: true\\n  handshake_first: true|' \
         -e 's|SYS { users: \\[|SYS { users: [ { user: \"CN=sysuser\" },|' /etc/nats/nats-server.conf && systemctl restart nats-server",
    );
    let mut logins = Logins::of(&lab);
    let context = |first: bool| {
        format!(r#"{{"url":"tls://10.77.0.11:4222","ca":"{ca}","cert":"{cert}","key":"{key}","tls_first":{first}}}"#)
    };
    std::fs::remove_dir_all(lab.work.path().join("logins")).expect("removed");
    std::fs::create_dir(lab.work.path().join("logins")).expect("a directory");
    logins.context("tls-first", &context(true), "ok").context(
        "info-first",
        &context(false),
        "nats tls://10.77.0.11:4222",
    );
    logins.check();
}

#[test]
fn tls_2_10() {
    tls("2.10.26");
}

#[test]
fn tls_2_15() {
    tls("2.15.1");
}

/// A client certificate of the lab's CA, and its key.
fn certificate(lab: &Lab, name: &str) -> (String, String) {
    let (cert, key) = (lab.file(&format!("{name}.pem")), lab.file(&format!("{name}.key")));
    let run = lab.path.display();
    let script = format!(
        "openssl ecparam -genkey -name prime256v1 -noout | openssl pkcs8 -topk8 -nocrypt -out {key} && \
         openssl req -new -key {key} -subj /CN={name} | openssl x509 -req -CA {run}/ca.pem -CAkey {run}/ca.key \
         -CAcreateserial -days 30 -out {cert} -extfile <(echo extendedKeyUsage=clientAuth)"
    );
    let output = std::process::Command::new("bash").args(["-c", &script]).output().expect("bash");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (cert, key)
}
