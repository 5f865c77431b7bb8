//! Which steps may follow which. A playbook that leaves a server down, or goes on to the next
//! one unguarded, can't be written.

use super::types::Step;
use crate::config::check::Checker;
use crate::config::error::Mistake;
use crate::config::yaml::Span;
use crate::core::own_step::{Fact, Pause, Place, Run, Until};

/// What must come before and after a step, if it is there at all.
struct Rule {
    step: &'static str,
    /// A step of which one must come later, and why.
    then: Option<(&'static [&'static str], &'static str)>,
    /// A step that must come earlier, and why.
    after: Option<(&'static str, &'static str)>,
}

/// A new step is a new row here.
const RULES: [Rule; 10] = [
    Rule { step: "drain", then: Some((&["stop"], "clients would be moved for nothing")), after: None },
    Rule { step: "stop", then: Some((&["start", "reboot"], "each server would be left down")), after: None },
    Rule {
        step: "install",
        then: Some((&["start", "reboot"], "nobody would run what was put in place")),
        after: Some(("stop", "a server that restarts by itself would run it unseen")),
    },
    Rule {
        step: "configure",
        then: Some((&["start", "reload"], "no server would take what was put in place")),
        after: None,
    },
    Rule {
        step: "start",
        then: Some((&["gate"], "the next server would be stopped before this one is back")),
        after: None,
    },
    Rule {
        step: "reload",
        then: Some((&["gate"], "the next server would reload before this one has shown that it is well")),
        after: None,
    },
    Rule {
        step: "reboot",
        then: Some((&["gate"], "the next server would be stopped before this one is back")),
        after: Some(("stop", "the server would go down with its host, whatever it is doing")),
    },
    Rule { step: "gate", then: None, after: None },
    Rule { step: "canary", then: None, after: Some(("gate", "there is nothing yet that could hold")) },
    Rule { step: "settle", then: None, after: Some(("gate", "there is nothing yet that could hold")) },
];

/// Notes what is wrong with the order of `steps`. If some could not be read (`is_whole` is
/// false), nothing is called missing.
pub(super) fn check(steps: &[(Step, Span)], is_whole: bool, checker: &mut Checker) {
    for (at, (step, span)) in steps.iter().enumerate() {
        let name = step.name();
        let (before, after) = (&steps[..at], &steps[at + 1..]);
        if let Some((_, first)) = before.iter().find(|(other, _)| other.name() == name) {
            checker.note(
                if name == step.kind() && RULES.iter().any(|rule| rule.step == name) {
                    Mistake::at(*span, format!("a turn has one `{name}` at most")).help("remove one of them")
                } else {
                    Mistake::at(*span, format!("two steps have the name `{name}`")).help("give them a `name:` each")
                }
                .label("again here")
                .related(*first, "first here"),
            );
            continue;
        }
        if let Step::Pause(Pause { until: Until::Approved(_), .. }) = step
            && let Some((_, stop)) = before.iter().find(|(step, _)| matches!(step, Step::Stop(_)))
            && !before.iter().any(|(step, _)| matches!(step, Step::Start(_) | Step::Reboot(_)))
        {
            checker.note(
                Mistake::at(*span, "the server would be down for as long as nobody answers")
                    .related(*stop, "stopped here")
                    .help("ask before the `stop`, or after the `gate`"),
            );
        }
        let of_a_turn: Vec<Fact> = Fact::ALL.into_iter().filter(|fact| *fact != Fact::Cause).collect();
        super::hooks::unknown_facts(step, *span, &of_a_turn, checker);
        let guards = |(step, _): &(Step, Span)| matches!(step, Step::Gate(_) | Step::Settle(_));
        if matches!(step, Step::Run(Run { on: Place::Host, .. })) && is_whole && !after.iter().any(guards) {
            checker.note(
                Mistake::at(*span, "nothing sees what this did to the server before the next one is touched")
                    .help("put it above the `gate` or the `settle`"),
            );
        }
        if let Step::Reboot(_) = step
            && let Some((_, start)) = before.iter().find(|(step, _)| matches!(step, Step::Start(_)))
        {
            let why = "the server would run when its host goes down";
            checker.note(misplaced(name, *span, "after", "start", *start, why));
        }
        if let Step::Configure(_) = step {
            configured(before, *span, after, checker);
        }
        let Some(rule) = RULES.iter().find(|rule| rule.step == name) else {
            continue;
        };
        let has = |steps: &[(Step, Span)], name: &str| {
            steps.iter().find(|(step, _)| step.name() == name).map(|(_, span)| *span)
        };
        if let Some((needed, why)) = rule.then
            && !needed.iter().any(|one| has(after, one).is_some())
        {
            // Misplaced counts even when something is missing: it was read.
            match needed.iter().find_map(|one| Some((one, has(before, one)?))) {
                Some((one, other)) => checker.note(misplaced(name, *span, "after", one, other, why)),
                None if is_whole => {
                    let (one, all) = (needed[0], needed.join("` or `"));
                    checker.note(
                        Mistake::at(*span, format!("`{name}` without a `{all}` after it: {why}"))
                            .help(format!("add `- {one}` below it")),
                    );
                }
                None => {}
            }
        }
        if let Some((needed, why)) = rule.after
            && has(before, needed).is_none()
        {
            match has(after, needed) {
                Some(other) => checker.note(misplaced(name, *span, "before", needed, other, why)),
                None if is_whole => checker.note(
                    Mistake::at(*span, format!("`{name}` without a `{needed}` before it: {why}"))
                        .help(format!("add `- {needed}` above it")),
                ),
                None => {}
            }
        }
    }
}

/// Files that a server would meet unseen, or that would be tried without what else changes.
fn configured(before: &[(Step, Span)], span: Span, after: &[(Step, Span)], checker: &mut Checker) {
    if let Some((_, stop)) = after.iter().find(|(step, _)| matches!(step, Step::Stop(_))) {
        let why = "a server that restarts by itself would run with it unseen";
        checker.note(misplaced("configure", span, "before", "stop", *stop, why));
    }
    let other = |(step, _): &&(Step, Span)| matches!(step, Step::Install(_) | Step::Reboot(_));
    if let Some((other, at)) = before.iter().chain(after).find(other) {
        let message = format!("`configure` and `{}` in one turn: what failed could not be told apart", other.kind());
        checker.note(Mistake::at(span, message).related(*at, "the other").help("make it two playbooks"));
    }
}

fn misplaced(name: &str, span: Span, where_: &str, other: &str, other_span: Span, why: &str) -> Mistake {
    let order = if where_ == "after" {
        format!("put `{name}` above `{other}`")
    } else {
        format!("put `{name}` below `{other}`")
    };
    Mistake::at(span, format!("`{name}` stands {where_} `{other}`: {why}"))
        .related(other_span, format!("`{other}`"))
        .help(order)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Playbook;

    fn check(turn: &str, expected: &[&str]) {
        let written = turn.replace("configure", "{configure: {files: [{from: x}]}}");
        let text = format!("name: x\nturn: [{written}]\n");
        let found: Vec<String> = match Playbook::parse(Path::new("p.yaml"), &text) {
            Ok(playbook) => {
                let names: Vec<_> = playbook.turn.iter().map(super::Step::name).collect();
                assert_eq!(names.join(", "), turn);
                Vec::new()
            }
            Err(errors) => errors.mistakes().iter().map(|m| m.message().to_owned()).collect(),
        };
        assert_eq!(found, expected, "{turn}");
    }

    #[test]
    fn legal_turns_are_accepted() {
        check("drain, stop, start, gate, settle", &[]);
        check("stop, start, gate, settle", &[]);
        check("stop, start, gate", &[]);
        check("drain, stop, reboot, gate, settle", &[]);
        check("stop, reboot, start, gate", &[]);
        check("start, gate", &[]);
        check("drain, stop, configure, start, reload, gate, settle", &[]);
        check("configure, reload, gate", &[]);
        check("reload, gate, settle", &[]);
        check("gate, settle", &[]);
        check("gate", &[]);
    }

    #[test]
    fn others_are_refused() {
        check("", &["a turn without steps does nothing"]);
        check("stop", &["`stop` without a `start` or `reboot` after it: each server would be left down"]);
        check(
            "stop, reboot",
            &["`reboot` without a `gate` after it: the next server would be stopped before this one is back"],
        );
        check(
            "reboot, gate",
            &["`reboot` without a `stop` before it: the server would go down with its host, whatever it is doing"],
        );
        check(
            "stop, start, reboot, gate",
            &["`reboot` stands after `start`: the server would run when its host goes down"],
        );
        check(
            "configure, gate",
            &["`configure` without a `start` or `reload` after it: no server would take what was put in place"],
        );
        check(
            "configure, stop, start, gate",
            &["`configure` stands before `stop`: a server that restarts by itself would run with it unseen"],
        );
        check(
            "stop, configure, reboot, start, gate",
            &["`configure` and `reboot` in one turn: what failed could not be told apart"],
        );
        check("start, stop, gate", &["`stop` stands after `start`: each server would be left down"]);
        check(
            "stop, start",
            &["`start` without a `gate` after it: the next server would be stopped before this one is back"],
        );
        check(
            "stop, gate, start",
            &["`start` stands after `gate`: the next server would be stopped before this one is back"],
        );
        check(
            "gate, stop, start",
            &["`start` stands after `gate`: the next server would be stopped before this one is back"],
        );
        check("stop, gate", &["`stop` without a `start` or `reboot` after it: each server would be left down"]);
        check("settle", &["`settle` without a `gate` before it: there is nothing yet that could hold"]);
        check("stop, start, settle, gate", &["`settle` stands before `gate`: there is nothing yet that could hold"]);
        check(
            "stop, start, gate, stop, start, gate",
            &["a turn has one `stop` at most", "a turn has one `start` at most", "a turn has one `gate` at most"],
        );
        check("stop, start, gaet", &["unknown step `gaet`"]);
    }
}
