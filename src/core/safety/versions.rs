//! What the program on the host's disk, which a restart starts, means for its own data and for the others.

use super::{Candidate, Objection, assets::name};
use crate::core::{
    version::Version,
    view::{Varz, View},
};

/// Names in one objection.
const NAMED: usize = 5;

/// Raft entries and snapshots that a feature flag lets a server write, and the first version that can read them (nats-server
/// `feature_flags.go`: "older peers panic", "older peers reject the snapshot").
const FLAGS: [(&str, Version); 2] =
    [("js_raft_delete_range", Version(2, 14, 0)), ("js_snapshot_sources", Version(2, 15, 0))];
/// From here on `js_raft_delete_range` is on unless it is set to off (seen on 2.15.1; off on 2.14.6).
const DELETE_RANGE: Version = Version(2, 15, 0);

pub(super) fn judge(view: &View, of: &Candidate<'_>, found: &mut Vec<Objection>) {
    let candidate = of.host;
    let Some(server) = view.server(candidate) else { return };
    let on_disk = server.service.as_ref().ok().and_then(|state| Version::of(state.next.version.as_deref()?));
    let next = of.next.map_or(on_disk, Version::of);
    let varz = server.varz.as_ref().ok();
    let running = varz.and_then(|varz| Version::of(&varz.version));
    // A server that does not run has met what is on its disk, or would have.
    let from = running.or(on_disk.filter(|_| of.next.is_some()));
    if let (Some(from), Some(to)) = (from, next)
        && let Some(why) = jump(from, to, varz)
    {
        found.push(Objection::VersionJump {
            host: candidate.into(),
            from: from.to_string(),
            to: to.to_string(),
            why: why.into(),
        });
    }
    found.extend(next.and_then(|to| flag(view, candidate, running, to)));
    let back = next.filter(|to| from.is_some_and(|from| *to < from));
    found.extend(back.and_then(|to| flags_of_others(view, candidate, to)));
    // Where the program on disk is not known, the same one starts again.
    let level = match next {
        Some(to) if Some(to) != running => Some(to.api_level()),
        _ => varz.filter(|varz| varz.jetstream).map(|varz| varz.api_level.unwrap_or(0)),
    };
    if let Some(level) = level {
        found.extend(api_level(view, candidate, &server.server_name, level));
    }
    found.extend(varz.and_then(|varz| route_pool(view, candidate, varz, next)));
}

/// Why a server can't go from one version to another, if so (facts of the release notes: 2.8 to 2.11 is not supported; back
/// from 2.10 only to 2.9.22 or later, from 2.12 and later only to 2.11.9 or later; feature flags off before 2.14 is left).
fn jump(from: Version, to: Version, varz: Option<&Varz>) -> Option<&'static str> {
    if from.line() <= (2, 8) && to.line() >= (2, 11) {
        return Some("2.9 or 2.10 has to come between");
    }
    if to.line() >= from.line() {
        return None;
    }
    if from.line() >= (2, 14) && to.line() < (2, 14) {
        match varz.map(|varz| varz.feature_flags.values().any(|on| *on)) {
            Some(true) => return Some("feature flags are on, and what they wrote can't be read there"),
            Some(false) => {}
            None => return Some("its feature flags can't be seen, and what they write can't be read there"),
        }
    }
    if from.line() >= (2, 12) && to < Version(2, 11, 9) {
        return Some("from 2.12 on the way back ends at 2.11.9");
    }
    if from.line() >= (2, 10) && to < Version(2, 9, 22) {
        return Some("from 2.10 on the way back ends at 2.9.22");
    }
    None
}

/// The flag that the next program would have on and that others don't know, if any. What runs already is past refusing.
fn flag(view: &View, candidate: &str, running: Option<Version>, to: Version) -> Option<Objection> {
    let varz = view.server(candidate)?.varz.as_ref().ok();
    let on = |name: &str| varz.and_then(|varz| varz.feature_flags.get(name)).copied();
    let (flag, since) = FLAGS.into_iter().find(|(name, since)| {
        let by_default = *name == "js_raft_delete_range" && to >= DELETE_RANGE && running < Some(DELETE_RANGE);
        to >= *since && Some(to) != running && (by_default || on(name) == Some(true))
    })?;
    let unknown_to: Vec<String> = view
        .servers
        .iter()
        .filter(|server| server.host != candidate)
        .filter(|server| {
            let varz = server.varz.as_ref().ok();
            varz.is_some_and(|varz| varz.jetstream && Version::of(&varz.version).is_none_or(|version| version < since))
        })
        .map(|server| server.host.clone())
        .collect();
    (!unknown_to.is_empty()).then(|| Objection::FeatureFlag { host: candidate.into(), flag: flag.into(), unknown_to })
}

/// A flag that another server has on, and that a program which is put back does not know, if any: the others write what it can't
/// read.
fn flags_of_others(view: &View, candidate: &str, to: Version) -> Option<Objection> {
    let others: Vec<&Varz> = view
        .servers
        .iter()
        .filter(|server| server.host != candidate)
        .filter_map(|server| server.varz.as_ref().ok())
        .collect();
    let on = |name: &str| others.iter().any(|varz| varz.jetstream && varz.feature_flags.get(name) == Some(&true));
    let (flag, _) = FLAGS.into_iter().find(|(name, since)| to < *since && on(name))?;
    let unknown_to = vec![candidate.to_owned()];
    Some(Objection::FeatureFlag { host: candidate.into(), flag: flag.into(), unknown_to })
}

fn api_level(view: &View, candidate: &str, server: &str, level: u32) -> Option<Objection> {
    let assets = view.assets.as_ref()?;
    let mut above = assets.on(server).filter(|group| group.level > level).peekable();
    above.peek()?;
    let (mut count, mut groups) = (0, Vec::new());
    for group in above {
        count += 1;
        if groups.len() < NAMED {
            groups.push(format!("{} (level {})", name(assets, group), group.level));
        }
    }
    Some(Objection::ApiLevel { host: candidate.into(), level, count, groups })
}

fn route_pool(view: &View, candidate: &str, varz: &Varz, next: Option<Version>) -> Option<Objection> {
    let mut back = varz.clone();
    if let Some(next) = next {
        back.version = next.to_string();
    }
    let others: Vec<String> = view
        .servers
        .iter()
        .filter(|server| server.host != candidate)
        .filter_map(|server| Some((server, server.varz.as_ref().ok()?)))
        .filter(|(_, other)| !back.routes_to(other))
        .map(|(server, other)| format!("{} on {}", other.route_pool.unwrap_or_default(), server.host))
        .collect();
    let pool = varz.route_pool?;
    (!others.is_empty()).then(|| Objection::RoutePool { host: candidate.into(), pool, others })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        testing::{cluster, stream},
        view::{Failure, FailureKind},
    };

    /// n1 goes from one version to another, the others stay at `others`.
    fn check(from: &str, to: &str, others: &str, edit: impl FnOnce(&mut View), expected: &[&str]) {
        let mut view = cluster(&["n1", "n2", "n3"]);
        for (place, server) in view.servers.iter_mut().enumerate() {
            let varz = server.varz.as_mut().unwrap();
            varz.version = if place == 0 { from } else { others }.into();
            varz.api_level = Version::of(&varz.version).map(Version::api_level);
        }
        view.servers[0].service.as_mut().unwrap().next.version = Some(to.into());
        edit(&mut view);
        let mut found = Vec::new();
        let candidate = Candidate::on("n1", false, &[], &view);
        judge(&view, &candidate, &mut found);
        assert_eq!(found.iter().map(Objection::name).collect::<Vec<_>>(), expected, "{from} to {to}: {found:?}");
    }

    fn flag_on(view: &mut View) {
        let varz = view.servers[0].varz.as_mut().unwrap();
        varz.feature_flags.insert("js_ack_fc_v2".into(), true);
    }

    #[test]
    fn versions_that_follow_each_other_are_no_objection() {
        for (from, to) in [
            ("2.15.1", "2.15.1"),
            ("2.10.26", "2.11.11"),
            ("2.11.11", "2.12.8"),
            ("2.12.8", "2.14.6"),
            ("2.14.6", "2.15.1"),
            ("2.9.25", "2.11.11"),
            ("2.12.8", "2.11.11"),
            ("2.10.26", "2.9.25"),
        ] {
            check(from, to, from, |_| {}, &[]);
        }
        // Half way through an upgrade.
        check("2.12.8", "2.14.6", "2.14.6", |_| {}, &[]);
        check("2.14.6", "2.14.6", "2.12.8", |_| {}, &[]);
    }

    #[test]
    fn a_jump_too_far_objects() {
        check("2.8.4", "2.11.0", "2.8.4", |_| {}, &["version-jump"]);
        check("2.10.26", "2.9.20", "2.10.26", |_| {}, &["version-jump"]);
        check("2.12.8", "2.11.8", "2.12.8", |_| {}, &["version-jump"]);
        check("2.14.6", "2.12.8", "2.14.6", flag_on, &["version-jump"]);
        check("2.14.6", "2.12.8", "2.14.6", |_| {}, &[]);
    }

    #[test]
    fn a_flag_that_crashes_the_others_objects() {
        check("2.12.8", "2.15.1", "2.12.8", |_| {}, &["feature-flag"]);
        check("2.12.8", "2.15.1", "2.14.6", |_| {}, &[]);
    }

    /// The program that will be put in place counts, not the one that is there.
    #[test]
    fn the_version_to_come_is_the_one_that_is_judged() {
        let check =
            |running: Option<&str>, on_disk: &str, next: &str, others: &str, edit: fn(&mut View), expected: &[&str]| {
                let mut view = cluster(&["n1", "n2", "n3"]);
                for server in &mut view.servers {
                    server.varz.as_mut().unwrap().version = others.into();
                }
                edit(&mut view);
                match running {
                    Some(version) => view.servers[0].varz.as_mut().unwrap().version = version.into(),
                    None => view.servers[0].varz = Err(Failure::new(FailureKind::Refused, "refused")),
                }
                view.servers[0].service.as_mut().unwrap().next.version = Some(on_disk.into());
                let candidate = Candidate { next: Some(next), ..Candidate::on("n1", false, &[], &view) };
                let mut found = Vec::new();
                judge(&view, &candidate, &mut found);
                assert_eq!(
                    found.iter().map(Objection::name).collect::<Vec<_>>(),
                    expected,
                    "{on_disk} to {next}: {found:?}"
                );
            };
        check(Some("2.12.8"), "2.12.8", "2.14.6", "2.12.8", |_| {}, &[]);
        check(Some("2.12.8"), "2.12.8", "2.15.1", "2.12.8", |_| {}, &["feature-flag"]);
        check(Some("2.14.6"), "2.14.6", "2.11.0", "2.14.6", |_| {}, &["version-jump"]);
        // Put back on a server that never came up with the new one.
        check(None, "2.15.1", "2.14.6", "2.14.6", |_| {}, &[]);
        check(None, "2.12.8", "2.11.8", "2.11.8", |_| {}, &["version-jump"]);
        check(None, "2.15.1", "2.12.8", "2.15.1", |_| {}, &["version-jump"]);
        // The others write already what it could not read.
        let delete_range = |view: &mut View| {
            let varz = view.servers[1].varz.as_mut().unwrap();
            varz.feature_flags.insert("js_raft_delete_range".into(), true);
        };
        check(Some("2.14.6"), "2.14.6", "2.12.8", "2.15.1", delete_range, &["feature-flag"]);
        check(Some("2.15.1"), "2.15.1", "2.14.6", "2.15.1", delete_range, &[]);
    }

    #[test]
    fn assets_above_the_level_object() {
        let needs = |level: u32| {
            move |view: &mut View| {
                let mut group = stream("S", &["n1", "n2", "n3"]);
                group.level = level;
                view.assets.as_mut().unwrap().groups.push(group);
            }
        };
        check("2.12.8", "2.11.11", "2.12.8", needs(2), &["api-level"]);
        check("2.12.8", "2.11.11", "2.12.8", needs(1), &[]);
        check("2.12.8", "2.12.8", "2.12.8", needs(3), &[]);
    }

    #[test]
    fn a_pool_of_another_size_objects_before_2_11_2() {
        let pool = |view: &mut View| view.servers[2].varz.as_mut().unwrap().route_pool = Some(5);
        check("2.10.26", "2.10.26", "2.10.26", pool, &["route-pool"]);
        check("2.10.26", "2.11.11", "2.10.26", pool, &["route-pool"]);
        check("2.10.26", "2.11.11", "2.11.11", pool, &[]);
        check("2.15.1", "2.15.1", "2.15.1", pool, &[]);
        let off = |view: &mut View| view.servers[2].varz.as_mut().unwrap().route_pool = Some(-1);
        check("2.10.26", "2.10.26", "2.10.26", off, &[]);
    }
}
