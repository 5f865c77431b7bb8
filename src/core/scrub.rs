//! Text that programs on a host print, with whatever looks like a secret taken out: an operator's own start command, a container's
//! error, sudo. What the collector gathers is scrubbed on the host already (`fleet/live/collect/scrub.awk`), by the same rules.

use super::diagnosis::evidence::REDACTED;

/// Words that announce a value which is a secret, as in `password: x`, `--pass x`, `TOKEN=x`.
const WORDS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "pass",
    "token",
    "secret",
    "seed",
    "bearer",
    "authorization",
    "auth",
    "credential",
    "apikey",
    "api_key",
    "private_key",
    "privatekey",
    "encryption_key",
    "pwd",
];

/// The text without what looks like a secret.
pub fn scrub(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_key = false;
    for line in text.split_inclusive('\n') {
        let end = line.trim_end_matches(['\n', '\r']).len();
        let (line, ending) = line.split_at(end);
        in_key |= line.contains("-----BEGIN ") && line.contains("PRIVATE KEY");
        if in_key {
            in_key = !line.contains("-----END ");
            out.push_str(REDACTED);
        } else {
            out.push_str(&values(&words(&userinfo(line))));
        }
        out.push_str(ending);
    }
    out
}

/// `scheme://user:password@host`: between the slashes and the last `@` of the word.
fn userinfo(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let word = after.find([' ', '\t', '/', '"', '\'']).unwrap_or(after.len());
        match after[..word].rfind('@') {
            Some(host) => {
                out.push_str(REDACTED);
                rest = &after[host..];
            }
            None => rest = after,
        }
    }
    out + rest
}

/// JWTs, and NKEY seeds, which are `S` and 57 characters of base32 (nats-io/nkeys).
fn words(line: &str) -> String {
    let part = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let mut out = String::new();
    let mut rest = line;
    while let Some(start) = rest.find(part) {
        let end = rest[start..].find(|c| !part(c)).map_or(rest.len(), |length| start + length);
        let word = &rest[start..end];
        let seed =
            word.len() >= 50 && word.starts_with('S') && word.chars().all(|c| matches!(c, 'A'..='Z' | '2'..='7'));
        let jwt = word.len() >= 20 && word.starts_with("eyJ");
        out.push_str(&rest[..start]);
        out.push_str(if seed || jwt { REDACTED } else { word });
        rest = &rest[end..];
    }
    out + rest
}

/// The word stays, its value goes, up to the closing quote or the next space.
fn values(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(start) = value(rest) {
        let (before, value) = rest.split_at(start);
        // `Authorization: Bearer x`: the scheme is no value.
        let low = value.to_ascii_lowercase();
        let scheme = ["bearer", "basic"].iter().find_map(|word| low.strip_prefix(word).filter(|t| t.starts_with(' ')));
        let value = scheme.map_or(value, |after| value[value.len() - after.len()..].trim_start());
        out.push_str(before);
        out.push_str(REDACTED);
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
        rest = match quote {
            Some(quote) => value[1..].find(quote).map_or("", |end| &value[end + 2..]),
            None => value.find([' ', '\t']).map_or("", |end| &value[end..]),
        };
    }
    out + rest
}

/// Where the first value that a word announces begins.
fn value(line: &str) -> Option<usize> {
    // ASCII only: every byte keeps its place.
    let low = line.to_ascii_lowercase();
    let starts = WORDS.iter().flat_map(|word| {
        let low = &low;
        low.match_indices(word).filter_map(move |(at, word)| {
            let after = &low[at + word.len()..];
            let spaces = |text: &str| text.len() - text.trim_start_matches([' ', '\t']).len();
            let quote = usize::from(after.starts_with(['"', '\'']));
            let gap = quote + spaces(&after[quote..]);
            let sign = after[gap..].starts_with([':', '=']);
            let begin = if sign { gap + 1 + spaces(&after[gap + 1..]) } else { spaces(after) };
            let flag = low[..at].ends_with('-') || *word == *"bearer";
            let announced = sign || (flag && begin > 0 && !after[begin..].starts_with('-'));
            (announced && begin < after.len()).then_some(at + word.len() + begin)
        })
    });
    starts.min()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(scrub(text), expected);
    }

    #[test]
    fn what_is_announced_is_taken_out() {
        check("password: hunter2 and more\n", "password: [redacted] and more\n");
        check("nats://u:pw@h1:4222, tls://h2", "nats://[redacted]@h1:4222, tls://h2");
        check(
            "nats-server --user a --pass x --auth=y -c z",
            "nats-server --user a --pass [redacted] --auth=[redacted] -c z",
        );
        check(r#"{"api_key": "a b", "port": 1}"#, r#"{"api_key": [redacted], "port": 1}"#);
        check("Authorization: Bearer abc", "Authorization: [redacted]");
        check(
            "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\nok\n",
            "[redacted]\n[redacted]\n[redacted]\nok\n",
        );
    }

    #[test]
    fn what_is_none_stays() {
        for text in [
            "Job for nats-server.service failed because the control process exited with error code.\r\n",
            "systemctl stop nats-server: Unit nats-server.service not loaded.",
            "sudo: a password is required",
            "/etc/nats/auth.conf:12: unknown field \"tokens\" ü",
            "",
        ] {
            check(text, text);
        }
    }

    proptest! {
        #[test]
        fn no_secret_is_left(secret in "[A-Za-z0-9_+/]{8,24}", form in 0_usize..9, around in "[a-z ü]{0,9}") {
            let line = match form {
                0 => format!("{around} password: {secret}"),
                1 => format!("nats://user:{secret}@h1:4222 {around}"),
                2 => format!("{around} TOKEN={secret} {around}"),
                3 => format!("--pass {secret} {around}"),
                4 => format!("{{\"secret\": \"{secret}\", {around}}}"),
                5 => format!("{around} pwd='{secret} {around}'"),
                6 => format!("{around} Bearer {secret}"),
                7 => format!("seed = {secret}"),
                _ => format!("NATS_PASSWORD: {secret}, {around}"),
            };
            // A slash ends what can be user and password of a URL.
            prop_assume!(form != 1 || !secret.contains('/'));
            prop_assume!(!around.contains(&secret));
            prop_assert!(!scrub(&line).contains(&secret), "{line}: {}", scrub(&line));
        }
    }
}
