//! Steps that belong to no turn: which kinds may stand there, and what they can know.

use super::{
    own_step::left_out,
    raw::{RawPlaybook, RawStep},
    resolve::resolve_step,
    types::{Hooks, Step},
};
use crate::{
    config::{
        check::Checker,
        error::Mistake,
        yaml::{Span, Spanned},
    },
    core::own_step::{Fact, Place, Template, When},
};

type Raw = Option<Spanned<Vec<Spanned<RawStep>>>>;

/// The steps before, after and on halt. No two steps of a playbook have the same name, those of its turn among them.
pub(super) fn resolve(raw: &RawPlaybook, turn: &[Step], checker: &mut Checker) -> Hooks {
    let mut taken: Vec<String> = turn.iter().map(|step| step.name().to_owned()).collect();
    Hooks {
        before: steps(&raw.before, When::Before, &mut taken, checker),
        after: steps(&raw.after, When::After, &mut taken, checker),
        on_halt: steps(&raw.on_halt, When::OnHalt, &mut taken, checker),
    }
}

fn steps(raw: &Raw, when: When, taken: &mut Vec<String>, checker: &mut Checker) -> Vec<Step> {
    let mut found = Vec::new();
    for raw in raw.iter().flat_map(|steps| &steps.value) {
        let mut step = resolve_step(&raw.value, raw.span, checker);
        match (&mut step, &raw.value) {
            (Step::Run(run), RawStep::Run(Some(written))) if written.value.on.is_none() => run.on = Place::Controller,
            (Step::File(file), RawStep::File(Some(written))) if written.value.on.is_none() => {
                file.on = Place::Controller;
            }
            _ => {}
        }
        let fits = judge(&step, raw.span, when, checker);
        if fits && taken.iter().any(|name| name == step.name()) {
            let mistake = Mistake::at(raw.span, format!("two steps have the name `{}`", step.name()));
            checker.note(mistake.help("give them a `name:` each"));
        }
        taken.push(step.name().to_owned());
        if !left_out(&raw.value) {
            found.push(step);
        }
    }
    found
}

fn judge(step: &Step, span: Span, when: When, checker: &mut Checker) -> bool {
    let fits = matches!(step, Step::Run(_) | Step::File(_) | Step::Http(_))
        || matches!(step, Step::Pause(_)) && when != When::OnHalt;
    if !fits {
        let help =
            if when == When::OnHalt { "`run`, `file` and `http` can" } else { "`run`, `file`, `http` and `pause` can" };
        checker.note(Mistake::at(span, format!("a `{}` can't stand {}", step.kind(), when.words())).help(help));
        return false;
    }
    let on_host = step.is_own_on_host();
    if on_host && when == When::OnHalt {
        checker.note(
            Mistake::at(span, "on halt nothing is done on a host: it is to be found as it was left")
                .help("leave `on` out"),
        );
    }
    if matches!(step, Step::Http(http) if http.on == Place::Host) {
        checker.note(
            Mistake::at(span, "outside a turn a check over HTTP is made from the controller").help("leave `on` out"),
        );
    }
    let known: &[Fact] = match when {
        When::OnHalt => &[Fact::Cluster, Fact::Run, Fact::Host, Fact::Cause],
        _ if on_host => &[Fact::Cluster, Fact::Run, Fact::Host, Fact::Server, Fact::Version, Fact::Monitoring],
        _ => &[Fact::Cluster, Fact::Run],
    };
    unknown_facts(step, span, known, checker);
    true
}

/// Notes facts that a step names and that will not be known.
pub(super) fn unknown_facts(step: &Step, span: Span, known: &[Fact], checker: &mut Checker) {
    let named = templates(step).into_iter().flat_map(Template::facts);
    if let Some(fact) = named.into_iter().find(|fact| !known.contains(fact)) {
        let names: Vec<_> = known.iter().map(|fact| format!("`{}`", fact.name())).collect();
        let mistake = Mistake::at(span, format!("`{{{{ {} }}}}` is not known here", fact.name()));
        checker.note(mistake.help(format!("known are {}", names.join(", "))));
    }
}

fn templates(step: &Step) -> Vec<&Template> {
    use crate::core::own_step::{Pause, Until};
    match step {
        Step::Run(run) => run.command.iter().chain(run.environment.values()).collect(),
        Step::File(file) => [&file.path].into_iter().chain(&file.content).collect(),
        Step::Http(http) => [&http.url].into_iter().chain(&http.contains).collect(),
        Step::Pause(Pause { until: Until::Approved(question), .. }) => vec![question],
        _ => Vec::new(),
    }
}
