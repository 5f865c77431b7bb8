//! What holds for every seed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use rollgate::{
    config::Playbook,
    core::{event::Event, playbook::Step},
    fleet::{
        Action,
        sim::{Effect, Topology},
    },
};

use crate::harness::{Death, Played, Setup};

/// How many seeds: `make test`, and so CI, asks for 20,000. `ROLLGATE_SEEDS=100000` for more, `ROLLGATE_SEED=7` for one.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    match number("ROLLGATE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ROLLGATE_SEEDS").unwrap_or(500),
    }
}

/// Checks every seed on all processors; fails with the first that does, and how to play it again.
pub fn for_every_seed(test: &str, check: impl Fn(u64) -> Result<String, String> + Sync) {
    for_seeds(seeds(), test, check);
}

/// The same for every so many seeds: for what few of them tell apart.
pub fn for_every_nth_seed(n: u64, test: &str, check: impl Fn(u64) -> Result<String, String> + Sync) {
    let seeds = seeds();
    let count = (seeds.end - seeds.start).div_ceil(n);
    for_seeds(seeds.start..seeds.start + count, test, check);
}

fn for_seeds(seeds: std::ops::Range<u64>, test: &str, check: impl Fn(u64) -> Result<String, String> + Sync) {
    let next = AtomicU64::new(seeds.start);
    let failed: Mutex<Option<(u64, String)>> = Mutex::new(None);
    let ends: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());
    let began = std::time::Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while failed.lock().expect("no panic").is_none() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(seed))) {
                        Ok(Ok(end)) => *ends.lock().expect("no panic").entry(end).or_default() += 1,
                        Ok(Err(text)) => *failed.lock().expect("no panic") = Some((seed, text)),
                        Err(_) => *failed.lock().expect("no panic") = Some((seed, "it panicked".into())),
                    }
                }
            });
        }
    });
    let all = seeds.end - seeds.start;
    println!("{all} seeds in {:.1} s: {:?}", began.elapsed().as_secs_f64(), ends.lock().expect("no panic"));
    if let Some((seed, text)) = failed.into_inner().expect("no panic") {
        panic!("seed {seed}: {text}\nagain: ROLLGATE_SEED={seed} cargo test --test sim {test} -- --nocapture");
    }
}

/// What a run may never do.
pub fn kept(played: &Played) -> Result<(), String> {
    let breaches = played.breaches();
    if !breaches.is_empty() {
        return Err(format!("{}; promises broken: {breaches:#?}", played.end()));
    }
    let mut once = BTreeSet::new();
    for effect in played.world().effects() {
        let what = match effect.what {
            Action::Stop => "stop",
            Action::Start => "start",
            _ => &effect.id,
        };
        if !once.insert((effect.host.clone(), what.to_owned(), effect.boot)) {
            return Err(format!("{} was done again on {}", effect.id, effect.host));
        }
    }
    let effects = played.world().effects().to_vec();
    for host in effects.iter().map(|effect| &effect.host).collect::<BTreeSet<_>>() {
        let of = |effect: &&Effect| effect.host == *host && matches!(effect.what, Action::Reboot { .. });
        let boots: BTreeSet<u32> = effects.iter().filter(of).map(|effect| effect.boot).collect();
        if boots.len() > 1 {
            return Err(format!("{host} was rebooted again, in its boots {boots:?}"));
        }
    }
    let mut state = rollgate::core::progress::Progress::default();
    for envelope in &played.events {
        state.apply(&envelope.event).map_err(|illegal| illegal.to_string())?;
    }
    // Every effect stands in the journal, and did before it happened.
    for effect in played.world().effects() {
        // Of several files of one step each has a number.
        let is_of = |id: &String| {
            let number = effect.id.strip_prefix(id.as_str()).map(|rest| rest.strip_prefix('-').unwrap_or(rest));
            number.is_some_and(|number| number.bytes().all(|digit| digit.is_ascii_digit()))
        };
        let announced = played.events.iter().any(|envelope| match &envelope.event {
            Event::StepStarted { change: Some(id), .. } | Event::HookStarted { change: Some(id), .. } => is_of(id),
            Event::FilesBack { change, .. } => is_of(change),
            _ => false,
        });
        if !announced {
            return Err(format!("{} took effect, and nothing in the journal announces it", effect.id));
        }
    }
    Ok(())
}

/// A run that was not killed ends once, and says where things stand.
fn ended(played: &Played) -> Result<(), String> {
    let terminal = played.events.iter().filter(|envelope| envelope.event.is_terminal()).count();
    if terminal != 1 || played.terminal().is_none() {
        return Err(format!("{terminal} terminal events, {}", played.end()));
    }
    if let Some(Err(error)) = &played.outcome {
        return Err(format!("it could not say how it ended: {error}"));
    }
    Ok(())
}

#[test]
fn a_roll_keeps_its_promises() {
    for_every_seed("a_roll_keeps_its_promises", |seed| {
        let setup = Setup::random(seed);
        let played = setup.play();
        let explain =
            |text: String| format!("{text}\n{:?}", setup.faults.iter().map(ToString::to_string).collect::<Vec<_>>());
        kept(&played).and_then(|()| ended(&played)).map_err(explain)?;
        Ok(played.end().split(' ').next().unwrap_or_default().to_owned()
            + " "
            + played.end().split(' ').next_back().unwrap_or_default())
    });
}

fn deadly(seed: u64) -> Death {
    let mut rng = fastrand::Rng::with_seed(seed);
    match rng.u8(..3) {
        0 => Death::Before(rng.u64(..60)),
        1 => Death::After(rng.u64(..60)),
        _ => Death::At(std::time::Duration::from_millis(rng.u64(..60_000))),
    }
}

/// Whatever event it dies at, and whatever it was doing: what it leaves is legal and announced, and another one goes on.
#[test]
fn a_controller_may_die_at_any_instant() {
    for_every_seed("a_controller_may_die_at_any_instant", |seed| {
        let mut setup = Setup::random(seed);
        setup.signals.clear();
        setup.death = Some(deadly(seed));
        let more: Vec<Death> =
            (0..seed % 3).map(|n| Death::At(std::time::Duration::from_millis(3_000 + n * 7_000))).collect();
        let played = setup.play_and_resume(&more);
        kept(&played).map_err(|text| {
            let events =
                played.events.iter().map(|e| format!("{} {:?}\n", e.at, e.event).chars().take(300).collect::<String>());
            format!("{text}\n{:?}\n{}{:?}", setup.faults, events.collect::<String>(), played.world().effects())
        })?;
        if played.events.is_empty() {
            return Ok("died before it began".into());
        }
        if let Some(Err(error)) = &played.outcome {
            let why = std::error::Error::source(&error.cause).map(ToString::to_string).unwrap_or_default();
            return Err(format!("it could not go on: {error}: {}: {why}", error.cause));
        }
        if played.terminal().is_none() {
            return Err(format!("no end after all: {}", played.end()));
        }
        // With nothing else going wrong it ends as if nobody had died.
        let well = setup.faults.is_empty() && setup.clocks.iter().all(|off| *off == 0);
        if well && played.end() == "finished" {
            for host in setup.topology.hosts() {
                let processes = played.world().processes(&host);
                if processes != 2 {
                    return Err(format!("{host} has had {processes} processes"));
                }
            }
            if !played.world().unready().is_empty() {
                return Err(format!("not ready: {:?}", played.world().unready()));
            }
        }
        if well && played.end() != "finished" {
            let alone = Setup { death: None, ..setup.clone() }.play();
            if alone.end() == "finished" {
                return Err(format!("it would have finished, and {}", played.end()));
            }
        }
        Ok(played.end().split(' ').next().unwrap_or_default().to_owned())
    });
}

/// A reload stops nothing, whoever dies and whatever fails; where nothing does, every server has read what is on its disk.
#[test]
fn a_reload_stops_nothing() {
    let reload = Playbook::embedded("reload").expect("an embedded playbook");
    for_every_nth_seed(5, "a_reload_stops_nothing", |seed| {
        let mut setup = Setup { playbook: reload.clone(), ..Setup::random(seed) };
        setup.death = (seed % 2 == 0).then(|| deadly(seed));
        let played = setup.play_and_resume(&[]);
        kept(&played).map_err(|text| format!("{text}\n{:?}", setup.faults))?;
        if let Some(effect) = played.world().effects().iter().find(|effect| effect.what != Action::Reload) {
            return Err(format!("{effect:?}"));
        }
        if played.end() == "finished" {
            for host in setup.topology.hosts() {
                let world = played.world();
                if setup.faults.is_empty() && (world.processes(&host) != 1 || !world.reloaded(&host)) {
                    return Err(format!(
                        "{host}: {} processes, reloaded: {}",
                        world.processes(&host),
                        world.reloaded(&host)
                    ));
                }
            }
        // Of two servers none can be spared: that is refused at once, and after a death it is a halt.
        } else if setup.faults.is_empty()
            && setup.topology.hosts().len() > 2
            && setup.topology.servers.iter().all(|server| !server.config_broken)
            && played.end().starts_with("halted")
        {
            return Err(format!("nothing was wrong, and {}", played.end()));
        }
        Ok(played.end().split(' ').next().unwrap_or_default().to_owned())
    });
}

/// A drain can take a minute. Another server that goes in that time is seen before the stop, not after.
#[test]
fn a_server_that_goes_during_a_drain_holds_the_stop() {
    let mut topology = Topology::of(3);
    topology.servers[0].clients = 30;
    let mut setup = Setup::new(851, topology);
    setup.faults = vec!["power-cut@n3+15s".parse().expect("a fault")];
    for step in &mut setup.playbook.turn {
        if let Step::Drain(drain) = step {
            drain.rate = 1;
        }
    }
    let played = setup.play();
    kept(&played).expect("no promise broken");
    assert_eq!(played.end(), "halted n1 stop unsafe");
    assert!(played.world().effects().is_empty(), "{:?}", played.world().effects());
}

/// A host that is rebooted forgets the stop that it was asked for. Asked again it would stop what the boot has started, a minute
/// later, when what was safe at first need not be.
#[test]
fn a_stop_does_not_begin_anew_after_a_reboot() {
    let mut setup = Setup::new(0, Topology::of(3));
    setup.faults = ["reboot@n1", "power-cut@n3+9s"].map(|text| text.parse().expect("a fault")).into();
    let played = setup.play();
    kept(&played).expect("no promise broken");
    assert_eq!(played.end(), "halted n1 gate not-ready");
    assert!(
        !played.world().effects().iter().any(|effect| effect.what == Action::Stop),
        "{:?}",
        played.world().effects()
    );
}

/// What the runner sees last before a stop it also judges, however long the way to the host is.
#[test]
fn no_look_before_a_stop_goes_without_judgement() {
    for ms in (4_000..16_000).step_by(250) {
        let mut setup = Setup::new(ms, Topology::of(3));
        let faults = ["ssh-slow@n1+1ms".to_owned(), format!("mistaken@n2+{ms}ms")];
        setup.faults = faults.iter().map(|text| text.parse().expect("a fault")).collect();
        kept(&setup.play()).unwrap_or_else(|text| panic!("{ms} ms: {text}"));
    }
}
