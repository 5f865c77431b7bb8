//! Steps of the operator's own in a turn, on real hosts.

use serde_json::Value;

use crate::{
    harness::{Lab, Options, ROLLGATE, WIDE},
    process::{Ended, Running},
};

/// What an own step of that name left in the journal.
#[track_caller]
fn own<'a>(ended: &'a Ended, step: &str) -> &'a Value {
    ended.of("own-step").into_iter().find(|event| event["step"] == step).unwrap_or_else(|| panic!("no {step}: {ended}"))
}

fn playbook(lab: &Lab, steps: &str) -> String {
    lab.write("own.yaml", &format!("name: own\nturn:\n{steps}  - gate: {{looks: 1}}\n"))
}

/// All in one lab: what goes well, what only warns, and what halts, each on one server that no step touches.
#[test]
fn own_steps() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    let before = lab.server_ids();
    they_know_their_turn(&lab);
    a_failure_halts(&lab);
    what_hangs_is_ended(&lab);
    an_answer_is_waited_for(&lab);
    approvals(&lab);
    nothing_is_done_twice(&lab);
    before_after_and_on_halt(&lab);
    hooks_that_fail_hang_or_flood(&lab);
    files(&lab);
    lab.all_healthy();
    assert_eq!(lab.server_ids(), before);
    all_are_looked_at(&lab);
}

/// What stands outside a turn is bounded as in one: in time, in what is kept of its output, and in what its failure ends.
fn hooks_that_fail_hang_or_flood(lab: &Lab) {
    let roll = |text: &str| {
        lab.rollgate(&["run", &lab.write("hooks.yaml", text), "-i", &lab.inventory(), "--yes", "--host", "h1"])
    };
    let flood = "command: [sh, -c, 'head -c 1000000000 /dev/zero; echo end']";
    let text = format!(
        "name: hooks
before:
  - run: {{name: flood-here, {flood}}}
  - run: {{name: flood-there, on: host, {flood}}}
  - run: {{name: slow-here, command: [sleep, '600'], timeout: 1s, on_failure: warn}}
  - run: {{name: slow-there, on: host, command: [sleep, '600'], timeout: 1s, on_failure: warn}}
turn: [gate: {{looks: 1}}]
after:
  - run: {{name: end, command: [sh, -c, 'echo too late; exit 3']}}
on_halt:
  - run: {{name: stuck, command: [sleep, '600'], timeout: 1s}}
  - run: {{name: noise, {flood}}}
"
    );
    let ended = roll(&text);
    // Its turn ended well; what comes after the last one failed.
    ended.exits(4).journal_is_whole().halt("hook-failed");
    assert_eq!(ended.rolled(), ["h1"], "{ended}");
    ended.says(&["the step `end` after the roll failed: exit status 3", "too late"]);
    let finished = ended.of("hook-finished");
    let of = |name: &str| {
        *finished.iter().find(|event| event["step"] == name).unwrap_or_else(|| panic!("no {name}: {ended}"))
    };
    for name in ["flood-here", "flood-there", "noise"] {
        let output = of(name)["output"].as_str().expect("output");
        assert!(output.len() <= 3 * 4096 && output.ends_with("end"), "{name}: {} bytes", output.len());
    }
    for name in ["slow-here", "slow-there", "stuck"] {
        assert_eq!(of(name)["failed"], "it had not ended after 1 s, and was ended", "{name}: {ended}");
    }
    // Nobody to ask, before anything was touched and after.
    let ask = |key: &str| {
        format!(
            "name: hooks\n{key}: [pause: {{name: sure, approval: 'go on with {{{{ cluster }}}}?'}}]\nturn: [gate: {{looks: 1}}]\n"
        )
    };
    roll(&ask("before")).exits(3).journal_is_whole().says(&["the step `sure` needs an answer", "go on with"]);
    let ended = roll(&ask("after"));
    ended.exits(4).journal_is_whole().halt("nobody-to-ask");
}

/// A file on the host and one here: there whole with its mode and owner, again the same, gone; and what can't be put.
fn files(lab: &Lab) {
    let here = lab.file("flag");
    let roll =
        |steps: &str| lab.rollgate(&["run", &playbook(lab, steps), "-i", &lab.inventory(), "--yes", "--host", "h1"]);
    let look = || lab.root("h1", "stat -c '%a %U:%G' /run/maintenance && cat /run/maintenance");
    lab.root("h1", "echo other >/run/elsewhere; ln -s /run/elsewhere /run/maintenance");
    let put = format!(
        "  - file: {{name: flag, path: /run/maintenance, content: \"{{{{ server }}}} of {{{{ host }}}}: it's $HOME\", mode: '0640', owner: 'nats:nats', become: true}}
  - file: {{name: mine, path: '/tmp/{{{{ host }}}}-mine'}}
  - file: {{name: here, path: '{here}', content: '{{{{ host }}}}', on: controller, mode: '600'}}
"
    );
    for _ in 0..2 {
        roll(&put).exits(0).journal_is_whole();
        assert_eq!(look(), "640 nats:nats\nh1 of h1: it's $HOME");
        assert_eq!(lab.root("h1", "stat -c '%a %U %s' /tmp/h1-mine; cat /run/elsewhere"), "644 deploy 0\nother\n");
        assert_eq!(std::fs::read_to_string(&here).expect("a file made here"), "h1");
    }
    let gone = format!(
        "  - file: {{name: flag, path: /run/maintenance, state: absent, become: true}}
  - file: {{name: here, path: '{here}', state: absent, on: controller}}
"
    );
    for _ in 0..2 {
        roll(&gone).exits(0);
        assert_eq!(lab.root("h1", "ls -d /run/.*rollgate* /run/maintenance 2>/dev/null || true"), "");
        assert!(!std::path::Path::new(&here).exists());
    }
    let ended = roll("  - file: {path: /nowhere/flag, content: x, become: true}\n");
    ended.exits(4).journal_is_whole().halt("own-step-failed");
    ended.says(&["the step `file` of h1 failed", "/nowhere"]);
    let ended = roll("  - file: {path: /run, state: absent, become: true, on_failure: warn}\n");
    ended.exits(0);
    assert_eq!(own(&ended, "file")["output"], "/run is a directory", "{ended}");
}

/// A server that does not pass does not hold up the others, and what it leaves is in nobody's way.
fn all_are_looked_at(lab: &Lab) {
    let first = lab.plan(&lab.inventory()).remove(0);
    lab.root(&first, "systemctl stop nats-server");
    let file = lab.write("look.yaml", "name: look\nturn: [{gate: {looks: 1, deadline: 4s}}]\n");
    let ended = lab.rollgate(&["run", &file, "-i", &lab.inventory(), "--yes"]);
    ended.exits(4).journal_is_whole().halt("not-passed");
    // The others miss their route to it.
    let failed = ended.of("turn-failed");
    assert_eq!(failed.len(), 3, "{ended}");
    assert_eq!(
        (&failed[0]["halt"]["host"], &failed[0]["halt"]["cause"]),
        (&first.as_str().into(), &"process-gone".into())
    );
    ended.says(&["3 of 3 servers did not pass", &format!("rollgate resume -i {}", lab.inventory())]);
    lab.root(&first, "systemctl start nats-server");
    lab.all_healthy();
    lab.plainly(&["run", "verify", "-i", &lab.inventory(), "--yes"]).exits(0);
}

fn they_know_their_turn(lab: &Lab) {
    let here = lab.file("here");
    let steps = format!(
        r#"  - run: {{name: who, command: [sh, -c, 'id -un; echo "$ROLLGATE_SERVER of $ROLLGATE_CLUSTER, $X"'], environment: {{X: "{{{{ version }}}} on {{{{ host }}}}"}}}}
  - run: {{name: root, command: [id, "-un"], become: true}}
  - run: {{name: flood, command: [sh, -c, "head -c 1000000000 /dev/zero; echo end"]}}
  - run: {{name: here, command: [sh, -c, 'echo "$ROLLGATE_HOST $0" >{here}', "{{{{ cluster }}}}"], on: controller}}
  - run: {{name: soft, command: [sh, -c, "echo why; exit 9"], on_failure: warn}}
  - http: {{name: outside, url: "{{{{ monitoring }}}}/varz", contains: '"server_name": "{{{{ server }}}}"'}}
  - http: {{name: inside, url: "{{{{ monitoring }}}}/varz", on: host}}
  - pause: {{for: 100ms}}
"#
    );
    let ended = lab.rollgate(&["run", &playbook(lab, &steps), "-i", &lab.inventory(), "--yes", "--host", "h2"]);
    ended.exits(0).journal_is_whole();
    let cluster = ended.of("run-started")[0]["plan"]["cluster"].as_str().expect("a cluster").to_owned();
    assert_eq!(own(&ended, "who")["output"], format!("deploy\nh2 of {cluster}, 2.15.1 on h2"), "{ended}");
    assert_eq!(own(&ended, "root")["output"], "root", "{ended}");
    let flood = own(&ended, "flood")["output"].as_str().expect("output");
    assert!(flood.len() <= 3 * 4096 && flood.ends_with("end"), "{} bytes", flood.len());
    assert_eq!(std::fs::read_to_string(&here).expect("a file made here"), format!("h2 {cluster}\n"));
    let soft = own(&ended, "soft");
    assert_eq!((&soft["failed"], &soft["output"]), (&"exit status 9".into(), &"why".into()), "{ended}");
    ended.says(&["`soft` failed: exit status 9"]);
    for step in ["outside", "inside"] {
        assert!(own(&ended, step)["failed"].is_null(), "{ended}");
    }
}

fn a_failure_halts(lab: &Lab) {
    let steps = "  - run: {name: ready, command: [sh, -c, 'echo not today >&2; exit 7']}\n";
    let ended = lab.rollgate(&["run", &playbook(lab, steps), "-i", &lab.inventory(), "--yes"]);
    ended.exits(4).journal_is_whole().halt("own-step-failed");
    assert_eq!(ended.of("turn-started").len(), 1, "{ended}");
    ended.says(&["the step `ready` of", "exit status 7", "not today"]);
    let steps = "  - run: {name: ready, command: [/nowhere/hook], on: controller}\n";
    let ended = lab.rollgate(&["run", &playbook(lab, steps), "-i", &lab.inventory(), "--yes"]);
    ended.exits(4).journal_is_whole().says(&["/nowhere/hook"]);
}

fn what_hangs_is_ended(lab: &Lab) {
    for place in ["host", "controller"] {
        let steps = format!("  - run: {{name: slow, command: [sleep, '600'], timeout: 1s, on: {place}}}\n");
        let ended = lab.rollgate(&["run", &playbook(lab, &steps), "-i", &lab.inventory(), "--yes"]);
        ended.exits(4).journal_is_whole().says(&["it had not ended after 1 s"]);
    }
}

fn an_answer_is_waited_for(lab: &Lab) {
    let steps = "  - http: {url: 'http://127.0.0.1:9/', on: host, within: 1500ms}\n";
    let ended = lab.rollgate(&["run", &playbook(lab, steps), "-i", &lab.inventory(), "--yes"]);
    // It changes nothing: every server is asked.
    ended.exits(4).journal_is_whole().halt("not-passed");
    assert_eq!(ended.of("turn-failed").len(), 3, "{ended}");
    ended.says(&["http://127.0.0.1:9/ on the host"]);
}

fn approvals(lab: &Lab) {
    let file = playbook(lab, "  - pause: {name: sure, approval: 'restart {{ server }}?'}\n");
    let args = ["run", &file, "-i", &lab.inventory(), "--yes", "--host", "h1"];
    let ended = lab.rollgate(&args);
    ended.exits(4).journal_is_whole().halt("nobody-to-ask");
    ended.says(&["restart h1?"]);
    for (answer, code, end) in [("y", 0, "finished"), ("n", 130, "interrupted")] {
        let line = format!("{ROLLGATE} {} --close-unfinished", args.join(" "));
        let mut command =
            lab.exec("sh", &["-c", r#"printf '%s\n' "$1" | script -qefc "$2" /dev/null"#, "sh", answer, &line]);
        command.env("XDG_STATE_HOME", lab.work.path().join("state")).env("TERM", "xterm");
        let ended = Running::start(command, &lab.state()).wait(WIDE);
        ended.exits(code).journal_is_whole().terminal(end);
        assert!(ended.stdout.contains("restart h1?"), "{ended}");
    }
}

/// What took effect is not done again by whoever goes on, what failed is; a controller that dies right after it recorded the
/// begin of a command, or right before it records the end, changes nothing of that.
fn nothing_is_done_twice(lab: &Lab) {
    let (here, ready) = (lab.file("count"), lab.file("ready"));
    let steps = format!(
        r#"  - run: {{name: there, command: [sh, -c, "echo x >>/tmp/count"]}}
  - run: {{name: here, command: [sh, -c, "echo x >>{here}"], on: controller}}
  - run: {{name: ready, command: [test, -e, {ready}], on: controller}}
"#
    );
    let (file, inventory) = (playbook(lab, &steps), lab.inventory());
    let counts =
        || (lab.root("h1", "cat /tmp/count 2>/dev/null || true"), std::fs::read_to_string(&here).unwrap_or_default());
    let once = ("x\n".to_owned(), "x\n".to_owned());
    let run = ["run", &file, "-i", &inventory, "--yes", "--host", "h1"];
    lab.rollgate(&run).exits(4).halt("own-step-failed");
    assert_eq!(counts(), once);
    lab.plainly(&["resume", "-i", &inventory, "--yes"]).exits(4).halt("own-step-failed");
    std::fs::write(&ready, "").expect("a file");
    lab.plainly(&["resume", "-i", &inventory, "--yes"]).exits(0).terminal("finished");
    assert_eq!(counts(), once);

    // 2 and 5 are the begins of the two commands, 3 and 6 what became of them.
    for (instant, in_doubt) in [("after-2", false), ("before-3", false), ("after-5", true), ("before-6", true)] {
        lab.root("h1", "rm -f /tmp/count");
        std::fs::remove_file(&here).expect("a file");
        let mut command = lab.rollgate_command(&run);
        command.arg("--close-unfinished").env("ROLLGATE_TEST_DIE_AT", instant);
        let died = Running::start(command, &lab.state()).wait(WIDE);
        assert!(died.status.code().is_none(), "{instant}: it did not die: {died}");
        let ended = lab.plainly(&["resume", "-i", &inventory, "--yes"]);
        if in_doubt {
            // Nobody but the controller itself could have known.
            ended.exits(4).halt("own-step-failed");
            ended.says(&["whether it took effect is not known"]);
            let there = counts();
            assert_eq!(
                (&there.0, there.1.len() / 2),
                (&once.0, usize::from(instant == "before-6")),
                "{instant}: {ended}"
            );
            lab.plainly(&["resume", "-i", &inventory, "--yes"]).exits(0);
        } else {
            ended.exits(0).terminal("finished");
            assert_eq!(counts(), once, "{instant}: {ended}");
        }
    }
}

/// Before the first turn on each host, after the last, and on halt; what is over is not done again by whoever goes on.
fn before_after_and_on_halt(lab: &Lab) {
    let (told, ready) = (lab.file("told"), lab.file("green"));
    let text = format!(
        r#"name: hooks
before:
  - run: {{name: stage, on: host, command: [sh, -c, 'echo "$ROLLGATE_HOST" >>/tmp/staged']}}
  - run: {{name: begin, command: [sh, -c, 'echo "begin $ROLLGATE_CLUSTER" >>{told}']}}
turn:
  - run: {{name: green, command: [test, -e, {ready}], on: controller}}
  - gate: {{looks: 1}}
after:
  - run: {{name: end, command: [sh, -c, 'echo end >>{told}']}}
on_halt:
  - run: {{name: page, command: [sh, -c, 'echo "halt $1: $2" >>{told}; echo no answer; exit 3', page, "{{{{ host }}}}", "{{{{ cause }}}}"]}}
"#
    );
    let (file, inventory) = (lab.write("hooks.yaml", &text), lab.inventory());
    let run = ["run", &file, "-i", &inventory, "--yes", "--host", "h1", "--host", "h2"];
    let lines = || std::fs::read_to_string(&told).unwrap_or_default();
    let ended = lab.rollgate(&run);
    ended.exits(4).journal_is_whole().halt("own-step-failed");
    let halted = &ended.of("turn-started")[0]["host"].as_str().expect("a host").to_owned();
    let page = format!("halt {halted}: the step `green` of {halted} failed: exit status 1");
    let cluster = ended.of("run-started")[0]["plan"]["cluster"].as_str().expect("a cluster");
    assert_eq!(lines(), format!("begin {cluster}\n{page}\n"), "{ended}");
    ended.says(&["`page` on halt failed: exit status 3"]);
    let staged = |host| lab.root(host, "cat /tmp/staged 2>/dev/null || true");
    assert_eq!((staged("h1"), staged("h2"), staged("h3")), ("h1\n".into(), "h2\n".into(), String::new()), "{ended}");

    std::fs::write(&ready, "").expect("a file");
    lab.plainly(&["resume", "-i", &inventory, "--yes"]).exits(0).terminal("finished");
    assert_eq!(lines(), format!("begin {cluster}\n{page}\nend\n"));
    assert_eq!((staged("h1"), staged("h2")), ("h1\n".into(), "h2\n".into()));

    // What fails before anything else was done stops the roll there.
    let text = text.replace("echo \"$ROLLGATE_HOST\" >>/tmp/staged", "echo no room >&2; exit 5");
    let ended = lab.rollgate(&["run", &lab.write("hooks.yaml", &text), "-i", &inventory, "--yes"]);
    ended.exits(4).journal_is_whole().halt("hook-failed");
    ended.says(&["the step `stage` before the roll failed on", "exit status 5", "no room"]);
    assert!(ended.of("turn-started").is_empty(), "{ended}");
}
