//! Rules about servers, and that each rule is needed.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::core::{
    assets::{Assets, Group, LeaderClaim, Pending, Storage},
    testing::{at, candidate, cluster, healthz_error, stream},
    view::{Peer, StopSignal},
};

fn check(view: &View, host: &str, expect_unready: bool, expected: &[&str]) {
    let names: Vec<_> =
        unsafe_to_restart(view, &candidate(host, expect_unready), view.at).iter().map(Objection::name).collect();
    assert_eq!(names, expected);
}

#[test]
fn a_healthy_cluster_has_no_objection() {
    check(&cluster(&["n1", "n2", "n3"]), "n1", false, &[]);
}

#[test]
fn another_server_that_is_not_healthy_objects() {
    let mut view = cluster(&["n1", "n2", "n3"]);
    view.servers[2].health = Ok(healthz_error(503, "JetStream is not current with the meta leader"));
    check(&view, "n1", false, &["server-not-healthy"]);
    // The server that is down may itself be restarted, if the plan knew.
    check(&view, "n3", true, &[]);
    check(&view, "n3", false, &["server-not-healthy"]);
}

#[test]
fn a_broken_consumer_elsewhere_is_for_its_own_group_to_judge() {
    let mut view = cluster(&["n1", "n2", "n3"]);
    let mut health = healthz_error(503, "JetStream consumer 'APP > S > ghost' is not current");
    health.errors[0].kind = "CONSUMER".into();
    let names = ["APP", "S", "ghost"].map(|name| Some(name.to_owned()));
    [health.errors[0].account, health.errors[0].stream, health.errors[0].consumer] = names;
    for server in &mut view.servers {
        server.health = Ok(health.clone());
    }
    check(&view, "n1", false, &[]);
}

#[test]
fn consent_is_by_name() {
    let mut view = cluster(&["n1", "n2", "n3"]);
    view.servers[1].routes = Ok(vec![]);
    view.servers[0].service = Err(Failure::new(FailureKind::Sudo, "a password is required"));
    let found = unsafe_to_restart(&view, &candidate("n1", false), view.at);
    let allow = ["missing-route", "host-unusable"].map(String::from);
    let (stand, consented) = consent(found, &allow);
    assert_eq!(stand.iter().map(Objection::name).collect::<Vec<_>>(), ["host-unusable"]);
    assert_eq!(consented.iter().map(Objection::name).collect::<Vec<_>>(), ["missing-route"]);
}

#[test]
fn what_is_unknown_objects() {
    let mut view = cluster(&["n1", "n2", "n3"]);
    view.servers[1].varz = Err(Failure::new(FailureKind::Refused, "connection refused"));
    check(&view, "n1", false, &["server-unreachable"]);

    let mut view = cluster(&["n1", "n2", "n3"]);
    view.servers[1].routes = Err(Failure::new(FailureKind::Timeout, "no answer"));
    check(&view, "n1", false, &["server-unreachable"]);

    let mut view = cluster(&["n1", "n2", "n3"]);
    view.servers[0].service = Err(Failure::new(FailureKind::Sudo, "a password is required"));
    check(&view, "n1", false, &["host-unusable"]);
    check(&view, "n2", false, &[]);
}

#[test]
fn a_gate_that_could_not_open_objects() {
    let mut view = cluster(&["n1", "n2", "n3"]);
    view.servers[0].client = Err(Failure::new(FailureKind::Tls, "UnknownIssuer"));
    check(&view, "n1", false, &["client-port"]);
    check(&view, "n2", false, &[]);
}

#[test]
fn facts_that_are_old_object() {
    let view = cluster(&["n1", "n2", "n3"]);
    let later = view.at + jiff::SignedDuration::from_secs(11);
    let found = unsafe_to_restart(&view, &candidate("n1", false), later);
    assert_eq!(found.iter().map(Objection::name).collect::<Vec<_>>(), ["stale", "stale", "stale"]);
}

#[test]
fn identity_is_checked() {
    let mut view = cluster(&["n1", "n2", "n3"]);
    let other = view.servers[1].varz.clone();
    view.servers[2].varz = other;
    let found = unsafe_to_restart(&view, &candidate("n1", false), view.at);
    let names: Vec<_> = found.iter().map(Objection::name).collect();
    assert_eq!(names[..2], ["wrong-server", "duplicate-server"]);

    let mut view = cluster(&["n1", "n2", "n3"]);
    if let Ok(varz) = &mut view.servers[1].varz {
        varz.cluster = Some("other".into());
    }
    check(&view, "n1", false, &["different-clusters"]);
}

#[test]
fn the_others_must_see_each_other() {
    let mut view = cluster(&["n1", "n2", "n3"]);
    view.servers[1].routes = Ok(vec![]);
    check(&view, "n1", false, &["missing-route"]);
    // The candidate's own routes matter to nobody once it is down.
    check(&view, "n2", false, &[]);
}

#[test]
fn a_server_outside_the_inventory_objects() {
    let mut view = cluster(&["n1", "n2", "n3"]);
    view.servers.remove(2);
    check(&view, "n1", false, &["not-in-inventory"]);
}

#[test]
fn the_meta_leader_must_be_one() {
    let mut view = cluster(&["n1", "n2", "n3"]);
    let set = |view: &mut View, host: usize, leader: Option<&str>| {
        if let Ok(varz) = &mut view.servers[host].varz
            && let Some(meta) = &mut varz.meta
        {
            meta.leader = leader.map(Into::into);
        }
    };
    set(&mut view, 1, None);
    check(&view, "n1", false, &["no-meta-leader"]);
    set(&mut view, 1, Some("n2"));
    check(&view, "n1", false, &["meta-leader-disputed"]);
}

/// What every rule is for: a view that this rule refuses and no other. Whoever removes a rule fails here; so does a new
/// objection that is in none of the rows.
#[test]
fn each_rule_alone_refuses_its_view() {
    type Edit = fn(&mut View);
    let rules: &[(&str, Edit)] = &[
        ("server-unreachable", |view| {
            view.servers[1].varz = Err(Failure::new(FailureKind::Refused, "refused"));
        }),
        ("server-not-healthy", |view| view.servers[1].health = Ok(healthz_error(503, "not current"))),
        ("server-lame-duck", |view| {
            let error = "failed to be ready for connections after 1ms: server";
            view.servers[1].health = Ok(healthz_error(500, error));
            view.servers[1].varz.as_mut().unwrap().jetstream = false;
        }),
        ("cold-start", |view| {
            for server in &mut view.servers {
                server.varz = Err(Failure::new(FailureKind::Refused, "refused"));
                server.health = server.varz.clone().map(|_| healthz_error(200, ""));
                server.routes = Err(Failure::new(FailureKind::Refused, "refused"));
                server.service.as_mut().unwrap().phase = Phase::Stopped;
                server.service.as_mut().unwrap().pid = None;
            }
            view.assets = None;
        }),
        ("wrong-server", |view| view.servers[1].varz.as_mut().unwrap().server_name = "other".into()),
        ("duplicate-server", |view| {
            let gap = Gap::SameName { server: "n2".into(), ids: vec!["A".into(), "B".into()] };
            view.assets.as_mut().unwrap().gaps.push(gap);
        }),
        ("missing-route", |view| view.servers[1].routes = Ok(vec![])),
        ("not-in-inventory", |view| {
            let peer = Peer { server_id: "X".into(), server_name: Some("n9".into()) };
            view.servers[1].routes.as_mut().unwrap().push(peer);
        }),
        ("different-clusters", |view| view.servers[1].varz.as_mut().unwrap().cluster = Some("other".into())),
        ("no-meta-leader", |view| {
            view.servers[1].varz.as_mut().unwrap().meta.as_mut().unwrap().leader = None;
        }),
        ("meta-leader-disputed", |view| {
            view.servers[1].varz.as_mut().unwrap().meta.as_mut().unwrap().leader = Some("n2".into());
        }),
        ("group-majority", |view| groups(view)[0].members[1].standing.as_mut().unwrap().current = false),
        ("group-without-leader", |view| {
            let mut group = stream("S", &["n2", "n3"]);
            group.leader.server = None;
            groups(view).push(group);
        }),
        ("r1-offline", |view| {
            let mut group = stream("S", &["n1"]);
            group.consumers = 1;
            groups(view).push(group);
        }),
        ("memory-last-copy", |view| {
            let mut group = stream("S", &["n1"]);
            group.storage = Storage::Memory;
            groups(view).push(group);
        }),
        ("pending-change", |view| {
            let mut group = stream("S", &["n2", "n3"]);
            group.pending.push(Pending::Restore { server: "n2".into() });
            groups(view).push(group);
        }),
        ("version-jump", |view| {
            for server in &mut view.servers {
                server.varz.as_mut().unwrap().version = "2.12.8".into();
            }
            view.servers[0].service.as_mut().unwrap().next.version = Some("2.10.26".into());
        }),
        ("api-level", |view| {
            let mut group = stream("S", &["n1", "n2", "n3"]);
            group.level = 6;
            groups(view).push(group);
        }),
        ("feature-flag", |view| {
            for server in &mut view.servers {
                server.varz.as_mut().unwrap().version = "2.12.8".into();
            }
        }),
        ("route-pool", |view| {
            for server in &mut view.servers {
                server.varz.as_mut().unwrap().version = "2.10.26".into();
            }
            view.servers[1].varz.as_mut().unwrap().route_pool = Some(9);
            view.servers[0].service.as_mut().unwrap().next.version = None;
        }),
        ("lame-duck-cut", |view| view.servers[0].service.as_mut().unwrap().stop_timeout_ms = Some(90_000)),
        ("unit-kills", |view| view.servers[0].service.as_mut().unwrap().stop_signals = vec![StopSignal::Kill]),
        ("not-enabled", |view| view.servers[0].service.as_mut().unwrap().enabled = None),
        ("system-account", |view| view.system_account = Some(Err(Failure::new(FailureKind::Denied, "no")))),
        ("assets-unknown", |view| {
            let detail = "3 of 4 streams were told".into();
            let gap = Gap::Truncated { server: "n2".into(), account: None, detail };
            view.assets.as_mut().unwrap().gaps.push(gap);
        }),
        ("host-unusable", |view| view.servers[0].service = Err(Failure::new(FailureKind::Sudo, "a password"))),
        ("client-port", |view| view.servers[0].client = Err(Failure::new(FailureKind::Tls, "UnknownIssuer"))),
        ("service-missing", |view| view.servers[0].service.as_mut().unwrap().phase = Phase::Missing),
        ("service-busy", |view| view.servers[0].service.as_mut().unwrap().phase = Phase::Stopping),
        ("preflight", |view| {
            let mut archive = crate::core::diagnosis::testing::healthy();
            archive.binary.as_mut().unwrap().exists = false;
            preflight(view, &archive);
        }),
        ("preflight-unknown", |view| {
            let failure = Failure::new(FailureKind::Command, "the collector printed nothing");
            preflight(view, &crate::core::diagnosis::evidence::Archive::unknown("n1", at(0), &failure));
        }),
        ("stale", |view| view.servers[1].at = at(-11)),
    ];
    for (rule, edit) in rules {
        let mut view = cluster(&["n1", "n2", "n3"]);
        edit(&mut view);
        let candidate = Candidate { boot_starts: true, ..candidate("n1", *rule == "cold-start") };
        let found = unsafe_to_restart(&view, &candidate, view.at);
        assert_eq!(found.iter().map(Objection::name).collect::<Vec<_>>(), [*rule]);
    }
    let names: BTreeSet<&str> = rules.iter().map(|(rule, _)| *rule).collect();
    let documented: BTreeSet<&str> = Objection::NAMES.into_iter().collect();
    assert_eq!(names, documented);
    assert!(Objection::OVERRIDABLE.iter().all(|name| documented.contains(name)));
}

fn groups(view: &mut View) -> &mut Vec<Group> {
    &mut view.assets.as_mut().unwrap().groups
}

#[test]
fn every_input_that_is_old_or_missing_objects() {
    let view = cluster(&["n1", "n2", "n3"]);
    let assets = |edit: fn(&mut Assets), expected: &str| {
        let mut view = view.clone();
        edit(view.assets.as_mut().unwrap());
        check(&view, "n1", false, &[expected]);
    };
    assets(|assets| *assets.asked.get_mut("n2").unwrap() = Some(at(-31)), "stale");
    assets(|assets| assets.asked.remove("n2").map(drop).unwrap_or_default(), "assets-unknown");
    assets(|assets| assets.groups.clear(), "assets-unknown");
    // A leader's word on a member that it has not heard for some seconds.
    assets(
        |assets| assets.groups[0].members[1].standing.as_mut().unwrap().active = Duration::from_secs(6),
        "group-majority",
    );
    let mut lost = view.clone();
    lost.assets = None;
    check(&lost, "n1", false, &["assets-unknown"]);
    check(&view, "n4", false, &["host-unusable"]);
}

#[test]
fn a_wholly_down_cluster_is_a_cold_start() {
    let mut view = cluster(&["n1", "n2", "n3"]);
    for server in &mut view.servers[..2] {
        server.varz = Err(Failure::new(FailureKind::Refused, "refused"));
        server.health = Err(Failure::new(FailureKind::Refused, "refused"));
        server.service.as_mut().unwrap().phase = Phase::Stopped;
    }
    // The third one has not noticed yet.
    let names = |view: &View| -> Vec<&str> {
        unsafe_to_restart(view, &candidate("n1", true), view.at).iter().map(Objection::name).collect()
    };
    assert!(names(&view).contains(&"server-unreachable"));
    view.servers[2].health = Ok(healthz_error(503, "JetStream is still recovering meta layer"));
    assert!(names(&view).contains(&"cold-start") && !names(&view).contains(&"server-unreachable"));
    // Out of reach is not down.
    for server in &mut view.servers[..2] {
        server.varz = Err(Failure::new(FailureKind::Timeout, "no answer"));
        server.service = Err(Failure::new(FailureKind::Timeout, "no answer"));
    }
    assert!(!names(&view).contains(&"cold-start"));
}

proptest! {
    /// Exactly one server is not healthy, in any way that a server can be: it may be restarted, or a group that is named needs
    /// it. Nothing else that the others see of it may hold it, or it would never be mended.
    #[test]
    fn an_unhealthy_server_may_go_unless_a_group_needs_it(
        varz in any::<bool>(),
        health in 0..3_u8,
        routes in 0..3_u8,
        gap in 0..4_u8,
        meta in 0..3_u8,
        other_cluster in any::<bool>(),
        groups in prop::collection::vec((0..6_u8, 0..4_u8), 0..6),
    ) {
        let all = ["n1", "n2", "n3"];
        let mut view = cluster(&all);
        let refused = || Failure::new(FailureKind::Refused, "refused");
        let sick = &mut view.servers[0];
        sick.health = match health {
            0 => Ok(healthz_error(503, "not current")),
            1 => Ok(healthz_error(500, "failed to be ready for connections after 1ms: server")),
            _ => Err(refused()),
        };
        match routes { 0 => sick.routes = Ok(vec![]), 1 => sick.routes = Err(refused()), _ => {} }
        if let Ok(seen) = &mut sick.varz {
            match meta { 0 => seen.meta = None, 1 => seen.meta.as_mut().unwrap().leader = None, _ => {} }
            if other_cluster { seen.cluster = Some("other".into()); }
        }
        if !varz { sick.varz = Err(refused()); }
        sick.client = Err(refused());
        let assets = view.assets.as_mut().unwrap();
        for (number, (shape, standing)) in groups.iter().enumerate() {
            let name = format!("S{number}");
            let mut group = match shape {
                0 => stream(&name, &["n1"]),
                1 => stream(&name, &["n1", "n2", "n3"]),
                2 => stream(&name, &["n2", "n3", "n1"]),
                3 => stream(&name, &["n3", "n1", "n2"]),
                4 => stream(&name, &["n2"]),
                _ => stream(&name, &["n2", "n3"]),
            };
            group.consumers = u32::from(standing % 2);
            if group.members.len() == 3 && group.leader.server.as_deref() != Some("n1") {
                let member = group.members.iter_mut().find(|member| member.server == "n1").unwrap();
                let sick = member.standing.as_mut().unwrap();
                match standing {
                    0 => sick.current = false,
                    1 => sick.active = Duration::from_secs(600),
                    2 => sick.joining = true,
                    _ => {}
                }
                if sick.joining { group.pending.push(Pending::Joining { server: "n1".into() }); }
                // It does not know who leads.
                let leader = group.leader.server.clone();
                let claims = [(None, "n1"), (leader, "n2")];
                group.leader.disputed =
                    claims.map(|(leader, by)| LeaderClaim { leader, by: vec![by.into()] }).to_vec();
            }
            assets.groups.push(group);
        }
        let server = || "n1".to_owned();
        match gap {
            0 => assets.gaps.push(Gap::NotSeen { server: server(), failure: refused() }),
            1 => assets.gaps.push(Gap::Truncated { server: server(), account: None, detail: "a page".into() }),
            2 => assets.gaps.push(Gap::Disabled { server: server() }),
            _ => {}
        }
        for objection in unsafe_to_restart(&view, &candidate("n1", true), view.at) {
            let named = match &objection {
                Objection::GroupMajority { groups, .. }
                | Objection::GroupWithoutLeader { groups, .. }
                | Objection::R1Offline { groups, .. }
                | Objection::MemoryLastCopy { groups, .. } => !groups.is_empty(),
                _ => false,
            };
            prop_assert!(named, "{objection:?}");
        }
        // And it holds up the others, whichever goes first of them.
        for host in ["n2", "n3"] {
            prop_assert!(!unsafe_to_restart(&view, &candidate(host, false), view.at).is_empty());
        }
    }
}

/// A host whose service manager answers can be reached: that nothing else came from it is no pass.
#[test]
fn evidence_that_does_not_come_objects() {
    use crate::core::diagnosis::evidence::Archive;
    for kind in [FailureKind::Timeout, FailureKind::Unreachable, FailureKind::Sudo, FailureKind::Command] {
        let failure = Failure::new(kind, "the collector did not end in time");
        let names = |service: Option<&Failure>| {
            let mut view = cluster(&["n1", "n2", "n3"]);
            preflight(&mut view, &Archive::unknown("n1", at(0), &failure));
            if let Some(failure) = service {
                view.servers[0].service = Err(failure.clone());
            }
            let found = unsafe_to_restart(&view, &candidate("n1", false), view.at);
            found.iter().map(Objection::name).collect::<Vec<_>>()
        };
        assert_eq!(names(None), ["preflight-unknown"], "{kind:?}");
        assert_eq!(names(Some(&failure))[0], "host-unusable", "{kind:?}");
    }
}

/// What was gathered before the turn of n1, judged.
fn preflight(view: &mut View, archive: &crate::core::diagnosis::evidence::Archive) {
    use crate::core::diagnosis::{Context, Purpose, diagnose};
    let context = Context { purpose: Purpose::Preflight, ..Context::default() };
    view.preflight = vec![("n1".into(), diagnose(archive, &context))];
}
