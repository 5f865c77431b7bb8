//! Reload or restart: what a host's server needs in order to take its files.

use super::{Configure, How, Way};
use crate::core::{
    conf::{
        effect::{self, Effect},
        value::Map,
    },
    count_of,
    diagnosis::files::PathRole,
    playbook::Step,
    version::Version,
};

/// What is known of a host when it is decided how its server takes files.
#[derive(Debug)]
pub struct Known<'a> {
    /// The settings now and after, each without its secrets; none where one of them can't be read.
    pub settings: Option<(&'a Map, &'a Map)>,
    /// What the files are that change and are no configuration text.
    pub others: &'a [Vec<PathRole>],
    /// The server's version, where it runs.
    pub version: Option<Version>,
    /// Whether it runs.
    pub runs: bool,
}

/// The way that is needed is not among the steps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its server has to {} to take this ({why}), and the playbook has no `{}` after `configure`", .way.word(), match .way { Way::Reload => "reload", Way::Restart => "start" })]
pub struct NoWay {
    /// The way.
    pub way: Way,
    /// Why that one.
    pub why: String,
}

/// How a server takes its files, and why so.
///
/// # Errors
/// The steps have no such way.
pub fn decide(configure: &Configure, steps: &[Step], known: &Known<'_>) -> Result<(Way, String), NoWay> {
    let (way, why) = match configure.how {
        How::Reload => (Way::Reload, "as asked for".to_owned()),
        How::Restart => (Way::Restart, "as asked for".to_owned()),
        How::Auto => needed(known),
    };
    let has = |wanted: fn(&Step) -> bool| steps.iter().any(wanted);
    let can = match way {
        Way::Reload => has(|step| matches!(step, Step::Reload(_))),
        Way::Restart => has(|step| matches!(step, Step::Stop(_))),
    };
    match (can, way) {
        (true, _) => Ok((way, why)),
        // A restart takes all that a reload does.
        (false, Way::Reload) if has(|step| matches!(step, Step::Stop(_))) => {
            Ok((Way::Restart, "the playbook has no reload".into()))
        }
        (false, _) => Err(NoWay { way, why }),
    }
}

fn needed(known: &Known<'_>) -> (Way, String) {
    if !known.runs {
        return (Way::Restart, "it does not run".into());
    }
    let Some((now, then)) = known.settings else {
        return (Way::Restart, "what is there now can't be compared with it".into());
    };
    let changed = effect::changed(now, then, known.version);
    let restarts: Vec<&str> =
        changed.iter().filter(|one| one.effect == Effect::Restart).map(|one| one.setting.as_str()).collect();
    if let [first, rest @ ..] = restarts.as_slice() {
        let more =
            if rest.is_empty() { String::new() } else { format!(" and {}", count_of(rest.len(), "more setting")) };
        return (Way::Restart, format!("no reload takes {first}{more}"));
    }
    // The server reads these once.
    let once = |role: &PathRole| matches!(role, PathRole::Operator | PathRole::Credentials);
    if known.others.iter().flatten().any(once) {
        return (Way::Restart, "no reload reads operators and credentials anew".into());
    }
    let names: Vec<&str> = changed.iter().map(|one| one.setting.as_str()).collect();
    let why = match names.as_slice() {
        [] => "no setting changes that is shown".to_owned(),
        all if all.len() <= 3 => format!("a reload takes {}", all.join(", ")),
        all => format!("a reload takes {} and {}", all[..2].join(", "), count_of(all.len() - 2, "more setting")),
    };
    (Way::Reload, why)
}
