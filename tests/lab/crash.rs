//! A controller that dies, at any instant: what another finds, settles, and goes on with.

use std::{fs, path::PathBuf};

use crate::{
    harness::{Lab, Options, WIDE, say},
    jetstream::with_system_account,
    process::{Ended, Running, parse},
    relay::DRAIN,
    watched::Witness,
};

/// The latest run in the state directory, and its journal.
fn latest(lab: &Lab) -> (String, PathBuf) {
    let runs = fs::read_dir(lab.state().join("runs")).expect("runs").flatten().map(|entry| entry.path());
    let path = runs.max().expect("a run");
    (path.file_name().and_then(|name| name.to_str()).expect("an id").to_owned(), path.join("journal.ndjson"))
}

fn starts(lab: &Lab) -> Vec<usize> {
    lab.hosts().iter().map(|host| lab.stops_and_starts(host).1).collect()
}

/// Runs rollgate, which dies at that instant, if it gets there.
pub fn dies(lab: &Lab, args: &[&str], instant: &str) -> Ended {
    let mut command = lab.rollgate_command(args);
    command.env("ROLLGATE_TEST_DIE_AT", instant);
    Running::start(command, &lab.state()).wait(WIDE)
}

/// Right before each event is on disk, and right after: between an announcement and its effect, and between an effect and
/// its record; and again while it is settled. Whoever goes on ends where an undisturbed roll would have ended, and each
/// server was restarted once, as the hosts and an observer tell it.
///
/// The turns of a roll are alike, so one turn on each of the hosts by turns has all kinds of instants. After an event that
/// announces nothing the world is as before the next one. `ROLLGATE_CRASH=all` tries every instant of whole rolls all the same,
/// which takes half an hour; `ROLLGATE_CRASH=2/5` the second fifth of that.
#[test]
fn killed_at_every_instant() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    let (inventory, playbook) = (with_system_account(&lab), lab.write("drain.yaml", DRAIN));
    let part = std::env::var("ROLLGATE_CRASH").ok().map(|text| part_of(&text));
    let whole = part.is_some();
    let (part, parts) = part.unwrap_or((0, 1));
    let hosts = lab.hosts();
    let witness = Witness::with(&lab, &["--clients-per-server", "2", "--rate", "50"]);
    let mut expected = [0; 3];
    let announced = ["drain", "stop", "start", "gate", "settle", "finished"].map(|name| format!("after-{name}"));
    let after = |seq: usize| whole.then(|| format!("after-{seq}"));
    let every = (0..).flat_map(|seq| [Some(format!("before-{seq}")), after(seq)]).flatten();
    let instants = announced.into_iter().chain(every);
    let instants = instants.zip(hosts.iter().cycle()).enumerate().skip(part).step_by(parts);
    for (place, (instant, host)) in instants {
        let mut roll = vec!["run", &playbook, "-i", &inventory, "--yes"];
        let turns = if whole { &hosts[..] } else { std::slice::from_ref(host) };
        turns.iter().filter(|_| !whole).for_each(|host| roll.extend(["--host", host]));
        let died = dies(&lab, &roll, &instant);
        if !died.events.is_empty() {
            hosts.iter().zip(&mut expected).filter(|(host, _)| turns.contains(host)).for_each(|(_, count)| *count += 1);
        }
        if died.status.success() {
            // There is no such event any more.
            assert!(place > 18, "{instant}: {died}");
            break;
        }
        if whole {
            say(&instant);
        }
        assert!(died.status.code().is_none(), "{instant}: it did not die:\n{died}");
        let ended = died.events.last().map(|event| event["event"].as_str().expect("a kind"));
        let resume = ["resume", "-i", &inventory, "--yes"];
        match ended {
            None => assert_eq!(instant, "before-0", "{died}"),
            Some("finished") => drop(lab.plainly(&resume).exits(2)),
            Some(_) => {
                let again = ["never", "after-resumed", "after-settled", "after-start"][place % 4];
                let mut resumed = vec![dies(&lab, &resume, again)];
                if resumed[0].status.code().is_none() {
                    resumed.push(lab.plainly(&resume));
                }
                let told = || resumed.iter().map(ToString::to_string).collect::<String>();
                let last = resumed.last().expect("one");
                assert_eq!(last.status.code(), Some(0), "{instant}, {again}:\n{died}\n{}", told());
                let all = died.events.iter().chain(resumed.iter().flat_map(|ended| &ended.events));
                let rolled = all.filter(|event| event["event"] == "turn-finished").count();
                assert_eq!(rolled, turns.len(), "{instant}, {again}:\n{died}\n{}", told());
                let counts: Vec<usize> = hosts.iter().map(|host| lab.stops_and_starts(host).0).collect();
                assert_eq!(counts, expected, "{instant}, {again}:\n{died}\n{}", told());
            }
        }
        lab.all_healthy();
    }
    let restarts = expected.map(|count| count as u64);
    witness.report().nobody_was_harmed().restarts(&restarts);
    hosts.iter().for_each(|host| assert_eq!(lab.traces(host), ""));
}

/// `all`, or `2/5` for the second fifth: where to begin, and by how many to go on.
pub fn part_of(text: &str) -> (usize, usize) {
    let number = |text: &str| text.parse::<usize>().ok().filter(|number| *number > 0);
    let part = text.split_once('/').and_then(|(part, parts)| Some((number(part)? - 1, number(parts)?)));
    part.or((text == "all").then_some((0, 1))).expect("ROLLGATE_CRASH is `all`, or a part of it: `2/5`")
}

/// What a run that was left means for the next one, and what can be done about it.
#[test]
fn a_run_that_was_left() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    let (quick, inventory) = (lab.file("quick.yaml"), lab.inventory());
    let roll = ["run", &quick, "-i", &inventory, "--yes"];
    let before = starts(&lab);
    dies(&lab, &roll, "after-1");
    let (id, journal) = latest(&lab);

    // It is in the way of another, and says what to do.
    let ended = lab.plainly(&roll);
    ended.exits(3).began_nothing();
    ended.says(&[&id, &format!("rollgate resume -i {inventory} {id}"), &format!("rollgate abort -i {inventory} {id}")]);
    let history = lab.plainly(&["history"]);
    assert!(history.exits(0).stdout.contains(&id) && history.stdout.contains("open (rollgate resume)"), "{history}");
    let show = lab.plainly(&["show", &id]);
    assert!(show.exits(0).stdout.contains("turn 1 of 3"), "{show}");
    let status = lab.plainly(&["status", "-i", &inventory]);
    let next = format!("go on with it: rollgate resume -i {inventory} {id}");
    assert!(status.exits(0).stdout.contains(&next) && status.stdout.contains(", last heard of "), "{status}");
    let status = parse_json(&lab.plainly(&["status", "-i", &inventory, "-o", "json"]).stdout);
    let told = &status["clusters"][0];
    assert_eq!(
        (&told["runs"][0]["run"], &told["lock"]["unknown"]),
        (&id.as_str().into(), &serde_json::json!([])),
        "{told}"
    );

    // An inventory that was edited is another plan.
    let edited = lab.inventory_with(|text| format!("{text}# edited\n"));
    let ended = lab.plainly(&["resume", "-i", &edited, "--yes"]);
    ended.exits(3).says(&["does not hold any more", "was edited since", "--replan"]);

    // A journal that was tampered with, or hit by a bad disk, is not believed.
    let text = fs::read_to_string(&journal).expect("the journal");
    let torn = text.replacen("run-started", "run-storted", 1);
    fs::write(&journal, torn).expect("the journal");
    for line in [&["resume", "-i", &inventory, &id, "--yes"][..], &["show", &id], &roll] {
        lab.plainly(line).exits(3).says(&[&format!("{}:1: ", journal.display()), "damaged"]);
    }
    assert_eq!(starts(&lab), before);
    lab.plainly(&["abort", "-i", &inventory, &id]).exits(0);
    assert_eq!(starts(&lab), before);

    // One that an older rollgate left can be read and closed, and not gone on with.
    dies(&lab, &roll, "after-0");
    let (old, journal) = latest(&lab);
    let text = fs::read_to_string(&journal).expect("the journal");
    let first = text.lines().next().expect("a line");
    let mut event = parse(first);
    event["v"] = 1.into();
    fs::write(&journal, format!("{event}\n")).expect("the journal");
    lab.plainly(&["show", &old]).exits(0);
    lab.plainly(&["resume", "-i", &inventory, "--yes"]).exits(3).says(&["older rollgate", "rollgate abort"]);
    lab.plainly(&roll).exits(3).says(&[&old]);
    let status = lab.plainly(&["status", "-i", &inventory]);
    assert!(status.stdout.contains(&format!("run {old} (")), "{status}");
    lab.plainly(&["abort", "-i", &inventory, &old]).exits(0);
    let status = lab.plainly(&["status", "-i", &inventory]);
    assert!(status.exits(0).stdout.ends_with("lock on the hosts: nobody has it\n"), "{status}");

    // Closed is closed; nothing of it is left on the hosts, and another may begin.
    lab.plainly(&["resume", "-i", &inventory, &old, "--yes"]).exits(2).says(&["aborted"]);
    for host in lab.hosts() {
        assert_eq!(lab.traces(&host), "", "{host}");
    }

    // Nothing in the directory that can't be read makes anything of rollgate fail but what needs that very run.
    let foreign = |id: &str, journal: &[u8]| {
        let run = lab.state().join("runs").join(id);
        fs::create_dir_all(&run).expect("a directory");
        fs::write(run.join("journal.ndjson"), journal).expect("a journal");
        id.to_owned()
    };
    let newer = br#"{"v":99,"run":"20260101t000001z-0001","seq":0,"at":"2026-01-01T00:00:01Z","event":"unheard""#;
    let sum = format!(",\"crc\":\"{:08x}\"}}\n", crc32fast::hash(newer));
    let broken = [
        (foreign("20260101t000001z-0001", &[newer, sum.as_bytes()].concat()), "which this rollgate does not know"),
        (foreign("20260101t000002z-0002", &[0xff, 0, 0xfe, b'\n', b'{', b'\n']), "damaged"),
    ];
    for (id, why) in &broken {
        lab.plainly(&["show", id]).exits(3).says(&[why]);
        lab.plainly(&["resume", "-i", &inventory, id, "--yes"]).exits(3).says(&[why]);
        lab.plainly(&roll).exits(3).says(&[why, &format!("rollgate abort -i {inventory} {id}")]).began_nothing();
        assert!(lab.plainly(&["history"]).exits(0).stdout.contains(why));
        lab.plainly(&["abort", "-i", &inventory, id]).exits(0);
        lab.plainly(&["abort", "-i", &inventory, id]).exits(2).says(&["over already"]);
    }
    // A controller that died before its first event was whole announced nothing.
    let empty = foreign("20260101t000003z-0003", b"{\"v\":2,");
    lab.plainly(&["resume", "-i", &inventory, &empty, "--yes"]).exits(2).says(&["never began"]);
    fs::create_dir_all(lab.state().join("runs/20260101t000004z-0004")).expect("a directory");
    assert_eq!(starts(&lab), before);

    // The world moved: the rest is planned anew, on the operator's word.
    let died = dies(&lab, &roll, "after-stop");
    let edited = ["resume", "-i", &edited, "--yes"];
    lab.plainly(&edited).exits(3).says(&["--replan"]).began_nothing();
    let ended = lab.plainly(&[&edited[..], &["--replan"]].concat());
    ended.exits(0);
    assert_eq!(ended.rolled().len(), 3, "{died}\n{ended}");
    let after: Vec<usize> = before.iter().map(|count| count + 1).collect();
    assert_eq!(starts(&lab), after, "{died}\n{ended}");
    let id = ended.run();
    let history = lab.plainly(&["history", "-o", "json"]);
    let rows = parse_json(&history.exits(0).stdout);
    let row = rows["runs"].as_array().expect("runs").iter().find(|row| row["run"] == id).expect("this run").clone();
    assert_eq!((&row["state"], &row["done"], &row["of"]), (&"finished".into(), &3.into(), &3.into()), "{history}");
    let show = lab.plainly(&["show", id]);
    for text in ["the same process as before", "turn 3 of 3"] {
        assert!(show.exits(0).stdout.contains(text), "{text}: {show}");
    }
}

fn parse_json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("JSON")
}
