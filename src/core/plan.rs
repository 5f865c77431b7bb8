//! The plan: a value that `plan` prints, the run executes and the journal keeps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    assets::{Assets, Kind},
    configure::{self, Change, HostFiles},
    difference::Difference,
    order::{self, Why},
    playbook::{Hooks, OnlyIf, Policy, Step},
    safety::{self, Candidate, Objection, Warning},
    view::{HealthError, ServerView, View},
};

/// What will happen to one cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The cluster's name in the inventory.
    pub cluster: String,
    /// The playbook's name.
    pub playbook: String,
    /// What holds for the roll as a whole.
    pub policy: Policy,
    /// What happens to each server, in order.
    pub steps: Vec<Step>,
    /// What the operator wants done before, after and on halt.
    #[serde(default, skip_serializing_if = "Hooks::is_empty")]
    pub hooks: Hooks,
    /// The servers, in the order foreseen. The meta leader is asked again before each turn.
    pub turns: Vec<Turn>,
    /// Hosts of the cluster that are observed but not rolled.
    pub bystanders: Vec<String>,
    /// The versions of their servers, where they were seen.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub versions_beside: BTreeMap<String, String>,
    /// Those of them that would have been rolled, if something on them had changed (`only_if`), or were to change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unchanged: Vec<String>,
    /// What changes in files that are put in place, without secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// Whether the inventory names a system account, without which a drain does nothing.
    #[serde(default)]
    pub system_account: bool,
}

impl Plan {
    /// The turns that a `stop_after` lets happen.
    pub fn turns_allowed(&self) -> usize {
        let allowed = self.policy.stop_after.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        allowed.min(self.turns.len())
    }

    /// The files that a host gets.
    pub fn files_of(&self, host: &str) -> Option<&HostFiles> {
        self.turns.iter().find(|turn| turn.host == host)?.files.as_ref()
    }

    /// The steps that a host goes through.
    pub fn steps_of(&self, host: &str) -> Vec<Step> {
        match self.files_of(host) {
            Some(files) => configure::steps_by(files.way, &self.steps),
            None => self.steps.clone(),
        }
    }

    /// Whether it changes nothing: then nothing speaks against it, and a server that fails does not hold up the others.
    pub fn only_looks(&self) -> bool {
        !self.steps.is_empty() && self.steps.iter().chain(self.hooks.all()).all(Step::only_looks)
    }

    /// Everything that is worth knowing, each once.
    pub fn warnings(&self) -> Vec<&Warning> {
        let mut all: Vec<&Warning> = Vec::new();
        for warning in self.turns.iter().flat_map(|turn| &turn.warnings) {
            if !all.contains(&warning) {
                all.push(warning);
            }
        }
        all
    }

    /// Whether nothing but what may pass by itself speaks against starting.
    pub fn may_become_safe(&self) -> bool {
        let objections = self.objections();
        !objections.is_empty() && objections.into_iter().all(Objection::may_pass)
    }

    /// Everything that speaks against starting, each once.
    pub fn objections(&self) -> Vec<&Objection> {
        let mut all: Vec<&Objection> = Vec::new();
        for objection in self.turns.iter().flat_map(|turn| &turn.objections) {
            if !all.contains(&objection) {
                all.push(objection);
            }
        }
        all
    }
}

/// One server's passage, as foreseen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// The host's name in the inventory.
    pub host: String,
    /// The server's name.
    pub server_name: String,
    /// Its version now, where it was seen.
    pub version: Option<String>,
    /// The host's zone.
    pub zone: Option<String>,
    /// It was not healthy when the plan was made.
    pub unready: bool,
    /// It leads the meta group.
    pub meta_leader: bool,
    /// Clients that will have to reconnect.
    pub connections: Option<u64>,
    /// Leafnodes that will have to, too.
    #[serde(default)]
    pub leafnodes: Option<u64>,
    /// What its restart means for JetStream; none where the assets were not seen.
    #[serde(default)]
    pub effect: Option<Effect>,
    /// How it differs from what is on its host's disk; only where that decides whether it gets a turn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
    /// The files that it gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<HostFiles>,
    /// Why it has this place in the order.
    pub why: Vec<Why>,
    /// What speaks against its restart, as things were when the plan was made.
    pub objections: Vec<Objection>,
    /// Objections that the operator consented to by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consented: Vec<Objection>,
    /// Errors of single streams and consumers that its healthz has already: they will not hold the gate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waived: Vec<HealthError>,
    /// What is worth knowing, and is no reason against it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// The place of its zone among the zones of the inventory.
    pub zone_rank: usize,
    /// Its place in the inventory.
    pub inventory_rank: usize,
}

/// What the restart of one server means for JetStream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// It leads the meta group.
    pub leads_meta: bool,
    /// Streams that it leads, only copies among them.
    pub leads_streams: usize,
    /// Consumers that it leads.
    pub leads_consumers: usize,
    /// Groups on it that go to a bare majority: one more loss would stop them.
    pub bare: Few,
    /// Streams that have no other copy, with their subjects: they are offline until it is back.
    pub offline_streams: Few,
    /// Consumers that have no other copy.
    pub offline_consumers: usize,
}

/// Many things by the names of the first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Few {
    /// How many.
    pub count: usize,
    /// The first of them.
    pub first: Vec<String>,
}

impl Few {
    fn of(all: impl Iterator<Item = String>, keep: usize) -> Self {
        let (mut count, mut first) = (0, Vec::new());
        for name in all {
            count += 1;
            if first.len() < keep {
                first.push(name);
            }
        }
        Self { count, first }
    }
}

/// Groups at a bare majority are all groups there are in a cluster of three: a few stand for them.
const BARE_NAMED: usize = 5;
/// What goes offline is for the operator to read, but the plan is kept in the journal.
const OFFLINE_NAMED: usize = 100;

impl Effect {
    fn of(assets: &Assets, server: &str) -> Self {
        let led = |kind: Kind| assets.led_by(server).filter(|group| group.kind == kind).count();
        let offline = safety::offline(assets, server);
        let bare = assets.impact(server).bare;
        Self {
            leads_meta: led(Kind::Meta) > 0,
            leads_streams: led(Kind::Stream),
            leads_consumers: led(Kind::Consumer),
            bare: Few::of(bare.into_iter().map(|(group, _)| safety::name(assets, group)), BARE_NAMED),
            offline_streams: Few::of(offline.streams.into_iter(), OFFLINE_NAMED),
            offline_consumers: offline.consumers,
        }
    }
}

/// Makes the plan for `hosts` of the cluster in `view`.
///
/// Objections are those that hold now. A server that is unready and goes first is expected to be mended by its own
/// turn, so the turns after it are judged as if it were healthy: they are judged again on fresh facts anyway.
pub fn plan(view: &View, hosts: &[String], playbook: &str, policy: Policy, steps: Vec<Step>) -> Plan {
    with_files(view, hosts, playbook, policy, steps, &BTreeMap::new())
}

/// The same with the files that hosts get.
pub fn with_files(
    view: &View,
    hosts: &[String],
    playbook: &str,
    policy: Policy,
    steps: Vec<Step>,
    files: &BTreeMap<String, HostFiles>,
) -> Plan {
    let (hosts, unchanged) = changed(view, hosts, &policy);
    let hosts = &hosts[..];
    let mut turns = turns(view, hosts);
    if policy.only_if.is_some() {
        turns.iter_mut().for_each(|turn| turn.differences = differences(view, &turn.host));
    }
    turns.iter_mut().for_each(|turn| turn.files = files.get(&turn.host).cloned());
    order::sort(&mut turns, &policy.order, view);
    let mended: Vec<String> = turns.iter().filter(|turn| turn.unready).map(|turn| turn.host.clone()).collect();
    for (place, turn) in turns.iter_mut().enumerate() {
        let after_mended = place > 0 && !mended.is_empty();
        let earlier = |host: &str| mended.iter().position(|other| other == host).is_some_and(|index| index < place);
        let steps = turn.files.as_ref().map_or_else(|| steps.clone(), |of| configure::steps_by(of.way, &steps));
        let candidate = Candidate::of(turn, &steps, view);
        let warnings = safety::warnings(view, &candidate);
        let found = safety::unsafe_to_restart(view, &candidate, view.at)
            .into_iter()
            .filter(|objection| match objection {
                Objection::ServerUnreachable { host, .. }
                | Objection::LameDuck { host }
                | Objection::ServerNotHealthy { host, .. } => !earlier(host),
                // Its replicas count again once it is back.
                Objection::GroupMajority { .. }
                | Objection::GroupWithoutLeader { .. }
                | Objection::AssetsUnknown { .. } => !after_mended,
                _ => true,
            })
            .collect();
        (turn.objections, turn.consented) = safety::consent(found, &policy.allow);
        turn.warnings = warnings;
    }
    if !steps.is_empty() && steps.iter().all(Step::only_looks) {
        turns.iter_mut().for_each(|turn| (turn.objections, turn.consented) = (Vec::new(), Vec::new()));
    }
    let beside = || view.servers.iter().filter(|server| !hosts.contains(&server.host));
    let version = |server: &ServerView| Some((server.host.clone(), server.varz.as_ref().ok()?.version.clone()));
    Plan {
        cluster: view.cluster.clone(),
        playbook: playbook.into(),
        bystanders: beside().map(|server| server.host.clone()).collect(),
        versions_beside: beside().filter_map(version).collect(),
        unchanged,
        changes: Vec::new(),
        system_account: view.system_account.is_some(),
        policy,
        steps,
        hooks: Hooks::default(),
        turns,
    }
}

/// The hosts that get a turn, and those that don't since nothing on them has changed.
fn changed(view: &View, hosts: &[String], policy: &Policy) -> (Vec<String>, Vec<String>) {
    match policy.only_if {
        None => (hosts.to_vec(), Vec::new()),
        Some(OnlyIf::Changed) => {
            hosts.iter().cloned().partition(|host| view.server(host).is_none() || !differences(view, host).is_empty())
        }
    }
}

/// How the server of a host differs from what is on the disk. Where nobody compared the two, that itself is not known.
fn differences(view: &View, host: &str) -> Vec<Difference> {
    let compared = view.differences.iter().find(|(of, _)| of == host).map(|(_, differences)| differences.clone());
    compared.unwrap_or_else(|| vec![Difference::Unknown { what: "it".into(), why: "it was not compared".into() }])
}

/// One turn for each of `hosts` that the view has, in inventory order, not yet judged.
pub(crate) fn turns(view: &View, hosts: &[String]) -> Vec<Turn> {
    let mut zones: Vec<&str> = Vec::new();
    for zone in view.servers.iter().filter_map(|server| server.zone.as_deref()) {
        if !zones.contains(&zone) {
            zones.push(zone);
        }
    }
    let turn = |(inventory_rank, server): (usize, &ServerView)| {
        let varz = server.varz.as_ref().ok();
        let zone_rank = server.zone.as_deref().and_then(|zone| zones.iter().position(|z| *z == zone));
        Turn {
            host: server.host.clone(),
            server_name: server.server_name.clone(),
            version: varz.map(|varz| varz.version.clone()),
            zone: server.zone.clone(),
            unready: !server.healthy(),
            meta_leader: server.leads_meta(),
            connections: varz.map(|varz| varz.connections),
            leafnodes: varz.map(|varz| varz.leafnodes),
            effect: view.assets.as_ref().map(|assets| Effect::of(assets, &server.server_name)),
            differences: Vec::new(),
            files: None,
            why: Vec::new(),
            objections: Vec::new(),
            consented: Vec::new(),
            waived: server.health.iter().flat_map(|health| health.asset_errors().cloned()).collect(),
            warnings: Vec::new(),
            zone_rank: zone_rank.unwrap_or(zones.len()),
            inventory_rank,
        }
    };
    view.servers.iter().enumerate().filter(|(_, server)| hosts.contains(&server.host)).map(turn).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::{
        playbook::{OrderRule, Policy},
        testing::*,
        view::{Failure, FailureKind},
    };

    fn policy() -> Policy {
        Policy {
            order: vec![OrderRule::Unready, OrderRule::MetaLeaderLast, OrderRule::Inventory],
            stop_after: None,
            only_if: None,
            allow: vec![],
            pause: Duration::ZERO,
            on_failure: crate::core::playbook::AfterFailure::Halt,
            safety_deadline: Duration::from_secs(30),
        }
    }

    fn check(view: &View, hosts: &[&str], expected: &[(&str, usize)]) {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).into()).collect();
        let plan = plan(view, &hosts, "restart", policy(), vec![]);
        let turns: Vec<_> = plan.turns.iter().map(|turn| (turn.host.as_str(), turn.objections.len())).collect();
        assert_eq!(turns, expected);
    }

    #[test]
    fn a_healthy_cluster_is_planned_without_objection() {
        let view = cluster(&["n1", "n2", "n3"]);
        check(&view, &["n1", "n2", "n3"], &[("n1", 0), ("n2", 0), ("n3", 0)]);
        check(&view, &["n2"], &[("n2", 0)]);
    }

    #[test]
    fn one_server_that_is_down_does_not_block_its_own_turn() {
        let mut view = cluster(&["n1", "n2", "n3"]);
        view.servers[1].varz = Err(Failure::new(FailureKind::Refused, "refused"));
        view.servers[1].health = Err(Failure::new(FailureKind::Refused, "refused"));
        check(&view, &["n1", "n2", "n3"], &[("n2", 0), ("n1", 0), ("n3", 0)]);
        // Left out of the roll it blocks the others.
        check(&view, &["n1", "n3"], &[("n1", 1), ("n3", 1)]);
    }

    #[test]
    fn only_what_changed_gets_a_turn_where_that_is_wanted() {
        let mut view = cluster(&["n1", "n2", "n3"]);
        let hosts = ["n1", "n2", "n3"].map(String::from);
        view.differences = vec![("n1".into(), vec![]), ("n2".into(), vec![Difference::NotRunning])];
        let policy = Policy { only_if: Some(OnlyIf::Changed), ..policy() };
        let plan = plan(&view, &hosts, "restart", policy, vec![]);
        // Nobody compared the third.
        let turns: Vec<_> =
            plan.turns.iter().map(|turn| (turn.host.as_str(), turn.differences[0].to_string())).collect();
        assert_eq!(
            turns,
            [
                ("n2", "it does not run".to_owned()),
                ("n3", "not known whether it changed: it was not compared".to_owned())
            ]
        );
        assert_eq!((plan.bystanders, plan.unchanged), (vec!["n1".to_owned()], vec!["n1".to_owned()]));
    }

    #[test]
    fn nothing_speaks_against_looking() {
        let mut view = cluster(&["n1", "n2", "n3"]);
        view.servers[1].varz = Err(Failure::new(FailureKind::Refused, "refused"));
        let gate = Step::Gate(crate::core::playbook::Gate::default());
        let turns = |steps: Vec<Step>| plan(&view, &["n1".into()], "verify", policy(), steps).turns;
        assert!(turns(vec![gate.clone()])[0].objections.is_empty());
        assert!(!turns(vec![own_command("mend"), gate])[0].objections.is_empty());
    }

    #[test]
    fn replicas_of_a_server_that_goes_first_count_again_after_it() {
        let mut view = cluster(&["n1", "n2", "n3"]);
        view.servers[1].varz = Err(Failure::new(FailureKind::Refused, "refused"));
        view.servers[1].health = Err(Failure::new(FailureKind::Refused, "refused"));
        let meta = view.assets.as_mut().and_then(|assets| assets.groups[0].members[1].standing.as_mut()).unwrap();
        meta.current = false;
        check(&view, &["n1", "n2", "n3"], &[("n2", 0), ("n1", 0), ("n3", 0)]);
        // Left out of the roll it is missed.
        check(&view, &["n1"], &[("n1", 2)]);
    }

    #[test]
    fn two_servers_that_are_down_block_each_other() {
        let mut view = cluster(&["n1", "n2", "n3"]);
        for down in [0, 1] {
            view.servers[down].varz = Err(Failure::new(FailureKind::Refused, "refused"));
            view.servers[down].health = Err(Failure::new(FailureKind::Refused, "refused"));
        }
        check(&view, &["n1", "n2", "n3"], &[("n1", 1), ("n2", 0), ("n3", 0)]);
    }
}
