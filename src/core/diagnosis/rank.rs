//! The diagnosis: all rules, then which finding is the root cause and which merely follow from it.

use super::{
    case::{Case, Context, Purpose},
    catalogue,
    evidence::Archive,
    finding::{Diagnosis, Finding, Quote, Severity},
    rules::RULES,
};
use crate::core::notable::notable;

/// Concludes what can be concluded from an archive. It never guesses: where no rule finds a cause, the diagnosis has the
/// evidence instead.
pub fn diagnose(archive: &Archive, context: &Context) -> Diagnosis {
    if context.purpose != Purpose::Check {
        return judge(archive, context);
    }
    let mut now = judge(archive, &Context { purpose: Purpose::Look, ..context.clone() });
    let next = judge(archive, &Context { purpose: Purpose::Preflight, ..context.clone() });
    for finding in next.findings {
        let told = |one: &Finding| one.code == finding.code || one.consequences.iter().any(|c| c.code == finding.code);
        if !now.findings.iter().any(told) {
            now.findings.push(finding);
        }
    }
    now.findings.sort_by_key(|finding| finding.severity);
    now
}

fn judge(archive: &Archive, context: &Context) -> Diagnosis {
    let case = Case::new(archive, context);
    let mut found: Vec<Finding> = RULES.iter().flat_map(|rules| rules(&case)).collect();
    for finding in &mut found {
        last_step(&case, finding);
    }
    sort(&mut found);
    let findings = fold(found);
    let unexplained = !case.ready() && context.purpose != Purpose::Preflight;
    let blocked = findings.first().is_some_and(|finding| finding.severity == Severity::Blocking);
    let unidentified = if unexplained && !blocked { evidence(&case) } else { Vec::new() };
    let gaps = archive.gaps.iter().map(|gap| format!("{}: {}", gap.what, gap.why)).collect();
    // A host that can't be reached or used is a finding of its own.
    let unknown = archive.machine.as_ref().err().filter(|_| !blocked).map(ToString::to_string);
    Diagnosis { findings, unidentified, unknown, gaps }
}

/// Blocking before the rest; then what the server died of, before what was merely seen; then the surer; then what bites
/// earlier in the start.
fn sort(found: &mut [Finding]) {
    let codes: Vec<String> = found.iter().map(|finding| finding.code.clone()).collect();
    found.sort_by_cached_key(|finding| {
        let page = catalogue::page(&finding.code);
        let causes = codes.iter().filter_map(|code| catalogue::page(code));
        let derived = page.is_some_and(|page| causes.into_iter().any(|cause| page.follows(cause)));
        (finding.severity, symptom(finding), derived, !finding.fatal, finding.confidence, finding.rank)
    });
}

/// Whether it tells that something is wrong rather than why.
fn symptom(finding: &Finding) -> bool {
    catalogue::page(&finding.code).is_some_and(|page| page.follows.contains(&"*"))
}

/// Puts what follows from another finding under it.
fn fold(found: Vec<Finding>) -> Vec<Finding> {
    let mut causes: Vec<Finding> = Vec::new();
    for finding in found {
        let page = catalogue::page(&finding.code);
        let cause = causes.iter_mut().find(|cause| {
            let (Some(page), Some(of)) = (page, catalogue::page(&cause.code)) else { return false };
            cause.severity == Severity::Blocking && page.follows(of) || page.follows.contains(&of.code)
        });
        match cause {
            // The same words under a general name add nothing.
            Some(cause) if !symptom(&finding) && same_words(cause, &finding) => {}
            Some(cause) => cause.consequences.push(finding),
            None => causes.push(finding),
        }
    }
    symptoms_of_symptoms(&mut causes);
    causes
}

fn same_words(cause: &Finding, finding: &Finding) -> bool {
    cause.fatal && finding.fatal && cause.quotes.first() == finding.quotes.first()
}

/// Several symptoms without a cause: the first of them stands for the rest.
fn symptoms_of_symptoms(causes: &mut Vec<Finding>) {
    if !causes.first().is_some_and(|first| first.severity == Severity::Blocking && symptom(first)) {
        return;
    }
    let mut index = 1;
    while index < causes.len() {
        if causes[index].severity == Severity::Blocking && symptom(&causes[index]) {
            let finding = causes.remove(index);
            causes[0].consequences.push(finding);
        } else {
            index += 1;
        }
    }
}

/// What remains to be done once the cause is gone: a reload, or a start.
fn last_step(case: &Case<'_>, finding: &mut Finding) {
    let already = |text: &str| finding.remedy.commands.iter().any(|command| command.contains(text));
    let command = if finding.reload_enough {
        match case.process() {
            Some(process) => Some(format!("sudo kill -HUP {}", process.pid)),
            None => case.manage("reload").filter(|_| case.is_systemd()),
        }
    } else if finding.restart_helps && finding.severity == Severity::Blocking && !case.preflight() && !symptom(finding)
    {
        case.manage(if case.alive() { "restart" } else { "start" })
    } else {
        None
    };
    if let Some(command) = command.filter(|command| !already(command)) {
        finding.remedy.commands.push(command);
    }
}

/// What was seen, where it has no name: the unit, healthz, the lines that matter.
fn evidence(case: &Case<'_>) -> Vec<Quote> {
    let mut quotes = Vec::new();
    let mut quote = |source: &str, text: String| quotes.push(Quote { source: source.into(), text });
    if let Some(unit) = case.unit() {
        let exit = unit.exit.map(|exit| format!(", {exit}")).unwrap_or_default();
        quote(&unit.name, format!("{}{exit}", unit.active));
    }
    match case.server().map(|server| &server.health) {
        Some(Ok(health)) => quote("/healthz", health.summary()),
        Some(Err(failure)) => quote("/healthz", failure.detail.clone()),
        None => {}
    }
    let lines: Vec<String> = case.lines.iter().map(|line| line.quote().text).collect();
    for line in notable(&lines) {
        quote("log", line);
    }
    quotes
}
