//! TLS files: there, readable by the service's user, belonging together, in their time, and leading to the CA.

use jiff::SignedDuration;

use super::super::{
    case::Case,
    catalogue::{Page, pages},
    files::{Certificate, FileKind, TlsBlock},
    finding::Finding,
};

pages! {
    TLS_MISSING = "tls-file-missing" Blocking Configuration "a TLS certificate or key is missing"
        why "The server exits before it has a logger: the words are in the journal only, never in `log_file`."
        proof "The file does not exist; the words `error parsing X509 certificate/key pair: open …: no such file`."
        remedy "put the file there, readable by the service's user";
    TLS_UNREADABLE = "tls-file-unreadable" Blocking Configuration "the service's user can't read a TLS file"
        why "`nats-server -t` run as root calls such a configuration valid: only the service's user sees the fault."
        proof "The file was read as the service's user; the words `permission denied`."
        remedy "let the service's user read the file, and enter its directories";
    TLS_MALFORMED = "tls-file-malformed" Blocking Configuration "a TLS certificate or key is malformed"
        why "The file is empty, cut off, or no PEM. The server exits at once."
        proof "The file does not parse; the words `failed to find any PEM data` or `x509: malformed`."
        remedy "put the right file there";
    TLS_MISMATCH = "tls-key-mismatch" Blocking Configuration "the TLS key does not belong to the certificate"
        why "The public keys of the two files differ. The server exits at once."
        proof "The public keys of the two files; the words `private key does not match public key`."
        remedy "put the pair there that belongs together";
    CA_MISSING = "tls-ca-missing" Blocking Configuration "the CA file is missing"
        why "The server exits at once."
        proof "The file does not exist; the words `open …: no such file or directory`."
        remedy "put the CA's certificate there, readable by the service's user";
    CA_MALFORMED = "tls-ca-malformed" Blocking Configuration "the CA file has no certificate in it"
        why "The server exits at once."
        proof "The words `failed to parse root ca certificate`."
        remedy "put the CA's certificate there";
    TLS_EXPIRED = "tls-expired" Blocking Configuration "a TLS certificate has expired"
        why "The server starts with it and healthz is 200, although some documentation says that the listener stays \
             closed: only a handshake that verifies fails. So clients and peers can't connect, and nothing says so."
        proof "The certificate's notAfter and the host's clock."
        remedy "renew the certificate, then reload: no restart is needed";
    TLS_NOT_YET = "tls-not-yet-valid" Blocking Configuration "a TLS certificate is not valid yet"
        why "The server starts with it and healthz is 200; handshakes that verify fail. Often it is the clock that is wrong."
        proof "The certificate's notBefore and the host's clock."
        remedy "correct the clock, or put a certificate there that is valid, then reload";
    TLS_CHAIN = "tls-chain-incomplete" Blocking Configuration "the certificate's chain does not lead to the CA"
        why "An intermediate certificate is missing, or another CA signed it. The server starts and healthz is 200; \
             handshakes that verify fail."
        proof "`openssl verify` with the configured CA, as the service's user."
        remedy "append the intermediate certificates to the certificate's file, then reload";
    CA_WRONG = "tls-ca-wrong" Blocking Configuration "the configured CA did not sign the certificate"
        why "The server starts and healthz is 200; handshakes that verify fail: of routes too, where they use TLS."
        proof "`openssl verify` with the configured CA; `signed by unknown authority` in the log."
        remedy "configure the CA that signed it, then reload";
    TLS_NAME = "tls-name-mismatch" Warning Configuration "the certificate does not name the host"
        why "Clients and peers that verify names refuse the server where they use a name that the certificate lacks."
        proof "The certificate's names, and the names by which the server is to be reached."
        remedy "have the certificate issued for the names that are used, then reload";
    TLS_SOON = "tls-expires-soon" Warning Configuration "a TLS certificate expires soon"
        why "It is still valid. Once it has expired, clients and peers that verify can't connect, and healthz stays 200."
        proof "The certificate's notAfter and the host's clock."
        remedy "renew it in time, then reload: no restart is needed";
}

/// All that concerns TLS files.
pub(super) fn rules(case: &Case<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    found.extend(refused(case));
    let blocks = case.archive.tls_blocks.as_deref().unwrap_or_default();
    for block in blocks {
        for finding in of_block(case, block) {
            match found.iter_mut().find(|other| other.code == finding.code && same_place(other, &finding)) {
                // The server said it, the files show it: one finding with both proofs.
                Some(other) => merge(other, finding),
                None => found.push(finding),
            }
        }
    }
    found
}

/// The server's own words name the file, or are of the kind that has no name in them.
fn same_place(one: &Finding, other: &Finding) -> bool {
    one.title == other.title || one.fatal || one.quotes.first().is_some_and(|quote| quote.source.contains(" -t"))
}

fn merge(into: &mut Finding, from: Finding) {
    into.title = from.title;
    into.remedy = from.remedy;
    for quote in from.quotes {
        *into = into.clone().quote(quote.source, quote.text);
    }
}

/// What the server, or its test, has against its TLS files.
fn refused(case: &Case<'_>) -> Option<Finding> {
    let pair = "error parsing X509 certificate/key pair";
    let root_ca = "failed to parse root ca certificate";
    let parsed = "error parsing certificates";
    if let Some(words) = case.refusal(&[pair, parsed]) {
        let text = words.0.text.clone();
        let file = opened(&text);
        let named = file.unwrap_or("a TLS file");
        let finding = if text.contains("no such file") {
            Finding::of(&TLS_MISSING, format!("{named} is missing")).run(format!("sudo ls -l {}", directory(named)))
        } else if text.contains("permission denied") {
            Finding::of(&TLS_UNREADABLE, format!("{} can't read {named}", case.user()))
                .run(format!("sudo chown {} {named}", case.owner()))
        } else if text.contains("does not match") {
            pairs(case, Finding::of(&TLS_MISMATCH, "the TLS key does not belong to the certificate"))
        } else {
            pairs(case, Finding::of(&TLS_MALFORMED, "a TLS certificate or key is malformed"))
        };
        return Some(finding.refused(&words));
    }
    if let Some(words) = case.refusal(&[root_ca]) {
        let files = case.archive.tls_blocks.iter().flatten().filter_map(|block| block.ca.as_deref());
        let finding = Finding::of(&CA_MALFORMED, "the CA file has no certificate in it").refused(&words);
        return Some(
            files.take(3).fold(finding, |finding, ca| finding.run(format!("openssl x509 -in {ca} -noout -subject"))),
        );
    }
    // A missing CA file has no words of its own: the file tells.
    let words = case.refusal(&["open "])?;
    let file = opened(&words.0.text)?;
    let blocks = case.archive.tls_blocks.as_deref().unwrap_or_default();
    blocks.iter().any(|block| block.ca.as_deref() == Some(file)).then(|| {
        let finding = if words.0.text.contains("permission denied") {
            Finding::of(&TLS_UNREADABLE, format!("{} can't read {file}", case.user()))
                .run(format!("sudo chown {} {file}", case.owner()))
        } else {
            Finding::of(&CA_MISSING, format!("the CA file {file} is missing"))
                .run(format!("sudo ls -l {}", directory(file)))
        };
        finding.refused(&words)
    })
}

/// How to look at each configured pair: the words name none.
fn pairs(case: &Case<'_>, finding: Finding) -> Finding {
    let blocks = case.archive.tls_blocks.iter().flatten();
    let pairs = blocks.filter_map(|block| Some((block.cert.as_deref()?, block.key.as_deref()?)));
    pairs.take(3).fold(finding, |finding, (cert, key)| {
        finding.run(format!("openssl x509 -in {cert} -noout -subject; sudo openssl pkey -in {key} -noout"))
    })
}

/// The file in `open FILE: …`.
fn opened(text: &str) -> Option<&str> {
    text.split("open ").nth(1)?.split(": ").next()
}

fn directory(file: &str) -> &str {
    match file.rsplit_once('/') {
        Some(("", _)) => "/",
        Some((directory, _)) => directory,
        None => ".",
    }
}

fn of_block(case: &Case<'_>, block: &TlsBlock) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut readable = true;
    for (file, missing) in [(&block.cert, &TLS_MISSING), (&block.key, &TLS_MISSING), (&block.ca, &CA_MISSING)] {
        let Some(file) = file else { continue };
        if let Some(finding) = usable(case, block, file, missing) {
            readable = false;
            found.push(finding);
        }
    }
    if !readable {
        return found;
    }
    if block.key_matches == Ok(false)
        && let (Some(cert), Some(key)) = (&block.cert, &block.key)
    {
        let title = format!("{key} is not the key of {cert} ({})", block.block);
        let finding = Finding::of(&TLS_MISMATCH, title)
            .quote("public keys", format!("{cert}: {}; {key}: {}", certificate_key(case, cert), private_key(case, key)))
            .run(format!("sudo openssl x509 -in {cert} -noout -subject -dates"));
        found.push(after(case, finding));
        return found;
    }
    let valid = dates(case, block);
    let dated = !valid.is_empty();
    found.extend(valid);
    if !dated && let (Ok(Err(words)), Some(cert), Some(ca)) = (&block.chain, &block.cert, &block.ca) {
        // Where the issuer is in the CA file, what is wrong is the CA itself; else a link between them is missing.
        let wrong = block.issuer.as_ref().map_or_else(|| wrong_ca(case, cert, ca), |issuer| issuer.root);
        let page = if wrong { &CA_WRONG } else { &TLS_CHAIN };
        let title = if page.code == CA_WRONG.code {
            format!("{ca} did not sign {cert} ({})", block.block)
        } else {
            format!("the chain in {cert} does not lead to {ca} ({})", block.block)
        };
        let finding = Finding::of(page, title)
            .quote(format!("openssl verify -CAfile {ca} {cert}"), words.to_string())
            .run(format!("openssl verify -CAfile {ca} -untrusted {cert} {cert}"));
        let finding = match &block.issuer {
            Some(issuer) if issuer.root => finding
                .quote(format!("openssl verify -CAfile {0} -untrusted {cert} {cert}", issuer.path), "OK")
                .remedy(format!("set `ca_file: {}` in `{}`, in place of {ca}, then reload", issuer.path, block.block)),
            Some(issuer) => finding
                .quote(format!("openssl verify -partial_chain -trusted {} {cert}", issuer.path), "OK")
                .remedy(format!("append {} to {cert}, then reload", issuer.path))
                .run(format!("sudo sh -c 'cat {} >>{cert}'", issuer.path)),
            None => finding,
        };
        found.push(after(case, finding));
    }
    found.extend(names(case, block));
    found
}

/// A certificate of a listener that has none of the names by which this host could be meant. Only where the host's own addresses
/// are known, and never of a wildcard, which may well cover a name that only others know.
fn names(case: &Case<'_>, block: &TlsBlock) -> Option<Finding> {
    if !matches!(block.block.as_str(), "tls" | "cluster.tls") {
        return None;
    }
    let cert = block.cert.as_deref()?;
    let certificate = case.tls_file(cert)?.certificates.iter().flatten().next()?;
    let machine = case.archive.machine.as_ref().ok().filter(|machine| !machine.addresses.is_empty())?;
    let settings = case.settings()?;
    let mut own: Vec<&str> = vec![&case.archive.host, &machine.hostname, "localhost", "127.0.0.1", "::1"];
    own.extend(machine.addresses.iter().map(String::as_str));
    own.extend(settings.server_name.as_deref());
    own.extend(settings.advertised.iter().map(|one| one.rsplit_once(':').map_or(one.as_str(), |(host, _)| host)));
    own.extend(settings.listeners.iter().map(|listener| listener.host.as_str()).filter(|host| !host.is_empty()));
    let first_label = |name: &str| name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let is_name = |name: &str| name.contains(|c: char| c.is_ascii_alphabetic());
    let covers = |name: &String| {
        name.starts_with("*.")
            || own.iter().any(|one| {
                one.eq_ignore_ascii_case(name) || is_name(name) && is_name(one) && first_label(one) == first_label(name)
            })
    };
    if certificate.names.is_empty() || certificate.names.iter().any(covers) {
        return None;
    }
    let names = certificate.names.join(", ");
    let title = format!(
        "the certificate {cert} ({}) is for {names}, and not for {} ({})",
        block.block,
        case.archive.host,
        machine.addresses.join(", ")
    );
    let finding = Finding::of(&TLS_NAME, title).quote(cert, format!("{}: names {names}", certificate.subject)).likely();
    Some(after(case, finding.run(format!("openssl x509 -in {cert} -noout -ext subjectAltName"))))
}

/// A file that is missing, can't be read by the service's user, or has nothing in it that it should have.
fn usable(case: &Case<'_>, block: &TlsBlock, file: &str, missing: &'static Page) -> Option<Finding> {
    let facts = case.archive.path(file);
    let at = &block.block;
    if let Some(facts) = facts {
        let seen = |finding: Finding| finding.quote(format!("{file} as {}", case.user()), super::paths::facts(facts));
        let unreadable = || {
            let finding = Finding::of(&TLS_UNREADABLE, format!("{} can't read {file} ({at})", case.user()));
            seen(match &facts.blocked_by {
                Some(directory) => finding.run(format!("sudo chmod a+x {directory}")),
                None => finding.run(format!("sudo chown {} {file}", case.owner())),
            })
        };
        if facts.blocked_by.is_some() {
            return Some(after(case, unreadable()));
        }
        if matches!(facts.kind, None | Some(FileKind::BrokenLink)) {
            let finding = Finding::of(missing, format!("{file} is missing ({at})"));
            return Some(after(case, seen(finding.run(format!("sudo ls -l {}", directory(file))))));
        }
        if facts.readable == Ok(false) {
            return Some(after(case, unreadable()));
        }
    }
    let parsed = case.tls_file(file)?;
    let is_key = block.key.as_deref() == Some(file);
    let is_ca = block.ca.as_deref() == Some(file);
    let broken = parsed.certificates.iter().find_map(|certificate| certificate.as_ref().err());
    let nothing = match is_key {
        true => !parsed.blocks.iter().any(|label| label.contains("PRIVATE KEY")),
        false => !parsed.blocks.iter().any(|label| label == "CERTIFICATE" || label == "TRUSTED CERTIFICATE"),
    };
    if !nothing && (broken.is_none() || is_key) {
        return None;
    }
    let page = if is_ca { &CA_MALFORMED } else { &TLS_MALFORMED };
    let what = if is_key { "private key" } else { "certificate" };
    let words = match broken {
        Some(words) if !nothing => words.clone(),
        _ => format!(
            "no {what} in it; PEM blocks: {}",
            if parsed.blocks.is_empty() { "none".into() } else { parsed.blocks.join(", ") }
        ),
    };
    let finding = Finding::of(page, format!("{file} has no {what} that can be read ({at})"));
    Some(after(case, finding.quote(file, words).run(format!("sudo head -c 200 {file}"))))
}

/// Certificates out of their time: what the server shows, and what it judges others by.
fn dates(case: &Case<'_>, block: &TlsBlock) -> Vec<Finding> {
    let now = case.now();
    let mut found = Vec::new();
    for (file, own) in [(&block.cert, true), (&block.ca, false)] {
        let Some(parsed) = file.as_deref().and_then(|file| case.tls_file(file)) else { continue };
        let what = if own { "certificate" } else { "CA certificate" };
        let all: Vec<&Certificate> = parsed.certificates.iter().flatten().collect();
        // A bundle may keep an old CA beside the new one.
        let any_valid = all.iter().any(|one| one.not_before <= now && now < one.not_after);
        for certificate in all {
            if !own && any_valid {
                break;
            }
            let quote = format!("{}: {} to {}", certificate.subject, certificate.not_before, certificate.not_after);
            let place = format!("{} ({})", parsed.path, block.block);
            let finding = if certificate.not_after <= now {
                let title =
                    format!("the {what} {place} expired {} ago", ago(now.duration_since(certificate.not_after)));
                Finding::of(&TLS_EXPIRED, title)
            } else if certificate.not_before > now {
                let title = format!(
                    "the {what} {place} is not valid for another {}",
                    ago(certificate.not_before.duration_since(now))
                );
                Finding::of(&TLS_NOT_YET, title)
            } else if certificate.not_after.duration_since(now)
                <= SignedDuration::from_hours(24 * i64::from(case.context.expiring_days))
            {
                let title = format!("the {what} {place} expires in {}", ago(certificate.not_after.duration_since(now)));
                Finding::of(&TLS_SOON, title)
            } else {
                continue;
            };
            found.push(after(
                case,
                finding
                    .quote(parsed.path.as_str(), quote)
                    .run(format!("openssl x509 -in {} -noout -enddate", parsed.path)),
            ));
            break;
        }
    }
    found
}

/// Whether the last certificate of the chain was issued by a name that the CA file has, or by a CA outright: then not a
/// link but the CA is wrong.
fn wrong_ca(case: &Case<'_>, cert: &str, ca: &str) -> bool {
    let certificates = |file: &str| {
        let all = case.tls_file(file).map(|file| file.certificates.as_slice()).unwrap_or_default();
        all.iter().flatten().collect::<Vec<_>>()
    };
    let (chain, trusted) = (certificates(cert), certificates(ca));
    let Some(last) = chain.last() else { return false };
    let same_name = trusted.iter().any(|root| root.subject == last.issuer);
    // A CA of another name that signs servers itself, or intermediates that were sent and still lead elsewhere.
    same_name
        || chain.len() > 1
        || trusted.iter().any(|root| root.subject == root.issuer && last.issuer == last.subject)
}

/// TLS files are read at a start and at a reload.
fn after(case: &Case<'_>, finding: Finding) -> Finding {
    if case.alive() { finding.reload() } else { finding }
}

fn certificate_key(case: &Case<'_>, file: &str) -> String {
    let first = case.tls_file(file).and_then(|file| file.certificates.iter().flatten().next());
    first.map_or_else(|| "not read".into(), |certificate| shortened(&certificate.key_digest))
}

fn private_key(case: &Case<'_>, file: &str) -> String {
    let digest = case.tls_file(file).and_then(|file| file.key_digest.as_ref().ok()?.as_deref());
    digest.map_or_else(|| "not read".into(), shortened)
}

fn shortened(digest: &str) -> String {
    format!("sha256 {}…", digest.chars().take(12).collect::<String>())
}

/// A time in the largest unit that says enough.
pub(super) fn ago(span: SignedDuration) -> String {
    let seconds = span.as_secs().unsigned_abs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
