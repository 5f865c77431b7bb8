//! The configuration's text: what the server, or its own test, has against it, and what the test does not look at.

use super::super::{
    case::{Case, ConfigError},
    catalogue::{Page, pages},
    files::{FileKind, PathRole},
    finding::{Finding, Severity},
};

pages! {
    CONFIG_MISSING = "config-missing" Blocking Configuration "the configuration file is missing"
        why "The server exits at once; the words are in the journal only."
        proof "The file does not exist; the words `open …: no such file or directory`."
        remedy "put the configuration there, or correct the unit's `-c`";
    CONFIG_UNREADABLE = "config-unreadable" Blocking Configuration "the service's user can't read the configuration"
        why "The server exits at once. As root `nats-server -t` calls it valid."
        proof "The file was read as the service's user; the words `permission denied`."
        remedy "let the service's user read it";
    CONFIG_SYNTAX = "config-syntax" Blocking Configuration "the configuration has a syntax error"
        why "The server exits at once; the words are in the journal only, never in `log_file`."
        proof "The words `Parse error on line …`; `nats-server -t` as the service's user."
        remedy "correct the line";
    CONFIG_FIELD = "config-unknown-field" Blocking Configuration "the configuration has a field that the server does not know"
        why "The server exits at once: the field is misspelt, or of another version."
        proof "The words `unknown field`; `nats-server -t` as the service's user."
        remedy "correct or remove the field";
    CONFIG_INCLUDE = "config-include" Blocking Configuration "a file that the configuration includes can't be read"
        why "The server exits at once. Paths are relative to the including file."
        proof "The words `error parsing include file`."
        remedy "put the file there, readable by the service's user, or correct the include";
    CONFIG_VARIABLE = "config-variable" Blocking Configuration "the configuration uses a variable that is not set"
        why "Variables come from the configuration, or from the unit's environment: not from that of a login shell."
        proof "The words `variable reference for … can not be found`."
        remedy "set the variable in the unit's environment";
    CLUSTER_NEEDS = "cluster-requirement" Blocking Configuration "clustered JetStream lacks what it requires"
        why "Clustered JetStream needs `server_name`, `cluster { name }` and routes. `nats-server -t` does not catch it."
        proof "The words `jetstream cluster requires …`; the parsed configuration."
        remedy "set what is missing";
    LAME_DUCK = "lame-duck-values" Blocking Configuration "the lame duck values contradict"
        why "The duration must be 30 s at least, and longer than the grace period. The server exits at once."
        proof "The words `invalid lame_duck_duration` or `lame duck grace period`."
        remedy "set lame_duck_duration to 30 s or more, and lame_duck_grace_period below it";
    CONFIG_INVALID = "config-invalid" Blocking Configuration "the server refuses its configuration"
        why "The server exits before it has a logger: the words are in the journal only."
        proof "The line `nats-server: …` in the journal, or from `nats-server -t` as the service's user."
        remedy "correct what the line names"
        follows ["tls-file-missing", "tls-file-unreadable", "tls-file-malformed", "tls-key-mismatch", "tls-ca-missing",
                 "tls-ca-malformed", "resolver-directory", "operator-invalid"];
    UNIT_CHANGED = "unit-not-loaded" Notice Configuration "the unit file changed since the manager read it"
        why "The next start takes the old unit, until the manager reads the new one."
        proof "The unit's NeedDaemonReload."
        remedy "see the difference, then have systemd read it";
}

/// All that concerns the configuration's text.
pub(super) fn rules(case: &Case<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(main_file(case));
    if found.is_empty() {
        found.extend(refused(case));
    }
    found.extend(required(case, &found));
    found.extend(changed(case));
    found.extend(cut_short(case));
    found
}

fn main_file(case: &Case<'_>) -> Option<Finding> {
    let paths = case.archive.paths.as_deref().unwrap_or_default();
    let main = case.archive.config.as_ref().ok().map(|config| config.main.as_str());
    let facts =
        paths.iter().find(|path| path.roles.contains(&PathRole::Config) && main.is_none_or(|main| main == path.path));
    let words = case.refusal(&["open "]).filter(|(quote, _)| {
        let file = quote.text.split("open ").nth(1).and_then(|rest| rest.split(": ").next());
        // The path stands bare only where it is the configuration itself: `nats-server: open FILE: …`.
        quote.text.starts_with("nats-server: open ") && main.is_none_or(|main| file == Some(main))
    });
    let missing = facts
        .is_some_and(|facts| matches!(facts.kind, None | Some(FileKind::BrokenLink)) && facts.blocked_by.is_none());
    let unreadable =
        facts.is_some_and(|facts| facts.kind.is_some() && facts.readable == Ok(false) || facts.blocked_by.is_some());
    let (file, user) = (facts.map(|facts| facts.path.as_str()).or(main)?, case.user());
    let finding = if missing || words.as_ref().is_some_and(|(quote, _)| quote.text.contains("no such file")) {
        Finding::of(&CONFIG_MISSING, format!("the configuration {file} is missing"))
            .run(format!("systemctl cat {}", case.unit_name()))
    } else if unreadable || words.as_ref().is_some_and(|(quote, _)| quote.text.contains("permission denied")) {
        let finding = Finding::of(&CONFIG_UNREADABLE, format!("{user} can't read the configuration {file}"));
        match facts.and_then(|facts| facts.blocked_by.as_deref()) {
            Some(directory) => finding.run(format!("sudo chmod a+x {directory}")),
            None => finding.run(format!("sudo chgrp $(id -gn {user}) {file} && sudo chmod g+r {file}")),
        }
    } else {
        return None;
    };
    let finding = match facts {
        Some(facts) => finding.quote(format!("{file} as {user}"), super::paths::facts(facts)),
        None => finding,
    };
    Some(match &words {
        Some(words) => finding.refused(words),
        None => finding,
    })
}

/// A configuration error in the server's words: which kind, the page, and what the title says.
const KINDS: &[(&[&str], &Page)] = &[
    (&["error parsing include file"], &CONFIG_INCLUDE),
    (&["Parse error on line", "parse error on line"], &CONFIG_SYNTAX),
    (&["unknown field"], &CONFIG_FIELD),
    (&["variable reference for"], &CONFIG_VARIABLE),
    (&["jetstream cluster requires", "requires configured routes"], &CLUSTER_NEEDS),
    (&["lame_duck_duration", "lame duck grace period"], &LAME_DUCK),
];

/// Words that rules of other subjects know.
const OTHERS: &[&str] = &[
    "error parsing X509",
    "error parsing certificates",
    "root ca certificate",
    "could not fetch <",
    "operator JWT",
    "system account",
    "mkdir ",
    "dir needs to point",
];

fn refused(case: &Case<'_>) -> Option<Finding> {
    for (marks, page) in KINDS {
        if let Some(words) = case.refusal(marks) {
            return Some(place(case, Finding::of(page, ""), &words.0.text).refused(&words));
        }
    }
    let words = case.refusal(&["nats-server: ", "cert and key required for HTTPS"])?;
    // What a running server printed is a warning: it took the configuration.
    if case.alive() && words.1 {
        return None;
    }
    let text = words.0.text.clone();
    let ca =
        case.archive.tls_blocks.iter().flatten().any(|block| block.ca.as_deref().is_some_and(|ca| text.contains(ca)));
    if OTHERS.iter().any(|mark| text.contains(mark)) || ca {
        return None;
    }
    Some(place(case, Finding::of(&CONFIG_INVALID, ""), &text).refused(&words))
}

/// The finding with its title, the line of the configuration that it is about, and how to look at it.
fn place(case: &Case<'_>, finding: Finding, words: &str) -> Finding {
    let error = ConfigError::parse(words);
    let main = case.archive.config.as_ref().ok().map(|config| config.main.as_str());
    let line = error.line.or_else(|| number_after(error.text, "on line "));
    let file = error.file.or(main);
    let mut finding = finding;
    let text = error.text.trim_end_matches('.');
    finding.title = match (file, line) {
        (Some(file), Some(line)) => format!("{file}:{line}: {text}"),
        (Some(file), None) => format!("{file}: {text}"),
        _ => text.to_owned(),
    };
    if let (Some(file), Some(number)) = (file, line) {
        let text = case.config_line(file, number);
        if let Some(text) = text {
            finding = finding.quote(format!("{file}:{number}"), text);
        }
        finding = finding.run(format!("sudoedit +{number} {file}"));
    } else if let Some(file) = file {
        finding = finding.run(format!("sudoedit {file}"));
    }
    finding.run(case.test_command())
}

fn number_after(text: &str, mark: &str) -> Option<u32> {
    let rest = text.split(mark).nth(1)?;
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
}

/// What clustered JetStream requires and `-t` does not look at.
fn required(case: &Case<'_>, found: &[Finding]) -> Vec<Finding> {
    let Some(settings) = case.settings() else { return Vec::new() };
    let named = |code: &str| found.iter().any(|finding| finding.code == code);
    if !(settings.jetstream && settings.clustered) || named(CLUSTER_NEEDS.code) {
        return Vec::new();
    }
    let main = case.archive.config.as_ref().map_or("the configuration", |config| config.main.as_str());
    let lacks = |what: &str| {
        let title = format!("{main} has no {what}, which clustered JetStream requires");
        let finding = Finding::of(&CLUSTER_NEEDS, title).quote(main, format!("`{what}` is not set"));
        let finding = match case.died_with("requires") {
            Some(line) => finding.died(&line),
            None => finding,
        };
        finding.run(format!("sudoedit {main}"))
    };
    let checks = [
        (settings.server_name.is_none(), "server_name"),
        (settings.cluster_name.is_none(), "cluster.name"),
        (settings.routes.is_empty() && !settings.solicits_leafnodes, "cluster.routes"),
    ];
    checks.into_iter().filter(|(missing, _)| *missing).map(|(_, what)| lacks(what)).collect()
}

/// nats-server's default lame_duck_duration in seconds (`const.go`).
pub(super) const LAME_DUCK_S: u64 = 120;

/// The unit's stop is a lame duck that the unit itself does not let end.
fn cut_short(case: &Case<'_>) -> Option<Finding> {
    let unit = case.unit().filter(|unit| unit.lame_duck_stop == Some(true))?;
    let stop = unit.stop_timeout_ms? / 1000;
    let settings = case.settings()?;
    let lame = settings.lame_duck_s.unwrap_or(LAME_DUCK_S);
    if stop >= lame {
        return None;
    }
    let main = case.archive.config.as_ref().map_or("the configuration", |config| config.main.as_str());
    let set = if settings.lame_duck_s.is_some() { "" } else { ", by default" };
    Some(
        Finding::of(&LAME_DUCK, format!("{} ends a stop after {stop} s, and lame duck may take {lame} s", unit.name))
            .severity(Severity::Warning)
            .quote(format!("systemctl show {}", unit.name), format!("TimeoutStopUSec={stop}s"))
            .quote(main, format!("lame_duck_duration: {lame}s{set}"))
            .remedy("let a stop take longer than lame duck: what is cut short ends in SIGKILL")
            .run(format!("sudo systemctl edit {}   # [Service] TimeoutStopSec={}", unit.name, lame + 30)),
    )
}

/// The unit file was changed and the manager has not read it.
fn changed(case: &Case<'_>) -> Option<Finding> {
    let unit = case.unit()?;
    if unit.needs_daemon_reload != Some(true) {
        return None;
    }
    let title = format!("{} was changed on disk, and systemd has not read it since", unit.name);
    Some(
        Finding::of(&UNIT_CHANGED, title)
            .quote(format!("systemctl show {}", unit.name), "NeedDaemonReload=yes")
            .run("sudo systemctl daemon-reload"),
    )
}
