//! Who we are to a NATS server: the files, variables and contexts that the inventory names, read when needed.
//!
//! Nothing here implements `Debug`, and no failure repeats what was read.

use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::Deserialize;

use crate::{
    config::inventory::{self, Nats, PasswordSource, TlsFiles},
    core::view::{Failure, FailureKind, Seen},
};

/// All that connecting takes.
pub struct Access {
    /// Client URLs, without users and passwords; empty for the hosts' own client ports.
    pub servers: Vec<String>,
    /// Who we are.
    pub login: Secret,
    /// For servers that want TLS.
    pub tls: Option<TlsFiles>,
    /// The server expects the handshake before its INFO.
    pub tls_first: bool,
}

/// A login with its secret.
#[derive(Clone)]
pub enum Secret {
    /// The text of a credentials file.
    Creds(String),
    /// An nkey's seed.
    Nkey(String),
    /// A user and a password.
    User(String, String),
    /// A token.
    Token(String),
    /// None: the certificate says it, or the servers ask nobody.
    None,
}

/// The parts of the environment that are read.
pub struct Environment<'a> {
    /// The value of a variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The home directory.
    pub home: Option<PathBuf>,
}

/// Reads what the inventory names, in the environment of this process.
///
/// # Errors
/// As [`access`].
pub fn read(nats: &Nats) -> Seen<Access> {
    let environment = Environment { variable: &|name| std::env::var(name).ok(), home: etcetera::home_dir().ok() };
    access(nats, &environment)
}

/// Reads what the inventory names.
///
/// # Errors
/// A file or variable is missing or holds something else; the failure names it.
pub fn access(nats: &Nats, environment: &Environment<'_>) -> Seen<Access> {
    match nats {
        Nats::Context { name } => context(name, environment),
        Nats::Direct { servers, login, tls } => {
            let login = match login {
                inventory::Login::Creds(path) => Secret::Creds(creds(file(path)?, path)?),
                inventory::Login::Nkey(path) => Secret::Nkey(seed(&file(path)?, &path.display().to_string())?),
                inventory::Login::User { name, password } => {
                    Secret::User(name.clone(), self::password(password, environment)?)
                }
                inventory::Login::Certificate => Secret::None,
            };
            Ok(Access { servers: servers.clone(), login, tls: tls.clone(), tls_first: false })
        }
    }
}

fn password(source: &PasswordSource, environment: &Environment<'_>) -> Seen<String> {
    match source {
        PasswordSource::File(path) => {
            let text = file(path)?;
            let line = text.lines().next().unwrap_or_default();
            if line.is_empty() { Err(bad(format!("{} is empty", path.display()))) } else { Ok(line.to_owned()) }
        }
        PasswordSource::Env(name) => variable(name, environment),
    }
}

fn variable(name: &str, environment: &Environment<'_>) -> Seen<String> {
    let value = (environment.variable)(name).filter(|value| !value.is_empty());
    value.ok_or_else(|| bad(format!("the environment variable {name} is not set")))
}

fn creds(text: String, path: &Path) -> Seen<String> {
    if text.contains("BEGIN NATS USER JWT") && text.contains("SEED") {
        return Ok(text);
    }
    Err(bad(format!("{} is no credentials file: it needs a user JWT and a seed", path.display())))
}

/// The seed in a text, which may have comments and blank lines around it.
fn seed(text: &str, what: &str) -> Seen<String> {
    let is_seed = |line: &&str| line.len() == 58 && line.starts_with('S');
    let found = text.lines().map(str::trim).find(is_seed);
    found.map(str::to_owned).ok_or_else(|| bad(format!("{what} has no nkey seed")))
}

fn file(path: &Path) -> Seen<String> {
    std::fs::read_to_string(path).map_err(|error| bad(format!("{}: {error}", path.display())))
}

fn bad(detail: String) -> Failure {
    Failure::new(FailureKind::NotAsked, detail)
}

/// A context as the NATS CLI writes it (jsm.go, `natscontext`); fields that only concern its output are left out.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Context {
    url: String,
    token: String,
    user: String,
    password: String,
    creds: String,
    nkey: String,
    cert: String,
    key: String,
    ca: String,
    nsc: String,
    user_jwt: String,
    user_seed: String,
    socks_proxy: String,
    tls_first: bool,
}

fn context(name: &str, environment: &Environment<'_>) -> Seen<Access> {
    let base = (environment.variable)("XDG_CONFIG_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let base = base.or_else(|| environment.home.as_ref().map(|home| home.join(".config")));
    let base = base.ok_or_else(|| bad("neither XDG_CONFIG_HOME nor a home directory is known".into()))?;
    let path = base.join("nats/context").join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path)
        .map_err(|error| bad(format!("NATS context {name}: {}: {error}", path.display())))?;
    // The text of a JSON error can repeat a value, so its place has to do.
    let context: Context = serde_json::from_str(&text)
        .map_err(|error| bad(format!("NATS context {name}: {}: bad JSON at line {}", path.display(), error.line())))?;
    context.access(environment).map_err(|failure| bad(format!("NATS context {name}: {}", failure.detail)))
}

impl Context {
    fn access(self, environment: &Environment<'_>) -> Seen<Access> {
        if !self.nsc.is_empty() || [&self.creds, &self.nkey].iter().any(|text| text.starts_with("nsc://")) {
            return Err(bad("`nsc` look-ups are not supported: name the creds file in the inventory".into()));
        }
        if !self.socks_proxy.is_empty() {
            return Err(bad("`socks_proxy` is not supported".into()));
        }
        let (servers, in_url) = servers(&self.url)?;
        let file = |text: &str| -> Seen<Option<PathBuf>> {
            if text.is_empty() {
                return Ok(None);
            }
            path(text, environment).map(Some)
        };
        let tls = TlsFiles { ca: file(&self.ca)?, cert: file(&self.cert)?, key: file(&self.key)? };
        let tls = Some(tls).filter(|tls| *tls != TlsFiles::default());
        let login = self.login(environment)?.or(in_url).unwrap_or(Secret::None);
        Ok(Access { servers, login, tls, tls_first: self.tls_first })
    }

    /// In the order in which the CLI takes them.
    fn login(&self, environment: &Environment<'_>) -> Seen<Option<Secret>> {
        let value = |text: &str, what: &str| value(text, what, environment);
        if !self.user.is_empty() {
            let user = value(&self.user, "user")?;
            return Ok(Some(Secret::User(user, value(&self.password, "password")?)));
        }
        if !self.creds.is_empty() {
            let text = contents(&self.creds, "creds", environment)?;
            return creds(text, Path::new("creds")).map(Secret::Creds).map(Some);
        }
        if !self.nkey.is_empty() {
            return seed(&contents(&self.nkey, "nkey", environment)?, "nkey").map(Secret::Nkey).map(Some);
        }
        if !self.user_jwt.is_empty() {
            let jwt = value(&self.user_jwt, "user_jwt")?;
            let seed = seed(&value(&self.user_seed, "user_seed")?, "user_seed")?;
            return Ok(Some(Secret::Creds(decorated(jwt.trim(), &seed))));
        }
        if !self.token.is_empty() {
            return Ok(Some(Secret::Token(value(&self.token, "token")?)));
        }
        Ok(None)
    }
}

/// A credentials file's text (nats-io/jwt, `FormatUserConfig`).
fn decorated(jwt: &str, seed: &str) -> String {
    format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

/// The URLs of a context, and a login that stood in one of them.
fn servers(urls: &str) -> Seen<(Vec<String>, Option<Secret>)> {
    let mut servers = Vec::new();
    let mut login = None;
    for text in urls.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        let text = if text.contains("://") { text.to_owned() } else { format!("nats://{text}") };
        let mut url = Url::parse(&text).map_err(|_| bad("a url that can't be read".into()))?;
        if !matches!(url.scheme(), "nats" | "tls") {
            return Err(bad(format!("urls of scheme {} are not supported: nats and tls are", url.scheme())));
        }
        let user = decoded(url.username());
        match url.password().map(decoded) {
            Some(password) => login = Some(Secret::User(user, password)),
            None if !user.is_empty() => login = Some(Secret::Token(user)),
            None => {}
        }
        if url.set_username("").and(url.set_password(None)).is_err() && !url.username().is_empty() {
            return Err(bad("a url whose user can't be taken out".into()));
        }
        servers.push(url.as_str().trim_end_matches('/').to_owned());
    }
    Ok((servers, login))
}

/// A part of a URL with its `%41` read.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = (*first == b'%').then(|| tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok())).flatten();
        if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            bytes.push(byte);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A field that is a text, or says where one is.
fn value(text: &str, what: &str, environment: &Environment<'_>) -> Seen<String> {
    if let Some(name) = text.strip_prefix("env://") {
        return variable(name, environment);
    }
    if text.starts_with("file://") {
        return file(&path(text, environment)?).map(|text| text.trim_end_matches(['\r', '\n']).to_owned());
    }
    unsupported(text, what)?;
    Ok(text.to_owned())
}

/// A field that names a file, or says where its text is.
fn contents(text: &str, what: &str, environment: &Environment<'_>) -> Seen<String> {
    if let Some(name) = text.strip_prefix("env://") {
        return variable(name, environment);
    }
    unsupported(text, what)?;
    file(&path(text, environment)?)
}

/// Other ways of the CLI to say where a secret is.
fn unsupported(text: &str, what: &str) -> Seen<()> {
    match ["op://", "nsc://", "data:"].iter().find(|scheme| text.starts_with(**scheme)) {
        Some(scheme) => Err(bad(format!("{what}: `{scheme}` is not supported: `file://` and `env://` are"))),
        None => Ok(()),
    }
}

/// A path as the CLI reads it: `~`, `$VAR` and `${VAR}` are replaced.
fn path(text: &str, environment: &Environment<'_>) -> Seen<PathBuf> {
    let text = text.strip_prefix("file://").unwrap_or(text);
    if text.starts_with("env://") {
        return Err(bad("`env://` can't stand for a certificate's file".into()));
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let (name, tail) = match after.strip_prefix('{').and_then(|after| after.split_once('}')) {
            Some(found) => found,
            None => {
                let end = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(after.len());
                after.split_at(end)
            }
        };
        out.push_str(&(environment.variable)(name).unwrap_or_default());
        rest = tail;
    }
    out.push_str(rest);
    match (out.strip_prefix('~'), &environment.home) {
        (Some(rest), Some(home)) => Ok(home.join(rest.trim_start_matches('/'))),
        _ => Ok(PathBuf::from(out)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &str = "SUAMLK2ZNL35WSMW37E7UD4VZ7ELPKW7DHC3BWBSD2GCZ7IUQQXZIORRBU";

    fn said(access: &Access) -> String {
        let login = match &access.login {
            Secret::Creds(text) => format!("creds {}", text.lines().nth(1).unwrap_or_default()),
            Secret::Nkey(seed) => format!("nkey {}", &seed[..4]),
            Secret::User(user, password) => format!("{user}:{password}"),
            Secret::Token(token) => format!("token {token}"),
            Secret::None => "none".into(),
        };
        format!("{} {login}", access.servers.join(","))
    }

    fn check(json: &str, expected: Result<&str, &str>) {
        let home = tempfile::tempdir().unwrap();
        let contexts = home.path().join(".config/nats/context");
        std::fs::create_dir_all(&contexts).unwrap();
        std::fs::write(contexts.join("sys.json"), json).unwrap();
        std::fs::write(home.path().join("pw"), "hunter2\n").unwrap();
        std::fs::write(home.path().join("nk"), format!("# ours\n{SEED}\n")).unwrap();
        std::fs::write(home.path().join("c.creds"), decorated("eyJ0", SEED)).unwrap();
        let at = home.path().display().to_string();
        let variable = |name: &str| match name {
            "PW" => Some("hunter2".to_owned()),
            "DIR" => Some(at.clone()),
            _ => None,
        };
        let environment = Environment { variable: &variable, home: Some(home.path().to_owned()) };
        let found = access(&Nats::Context { name: "sys".into() }, &environment);
        match (found, expected) {
            (Ok(access), Ok(expected)) => assert_eq!(said(&access), expected),
            (Err(failure), Err(expected)) => {
                assert!(failure.detail.contains(expected), "{failure}");
                assert!(!failure.detail.contains("hunter2") && !failure.detail.contains(SEED), "{failure}");
            }
            (Ok(access), Err(_)) => panic!("{}", said(&access)),
            (Err(failure), Ok(_)) => panic!("{failure}"),
        }
    }

    #[test]
    fn contexts_are_read_as_the_cli_reads_them() {
        check(r#"{"url":"nats://n1:4222,n2","user":"sys","password":"pw"}"#, Ok("nats://n1:4222,nats://n2 sys:pw"));
        check(r#"{"url":"nats://sys:hunter%32@n1:4222"}"#, Ok("nats://n1:4222 sys:hunter2"));
        check(r#"{"url":"tls://tok@n1"}"#, Ok("tls://n1 token tok"));
        check(r#"{"user":"sys","password":"env://PW"}"#, Ok(" sys:hunter2"));
        check(r#"{"user":"sys","password":"file://~/pw"}"#, Ok(" sys:hunter2"));
        check(r#"{"nkey":"~/nk"}"#, Ok(" nkey SUAM"));
        check(r#"{"nkey":"$DIR/nk"}"#, Ok(" nkey SUAM"));
        check(r#"{"creds":"file://${DIR}/c.creds"}"#, Ok(" creds eyJ0"));
        check(&format!(r#"{{"user_jwt":"eyJ1","user_seed":"{SEED}"}}"#), Ok(" creds eyJ1"));
        check(r#"{"token":"env://PW","description":"x","color_scheme":""}"#, Ok(" token hunter2"));
    }

    #[test]
    fn what_is_missing_is_named_and_nothing_secret() {
        check(r#"{"user":"sys","password":"env://NOPE"}"#, Err("the environment variable NOPE is not set"));
        check(r#"{"creds":"/nope/x.creds"}"#, Err("/nope/x.creds"));
        check(r#"{"creds":"~/pw"}"#, Err("no credentials file"));
        check(r#"{"nkey":"~/pw"}"#, Err("no nkey seed"));
        check(r#"{"password":"op://vault/x","user":"sys"}"#, Err("`op://` is not supported"));
        check(r#"{"nsc":"nsc://o/a/u"}"#, Err("name the creds file"));
        check(r#"{"url":"ws://n1"}"#, Err("scheme ws"));
        check(r#"{"user": hunter2}"#, Err("bad JSON at line 1"));
    }
}
