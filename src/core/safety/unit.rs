//! What a stop through the service manager would do to the server.

use std::time::Duration;

use super::{Candidate, Objection};
use crate::core::{
    diagnosis::{evidence::Archive, settings::Settings},
    view::{ServerView, StopSignal, View},
};

/// How long a lame duck lasts where the configuration does not say (nats-server `const.go`, `DEFAULT_LAME_DUCK_DURATION`).
const LAME_DUCK: Duration = Duration::from_secs(120);

/// What systemd calls units that it starts at boot (systemctl(1), `is-enabled`). `enabled-runtime` is not one of them: it is
/// forgotten at the reboot. Of `static` and `indirect` ones something else decides.
const STARTED_AT_BOOT: [&str; 2] = ["enabled", "generated"];

pub(super) fn judge(view: &View, candidate: &Candidate<'_>, found: &mut Vec<Objection>) {
    let Some(server) = view.server(candidate.host) else { return };
    let Ok(state) = &server.service else { return };
    if candidate.boot_starts && !STARTED_AT_BOOT.contains(&state.enabled.as_deref().unwrap_or_default()) {
        let enabled = state.enabled.clone();
        found.push(Objection::NotEnabled { host: candidate.host.to_owned(), enabled });
    }
    // Nothing runs that could be stopped the wrong way.
    if server.varz.is_err() && state.pid.is_none() {
        return;
    }
    let host = || candidate.host.to_owned();
    if first(&state.stop_signals) == Some(&StopSignal::Kill) {
        found.push(Objection::UnitKills { host: host() });
    }
    // Clients are gone before the stop: a lame duck without any ends at once.
    if !candidate.evicts {
        found.extend(cut(server, candidate));
    }
}

/// The first signal that is understood: what comes before it may be anything, and what comes after it may come too late.
pub(super) fn first(signals: &[StopSignal]) -> Option<&StopSignal> {
    signals.iter().find(|signal| !matches!(signal, StopSignal::Other(_)))
}

/// The objection that a lame duck would be cut off, if clients are there to make it last.
pub(super) fn cut(server: &ServerView, candidate: &Candidate<'_>) -> Option<Objection> {
    let state = server.service.as_ref().ok()?;
    if first(&state.stop_signals) != Some(&StopSignal::LameDuck) {
        return None;
    }
    let lame_duck = lame_duck(server);
    let unit = state.stop_timeout_ms.map(|ms| (ms, "TimeoutStopSec of its unit"));
    let step = candidate.stop_limit.map(|limit| (crate::core::millis::of(limit), "the stop step's deadline"));
    let (given_ms, by) = unit.into_iter().chain(step).min()?;
    (given_ms <= lame_duck).then(|| Objection::LameDuckCut {
        host: server.host.clone(),
        lame_duck_ms: lame_duck,
        given_ms,
        by: by.into(),
    })
}

/// Has the lame duck's duration where a file that the configuration includes sets it; `archive` has them all.
pub fn read_includes(view: &mut View, archive: &Archive) {
    let server = view.servers.iter_mut().find(|server| server.host == archive.host);
    let Some(Ok(state)) = server.map(|server| server.service.as_mut()) else { return };
    let Some(seconds) = Settings::of(archive).and_then(|settings| settings.lame_duck_s) else { return };
    state.next.lame_duck_ms = Some(seconds.saturating_mul(1000));
    let files = archive.config.iter().flat_map(|config| &config.files);
    let changed = files.filter_map(|file| archive.path(&file.path)?.changed).max();
    state.next.config_at = changed.max(state.next.config_at);
}

/// The running lame duck duration, in milliseconds. A server reads it at its start only (a reload that changes it is refused,
/// nats-server `reload.go`): where the file is younger than the process, either may be what runs, and the longer counts.
fn lame_duck(server: &ServerView) -> u64 {
    let default = crate::core::millis::of(LAME_DUCK);
    let Ok(state) = &server.service else { return default };
    let written = state.next.lame_duck_ms.unwrap_or(default);
    match (&server.varz, state.next.config_at) {
        (Ok(varz), Some(at)) if at <= varz.start => written,
        _ => written.max(default),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        diagnosis::{evidence::ConfigFile, testing::healthy},
        testing::{at, cluster},
    };

    /// A server whose unit sends `signals` and kills after `timeout` seconds, with a file that says `lame_duck` seconds and was
    /// written `file` seconds from now; it runs for an hour.
    fn check(
        signals: &[StopSignal],
        timeout: Option<u64>,
        lame_duck: Option<u64>,
        file: i64,
        evicts: bool,
        expected: &[&str],
    ) {
        let mut view = cluster(&["n1", "n2", "n3"]);
        let state = view.servers[0].service.as_mut().unwrap();
        state.stop_signals = signals.to_vec();
        state.stop_timeout_ms = timeout.map(|s| s * 1000);
        state.next.lame_duck_ms = lame_duck.map(|s| s * 1000);
        state.next.config_at = Some(at(file));
        let stop_limit = Some(Duration::from_secs(180));
        let candidate = Candidate {
            host: "n1",
            expect_unready: false,
            evicts,
            stays_up: false,
            stop_limit,
            next: None,
            boot_starts: false,
        };
        let mut found = Vec::new();
        judge(&view, &candidate, &mut found);
        assert_eq!(found.iter().map(Objection::name).collect::<Vec<_>>(), expected, "{found:?}");
    }

    #[test]
    fn an_included_file_may_set_the_lame_duck() {
        let mut archive = healthy();
        let mut view = cluster(&[&archive.host]);
        read_includes(&mut view, &archive);
        let of = |view: &View| view.servers[0].service.as_ref().unwrap().next.lame_duck_ms;
        assert_eq!(of(&view), None);
        let config = archive.config.as_mut().unwrap();
        config.files[0].text.as_mut().unwrap().push_str("\ninclude ./more.conf\n");
        let path = config.main.replace("nats-server.conf", "more.conf");
        let text = Ok("lame_duck_duration: \"3m\"\n".to_owned());
        config.files.push(ConfigFile { path, text, cut: false, lost_at: None });
        // The host tells of it as it is included.
        let mut facts = archive.paths.as_ref().unwrap()[0].clone();
        facts.path = config.main.replace("nats-server.conf", "./more.conf");
        facts.changed = Some(at(5_000));
        archive.paths.as_mut().unwrap().push(facts);
        read_includes(&mut view, &archive);
        assert_eq!(of(&view), Some(180_000));
        assert_eq!(view.servers[0].service.as_ref().unwrap().next.config_at, Some(at(5_000)));
    }

    #[test]
    fn a_reboot_wants_a_unit_that_starts_at_boot() {
        let check = |enabled: Option<&str>, boot_starts: bool, expected: &[&str]| {
            let mut view = cluster(&["n1", "n2", "n3"]);
            view.servers[0].service.as_mut().unwrap().enabled = enabled.map(str::to_owned);
            let mut found = Vec::new();
            judge(&view, &Candidate { boot_starts, ..crate::core::testing::candidate("n1", false) }, &mut found);
            assert_eq!(found.iter().map(Objection::name).collect::<Vec<_>>(), expected, "{enabled:?}");
        };
        check(Some("enabled"), true, &[]);
        for enabled in [Some("disabled"), Some("masked"), Some("enabled-runtime"), Some("static"), None] {
            check(enabled, true, &["not-enabled"]);
            check(enabled, false, &[]);
        }
    }

    #[test]
    fn a_unit_that_gives_lame_duck_no_time_objects_unless_clients_leave_first() {
        use StopSignal::{Interrupt, Kill, LameDuck, Other, Term};
        let old = -7200;
        // As published: 150 s for the 2 minutes of the default.
        check(&[LameDuck, Term], Some(150), None, old, false, &[]);
        check(&[LameDuck, Term], Some(90), None, old, false, &["lame-duck-cut"]);
        check(&[LameDuck, Term], Some(90), None, old, true, &[]);
        check(&[LameDuck, Term], Some(90), Some(30), old, false, &[]);
        // Written after the start: the process may still run with the default.
        check(&[LameDuck, Term], Some(90), Some(30), -60, false, &["lame-duck-cut"]);
        // Longer than the step itself waits.
        check(&[LameDuck, Term], None, Some(600), old, false, &["lame-duck-cut"]);
        check(&[Other("sleep 1".into()), LameDuck], Some(90), None, old, false, &["lame-duck-cut"]);
        // Units of 2.10.2 and others: no lame duck, so none is cut short.
        check(&[Interrupt, LameDuck], Some(90), None, old, false, &[]);
        check(&[Term], Some(90), None, old, false, &[]);
        check(&[Kill], Some(90), None, old, true, &["unit-kills"]);
        check(&[LameDuck, Kill], Some(150), None, old, true, &[]);
    }
}
