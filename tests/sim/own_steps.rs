//! The operator's own steps, with controllers that die: each takes effect once, or the roll halts and says that nobody knows.

use std::{collections::BTreeMap, io, path::Path, time::Duration};

use rollgate::{
    config::Playbook,
    core::{event::Envelope, progress::Progress},
    fleet::{Action, sim::Topology},
    journal::Sink,
};

use crate::{
    harness::{Death, Memory, Played, Setup},
    properties::{for_every_nth_seed, kept},
};

const OWN: &str = r#"name: own
before:
  - run: {name: stage, on: host, command: [stage, "{{ host }}"]}
  - run: {name: begin, command: [begin]}
turn:
  - run: {name: out, command: [balancer, out, "{{ host }}"], on: controller}
  - file: {name: flag, path: "/run/maintenance", content: "{{ run }}"}
  - http: {name: seen, url: "http://balancer/{{ host }}", on_failure: warn}
  - drain
  - stop
  - run: {name: patch, command: [patch]}
  - start
  - run: {name: warm, command: [warm], on_failure: warn}
  - gate
  - settle
  - pause: {name: breathe, for: 2s}
  - file: {name: unflag, path: "/run/maintenance", state: absent}
  - file: {name: note, path: "/tmp/{{ host }}", on: controller}
  - run: {name: in, command: [balancer, in, "{{ host }}"], on: controller}
after:
  - run: {name: end, command: [end]}
on_halt:
  - run: {name: page, command: [page, "{{ cause }}"]}
"#;

fn playbook() -> Playbook {
    Playbook::parse(Path::new("own.yaml"), OWN).unwrap_or_else(|errors| panic!("{errors}"))
}

/// How often each command took effect, on hosts and here; `page` tells, and may do so at every halt.
fn counts(played: &Played) -> BTreeMap<String, usize> {
    let world = played.world();
    let mut counts = BTreeMap::new();
    let on_hosts = world.effects().iter().filter_map(|effect| match &effect.what {
        Action::Run { command, .. } => Some(format!("{} on {}", command.argv.join(" "), effect.host)),
        _ => None,
    });
    // A file on the controller may be put there again.
    let counted = |words: &String| !words.starts_with("page") && !words.starts_with("put");
    let here = world.commands_here().iter().map(|argv| argv.join(" ")).filter(counted);
    on_hosts.chain(here).for_each(|words| *counts.entry(words).or_default() += 1);
    counts
}

fn once(played: &Played) -> Result<(), String> {
    match counts(played).into_iter().find(|(_, count)| *count > 1) {
        Some((words, count)) => Err(format!("`{words}` took effect {count} times")),
        None => Ok(()),
    }
}

/// Everything was done, once.
fn all(played: &Played, hosts: &[String]) -> Result<(), String> {
    let mut expected: Vec<String> = vec!["begin".into(), "end".into()];
    for host in hosts {
        let of = [format!("stage {host} on {host}"), format!("balancer out {host}"), format!("balancer in {host}")];
        expected.extend(of);
        expected.extend(["patch", "warm"].map(|command| format!("{command} on {host}")));
    }
    expected.sort();
    let found: Vec<String> = counts(played).into_keys().collect();
    if found == expected { Ok(()) } else { Err(format!("it finished, and what was done is {found:?}")) }
}

#[test]
fn everything_is_done_once_in_its_place() {
    let setup = Setup { playbook: playbook(), ..Setup::new(1, Topology::of(3)) };
    let played = setup.play();
    kept(&played).expect("no promise broken");
    assert_eq!(played.end(), "finished");
    once(&played).and_then(|()| all(&played, &setup.topology.hosts())).expect("once");
}

#[test]
fn a_failure_of_a_command_halts_and_is_told_to_the_hook() {
    for (command, end) in [
        ("patch", "halted n1 patch own-step-failed"),
        ("begin", "halted  begin hook-failed"),
        // Only a warning.
        ("warm", "finished"),
    ] {
        let text = OWN.replace(&format!("command: [{command}"), "command: [\"false\"");
        let playbook = Playbook::parse(Path::new("own.yaml"), &text).unwrap_or_else(|errors| panic!("{errors}"));
        let played = Setup { playbook, ..Setup::new(1, Topology::of(3)) }.play();
        kept(&played).expect("no promise broken");
        assert_eq!(played.end(), end, "{command}");
        let pages = played.world().commands_here().iter().filter(|argv| argv[0] == "page").count();
        assert_eq!(pages, usize::from(end != "finished"), "{command}");
    }
}

/// A journal that takes so many events and no more.
struct Full {
    inner: Memory,
    room: usize,
}

impl Sink for Full {
    fn append(&mut self, envelope: &Envelope) -> io::Result<()> {
        self.room = self.room.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
        self.inner.append(envelope)
    }
}

/// Wherever the journal ends: nothing that it does not announce is done on a host, and somebody is called, once.
#[test]
fn the_hook_is_told_of_a_journal_that_can_not_be_written() {
    let whole = Setup { playbook: playbook(), ..Setup::new(1, Topology::of(3)) }.play().events.len();
    for room in 0..whole {
        let setup = Setup { playbook: playbook(), ..Setup::new(1, Topology::of(3)) };
        let played = setup.play_as(|sim| sim, |inner| Full { inner, room });
        kept(&played).unwrap_or_else(|text| panic!("{room}: {text}"));
        let Some(Err(error)) = &played.outcome else { panic!("{room}: {}", played.end()) };
        let pages: Vec<_> = played.world().commands_here().iter().filter(|argv| argv[0] == "page").cloned().collect();
        // Before a turn or a step of the operator's own nobody has to be called: it was refused.
        let touched = Progress::fold(played.events.iter().map(|envelope| &envelope.event)).expect("a legal journal");
        let expected = usize::from(!touched.touched_nothing());
        assert_eq!((pages.len(), error.on_halt.len()), (expected, expected), "{room}: {pages:?}");
        assert!(pages.iter().all(|page| page[1].contains("journal could not be written")), "{room}: {pages:?}");
    }
}

/// The same in the middle of what is done on halt: what was begun is not done again.
#[test]
fn a_journal_that_ends_within_the_halt_calls_nobody_twice() {
    let text = OWN.replace("command: [patch", "command: [\"false\"");
    let playbook = Playbook::parse(Path::new("own.yaml"), &text).unwrap_or_else(|errors| panic!("{errors}"));
    let setup = Setup { playbook, ..Setup::new(1, Topology::of(3)) };
    let whole = setup.play().events.len();
    for room in whole - 3..whole {
        let played = setup.play_as(|sim| sim, |inner| Full { inner, room });
        let pages = played.world().commands_here().iter().filter(|argv| argv[0] == "page").count();
        assert_eq!(pages, 1, "{room} of {whole}: {:?}", played.outcome.map(|end| end.map(drop)));
    }
}

#[test]
fn own_steps_may_be_left_at_any_instant() {
    let playbook = playbook();
    for_every_nth_seed(4, "own_steps_may_be_left_at_any_instant", |seed| {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x0511);
        let death = match rng.u8(..3) {
            0 => Death::Before(rng.u64(..90)),
            1 => Death::After(rng.u64(..90)),
            _ => Death::At(Duration::from_millis(rng.u64(..60_000))),
        };
        let alone = Setup { playbook: playbook.clone(), signals: Vec::new(), ..Setup::random(seed) };
        let setup = Setup { death: Some(death), ..alone };
        let more: Vec<Death> = (0..seed % 3).map(|n| Death::At(Duration::from_millis(1_500 + n * 6_000))).collect();
        let played = setup.play_and_resume(&more);
        let told = |text: String| {
            let events =
                played.events.iter().map(|e| format!("{} {:?}\n", e.at, e.event).chars().take(300).collect::<String>());
            format!(
                "{text}\n{death:?} {:?}\n{}{:?}",
                setup.faults,
                events.collect::<String>(),
                played.world().effects()
            )
        };
        kept(&played).and_then(|()| once(&played)).map_err(told)?;
        if played.end() == "finished" {
            all(&played, &setup.topology.hosts()).map_err(told)?;
        }
        if !played.events.is_empty() && played.terminal().is_none() {
            return Err(told(format!("no end after all: {}", played.end())));
        }
        // With nothing else going wrong only what nobody can know halts it.
        let well = setup.faults.is_empty() && setup.clocks.iter().all(|off| *off == 0);
        let in_doubt = ["own-step-failed", "hook-failed"].iter().any(|code| played.end().ends_with(code));
        if well && !played.events.is_empty() && played.end() != "finished" && !in_doubt {
            let alone = Setup { death: None, ..setup.clone() }.play();
            if alone.end() == "finished" {
                return Err(told(format!("it would have finished, and {}", played.end())));
            }
        }
        Ok(played.end().split(' ').next().unwrap_or_default().to_owned())
    });
}
