//! Accounts: the resolver's URL or directory, the operator, the system account.

use super::super::{
    case::Case,
    catalogue::{Page, pages},
    evidence::ReachRole,
    files::{FileKind, PathRole},
    finding::Finding,
};
use crate::core::view::{Failure, FailureKind};

pages! {
    RESOLVER_UNREACHABLE = "resolver-unreachable" Blocking Resolver "the account resolver can't be reached"
        why "A server with a URL resolver asks it while it starts, and exits where it is refused."
        proof "The words `could not fetch <…>`, and an attempt to connect from this host."
        remedy "bring the resolver back, or correct its URL";
    RESOLVER_TIMEOUT = "resolver-timeout" Blocking Resolver "the account resolver does not answer in time"
        why "The server waits 2 s for it, then exits. Where it asks later, each healthz takes 1.9 s."
        proof "The words `could not fetch <…>` with `context deadline exceeded`."
        remedy "bring the resolver back: it accepts connections and does not answer";
    RESOLVER_ANSWER = "resolver-wrong-answer" Blocking Resolver "the account resolver answers, but not with accounts"
        why "The server exits where the resolver's URL does not serve account JWTs."
        proof "The words `could not fetch <…>` with an HTTP status."
        remedy "correct the resolver's URL";
    RESOLVER_DIRECTORY = "resolver-directory" Blocking Resolver "the resolver's directory can't be used"
        why "`nats-server -t` run as root makes the directory, owned by root, and so makes the fault that it should find."
        proof "A write as the service's user; the words `mkdir …: permission denied` or `dir needs to point to an accessible directory`."
        remedy "give the directory to the service's user";
    OPERATOR_BAD = "operator-invalid" Blocking Resolver "the operator's JWT is missing or wrong"
        why "The server exits at once."
        proof "The words `error parsing operator JWT`."
        remedy "put the operator's JWT there that the accounts were signed under";
    SYSTEM_ACCOUNT = "system-account-missing" Blocking Resolver "the system account can't be found"
        why "The server exits at once; `nats-server -t` does not catch it."
        proof "The words `error resolving system account`."
        remedy "name an account in `system_account` that exists, or preload it in the resolver";
    SYSTEM_JETSTREAM = "system-account-jetstream" Blocking Resolver "JetStream is enabled on the system account"
        why "The server exits at once; `nats-server -t` does not catch it."
        proof "The fatal line `Not allowed to enable JetStream on the system account`."
        remedy "take `jetstream` out of the system account";
    SYSTEM_OTHER = "system-account-differs" Blocking Resolver "the server's system account is not that of its peers"
        why "Peers can't talk about JetStream across two system accounts: the server never joins the meta group."
        proof "The lines `Unable to lookup account`, `Unknown account … for remote subject`."
        remedy "configure the same system account on all servers";
    ACCOUNT_UNRESOLVED = "account-unresolved" Blocking Resolver "an account can't be resolved"
        why "Each healthz takes 1.9 s, and users of the account get `Authorization Violation`."
        proof "healthz: `account … could not be resolved`; the line `Account fetch failed`."
        remedy "push the account to the resolver, or mend the way to it" follows ["resolver-unreachable", "resolver-timeout"];
    CLAIM_EXPIRED = "claim-expired" Warning Resolver "the operator's or an account's JWT has expired"
        why "healthz is 200; clients of the account get an authentication error."
        proof "The line `has validation issues: - claim is expired`."
        remedy "have it signed anew and push it: no restart is needed";
}

/// All that concerns accounts and their resolver.
pub(super) fn rules(case: &Case<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(url(case));
    found.extend(directory(case));
    found.extend(words(case));
    found.extend(running(case));
    found
}

/// The resolver's URL: what the server said, and what an attempt from this host says now.
fn url(case: &Case<'_>) -> Option<Finding> {
    let tried = case.archive.reach.iter().flatten().find(|reach| reach.role == ReachRole::Resolver);
    let words = case.refusal(&["could not fetch <"]);
    let target = tried.map(|reach| format!("{}:{}", reach.target, reach.port));
    let named = words.as_ref().and_then(|(quote, _)| {
        between(&quote.text, "could not fetch <", ">").map(|url| url.trim_matches('"').to_owned())
    });
    let named = named.or(target.clone())?;
    let failed = tried.and_then(|reach| reach.result.as_ref().err());
    let text = words.as_ref().map(|(quote, _)| quote.text.as_str()).unwrap_or_default();
    let timeout = text.contains("deadline exceeded") || text.contains("Timeout exceeded");
    let finding = if timeout || words.is_none() && failed.is_some_and(|failure| failure.kind == FailureKind::Timeout) {
        Finding::of(&RESOLVER_TIMEOUT, format!("the account resolver {named} does not answer in time"))
    } else if words.is_none() || text.contains("dial tcp") || text.contains("refused") || text.contains("no such host")
    {
        failed.or(words.as_ref().and(Some(&UNSEEN)))?;
        Finding::of(&RESOLVER_UNREACHABLE, format!("the account resolver {named} can't be reached"))
    } else {
        Finding::of(&RESOLVER_ANSWER, format!("the account resolver {named} answers, but not with accounts"))
    };
    let finding = match (tried, failed) {
        (Some(reach), Some(failure)) => finding.quote(
            format!("connecting to {}:{} from {}", reach.target, reach.port, case.archive.host),
            failure.detail.as_str(),
        ),
        _ => finding,
    };
    let finding = match &words {
        Some(words) => finding.refused(words),
        None => finding,
    };
    // The URL without its quotes, to be tried by hand: it answers with the operator's own words.
    Some(
        finding
            .run(format!("curl -sS -m 3 {}", if named.contains("://") { named } else { format!("http://{named}/") })),
    )
}

/// A place holder where the server itself said that it failed.
static UNSEEN: Failure = Failure { kind: FailureKind::NotAsked, detail: String::new() };

fn between<'a>(text: &'a str, left: &str, right: &str) -> Option<&'a str> {
    text.split_once(left)?.1.split_once(right).map(|(inner, _)| inner)
}

fn directory(case: &Case<'_>) -> Option<Finding> {
    let facts = case.archive.paths.iter().flatten().find(|path| path.roles.contains(&PathRole::ResolverDir));
    let words = case.refusal(&["mkdir ", "dir needs to point to an accessible directory"]);
    // JetStream makes directories too, later and with a level.
    let words = words.filter(|(quote, _)| !quote.text.contains("[FTL]"));
    let bad =
        facts.filter(|facts| case.tried_as_user() && facts.writable == Ok(false) || facts.kind == Some(FileKind::File));
    let path = facts.map(|facts| facts.path.as_str());
    if bad.is_none() && words.is_none() {
        return None;
    }
    let named = path.or_else(|| between(&words.as_ref()?.0.text, "mkdir ", ":"))?;
    let title = match bad.and_then(|facts| facts.owner.as_deref()) {
        Some(_) if bad.is_some_and(|facts| facts.kind == Some(FileKind::File)) => {
            format!("{named}, the resolver's directory, is a file")
        }
        Some(owner) => {
            format!("{} can't write to the resolver's directory {named}, which belongs to {owner}", case.user())
        }
        None => format!("{} can't use the resolver's directory {named}", case.user()),
    };
    let user = case.user();
    let finding = Finding::of(&RESOLVER_DIRECTORY, title);
    let finding = match bad {
        Some(facts) => finding.quote(format!("{named} as {user}"), super::paths::facts(facts)),
        None => finding,
    };
    let finding = match &words {
        Some(words) => finding.refused(words),
        None => finding,
    };
    Some(match bad.and_then(|facts| facts.kind) {
        Some(FileKind::File) => finding.run(format!("sudo mv {named} {named}.old")),
        Some(_) => finding.run(format!("sudo chown -R {} {named}", case.owner())),
        None => finding.run(format!("sudo install -d -m 700 -o {user} {named}")),
    })
}

/// The server's words as it refuses its accounts.
fn words(case: &Case<'_>) -> Vec<Finding> {
    let table: [(&[&str], &Page, &str); 3] = [
        (
            &["error parsing operator JWT", "failed V2 signature verification"],
            &OPERATOR_BAD,
            "the operator's JWT is missing or wrong",
        ),
        (
            &["error resolving system account", "Can't set system account"],
            &SYSTEM_ACCOUNT,
            "the system account can't be found",
        ),
        (
            &["Not allowed to enable JetStream on the system account"],
            &SYSTEM_JETSTREAM,
            "JetStream is enabled on the system account",
        ),
    ];
    let main = case.archive.config.as_ref().map_or("", |config| config.main.as_str());
    let mut found = Vec::new();
    for (marks, page, title) in table {
        let Some(words) = case.refusal(marks) else { continue };
        let operator = case.archive.paths.iter().flatten().find(|path| path.roles.contains(&PathRole::Operator));
        let finding = match operator.filter(|_| page.code == OPERATOR_BAD.code) {
            Some(path) => Finding::of(page, format!("{title}: {}", path.path))
                .quote(format!("{} as {}", path.path, case.user()), super::paths::facts(path))
                .run(format!("sudo ls -l {}", path.path)),
            None => Finding::of(page, title).run(format!("sudoedit {main}")),
        };
        found.push(finding.refused(&words));
    }
    found
}

/// What a running server says of its accounts.
fn running(case: &Case<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let unresolved = case.health_errors().find(|error| error.error.contains("could not be resolved"));
    let fetch = case.keeps_saying(&["Account fetch failed"]);
    if unresolved.is_some() || fetch.is_some() && !case.ready() {
        let who = unresolved.and_then(|error| between(&error.error, "account '", "'")).unwrap_or("an account");
        let finding = Finding::of(&ACCOUNT_UNRESOLVED, format!("the account {who} can't be resolved")).heals_itself();
        let finding = match unresolved {
            Some(error) => finding.quote("healthz", error.error.as_str()),
            None => finding,
        };
        let finding = match fetch {
            Some(line) => finding.line(&line),
            None => finding,
        };
        found.push(finding.run(format!("nsc push -a {who}")));
    }
    if let Some(line) = case.said(&["claim is expired"]) {
        let who = between(line.text(), "Account [", "]").unwrap_or("an account");
        found.push(
            Finding::of(&CLAIM_EXPIRED, format!("the JWT of {who} has expired"))
                .line(&line)
                .heals_itself()
                .run(format!("nsc describe account {who}")),
        );
    }
    if case.alive()
        && !case.ready()
        && let Some(line) = case.keeps_saying(&["Unable to lookup account", "Unknown account"])
    {
        let who = between(line.text(), "account \"", "\"").unwrap_or("the system account");
        let title = format!("peers use another system account: {who} is not known to both");
        let main = case.archive.config.as_ref().map_or("", |config| config.main.as_str());
        found.push(Finding::of(&SYSTEM_OTHER, title).line(&line).run(format!("sudo grep -n system_account {main}")));
    }
    found
}
