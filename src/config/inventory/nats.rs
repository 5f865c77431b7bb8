//! How we are a user of a cluster.

use super::endpoint::{check_url, tls_files};
use super::raw::{RawNats, RawTls};
use super::types::{Login, Nats, PasswordSource, TlsFiles};
use crate::config::check::Checker;
use crate::config::error::Mistake;
use crate::config::yaml::{Span, Spanned};

/// Schemes of client URLs.
const SCHEMES: [&str; 2] = ["nats", "tls"];

/// What to write, where it can't be told from what is written.
const KINDS: &str = "write one of `context: NAME`, `creds: FILE`, `nkey: FILE`, or `user: NAME` with \
                     `password_file: FILE` or `password_env: VARIABLE`";

/// The user that `raw`, which stands at `key`, describes; `None` when that can't be read, which is noted.
pub(super) fn resolve(key: &str, raw: &Spanned<RawNats>, checker: &mut Checker) -> Option<Nats> {
    let nats = &raw.value;
    let servers = nats.servers.as_ref().and_then(|urls| servers(urls, checker));
    let tls = nats.tls.as_ref().map(|files| tls(files, checker));
    if let Some(name) = &nats.context {
        if let Some((key, span)) = beside_context(nats).first() {
            checker.note(
                Mistake::at(*span, format!("`{key}` beside a `context`"))
                    .related(name.span, "the context")
                    .help("a context has all of it: remove one of them"),
            );
        }
        let is_valid = checker.name("NATS context", &name.value, name.span);
        return is_valid.then(|| Nats::Context { name: name.value.clone() });
    }
    let login = login(key, raw, tls.as_ref(), checker)?;
    if nats.servers.is_some() && servers.is_none() {
        return None;
    }
    Some(Nats::Direct { servers: servers.unwrap_or_default(), login, tls })
}

/// The keys that stand beside `context`, in the order of the schema.
fn beside_context(nats: &RawNats) -> Vec<(&'static str, Span)> {
    let servers = nats.servers.as_ref().map(|list| ("servers", list.span));
    let tls = nats.tls.as_ref().map(|map| ("tls", map.span));
    servers.into_iter().chain(texts(nats)).chain(tls).collect()
}

/// The keys that say who we are, where they are written.
fn texts(nats: &RawNats) -> impl Iterator<Item = (&'static str, Span)> {
    let RawNats { creds, nkey, user, password_file, password_env, .. } = nats;
    let pairs = [
        ("creds", creds),
        ("nkey", nkey),
        ("user", user),
        ("password_file", password_file),
        ("password_env", password_env),
    ];
    pairs.into_iter().filter_map(|(key, text)| Some((key, text.as_ref()?.span)))
}

fn login(key: &str, raw: &Spanned<RawNats>, tls: Option<&TlsFiles>, checker: &mut Checker) -> Option<Login> {
    let nats = &raw.value;
    let kinds: Vec<_> = texts(nats).filter(|(key, _)| matches!(*key, "creds" | "nkey" | "user")).collect();
    if let [first, second, ..] = kinds.as_slice() {
        checker.note(
            Mistake::at(second.1, format!("two kinds of credentials, `{}` and `{}`", first.0, second.0))
                .related(first.1, "the other")
                .help("remove one of them"),
        );
        return None;
    }
    let file = nats.password_file.as_ref();
    let variable = nats.password_env.as_ref();
    if let (Some(user), None) = (&nats.user, file.or(variable)) {
        // An inline password is reported, and is why there is none.
        if raw.lost.is_empty() {
            checker.note(
                Mistake::at(user.span, "a user without a password")
                    .help("add `password_file: FILE` or `password_env: VARIABLE`"),
            );
        }
        return None;
    }
    if let (None, Some(password)) = (&nats.user, file.or(variable)) {
        if !raw.lost("user") {
            checker.note(Mistake::at(password.span, "a password without a `user`").help("add `user: NAME`"));
        }
        return None;
    }
    if let (Some(file), Some(variable)) = (file, variable) {
        checker.note(
            Mistake::at(variable.span, "two passwords, `password_file` and `password_env`")
                .related(file.span, "the other")
                .help("remove one of them"),
        );
        return None;
    }
    if let Some(text) = &nats.creds {
        return seedless(text, checker).then(|| checker.path(text).map(Login::Creds)).flatten();
    }
    if let Some(text) = &nats.nkey {
        return seedless(text, checker).then(|| checker.path(text).map(Login::Nkey)).flatten();
    }
    if let Some(user) = &nats.user {
        let name = checker.word("a user's name", user);
        let password = match (file, variable) {
            (Some(file), _) => checker.path(file).map(PasswordSource::File),
            (None, Some(variable)) => environment(variable, checker).map(PasswordSource::Env),
            (None, None) => None,
        };
        return Some(Login::User { name: name?, password: password? });
    }
    if tls.is_some_and(|tls| tls.cert.is_some()) {
        return Some(Login::Certificate);
    }
    if raw.lost.is_empty() && nats.tls.as_ref().is_none_or(|tls| tls.lost.is_empty()) {
        checker.note(Mistake::at(raw.span, format!("`{key}` has no credentials")).help(KINDS));
    }
    None
}

/// Whether `text` is a path rather than the seed that should be in the file. Seeds of nkeys are 58 characters of
/// base32 that begin with S and the kind (nats-io/nkeys, `EncodeSeed`).
fn seedless(text: &Spanned<String>, checker: &mut Checker) -> bool {
    let is_base32 = |c: char| c.is_ascii_uppercase() || matches!(c, '2'..='7');
    let is_seed = text.value.len() == 58 && text.value.starts_with('S') && text.value.chars().all(is_base32);
    if is_seed {
        checker.note(
            Mistake::at(text.span, "expected a path, found a seed")
                .help("secrets are not written inline; name the file"),
        );
    }
    !is_seed
}

/// The name of an environment variable. What is none may be the password itself, so it is not repeated.
fn environment(text: &Spanned<String>, checker: &mut Checker) -> Option<String> {
    let name = text.value.as_str();
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_valid = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(allowed);
    if !is_valid {
        checker.note(
            Mistake::at(text.span, "this can't be the name of an environment variable")
                .help("name the variable that has the password: `password_env: NATS_PASSWORD`"),
        );
    }
    is_valid.then(|| name.to_owned())
}

fn servers(urls: &Spanned<Vec<Spanned<String>>>, checker: &mut Checker) -> Option<Vec<String>> {
    if urls.value.is_empty() && urls.lost.is_empty() {
        checker
            .note(Mistake::at(urls.span, "no servers to connect to").help(
                "list client URLs: `servers: [\"nats://n1:4222\"]`, or leave it out for the hosts' client ports",
            ));
        return None;
    }
    let found: Vec<_> = urls.value.iter().map(|url| server(url, checker)).collect();
    found.into_iter().collect()
}

fn server(url: &Spanned<String>, checker: &mut Checker) -> Option<String> {
    // Before the shared check, whose help would offer placeholders.
    if url.value.contains(['{', '}']) && !url.value.contains('@') {
        checker.note(
            Mistake::at(url.span, "placeholders are those of a host, and this is for all")
                .help("leave `servers` out: then the hosts' client ports are used, by `client: {url: …}`"),
        );
        return None;
    }
    if !url.value.contains("://") {
        let mistake = Mistake::at(url.span, "not a URL");
        checker.note(mistake.help("write `nats://HOST:PORT`, or `tls://HOST:PORT`"));
        return None;
    }
    check_url(url, &SCHEMES, checker).map(|url| url.as_str().to_owned())
}

fn tls(raw: &Spanned<RawTls>, checker: &mut Checker) -> TlsFiles {
    let files = [&raw.value.ca, &raw.value.cert, &raw.value.key];
    tls_files(files.map(|text| text.as_ref().map(|text| (0, text))), |key| raw.lost(key), checker)
}
