//! What became of a turn that was left: settled from facts, never from what was meant to happen.

use serde::{Deserialize, Serialize};

use super::{
    gate::Baseline,
    install::{next_version, same_version},
    plan::Plan,
    playbook::Step,
    view::{Phase, ServerView, View},
};

/// How far a turn is whose controller was gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// The process from before the turn still runs: the turn is begun anew, once that is safe.
    Untouched,
    /// Its stop is under way.
    Stopping,
    /// It is stopped, and waits for its start.
    Down,
    /// Another process runs, or died: the gate judges it.
    Back,
}

/// What the host has recorded of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// Nothing: it was not begun, or the host was rebooted since.
    None,
    /// It runs.
    Running,
    /// It ended, or was lost.
    Ended,
}

/// How far the turn is; or why that can't be told yet. `announced` says whether the stop was.
///
/// # Errors
/// What is not known.
pub fn standing(
    baseline: &Baseline,
    announced: bool,
    stop: Record,
    server: &ServerView,
) -> Result<(Standing, String), String> {
    let service = server.service.as_ref().map_err(|failure| format!("its service can't be asked: {failure}"))?;
    let words = format!("service: {}", service.summary());
    if stop == Record::Running || service.phase == Phase::Stopping {
        return Ok((if announced { Standing::Stopping } else { Standing::Untouched }, words));
    }
    if !announced {
        return Ok((Standing::Untouched, format!("its stop was never announced; {words}")));
    }
    if matches!(service.phase, Phase::Stopped | Phase::Failed | Phase::Missing) {
        return Ok((Standing::Down, words));
    }
    if let Ok(varz) = &server.varz {
        return Ok(match &baseline.server_id {
            Some(old) if *old == varz.server_id => (Standing::Untouched, format!("the same process as before, {old}")),
            Some(old) => (Standing::Back, format!("another process than before: {}, not {old}", varz.server_id)),
            // Before its turn nothing answered, and a stop that was never begun changed nothing since.
            None if stop == Record::None && same_boot(baseline, server) => {
                (Standing::Untouched, format!("it answers as {}, and no stop was begun", varz.server_id))
            }
            None => (Standing::Back, format!("it answers as {}, and did not before", varz.server_id)),
        });
    }
    match (baseline.pid, service.pid) {
        (Some(old), Some(now)) if old == now && same_boot(baseline, server) => {
            Err(format!("the same process as before, pid {old}, does not answer on its monitoring port"))
        }
        (Some(old), Some(now)) => Ok((Standing::Back, format!("another process than before: pid {now}, not {old}"))),
        _ if service.phase == Phase::AutoRestart => Ok((Standing::Back, words)),
        _ => Err(format!("no answer on its monitoring port; {words}")),
    }
}

fn same_boot(baseline: &Baseline, server: &ServerView) -> bool {
    let now = server.service.as_ref().ok().and_then(|service| service.boot_id.as_ref());
    now.is_some() && now == baseline.boot_id.as_ref()
}

/// Whether the host was rebooted since its turn began.
pub fn rebooted(baseline: &Baseline, server: &ServerView) -> bool {
    let now = server.service.as_ref().ok().and_then(|service| service.boot_id.as_ref());
    baseline.boot_id.as_ref().zip(now).is_some_and(|(before, now)| before != now)
}

/// A step between the stop and the start, or the reboot, that was not done although the server runs again: its host was
/// rebooted, or somebody started it. The turn has to be begun anew for it. The reboot is one of them unless the host has
/// another boot now, whoever ordered it.
pub fn missed<'a>(standing: Standing, rebooted: bool, steps: &'a [Step], recorded: &[String]) -> Option<&'a str> {
    let at = |wanted: fn(&Step) -> bool| steps.iter().position(wanted);
    let stop = at(|step| matches!(step, Step::Stop(_)))?;
    let reboot = at(|step| matches!(step, Step::Reboot(_)));
    let end = reboot.or_else(|| at(|step| matches!(step, Step::Start(_))))?;
    let between = steps.get(stop + 1..end).filter(|_| standing == Standing::Back)?;
    let undone = |step: &&Step| !recorded.iter().any(|name| name == step.name());
    let missed = between.iter().filter(|step| step.acts_while_down()).find(undone);
    let reboot = reboot.filter(|_| !rebooted).map(|at| &steps[at]).filter(undone);
    missed.or(reboot).map(Step::name)
}

/// The steps that have taken effect when a turn stands like that, and need not be done.
pub fn finished(standing: Standing, steps: &[Step], recorded: &[String]) -> Vec<String> {
    let last = |wanted: fn(&Step) -> bool| steps.iter().rposition(wanted).map_or(0, |place| place + 1);
    let through_stop = last(|step| matches!(step, Step::Stop(_)));
    let count = match standing {
        Standing::Untouched => 0,
        Standing::Stopping => through_stop.saturating_sub(1),
        Standing::Down => through_stop,
        // What starts it after a reboot is asked again: a running server is not started.
        Standing::Back => match last(|step| matches!(step, Step::Reboot(_))) {
            0 => last(|step| matches!(step, Step::Start(_))).max(through_stop),
            through_reboot => through_reboot,
        },
    };
    let names = steps.iter().take(count).map(|step| step.name().to_owned());
    names.filter(|name| !recorded.contains(name)).collect()
}

/// What moved since the plan was made, in a way that the plan can't stand; nothing where it still holds.
pub fn moved(plan: &Plan, done: &[String], view: &View) -> Vec<String> {
    let mut found = Vec::new();
    let planned: Vec<&String> = plan.turns.iter().map(|turn| &turn.host).chain(&plan.bystanders).collect();
    for server in view.servers.iter().filter(|server| !planned.contains(&&server.host)) {
        found.push(format!("{} is new in the cluster", server.host));
    }
    for host in planned.iter().filter(|host| view.server(host).is_none()) {
        found.push(format!("{host} is not in the inventory any more"));
    }
    for turn in plan.turns.iter().filter(|turn| !done.contains(&turn.host)) {
        let Some(server) = view.server(&turn.host) else { continue };
        let meant = next_version(&plan.steps, &turn.host);
        if server.server_name != turn.server_name {
            found.push(format!("{} is now server {}, not {}", turn.host, server.server_name, turn.server_name));
        }
        let now = server.varz.as_ref().ok().map(|varz| &varz.version);
        if let (Some(old), Some(now)) = (&turn.version, now)
            && old != now
            && !meant.is_some_and(|meant| same_version(meant, now))
        {
            found.push(format!("{} now runs {now}, not {old}", turn.host));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        plan::plan,
        playbook::{Drain, Gate, Policy, Reboot, Start, Stop},
        testing::*,
        view::{Failure, FailureKind},
    };

    const ALL: [&str; 3] = ["n1", "n2", "n3"];

    fn check(announced: bool, stop: Record, server: &ServerView, expected: Option<Standing>) {
        let baseline = Baseline::of(&super::super::testing::server("n2", &ALL));
        let found = standing(&baseline, announced, stop, server);
        assert_eq!(found.as_ref().ok().map(|(standing, _)| *standing), expected, "{found:?}");
    }

    fn silent(phase: Phase, pid: Option<u32>) -> ServerView {
        let mut server = server("n2", &ALL);
        server.varz = Err(Failure::new(FailureKind::Refused, "refused"));
        if let Ok(service) = &mut server.service {
            (service.phase, service.pid) = (phase, pid);
        }
        server
    }

    fn another() -> ServerView {
        let mut other = server("n2", &ALL);
        other.varz = Ok(varz("n2", "ID-n2-2", &ALL));
        other
    }

    #[test]
    fn facts_tell_how_far_a_turn_is() {
        let same = server("n2", &ALL);
        // Between turn-started and the stop nothing was done, whatever was meant.
        check(false, Record::None, &same, Some(Standing::Untouched));
        check(false, Record::None, &another(), Some(Standing::Untouched));
        check(false, Record::None, &silent(Phase::Stopped, None), Some(Standing::Untouched));
        // Announced, and never begun: the controller died between the two.
        check(true, Record::None, &same, Some(Standing::Untouched));
        check(true, Record::Running, &same, Some(Standing::Stopping));
        check(true, Record::None, &silent(Phase::Stopping, Some(100)), Some(Standing::Stopping));
        check(true, Record::Ended, &silent(Phase::Stopped, None), Some(Standing::Down));
        // The stop failed: the old process lives.
        check(true, Record::Ended, &same, Some(Standing::Untouched));
        // The host was rebooted in its turn: no record, and whatever runs there is new.
        check(true, Record::None, &silent(Phase::Failed, None), Some(Standing::Down));
        check(true, Record::None, &another(), Some(Standing::Back));
        check(true, Record::Ended, &another(), Some(Standing::Back));
        // It recovers, and does not answer yet.
        check(true, Record::Ended, &silent(Phase::Running, Some(200)), Some(Standing::Back));
        check(true, Record::Ended, &silent(Phase::AutoRestart, None), Some(Standing::Back));
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        check(true, Record::None, &silent(Phase::Running, Some(100)), None);
        check(true, Record::None, &silent(Phase::Running, None), None);
        let mut off = silent(Phase::Running, None);
        off.service = Err(Failure::new(FailureKind::Unreachable, "no route"));
        check(true, Record::None, &off, None);
        check(false, Record::None, &off, None);
    }

    #[test]
    fn a_server_that_was_down_before_its_turn() {
        let mut before = silent(Phase::Stopped, None);
        let baseline = Baseline::of(&before);
        let now = server("n2", &ALL);
        let stands = |stop| standing(&baseline, true, stop, &now).unwrap().0;
        assert_eq!(stands(Record::None), Standing::Untouched);
        assert_eq!(stands(Record::Ended), Standing::Back);
        if let Ok(service) = &mut before.service {
            service.boot_id = Some("boot-0".into());
        }
        assert_eq!(standing(&Baseline::of(&before), true, Record::None, &now).unwrap().0, Standing::Back);
    }

    #[test]
    fn steps_that_took_effect_are_not_done_again() {
        let (drain, stop) = (Step::Drain(Drain::default()), Step::Stop(Stop::default()));
        let steps = [drain, stop, Step::Start(Start::default()), Step::Gate(Gate::default())];
        let names = |standing| finished(standing, &steps, &["drain".into()]);
        assert_eq!(names(Standing::Untouched), [""; 0]);
        assert_eq!(names(Standing::Stopping), [""; 0]);
        assert_eq!(names(Standing::Down), ["stop"]);
        assert_eq!(names(Standing::Back), ["stop", "start"]);
    }

    #[test]
    fn a_server_that_came_back_without_what_was_to_be_done_while_it_was_down() {
        let (stop, start) = (Step::Stop(Stop::default()), Step::Start(Start::default()));
        let steps = [stop, own_command("install"), start, own_command("warm"), Step::Gate(Gate::default())];
        let check = |steps: &[Step], standing, rebooted, recorded: &[&str], expected: Option<&str>| {
            let recorded: Vec<String> = recorded.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(missed(standing, rebooted, steps, &recorded), expected);
        };
        for rebooted in [false, true] {
            check(&steps, Standing::Back, rebooted, &["stop"], Some("install"));
            check(&steps, Standing::Back, rebooted, &["stop", "install"], None);
            check(&steps, Standing::Down, rebooted, &["stop"], None);
        }
        let [stop, install, start, warm, gate] = steps;
        let steps = [stop, install, Step::Reboot(Reboot::default()), warm, start, gate];
        check(&steps, Standing::Back, true, &["stop"], Some("install"));
        // Whoever rebooted it: once is enough. What follows the reboot is done where the turn goes on.
        check(&steps, Standing::Back, true, &["stop", "install"], None);
        assert_eq!(finished(Standing::Back, &steps, &["stop".into(), "install".into()]), ["reboot"]);
        // Somebody started it in the same boot.
        check(&steps, Standing::Back, false, &["stop", "install"], Some("reboot"));
        check(&steps, Standing::Down, false, &["stop", "install"], None);
        assert_eq!(finished(Standing::Down, &steps, &[]), ["stop"]);
    }

    #[test]
    fn a_world_that_moved_is_told() {
        let hosts = ALL.map(String::from);
        let plan = plan(&cluster(&ALL), &hosts, "restart", Policy::default(), vec![]);
        let told = |view: &View, done: &[&str]| {
            moved(&plan, &done.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>(), view)
        };
        assert_eq!(told(&cluster(&ALL), &[]), [""; 0]);
        let other = cluster(&["n1", "n2", "n4"]);
        assert_eq!(told(&other, &[]), ["n4 is new in the cluster", "n3 is not in the inventory any more"]);
        let mut upgraded = cluster(&ALL);
        if let Ok(varz) = &mut upgraded.servers[1].varz {
            varz.version = "2.16.0".into();
        }
        assert_eq!(told(&upgraded, &["n1"]), ["n2 now runs 2.16.0, not 2.15.1"]);
        // Done is done.
        assert_eq!(told(&upgraded, &["n2"]), [""; 0]);
    }
}
