//! nats-server's configuration language, read as nats-server reads it (its `conf/lex.go` and `conf/parse.go`, 2.9 to 2.15).
//!
//! One file becomes items, files are joined and variables looked up ([`parse()`]), every [`value`] has its place.

pub mod effect;
mod number;
mod parse;
mod scan;
pub mod value;

pub use parse::{Files, Mistake, parse};

/// A path by its words alone, without `.`, `..` and empty parts: so nats-server makes that of an include (`conf/parse.go`,
/// `filepath.Join`). One that is not absolute stays so.
pub fn clean(path: &str) -> String {
    let root = if path.starts_with('/') { "/" } else { "" };
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if !root.is_empty() => {}
            part => parts.push(part),
        }
    }
    format!("{root}{}", parts.join("/"))
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    #[test]
    fn a_path_has_one_form() {
        for (path, expected) in [
            ("/etc/nats/./more.conf", "/etc/nats/more.conf"),
            ("/etc/nats//tls/../more.conf", "/etc/nats/more.conf"),
            ("/../x", "/x"),
            ("./nats.conf", "nats.conf"),
            ("../../x/../nats.conf", "../../nats.conf"),
            ("/", "/"),
        ] {
            assert_eq!(super::clean(path), expected, "{path}");
        }
    }
}
