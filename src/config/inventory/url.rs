//! URL templates.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::yaml::shorten;

/// A URL with the placeholders `{name}`, `{address}` and `{server_name}`; checked when read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UrlTemplate(String);

impl UrlTemplate {
    /// Wraps a text that `check` has accepted.
    pub(super) fn checked(text: String) -> Self {
        Self(text)
    }

    /// The text as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URL of one host. An IPv6 address gets the brackets that URLs demand, unless the
    /// operator wrote them around the placeholder.
    #[must_use]
    pub fn render(&self, name: &str, address: &str, server_name: &str) -> String {
        let address = address.trim_start_matches('[').trim_end_matches(']');
        let bracketed = if address.contains(':') && !self.0.contains("[{address}]") {
            format!("[{address}]")
        } else {
            address.to_owned()
        };
        // One pass, so that a brace in a value is never taken for a placeholder.
        let mut out = String::with_capacity(self.0.len() + address.len());
        let mut rest = self.0.as_str();
        while let Some(at) = rest.find('{') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            let known = [("{name}", name), ("{address}", bracketed.as_str()), ("{server_name}", server_name)];
            if let Some((placeholder, value)) = known.iter().find(|(p, _)| rest.starts_with(p)) {
                out.push_str(value);
                rest = &rest[placeholder.len()..];
            } else {
                out.push('{');
                rest = &rest[1..];
            }
        }
        out.push_str(rest);
        out
    }
}

impl fmt::Display for UrlTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The placeholders that [`UrlTemplate::render`] fills.
pub(super) const PLACEHOLDERS: [&str; 3] = ["name", "address", "server_name"];

/// Why a text is no URL template.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum UrlError {
    #[error("not a URL")]
    NoScheme,
    #[error("a URL of scheme `{0}` can't stand here")]
    Scheme(String),
    #[error("a URL with a user or password in it")]
    Userinfo,
    #[error("unknown placeholder `{{{0}}}`")]
    Placeholder(String),
    #[error("a `{{` without its `}}`")]
    Brace,
    #[error("a URL without a host")]
    NoHost,
    #[error("bad characters in the host of a URL")]
    Host,
    #[error("bad port in a URL: ports go from 1 to 65535")]
    Port,
    #[error("a URL with a path")]
    Path,
}

/// Checks `text` as `scheme://host[:port]` with placeholders and gives the scheme, which must be
/// one of `schemes`.
pub(super) fn check<'t>(text: &'t str, schemes: &[&str]) -> Result<&'t str, UrlError> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(UrlError::NoScheme);
    };
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    if scheme.is_empty() || !scheme.chars().all(is_scheme) {
        return Err(UrlError::NoScheme);
    }
    if !schemes.contains(&scheme) {
        return Err(UrlError::Scheme(shorten(scheme)));
    }
    // Before anything that names a piece of the text.
    if rest.contains('@') {
        return Err(UrlError::Userinfo);
    }
    let filled = fill(rest)?;
    let authority = match filled.split_once(['/', '?', '#']) {
        None => filled.as_str(),
        Some((authority, "")) if filled.ends_with('/') => authority,
        Some(_) => return Err(UrlError::Path),
    };
    check_authority(authority)?;
    Ok(scheme)
}

/// `rest` with a letter for each placeholder.
fn fill(mut rest: &str) -> Result<String, UrlError> {
    let mut out = String::new();
    while let Some((before, after)) = rest.split_once('{') {
        let (inner, tail) = after.split_once('}').ok_or(UrlError::Brace)?;
        if !PLACEHOLDERS.contains(&inner) {
            return Err(UrlError::Placeholder(shorten(inner)));
        }
        out.push_str(before);
        out.push('x');
        rest = tail;
    }
    if rest.contains('}') || out.contains('}') {
        return Err(UrlError::Brace);
    }
    out.push_str(rest);
    Ok(out)
}

fn check_authority(authority: &str) -> Result<(), UrlError> {
    let (host, port, is_bracketed) = match authority.strip_prefix('[') {
        Some(inner) => {
            let (host, tail) = inner.split_once(']').ok_or(UrlError::Host)?;
            match tail.strip_prefix(':') {
                Some(port) => (host, Some(port), true),
                None if tail.is_empty() => (host, None, true),
                None => return Err(UrlError::Host),
            }
        }
        None => match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port), false),
            None => (authority, None, false),
        },
    };
    if host.is_empty() {
        return Err(UrlError::NoHost);
    }
    let allowed =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') || (is_bracketed && matches!(c, ':' | '%'));
    if !host.chars().all(allowed) {
        return Err(UrlError::Host);
    }
    let is_port =
        |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    if port.is_some_and(|port| !is_port(port)) {
        return Err(UrlError::Port);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_templates_render() {
        let check = |template: &str, address: &str, expected: &str| {
            let url = UrlTemplate::checked(template.to_owned());
            assert_eq!(url.render("n1", address, "nats-1"), expected, "{template}");
        };
        check("http://{address}:8222", "10.0.0.1", "http://10.0.0.1:8222");
        check("http://{address}:8222", "fd00::1", "http://[fd00::1]:8222");
        check("http://{address}:8222", "[fd00::1]", "http://[fd00::1]:8222");
        check("http://[{address}]:8222", "fd00::1", "http://[fd00::1]:8222");
        check("https://{server_name}.{name}.x", "h", "https://nats-1.n1.x");
        check("http://{address}:8222", "{name}", "http://{name}:8222");
        check("http://{other}", "h", "http://{other}");
    }

    #[test]
    fn url_templates_are_judged() {
        let accept = |text: &str| assert!(check(text, &["http", "https"]).is_ok(), "{text}");
        accept("http://{address}:8222");
        accept("https://{server_name}.nats.example.com/");
        accept("http://[{address}]:8222");
        accept("http://[::1]:8222");
        accept("http://localhost");

        let refuse = |text: &str, expected: UrlError| {
            assert_eq!(check(text, &["http", "https"]), Err(expected), "{text}");
        };
        refuse("", UrlError::NoScheme);
        refuse("{address}:8222", UrlError::NoScheme);
        refuse("ftp://x", UrlError::Scheme("ftp".into()));
        refuse("http://u:p@h", UrlError::Userinfo);
        refuse("http://{adress}:1", UrlError::Placeholder("adress".into()));
        refuse("http://{address:1", UrlError::Brace);
        refuse("http://address}:1", UrlError::Brace);
        refuse("http://:8222", UrlError::NoHost);
        refuse("http://", UrlError::NoHost);
        refuse("http://a b", UrlError::Host);
        refuse("http://::1", UrlError::Host);
        refuse("http://h:0", UrlError::Port);
        refuse("http://h:70000", UrlError::Port);
        refuse("http://h:{name}", UrlError::Port);
        refuse("http://h:8222/varz", UrlError::Path);
        refuse("http://h/?q", UrlError::Path);
    }
}
