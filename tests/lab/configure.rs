//! A configuration from a template on real hosts: shown without its secrets, taken by reload or restart as each change needs,
//! refused where it does not do, and put back where only the server itself says so.

use serde_json::Value;

use crate::{
    harness::{Lab, Options},
    jetstream::with_system_account,
    process::Ended,
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
    rehearsed(&pushed);
    what_does_not_come_back(&pushed);
    nothing_lies_about(&lab);
}

/// What needs a restart on one version and not on another, and what each needs one for; the server itself agrees.
fn pushed_to(nats: &'static str, raises_by_reload: bool) {
    let Some(lab) = Lab::up(Options { nats, ..Options::default() }) else { return };
    lab.all_settled();
    let pushed = Pushed::new(&lab);
    let ids = lab.server_ids();
    // /varz of 2.12.8 goes on with what was.
    let store = |host: &String| lab.monitored(host, "/jsz").and_then(|jsz| jsz["config"]["max_storage"].as_u64());
    let stores = || lab.hosts().iter().map(store).collect::<Vec<_>>();
    let ended = pushed.configure(&[]);
    ended.exits(0).journal_is_whole();
    assert_eq!((ended.rolled().len(), lab.server_ids()), (3, ids.clone()), "{ended}");
    assert_eq!(pushed.payloads(), [1 << 20; 3], "{ended}");
    // More room for JetStream.
    pushed.edit("max_file_store: 200MB", "max_file_store: 210MB");
    let before = pushed.on_disk();
    if raises_by_reload {
        shows(&pushed.plan(&[]), &["h1, h2, h3: reload: a reload takes jetstream.max_file_store"]);
        pushed.configure(&[]).exits(0);
        assert_eq!(lab.server_ids(), ids);
    } else {
        shows(&pushed.plan(&[]), &["h1, h2, h3: restart: no reload takes jetstream.max_file_store"]);
        let ended = pushed.configure(&["--set", "how=reload"]);
        let why = ended.exits(4).halt("files-refused")["why"].clone();
        assert!(why.as_str().is_some_and(|why| why.contains("jetstream max memory and store")), "{ended}");
        assert_eq!((pushed.on_disk(), lab.server_ids()), (before, ids.clone()), "{ended}");
        let witness = Witness::of(&lab);
        let ended = pushed.configure(&["--close-unfinished"]);
        ended.exits(0).journal_is_whole();
        witness.report().nobody_was_harmed().restarts(&[1, 1, 1]);
    }
    assert_eq!(stores(), [Some(210 << 20); 3]);
    included(&pushed);
    nothing_lies_about(&lab);
}

/// A setting in a file that the configuration includes is shown and counts as one in the configuration; a host where only that file
/// changes gets no other.
fn included(pushed: &Pushed<'_>) {
    let (lab, more) = (pushed.lab, "/etc/nats/more.conf");
    pushed.edit("lame_duck_duration: {{ duck }}\n", "include './more.conf'\n");
    let from = lab.write("more.conf.j2", "lame_duck_duration: {{ duck }}\n");
    let text = format!(
        "name: two-files\nturn:\n  - drain\n  - stop\n  - configure: {{files: [{{from: {}}}, {{from: {from}, to: {more}}}]}}\n  - start\n  \
         - reload\n  - gate: {{looks: 2}}\n  - settle: {{for: 300ms, interval: 100ms}}\n",
        pushed.template
    );
    let playbook = lab.write("two-files.yaml", &text);
    let run = || lab.rollgate(&["run", &playbook, "-i", &pushed.inventory, "--yes"]);
    let (plan, ids) = (|| lab.plainly(&["plan", &playbook, "-i", &pushed.inventory]), lab.server_ids());
    let first = plan();
    shows(&first, &["+include \"./more.conf\"", more]);
    // Their addresses stand beside it, so that no two hosts' differences are one.
    let by_reload = first.stdout.matches(": reload: no setting changes that is shown").count();
    assert_eq!(by_reload, 3, "{first}");
    run().exits(0).journal_is_whole();
    assert_eq!(lab.server_ids(), ids);
    // What no version takes by a reload.
    pushed.with("hosts: [h1,", "hosts: [{name: h1, vars: {duck: 31s}},");
    shows(&plan(), &["h1: restart: no reload takes lame_duck_duration", more, "+lame_duck_duration: 31s"]);
    let ended = run();
    ended.exits(0).journal_is_whole();
    assert_eq!(ended.of("files-staged")[0]["files"], serde_json::json!([more]), "{ended}");
    assert_eq!(ended.rolled(), ["h1"], "{ended}");
}

#[test]
fn a_configuration_is_pushed_to_2_10() {
    pushed_to("2.10.26", false);
}

#[test]
fn a_configuration_is_pushed_to_2_12() {
    pushed_to("2.12.8", true);
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

/// The very plan, played in a simulation: nothing is touched.
fn rehearsed(pushed: &Pushed<'_>) {
    let (before, ids) = (pushed.on_disk(), pushed.lab.server_ids());
    pushed.with("payload: 1MB", "payload: 3MB");
    let set = format!("template={}", pushed.template);
    let rehearse = |more: &[&str]| pushed.lab.plainly(&pushed.words(&["rehearse", "configure"], &set, more));
    shows(&rehearse(&[]), &["+max_payload: 3MB", "rehearsed, nothing was touched", "it would be finished"]);
    let crash = rehearse(&["--set", "how=restart", "--fault", "crash@h2"]);
    shows(&crash, &["restart", "rehearsed, nothing was touched"]);
    pushed.with("payload: 3MB", "payload: 1MB");
    assert_eq!((pushed.on_disk(), pushed.lab.server_ids()), (before, ids));
}

/// A change that `-t` has nothing against and with which no route lives: that server gets its old file back by itself, and the others
/// never get the new one.
fn what_does_not_come_back(pushed: &Pushed<'_>) {
    let lab = pushed.lab;
    lab.all_settled();
    pushed.configure(&["--close-unfinished"]).exits(0);
    let (before, ids) = (pushed.on_disk(), lab.server_ids());
    let text = format!(
        "name: configure-short\npolicy: {{on_failure: rollback}}\nturn:\n  - drain\n  - stop\n  - configure: {{files: [{{from: {}}}], how: restart}}\n  \
         - start\n  - gate: {{looks: 2, deadline: 20s}}\n  - settle: {{for: 300ms, interval: 100ms}}\n",
        pushed.template
    );
    // Every write is late.
    pushed.edit("max_payload: {{ payload }}\n", "max_payload: {{ payload }}\nwrite_deadline: \"1ns\"\n");
    let ended = lab.rollgate(&["run", &lab.write("configure-short.yaml", &text), "-i", &pushed.inventory, "--yes"]);
    let halt = ended.exits(4).terminal("halted")["halt"].clone();
    let host = halt["host"].as_str().expect("a host");
    assert!(ended.rolled().is_empty(), "{ended}");
    ended.says(&["on_failure: rollback", "runs again with what it had"]);
    assert_eq!(pushed.on_disk(), before, "{ended}");
    lab.all_healthy();
    let hosts = lab.hosts();
    let changed = hosts.iter().zip(ids).filter(|(host, id)| lab.server_id(host) != *id).map(|(host, _)| host.as_str());
    assert_eq!(changed.collect::<Vec<_>>(), [host], "{ended}");
}
