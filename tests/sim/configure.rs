//! Files on every host, by reload and by restart: whoever dies on the way, another goes on; what a server would not take is put back.

use std::time::Duration;

use rollgate::{
    config::Playbook,
    core::{
        configure::{File, HostFiles, Way},
        event::Event,
    },
    fleet::{
        Action,
        sim::{CONFIG, Topology},
    },
};

use crate::{
    harness::{Death, Played, Setup},
    properties::{for_every_nth_seed, kept},
};

const CONF: &str = "/etc/nats/nats-server.conf";

/// A roll that puts the configuration of this digest on every host; each server takes it that way.
fn configured(mut setup: Setup, config: &str, way: impl Fn(usize) -> Way) -> Setup {
    setup.playbook = Playbook::embedded("configure").expect("it is built in");
    let file = |to: &str, sha256: &str| File { to: to.into(), sha256: sha256.into(), mode: None, owner: None };
    let files = |way| HostFiles { way, files: vec![file(CONF, config), file("/etc/nats/users.conf", "users-2")] };
    setup.files = setup.topology.hosts().into_iter().enumerate().map(|(n, host)| (host, files(way(n)))).collect();
    setup
}

/// What is recorded as done runs with the new configuration; what is not was left alone.
fn told_truly(played: &Played, config: &str) -> Result<(), String> {
    for envelope in &played.events {
        if let Event::TurnFinished { host, .. } = &envelope.event {
            let (runs, on_disk) = played.world().configs(host);
            // It may have died since.
            if (runs != config && !runs.is_empty()) || on_disk != config {
                return Err(format!("{host} is done, runs with {runs}, and has {on_disk}"));
            }
        }
    }
    if let Some(Event::Halted { halt }) = played.terminal() {
        let world = played.world();
        let placed =
            |host: &String| world.effects().iter().any(|e| e.host == *host && matches!(e.what, Action::Place(_)));
        if let Some(host) = halt.untouched.iter().find(|host| placed(host)) {
            return Err(format!("{host} is untouched, and something was put in place there"));
        }
    }
    Ok(())
}

#[test]
fn files_are_put_in_place_by_whoever_goes_on() {
    for_every_nth_seed(5, "files_are_put_in_place_by_whoever_goes_on", |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let ways = rng.u8(..3);
        let way = |n: usize| if ways == 0 || (ways == 1 && n.is_multiple_of(2)) { Way::Reload } else { Way::Restart };
        let mut setup = configured(Setup::random(seed), "config-2", way);
        setup.signals.clear();
        setup.death = Some(match rng.u8(..3) {
            0 => Death::Before(rng.u64(..60)),
            1 => Death::After(rng.u64(..60)),
            _ => Death::At(Duration::from_millis(rng.u64(..120_000))),
        });
        let more: Vec<Death> = (0..seed % 3).map(|n| Death::At(Duration::from_millis(4_000 + n * 9_000))).collect();
        let played = setup.play_and_resume(&more);
        let explain = |text: String| {
            let events: String = played.events.iter().map(|one| format!("{} {:?}\n", one.at, one.event)).collect();
            format!("{text}\n{:?} {:?}\n{events}{:?}", setup.faults, setup.death, played.world().effects())
        };
        kept(&played).and_then(|()| told_truly(&played, "config-2")).map_err(explain)?;
        Ok(played.end().split(' ').next().unwrap_or_default().to_owned())
    });
}

/// Plays it once whole, and then with a death at every event of that.
fn killed_at_every_event(make: impl Fn() -> Setup, check: impl Fn(&Played, &str)) {
    let whole = make().play();
    check(&whole, "whole");
    let events = u64::try_from(whole.events.len()).expect("few");
    assert!(events > 8, "a roll has more events than {events}");
    for seq in 0..events {
        for death in [Death::Before(seq), Death::After(seq)] {
            let played = Setup { death: Some(death), ..make() }.play_and_resume(&[]);
            if !played.events.is_empty() {
                kept(&played).unwrap_or_else(|text| panic!("{death:?}: {text}"));
                check(&played, &format!("{death:?}"));
            }
        }
    }
}

#[test]
fn killed_at_every_event_of_a_reload_and_of_a_restart() {
    for (way, processes) in [(Way::Reload, 1), (Way::Restart, 2)] {
        let make = || configured(Setup::new(1, Topology::of(3)), "config-2", |_| way);
        killed_at_every_event(make, |played, death| {
            assert_eq!(played.end(), "finished", "{way:?} {death}");
            told_truly(played, "config-2").unwrap_or_else(|text| panic!("{way:?} {death}: {text}"));
            for host in make().topology.hosts() {
                assert_eq!(played.world().processes(&host), processes, "{way:?} {death}");
            }
        });
    }
}

/// The first server would not have it: its files are put back, it goes on as it was, and nothing else is touched.
#[test]
fn killed_at_every_event_of_a_reload_that_is_refused() {
    let make = || configured(Setup::new(2, Topology::of(3)), "refused-2", |_| Way::Reload);
    killed_at_every_event(make, |played, death| {
        let end = played.end();
        assert!(end.starts_with("halted") || end == "died", "{death}: {end}");
        let Some(Event::Halted { halt }) = played.terminal() else { panic!("{death}: {end}") };
        assert_eq!(halt.cause.code(), "files-refused", "{death}");
        assert!(halt.done.is_empty(), "{death}");
        for host in make().topology.hosts() {
            assert_eq!(played.world().configs(&host), (CONFIG.into(), CONFIG.into()), "{host}, {death}");
            assert_eq!(played.world().processes(&host), 1, "{death}");
        }
    });
}

#[test]
fn what_does_not_prove_itself_touches_nothing() {
    let played = configured(Setup::new(3, Topology::of(3)), "broken-2", |_| Way::Restart).play();
    assert_eq!(played.end(), "refused  not-proven");
    assert!(played.world().effects().is_empty(), "{:?}", played.world().effects());
}

/// With these files no server comes up: those of the first are put back, whoever dies on the way.
#[test]
fn killed_at_every_event_of_files_put_back() {
    let setup = configured(Setup::new(4, Topology::of(3)), "down-2", |_| Way::Restart);
    let mut seq = 0;
    loop {
        let mut alive = 0;
        for death in [Death::Before(seq), Death::After(seq)] {
            let (halted, back, died) = setup.play_and_roll_back(|_| {}, death);
            alive += usize::from(!died);
            let Some(Event::Halted { halt }) = halted.terminal() else { panic!("{}", halted.end()) };
            assert!(back.breaches().is_empty(), "{death:?}: {:?}", back.breaches());
            if back.events.is_empty() {
                continue;
            }
            assert_eq!(back.end(), "finished", "{death:?}");
            let world = back.world();
            assert_eq!(world.configs(&halt.host), (CONFIG.into(), CONFIG.into()), "{death:?}");
            assert!(world.unready().is_empty(), "{death:?}");
        }
        if alive == 2 {
            break;
        }
        seq += 1;
    }
    assert!(seq > 8, "a rollback has more events than {seq}");
}
