//! An ssh destination as an operator would type it, taken apart.

use thiserror::Error;

/// The parts of a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Destination {
    /// Alias, name or address, without brackets.
    pub host: String,
    /// Login name.
    pub user: Option<String>,
    /// Never 0.
    pub port: Option<u16>,
}

/// Why a text is no destination.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum DestinationError {
    /// Nothing where the host should be.
    #[error("an ssh destination can't be empty")]
    Empty,
    #[error("an ssh destination can't begin with `-`: ssh would take it for an option")]
    Option,
    #[error("a password can't be part of an ssh destination")]
    Password,
    #[error("bad user name in an ssh destination")]
    User,
    #[error("bad host name in an ssh destination")]
    Host,
    #[error("bad port in an ssh destination: ports go from 1 to 65535")]
    Port,
    #[error("an ssh destination has no path")]
    Path,
}

/// Takes apart `[ssh://][user@]host[:port]`. An IPv6 address with a port needs brackets.
///
/// The characters allowed are few: ssh puts user and host into commands that a shell reads
/// (`ProxyCommand`, `Match exec`), so that `$(…)` in a name would be run.
pub(super) fn parse(text: &str) -> Result<Destination, DestinationError> {
    use DestinationError as E;
    let (rest, is_url) = text.strip_prefix("ssh://").map_or((text, false), |rest| (rest, true));
    let rest = if is_url { rest.strip_suffix('/').unwrap_or(rest) } else { rest };
    let (user, rest) = rest.rsplit_once('@').map_or((None, rest), |(user, rest)| (Some(user), rest));
    if rest.is_empty() {
        return Err(E::Empty);
    }
    if text.starts_with('-') || rest.starts_with('-') || user.is_some_and(|u| u.starts_with('-')) {
        return Err(E::Option);
    }
    if rest.contains('/') {
        return Err(E::Path);
    }
    if let Some(user) = user {
        check_user(user)?;
    }
    let (host, port) = split_port(rest)?;
    let is_v6 = host.contains(':');
    let allowed =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') || (is_v6 && matches!(c, ':' | '%'));
    if host.is_empty() || host.len() > 255 || !host.chars().all(allowed) {
        return Err(E::Host);
    }
    Ok(Destination { host: host.to_owned(), user: user.map(str::to_owned), port })
}

/// Whether `user` may be a login name.
pub(super) fn check_user(user: &str) -> Result<(), DestinationError> {
    use DestinationError as E;
    if user.contains(':') {
        return Err(E::Password);
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '@');
    if user.is_empty() || user.starts_with('-') || !user.chars().all(allowed) {
        return Err(E::User);
    }
    Ok(())
}

fn split_port(rest: &str) -> Result<(&str, Option<u16>), DestinationError> {
    use DestinationError as E;
    let (host, port) = if let Some(inner) = rest.strip_prefix('[') {
        let (host, tail) = inner.split_once(']').ok_or(E::Host)?;
        match tail {
            "" => (host, None),
            _ => (host, Some(tail.strip_prefix(':').ok_or(E::Host)?)),
        }
    } else if rest.matches(':').count() == 1 {
        rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)))
    } else {
        (rest, None)
    };
    let port = match port {
        None => None,
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => {
            Some(port.parse::<u16>().ok().filter(|port| *port > 0).ok_or(E::Port)?)
        }
        Some(_) => return Err(E::Port),
    };
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_taken_apart() {
        let check = |text: &str, user: Option<&str>, host: &str, port: Option<u16>| {
            let expected = Destination { host: host.to_owned(), user: user.map(str::to_owned), port };
            assert_eq!(parse(text), Ok(expected), "{text}");
        };
        check("n1", None, "n1", None);
        check("deploy@10.0.0.2:2222", Some("deploy"), "10.0.0.2", Some(2222));
        check("ssh://deploy@n1.example.com:22/", Some("deploy"), "n1.example.com", Some(22));
        check("fd00::1", None, "fd00::1", None);
        check("root@[fd00::1]:22", Some("root"), "fd00::1", Some(22));
        check("fe80::1%eth0", None, "fe80::1%eth0", None);
        check("jo@corp.example@n1", Some("jo@corp.example"), "n1", None);
    }

    #[test]
    fn other_texts_are_refused() {
        use DestinationError as E;
        let check = |text: &str, expected: E| assert_eq!(parse(text), Err(expected), "{text}");
        check("", E::Empty);
        check("deploy@", E::Empty);
        check("ssh://", E::Empty);
        check("-oProxyCommand=touch${IFS}x", E::Option);
        check("deploy@-x", E::Option);
        check("-l@n1", E::Option);
        check("deploy:pw@n1", E::Password);
        check("$(id)@n1", E::User);
        check("@n1", E::User);
        check("n1`id`", E::Host);
        check("n1 n2", E::Host);
        check("[fd00::1", E::Host);
        check("[fd00::1]22", E::Host);
        check("n1:0", E::Port);
        check("n1:70000", E::Port);
        check("n1:", E::Port);
        check("n1:+22", E::Port);
        check("n1:99999999999999999999", E::Port);
        check("ssh://n1/tmp", E::Path);
    }
}
