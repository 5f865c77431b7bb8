//! A configuration from a template on real hosts: shown without its secrets, taken by reload or restart as each change needs,
//! refused where it does not do, and put back where only the server itself says so.

use serde_json::Value;

use crate::{
    harness::{Lab, Options, WIDE, until},
    jetstream::with_system_account,
    process::{Ended, Running},
    watched::Witness,
};

pub const CONF: &str = "/etc/nats/nats-server.conf";

/// The lab's configuration as a template, with the variables that it names in the inventory.
pub struct Pushed<'a> {
    lab: &'a Lab,
    pub inventory: String,
    pub template: String,
}

impl<'a> Pushed<'a> {
    pub fn new(lab: &'a Lab) -> Self {
        let password = lab.write("app.password", "app");
        let vars = format!("defaults:\n  vars: {{payload: 1MB, duck: 30s, app_password: {{file: {password}}}}}\n");
        let inventory = std::fs::read_to_string(with_system_account(lab)).expect("the inventory");
        let inventory = lab.write("configure.yaml", &inventory.replacen("defaults:\n", &vars, 1));
        let of = |host: &str| format!("{{% if host == '{host}' %}}{}{{% endif %}}", Lab::address(host));
        let address: String = lab.hosts().iter().map(|host| of(host)).collect();
        let text = lab.root("h1", &format!("cat {CONF}"));
        let text = text
            .replace("server_name: h1", "server_name: {{ server }}")
            .replace(&format!("http: {}", Lab::address("h1")), &format!("http: {address}"))
            .replace("lame_duck_duration: 30s", "lame_duck_duration: {{ duck }}")
            .replace("user: app, password: app", "user: app, password: {{ app_password }}")
            + "\nmax_payload: {{ payload }}\n";
        Self { lab, inventory, template: lab.write("nats.conf.j2", &text) }
    }

    fn words<'b>(&'b self, verb: &[&'b str], set: &'b str, more: &[&'b str]) -> Vec<&'b str> {
        [verb, &["-i", &self.inventory, "--set", set], more].concat()
    }

    fn configure(&self, more: &[&str]) -> Ended {
        let set = format!("template={}", self.template);
        self.lab.rollgate(&self.words(&["configure"], &set, &[&["--yes"], more].concat()))
    }

    fn plan(&self, more: &[&str]) -> Ended {
        let set = format!("template={}", self.template);
        self.lab.plainly(&self.words(&["plan", "configure"], &set, more))
    }

    /// Another value of a variable.
    pub fn with(&self, now: &str, then: &str) {
        let text = std::fs::read_to_string(&self.inventory).expect("the inventory");
        assert!(text.contains(now), "{text}");
        std::fs::write(&self.inventory, text.replacen(now, then, 1)).expect("written");
    }

    fn edit(&self, now: &str, then: &str) {
        let text = std::fs::read_to_string(&self.template).expect("the template");
        assert!(text.contains(now), "{text}");
        std::fs::write(&self.template, text.replace(now, then)).expect("written");
    }

    fn on_disk(&self) -> Vec<String> {
        self.lab
            .hosts()
            .iter()
            .map(|host| self.lab.root(host, &format!("sha256sum <{CONF}; stat -c %U:%a {CONF}")))
            .collect()
    }

    fn payloads(&self) -> Vec<u64> {
        self.lab.hosts().iter().map(|host| self.lab.varz(host)["max_payload"].as_u64().unwrap_or_default()).collect()
    }
}

/// Its answer has each of these texts.
#[track_caller]
fn shows(ended: &Ended, texts: &[&str]) {
    ended.exits(0);
    texts.iter().for_each(|text| assert!(ended.stdout.contains(text), "not shown: {text:?}\n{ended}"));
}

#[track_caller]
fn nothing_lies_about(lab: &Lab) {
    for host in lab.hosts() {
        let script =
            "ls -A /etc/nats | grep rollgate; find /var/lib/rollgate/stage -type f ! -name 'kept-*' 2>/dev/null; true";
        assert_eq!(lab.root(&host, script), "", "{host}");
    }
}

#[test]
fn a_configuration_is_pushed_as_each_change_needs() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    lab.all_settled();
    let pushed = Pushed::new(&lab);
    let ids = lab.server_ids();
    by_reload(&pushed);
    assert_eq!(lab.server_ids(), ids, "nobody was restarted");
    refused_by_the_proof(&pushed);
    assert_eq!(lab.server_ids(), ids);
    put_back(&pushed);
    assert_eq!(lab.server_ids(), ids);
    by_restart(&pushed);
    killed(&pushed);
    nothing_lies_about(&lab);
}

/// What every server can take by a reload: nobody is disconnected. The second time there is nothing to do.
fn by_reload(pushed: &Pushed<'_>) {
    let lab = pushed.lab;
    let plan = pushed.plan(&[]);
    shows(&plan, &["h1, h2, h3: reload: a reload takes max_payload", CONF, "+max_payload: 1MB"]);
    assert!(!plan.to_string().contains("password: app"), "{plan}");
    let answer: Value = serde_json::from_str(&pushed.plan(&["-o", "json"]).stdout).expect("one document");
    let changes = &answer["plans"][0]["changes"];
    assert_eq!((changes.as_array().map(Vec::len), changes[0]["hosts"].as_array().map(Vec::len)), (Some(1), Some(3)));
    let before = pushed.on_disk();
    let witness = Witness::of(lab);
    let ended = pushed.configure(&[]);
    ended.exits(0).journal_is_whole();
    assert_eq!((ended.rolled().len(), ended.of("files-staged").len()), (3, 3), "{ended}");
    witness.report().nobody_was_harmed().restarts(&[0, 0, 0]);
    // Owner and mode are those that they were.
    let modes = |all: &[String]| all.iter().map(|one| one.lines().nth(1).map(str::to_owned)).collect::<Vec<_>>();
    assert_eq!(modes(&pushed.on_disk()), modes(&before));
    let again = pushed.configure(&[]);
    again.exits(0).says(&["nothing to do"]);
    assert!(again.rolled().is_empty(), "{again}");
    // A secret that changes is told, and neither of the two is shown; one host that differs stands by itself.
    let file = lab.write("app.password", "swordfish-7");
    pushed.with("hosts: [h1,", "hosts: [{name: h1, vars: {payload: 2MB}},");
    let plan = pushed.plan(&[]);
    shows(
        &plan,
        &["(changed, redacted)", "h1: reload", "h2, h3: reload: a reload takes accounts", "+max_payload: 2MB"],
    );
    assert!(!plan.to_string().contains("swordfish"), "{plan}");
    std::fs::write(file, "app").expect("written");
    let ended = pushed.configure(&[]);
    ended.exits(0);
    assert_eq!(ended.rolled(), ["h1"], "{ended}");
    assert_eq!(pushed.payloads(), [2 << 20, 1 << 20, 1 << 20]);
}

/// Mistakes of the template, and what no server would start with.
fn refused_by_the_proof(pushed: &Pushed<'_>) {
    let before = pushed.on_disk();
    pushed.edit("{{ payload }}", "{{ paylaod }}");
    pushed.configure(&[]).exits(2).says(&["nats.conf.j2:", "there is no variable `paylaod`", "payload"]);
    pushed.edit("{{ paylaod }}", "{{ payload }}\nmax_paylaod: 1");
    let ended = pushed.configure(&[]);
    let halt = ended.exits(3).terminal("refused")["halt"].clone();
    assert_eq!(halt["cause"], "not-proven", "{ended}");
    assert_eq!(halt["hosts"].as_array().map(Vec::len), Some(3), "{ended}");
    ended.says(&["max_paylaod", CONF]);
    pushed.edit("\nmax_paylaod: 1", "");
    assert_eq!(pushed.on_disk(), before);
    nothing_lies_about(pushed.lab);
}

/// A change that `-t` has nothing against and no reload can make: by a reload all the same, the server says so, and the files are
/// put back.
fn put_back(pushed: &Pushed<'_>) {
    let before = pushed.on_disk();
    pushed.with("duck: 30s", "duck: 40s");
    shows(&pushed.plan(&[]), &["restart: no reload takes lame_duck_duration"]);
    for through in ["system account", "service"] {
        if through == "service" {
            let text = std::fs::read_to_string(&pushed.inventory).expect("the inventory");
            let without: Vec<&str> = text.lines().filter(|line| !line.contains("password_file")).collect();
            std::fs::write(&pushed.inventory, without.join("\n") + "\n").expect("written");
        }
        let ended = pushed.configure(&["--set", "how=reload", "--close-unfinished"]);
        let halt = ended.exits(4).journal_is_whole().halt("files-refused").clone();
        assert!(halt["why"].as_str().is_some_and(|why| why.contains("LameDuckDuration")), "{through}: {ended}");
        assert_eq!((ended.of("files-back").len(), pushed.on_disk()), (1, before.clone()), "{through}: {ended}");
        ended.says(&["has its old ones back", "how=restart"]);
    }
    let back = pushed.lab.plainly(&["rollback", "-i", &pushed.inventory, "--yes", &last(pushed)]);
    back.exits(2);
}

fn last(pushed: &Pushed<'_>) -> String {
    let state = pushed.lab.state().join("runs");
    let mut runs: Vec<_> = std::fs::read_dir(state).expect("runs").flatten().collect();
    runs.sort_by_key(std::fs::DirEntry::file_name);
    runs.last().expect("a run").file_name().to_string_lossy().into_owned()
}

/// The same by a restart, and put back by one.
fn by_restart(pushed: &Pushed<'_>) {
    let (lab, before) = (pushed.lab, pushed.on_disk());
    let ended = pushed.configure(&["--close-unfinished"]);
    ended.exits(0).journal_is_whole();
    assert_eq!(ended.rolled().len(), 3, "{ended}");
    assert!(ended.of("step-started").iter().all(|event| event["step"] != "reload"), "{ended}");
    assert_ne!(pushed.on_disk(), before);
    let back = lab.plainly(&["rollback", "-i", &pushed.inventory, ended.run(), "--all", "--yes"]);
    back.exits(0);
    assert_eq!(pushed.on_disk(), before, "{back}");
    lab.all_healthy();
}

/// The controller dies on the way, and another goes on.
fn killed(pushed: &Pushed<'_>) {
    let lab = pushed.lab;
    let (template, mut payload) = (format!("template={}", pushed.template), 2);
    pushed.with("duck: 40s", "duck: 30s");
    let few: Vec<String> =
        ["after-files-staged", "before-configure", "after-configure", "after-reload"].map(str::to_owned).into();
    let all = || (0..30).flat_map(|seq| [format!("before-{seq}"), format!("after-{seq}")]).collect();
    let instants = if std::env::var("ROLLGATE_CRASH").is_ok_and(|value| value == "all") { all() } else { few };
    for instant in instants {
        pushed.with(&format!("payload: {payload}MB"), &format!("payload: {}MB", payload + 1));
        payload += 1;
        let args = pushed.words(&["configure"], &template, &["--yes", "--host", "h1"]);
        let mut command = lab.rollgate_command(&args);
        command.env("ROLLGATE_TEST_DIE_AT", &instant);
        let died = Running::start(command, &lab.state()).wait(WIDE);
        match died.events.last().map(|event| event["event"].as_str().expect("a kind")) {
            Some("finished") => {}
            None => drop(lab.plainly(&args).exits(0)),
            Some(_) => {
                assert!(died.status.code().is_none(), "{instant}: it did not die:\n{died}");
                lab.plainly(&["resume", "-i", &pushed.inventory, "--yes"]).exits(0);
            }
        }
        until("the new payload", || pushed.payloads()[0] == payload << 20);
    }
}
