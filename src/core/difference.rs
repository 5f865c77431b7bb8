//! What a server runs with, against what is on its host's disk: whether a restart would change anything.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    diagnosis::{
        evidence::Archive,
        files::{PathFacts, PathRole},
    },
    version::Version,
    view::Varz,
};

/// Something that is not the same, or is not known to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "difference", rename_all = "kebab-case")]
pub enum Difference {
    /// The server does not run.
    NotRunning,
    /// Its program was replaced.
    Binary {
        /// The version that runs.
        running: String,
        /// The one on disk, where it tells one.
        on_disk: Option<String>,
    },
    /// The text of its configuration is another one. Both digests are nats-server's own.
    Configuration {
        /// Of what it runs with (`/varz`).
        running: String,
        /// Of what is on disk (`nats-server -t`).
        on_disk: String,
    },
    /// A file that its configuration consists of or names was written, replaced or changed otherwise since it was loaded.
    File {
        /// The file.
        path: String,
        /// When it was, by the host's clock.
        at: Timestamp,
        /// When the server loaded its configuration.
        loaded: Timestamp,
    },
    /// It could not be compared. That counts as different.
    Unknown {
        /// What.
        what: String,
        /// Why not.
        why: String,
    },
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotRunning => f.write_str("it does not run"),
            Self::Binary { running, on_disk: Some(on_disk) } if running == on_disk => {
                write!(f, "binary replaced: another file, both say {running}")
            }
            Self::Binary { running, on_disk } => {
                write!(f, "binary replaced: running {running}, on disk {}", on_disk.as_deref().unwrap_or("unknown"))
            }
            Self::Configuration { running, on_disk } => {
                write!(f, "configuration changed: running {}, on disk {}", short(running), short(on_disk))
            }
            Self::File { path, at, loaded } => {
                write!(f, "configuration changed: {path} of {at:.0}, loaded {loaded:.0}")
            }
            Self::Unknown { what, why } => write!(f, "not known whether {what} changed: {why}"),
        }
    }
}

/// As much of a digest as tells two apart for a reader.
fn short(digest: &str) -> &str {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    hex.get(..12).unwrap_or(hex)
}

/// How the server of an archive differs from what is on its host; nothing where a restart would start the same again.
pub fn differences(archive: &Archive) -> Vec<Difference> {
    let server = archive.view.as_ref().and_then(|view| view.server(&archive.host));
    let unknown = |what: &str, why: String| Difference::Unknown { what: what.to_owned(), why };
    let varz = match server.map(|server| &server.varz) {
        Some(Ok(varz)) => varz,
        _ if matches!(archive.process, Ok(None)) => return vec![Difference::NotRunning],
        Some(Err(failure)) => return vec![unknown("it", failure.to_string())],
        None => return vec![unknown("it", "it was not observed".to_owned())],
    };
    let mut found: Vec<Difference> = binary(archive, varz).into_iter().collect();
    let digest = match &varz.config_digest {
        Some(running) => {
            found.extend(configuration(archive, running));
            true
        }
        None => false,
    };
    let Some(loaded) = varz.config_load_time else {
        found.push(unknown("its configuration", "the server does not tell when it loaded it".to_owned()));
        return found;
    };
    match &archive.paths {
        Ok(paths) => found.extend(paths.iter().filter_map(|path| file(path, loaded, digest))),
        Err(failure) => found.push(unknown("its configuration", failure.to_string())),
    }
    if let (Err(failure), false) = (&archive.config, digest) {
        found.push(unknown("its configuration", failure.to_string()));
    }
    found
}

fn binary(archive: &Archive, varz: &Varz) -> Option<Difference> {
    let what = || "its program".to_owned();
    let binary = match &archive.binary {
        Ok(binary) => binary,
        Err(failure) => return Some(Difference::Unknown { what: what(), why: failure.to_string() }),
    };
    let on_disk = binary.version.as_ref().map(|text| text.trim_start_matches('v').to_owned());
    let replaced = || Difference::Binary { running: varz.version.clone(), on_disk: on_disk.clone() };
    if on_disk.as_ref().is_some_and(|version| Version::of(version) != Version::of(&varz.version)) {
        return Some(replaced());
    }
    match (binary.runs, binary.script) {
        (Some(true), _) => None,
        (Some(false), None | Some(false)) => Some(replaced()),
        (_, Some(true)) => {
            let why = format!("{} is a script, which starts another", binary.path);
            Some(Difference::Unknown { what: what(), why })
        }
        (None, _) => {
            let why = format!("{} could not be compared with what runs; that takes root", binary.path);
            Some(Difference::Unknown { what: what(), why })
        }
    }
}

/// The digest of what is on disk stands in brackets at the end of what `-t` says, from 2.11 on (nats-server `main.go`).
fn configuration(archive: &Archive, running: &str) -> Option<Difference> {
    let unknown = |why: String| Some(Difference::Unknown { what: "its configuration".into(), why });
    let test = match &archive.config_test {
        Ok(test) => test,
        Err(failure) => return unknown(failure.to_string()),
    };
    let digest = test.output.iter().find_map(|line| line.rsplit_once(" is valid (")?.1.strip_suffix(')'));
    match digest {
        Some(on_disk) if on_disk == running => None,
        Some(on_disk) => Some(Difference::Configuration { running: running.to_owned(), on_disk: on_disk.to_owned() }),
        None => unknown(format!("`nats-server -t` said no digest: {}", test.output.join(" "))),
    }
}

/// Whether a file is younger than the configuration that runs. The digest is of the configuration's text; what that names, such
/// as a certificate, changes under it.
fn file(path: &PathFacts, loaded: Timestamp, digest: bool) -> Option<Difference> {
    let is_text = |role: &PathRole| matches!(role, PathRole::Config | PathRole::Include);
    let is_named = |role: &PathRole| {
        use PathRole::{Credentials, Operator, TlsCa, TlsCert, TlsKey};
        matches!(role, TlsCert | TlsKey | TlsCa | Operator | Credentials)
    };
    if !path.roles.iter().any(|role| is_named(role) || (!digest && is_text(role))) {
        return None;
    }
    match path.changed {
        Some(at) if at > loaded => Some(Difference::File { path: path.path.clone(), at, loaded }),
        Some(_) => None,
        None => Some(Difference::Unknown { what: path.path.clone(), why: "its time could not be read".into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        diagnosis::files::FileKind,
        diagnosis::testing::{healthy, path},
        testing::{at, cluster},
        view::{Failure, FailureKind},
    };

    /// A server that has loaded its configuration an hour ago, and what is on its disk two.
    fn same(digest: bool) -> Archive {
        let mut archive = healthy();
        let mut view = cluster(&["n1", "n2", "n3"]);
        let varz = view.servers[0].varz.as_mut().unwrap();
        varz.config_load_time = Some(at(-3600));
        varz.config_digest = digest.then(|| "sha256:aa11".to_owned());
        archive.host = "n1".into();
        archive.view = Some(view);
        let binary = archive.binary.as_mut().unwrap();
        (binary.runs, binary.version) = (Some(true), Some("v2.15.1".into()));
        archive.config_test.as_mut().unwrap().output = vec![format!(
            "nats-server: configuration file /etc/n.conf is valid{}",
            if digest { " (sha256:aa11)" } else { "" }
        )];
        let old = |name, role| PathFacts { changed: Some(at(-7200)), ..path(name, role, FileKind::File) };
        archive.paths = Ok(vec![
            old("/etc/n.conf", PathRole::Config),
            old("/etc/users.conf", PathRole::Include),
            old("/etc/cert.pem", PathRole::TlsCert),
            PathFacts { changed: Some(at(0)), ..path("/var/lib/nats", PathRole::Store, FileKind::Directory) },
        ]);
        archive
    }

    fn check(digest: bool, edit: impl Fn(&mut Archive), expected: &[&str]) {
        let mut archive = same(digest);
        edit(&mut archive);
        let found: Vec<String> = differences(&archive).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    fn written(archive: &mut Archive, place: usize) {
        archive.paths.as_mut().unwrap()[place].changed = Some(at(-60));
    }

    #[test]
    fn a_server_that_runs_with_what_is_on_disk() {
        check(true, |_| {}, &[]);
        check(false, |_| {}, &[]);
        // The text is told by its digest: a file that was written anew with the same text is no change.
        check(true, |archive| written(archive, 0), &[]);
        check(true, |archive| written(archive, 1), &[]);
    }

    #[test]
    fn what_changed_is_told() {
        let of =
            |name: &str| format!("configuration changed: {name} of 2026-11-22T11:59:00Z, loaded 2026-11-22T11:00:00Z");
        check(false, |archive| written(archive, 0), &[&of("/etc/n.conf")]);
        check(false, |archive| written(archive, 1), &[&of("/etc/users.conf")]);
        for digest in [true, false] {
            check(digest, |archive| written(archive, 2), &[&of("/etc/cert.pem")]);
        }
        let other = |archive: &mut Archive| {
            archive.config_test.as_mut().unwrap().output =
                vec!["nats-server: configuration file x is valid (sha256:bb22)".into()];
        };
        check(true, other, &["configuration changed: running aa11, on disk bb22"]);
        check(
            true,
            |archive| archive.binary.as_mut().unwrap().version = Some("v2.16.0".into()),
            &["binary replaced: running 2.15.1, on disk 2.16.0"],
        );
        check(
            true,
            |archive| archive.binary.as_mut().unwrap().runs = Some(false),
            &["binary replaced: another file, both say 2.15.1"],
        );
        let down = |archive: &mut Archive| {
            archive.process = Ok(None);
            let failure = Failure::new(FailureKind::Refused, "refused");
            archive.view.as_mut().unwrap().servers[0].varz = Err(failure);
        };
        check(true, down, &["it does not run"]);
    }

    #[test]
    fn what_is_not_known_is_not_the_same() {
        check(
            true,
            |archive| archive.binary.as_mut().unwrap().runs = None,
            &[
                "not known whether its program changed: /usr/local/bin/nats-server could not be compared with what runs; that takes root",
            ],
        );
        check(
            true,
            |archive| {
                archive.config_test.as_mut().unwrap().output = vec!["nats-server: configuration file x is valid".into()]
            },
            &[
                "not known whether its configuration changed: `nats-server -t` said no digest: nats-server: configuration file x is valid",
            ],
        );
        check(
            false,
            |archive| archive.paths.as_mut().unwrap()[1].changed = None,
            &["not known whether /etc/users.conf changed: its time could not be read"],
        );
        let failure = || Failure::new(FailureKind::Sudo, "sudo: a password is required");
        let archive = Archive::unknown("n1", at(0), &failure());
        assert!(matches!(differences(&archive)[..], [Difference::Unknown { .. }]));
    }
}
