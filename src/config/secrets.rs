//! What must not be repeated on a screen or in a log of a build server.
//!
//! Our files have no place for a secret, but operators put them where they don't belong, and an
//! error message with a snippet would spread them. So snippets are masked by words, whatever the
//! tree says: a file that is broken enough has no tree.

/// Parts of key names that announce a secret.
const WORDS: [&str; 9] =
    ["passw", "passphrase", "secret", "token", "seed", "nkey", "credential", "private_key", "apikey"];

/// Whether a key of this name announces a secret.
pub(crate) fn is_secret(key: &str) -> bool {
    let folded = key.to_lowercase().replace('-', "_");
    // `password_file: ./p` names the right place for one.
    if folded.ends_with("_file") || folded.ends_with("_path") {
        return false;
    }
    WORDS.iter().any(|word| folded.contains(word)) || folded == "pass" || folded == "pwd"
}

/// `text` with each secret overwritten by spaces; every byte keeps its place.
pub(crate) fn mask(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Indentation of a secret's key: lines indented further are its value.
    let mut inside: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        let indentation = line.len() - line.trim_start().len();
        let is_blank = line.trim().is_empty();
        if inside.is_some_and(|outer| indentation > outer || is_blank) {
            blank(line, 0, &mut out);
            continue;
        }
        inside = None;
        if let Some(after) = secret_value(line) {
            inside = Some(indentation);
            out.push_str(&line[..after]);
            blank(line, after, &mut out);
        } else {
            mask_userinfo(line, &mut out);
        }
    }
    out
}

/// Where the value of the first secret of `line` begins.
fn secret_value(line: &str) -> Option<usize> {
    line.match_indices(':').map(|(at, _)| at).find_map(|at| {
        let key = line[..at].trim_end_matches(['"', '\'', ' ', '\t']);
        let start = key
            .rfind(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.')))
            // The character found may be longer than a byte.
            .map_or(0, |before| before + key[before..].chars().next().map_or(1, char::len_utf8));
        let is_file = &key[start..] == "nkey" && is_path(&line[at + 1..]);
        (is_secret(&key[start..]) && !is_file).then_some(at + 1)
    })
}

/// Whether a value begins as paths do and seeds, which are base32, can't: `nats: {nkey: ./sys.nk}`.
fn is_path(value: &str) -> bool {
    value.trim_start_matches([' ', '\t', '"', '\'']).starts_with(['.', '/', '~'])
}

/// Copies `line`, overwriting the password in `user:password@host` and in URLs.
fn mask_userinfo(line: &str, out: &mut String) {
    let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'');
    for token in line.split_inclusive(ends) {
        let end = token.rfind('@').unwrap_or(0);
        let user = token.find("://").map_or(0, |at| at + 3).min(end);
        // A lone user name is no secret: `deploy@host`.
        let start = token[user..end].find(':').map_or(end, |colon| user + colon + 1);
        out.push_str(&token[..start]);
        out.extend(std::iter::repeat_n(' ', end - start));
        out.push_str(&token[end..]);
    }
}

/// Copies the end of `line` from byte `from` on as spaces.
fn blank(line: &str, from: usize, out: &mut String) {
    for c in line[from..].chars() {
        if matches!(c, '\n' | '\r') {
            out.push(c);
        } else {
            out.extend(std::iter::repeat_n(' ', c.len_utf8()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_in_place() {
        let check = |text: &str, expected: &str| {
            let masked = mask(text);
            assert_eq!(masked.len(), text.len());
            let trimmed: Vec<_> = masked.lines().map(str::trim_end).collect();
            assert_eq!(trimmed.join("\n"), expected);
        };
        check("name: n1\n", "name: n1");
        check("password: hunter2\nname: n1\n", "password:\nname: n1");
        check("- {user: x, \"api-token\" : 'ü'}\n", "- {user: x, \"api-token\" :");
        check("seed: |\n  SUA\n\n  MORE\nnext: 1\n", "seed:\n\n\n\nnext: 1");
        check("url: nats://u:pw@h:4222 # x\n", "url: nats://u:  @h:4222 # x");
        check("ssh: ssh://deploy@h\n", "ssh: ssh://deploy@h");
        check("- deploy:pw@n9\n", "- deploy:  @n9");
        check("[root@[fd00::1]:22, \"u:p@x\"]", "[root@[fd00::1]:22, \"u: @x\"]");
        check("password_file: ./p\n", "password_file: ./p");
        check("key: ./client-key.pem\n", "key: ./client-key.pem");
        check("é_secret: x", "é_secret:");
        check("nats: {nkey: ./sys.nk}\n", "nats: {nkey: ./sys.nk}");
        check("nats: {nkey: SUAM, x: y}\n", "nats: {nkey:");
    }
}
