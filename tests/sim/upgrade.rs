//! Another program on every server, and the old one back: whoever dies on the way, another goes on.

use std::{collections::BTreeMap, time::Duration};

use rollgate::{
    core::{
        event::Event,
        install::{Install, Source, replaced},
        playbook::{Canary, Step},
    },
    fleet::{
        Action,
        sim::{Topology, program},
    },
};

use crate::{
    harness::{Death, Played, Setup},
    properties::{for_every_nth_seed, kept},
};

const FROM: &str = "2.14.6";
pub const TO: &str = "2.15.1";

/// The steps of an upgrade from [`FROM`] to [`TO`].
pub fn upgraded(mut setup: Setup) -> Setup {
    for server in &mut setup.topology.servers {
        (server.version, server.on_disk) = (FROM.into(), None);
    }
    setup.topology.assets.iter_mut().for_each(|asset| asset.level = 0);
    let install = Step::Install(Install {
        from: Source::Controller("nats-server".into()),
        to: None,
        version: TO.into(),
        sha256: Some(program(TO)),
        deadline: Duration::from_secs(60),
    });
    let start = setup.playbook.turn.iter().position(|step| matches!(step, Step::Start(_))).expect("a start");
    setup.playbook.turn.insert(start, install);
    setup.playbook.turn.push(Step::Canary(Canary { hold: Duration::from_secs(20), ..Canary::default() }));
    setup
}

/// How often something was put in place, and put back, by host.
fn placed(played: &Played) -> BTreeMap<String, (usize, usize)> {
    let mut found: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for effect in played.world().effects() {
        let (place, back) = found.entry(effect.host.clone()).or_default();
        match effect.what {
            Action::Place(_) => *place += 1,
            Action::PutBack(_) => *back += 1,
            _ => {}
        }
    }
    found
}

/// What is recorded as done runs the new program; what is recorded as untouched does not.
fn told_truly(played: &Played) -> Result<(), String> {
    let done: Vec<&String> = played
        .events
        .iter()
        .filter_map(|envelope| match &envelope.event {
            Event::TurnFinished { host, .. } => Some(host),
            _ => None,
        })
        .collect();
    for host in done {
        let runs = played.world().version(host);
        if runs != TO {
            return Err(format!("{host} is done, and runs {runs}"));
        }
    }
    if let Some(Event::Halted { halt }) = played.terminal()
        && let Some(host) = halt.untouched.iter().find(|host| placed(played).contains_key(*host))
    {
        return Err(format!("{host} is untouched, and something was done to it"));
    }
    Ok(())
}

#[test]
fn an_upgrade_is_finished_by_whoever_goes_on() {
    for_every_nth_seed(5, "an_upgrade_is_finished_by_whoever_goes_on", |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut setup = upgraded(Setup::random(seed));
        setup.signals.clear();
        setup.death = Some(match rng.u8(..3) {
            0 => Death::Before(rng.u64(..60)),
            1 => Death::After(rng.u64(..60)),
            _ => Death::At(Duration::from_millis(rng.u64(..120_000))),
        });
        let more: Vec<Death> = (0..seed % 3).map(|n| Death::At(Duration::from_millis(4_000 + n * 9_000))).collect();
        let played = setup.play_and_resume(&more);
        let explain = |text: String| format!("{text}\n{:?} {:?}", setup.faults, setup.death);
        kept(&played).and_then(|()| told_truly(&played)).map_err(explain)?;
        Ok(played.end().split(' ').next().unwrap_or_default().to_owned())
    });
}

#[test]
fn killed_at_every_event_of_an_upgrade() {
    let whole = upgraded(Setup::new(1, Topology::of(3))).play();
    assert_eq!(whole.end(), "finished");
    let events = u64::try_from(whole.events.len()).expect("few");
    for seq in 0..events {
        for death in [Death::Before(seq), Death::After(seq)] {
            let setup = Setup { death: Some(death), ..upgraded(Setup::new(1, Topology::of(3))) };
            let played = setup.play_and_resume(&[]);
            if played.events.is_empty() {
                continue;
            }
            kept(&played).and_then(|()| told_truly(&played)).unwrap_or_else(|text| panic!("{death:?}: {text}"));
            assert_eq!(played.end(), "finished", "{death:?}");
            let world = played.world();
            for host in setup.topology.hosts() {
                assert_eq!((world.version(&host), world.processes(&host)), (TO.into(), 2), "{death:?}");
            }
        }
    }
}

/// The first server never comes up with the new program: it is put back, whoever dies on the way, and nothing else is touched.
#[test]
fn killed_at_every_event_of_a_rollback() {
    let setup = upgraded(Setup::new(3, Topology::of(3)));
    let mut seq = 0;
    loop {
        let mut alive = 0;
        for death in [Death::Before(seq), Death::After(seq)] {
            let (halted, back, died) = setup.play_and_roll_back(|world| world.breaks(TO), death);
            alive += usize::from(!died);
            let Some(Event::Halted { halt }) = halted.terminal() else { panic!("{}", halted.end()) };
            assert_eq!(replaced(&halted.events).keys().collect::<Vec<_>>(), [&halt.host]);
            assert!(back.breaches().is_empty(), "{death:?}: {:?}", back.breaches());
            if back.events.is_empty() {
                continue;
            }
            assert_eq!(back.end(), "finished", "{death:?}");
            let world = back.world();
            assert_eq!((world.version(&halt.host), world.unready()), (FROM.into(), vec![]), "{death:?}");
            let others = setup.topology.hosts().into_iter().filter(|other| *other != halt.host);
            others.for_each(|other| assert_eq!(world.processes(&other), 1, "{death:?}"));
        }
        if alive == 2 {
            break;
        }
        seq += 1;
    }
    assert!(seq > 8, "a rollback has more events than {seq}");
}
