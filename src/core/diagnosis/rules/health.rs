//! healthz: each typed error with the asset that it names, and which ones stood before.

use super::super::{case::Case, catalogue::pages, finding::Finding};
use crate::core::view::{FailureKind, HealthError};

pages! {
    H_CONNECTION = "healthz-connection" Blocking Health "healthz: a listener is not open"
        why "The server says which: `server` is the client port, `route`, `gateway`, `leafnode`. It recovers its store, is in \
             lame duck, or about to exit."
        proof "healthz, type CONNECTION."
        remedy "wait where the store is being recovered; else read the log" follows ["*"];
    H_JETSTREAM = "healthz-jetstream" Blocking Health "healthz: JetStream is not ready"
        why "`not enabled`: it was turned off. `still recovering meta layer`, `not established contact with a meta leader`, `not \
             current with the meta leader`: it does not reach the meta group, or is catching up."
        proof "healthz, type JETSTREAM."
        remedy "look at routes and at the meta leader" follows ["*"];
    H_ACCOUNT = "healthz-account" Blocking Health "healthz: an account can't be used"
        why "The server can't resolve the account, so it can't check the account's streams."
        proof "healthz, type ACCOUNT."
        remedy "push the account to the resolver" follows ["*"];
    H_STREAM = "healthz-stream" Blocking Health "healthz: a stream on this server is not current"
        why "`catching up` goes away; `group node unhealthy` may; `assignment error`, `not found` and `write error` stay until \
             they are mended."
        proof "healthz, type STREAM."
        remedy "look at the stream's group, and at its directory on this server" follows ["*"];
    H_CONSUMER = "healthz-consumer" Blocking Health "healthz: a consumer on this server is not current"
        why "`catching up` goes away; `assignment error` stays until it is mended. One broken consumer holds a roll for ever."
        proof "healthz, type CONSUMER."
        remedy "look at the consumer's group, and at its directory on this server" follows ["*"];
    H_BEFORE = "healthz-before" Warning Health "healthz says what it said before the roll"
        why "The error stood before anything was touched, so the restart did not cause it, and did not mend it."
        proof "healthz before and after."
        remedy "mend it on its own";
    H_SILENT = "healthz-no-answer" Blocking Health "the process runs and healthz does not answer"
        why "The monitoring port is closed, is another one, or the process is frozen. Without it readiness can't be seen."
        proof "The attempt to ask."
        remedy "look whether the server listens on its monitoring port" follows ["*"];
    H_OTHER = "healthz-other" Blocking Health "healthz does not pass"
        why "The server gives no kind for it."
        proof "What healthz says."
        remedy "read its words, and the server's log" follows ["*"];
}

/// What healthz has against the server.
pub(super) fn rules(case: &Case<'_>) -> Vec<Finding> {
    if case.preflight() || !case.alive() {
        return Vec::new();
    }
    let Some(server) = case.server() else { return Vec::new() };
    let mut found = Vec::new();
    match &server.health {
        Err(failure) if failure.kind != FailureKind::NotAsked => {
            let finding = Finding::of(&H_SILENT, "the process runs and healthz does not answer");
            let finding = finding.quote("/healthz", failure.detail.as_str());
            found.push(finding.likely().run(case.log_command(50)));
        }
        Ok(health) if !health.ok() && health.errors.is_empty() => {
            found.push(
                Finding::of(&H_OTHER, format!("healthz does not pass: {}", health.summary()))
                    .quote("/healthz", health.summary()),
            );
        }
        _ => {}
    }
    for (error, stood) in case.all_health_errors() {
        let finding = judged(case, error, stood);
        match found.iter_mut().find(|other| other.code == finding.code) {
            Some(other) => *other = other.clone().quote(source(error), error.error.as_str()),
            None => found.push(finding),
        }
    }
    found
}

fn judged(case: &Case<'_>, error: &HealthError, stood: bool) -> Finding {
    let text = error.error.as_str();
    let page = match error.kind.as_str() {
        _ if stood => &H_BEFORE,
        "CONNECTION" => &H_CONNECTION,
        "JETSTREAM" => &H_JETSTREAM,
        "ACCOUNT" => &H_ACCOUNT,
        "STREAM" => &H_STREAM,
        "CONSUMER" => &H_CONSUMER,
        // Before 2.10 there are no kinds: the words have them.
        "" if text.contains("ready for connections") => &H_CONNECTION,
        "" if text.contains("JetStream stream") => &H_STREAM,
        "" if text.contains("JetStream consumer") => &H_CONSUMER,
        "" if text.contains("JetStream") => &H_JETSTREAM,
        _ => &H_OTHER,
    };
    let finding = Finding::of(page, text).quote(source(error), text).heals_itself();
    let finding = match page.code {
        "healthz-stream" | "healthz-consumer" => match (&error.account, &error.stream) {
            (Some(_), Some(stream)) => finding.run(format!("nats stream info {stream}")),
            _ => finding.run("nats stream report"),
        },
        "healthz-jetstream" => finding.run("nats server report jetstream"),
        _ => finding.run(case.log_command(50)),
    };
    // These go away by themselves where nothing else is wrong.
    if text.contains("catching up") || text.contains("not current with the meta leader") {
        finding.possible()
    } else {
        finding
    }
}

fn source(error: &HealthError) -> String {
    if error.kind.is_empty() { "/healthz".into() } else { format!("/healthz, {}", error.kind) }
}
