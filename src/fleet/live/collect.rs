//! Gathering the evidence of one host: over ssh, or here.

use std::{process::Stdio, time::Duration};

use jiff::Timestamp;
use tokio::{process::Command, time::timeout};

use super::{
    commands::{self, Collected, Remote},
    host::Host,
    ssh::{self, Output},
};
use crate::{
    config::inventory::Become,
    core::{
        diagnosis::{
            evidence::Archive,
            parse::{self, Asked},
        },
        install::StandIn,
        view::{Failure, FailureKind, Seen},
    },
};

/// The collector ends itself this much before we stop waiting: a collection that is cut short still tells what it has.
const MARGIN: Duration = Duration::from_secs(3);

impl Host {
    /// Gathers the evidence on this host in one round trip. `since` is the host's own clock at the start of the restart,
    /// where known; `with` stand in for some of the service's files. What can't be gathered is a failure in the archive.
    pub async fn collect(&self, since: Option<Timestamp>, with: &[StandIn], limit: Duration) -> Archive {
        let asked = asked(self.name(), Some(&self.inventory().server_name), since);
        let target = Collected { service: Some(&self.inventory().service), stand_ins: with, ..Collected::default() };
        let remote = remote(&target, self.inventory().become_, since, limit);
        let output = self.run(&remote, limit).await;
        archive(asked, output)
    }
}

/// Gathers the evidence on this very machine, as whoever this is. Without a service it is about a configuration and a
/// program alone.
pub async fn here(target: &Collected<'_>, limit: Duration) -> Archive {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let asked = asked(host.trim(), None, None);
    let output = run_here(&remote(target, Become::None, None, limit), limit).await;
    archive(asked, output)
}

fn asked(host: &str, server_name: Option<&str>, since: Option<Timestamp>) -> Asked {
    let now = Timestamp::now();
    Asked { host: host.to_owned(), server_name: server_name.map(str::to_owned), asked_at: now, answered_at: now, since }
}

fn remote(target: &Collected<'_>, become_: Become, since: Option<Timestamp>, limit: Duration) -> Remote {
    commands::collect(target, become_, since.map_or(0, Timestamp::as_second), limit.saturating_sub(MARGIN))
}

fn archive(asked: Asked, output: Result<Output, Failure>) -> Archive {
    let answered = Asked { answered_at: Timestamp::now(), ..asked };
    match output {
        Ok(output) if output.stdout.is_empty() => {
            let said = output.stderr.lines().last().unwrap_or("it printed nothing");
            let failure = Failure::new(FailureKind::Command, format!("the collector: {said}"));
            unknown(&answered, &failure)
        }
        Ok(output) => parse::archive(&answered, output.stdout.as_bytes()),
        Err(failure) => unknown(&answered, &failure),
    }
}

fn unknown(asked: &Asked, failure: &Failure) -> Archive {
    let archive = Archive::unknown(&asked.host, asked.asked_at, failure);
    Archive { server_name: asked.server_name.clone(), answered_at: asked.answered_at, ..archive }
}

async fn run_here(remote: &Remote, limit: Duration) -> Result<Output, Failure> {
    let broken = |error: std::io::Error| Failure::new(FailureKind::Command, format!("sh: {error}"));
    let argv = remote.argv();
    let mut command = Command::new(&argv[0]);
    command.args(&argv[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(broken)?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let ended = async {
        let (_, stdout, stderr) = tokio::join!(ssh::write(stdin, remote.input()), ssh::read(stdout), ssh::read(stderr));
        let status = child.wait().await.map_err(broken)?;
        Ok(Output { status: status.code(), stdout, stderr })
    };
    let late = |_| Failure::new(FailureKind::Timeout, "the collector did not end in time");
    timeout(limit, ended).await.map_err(late)?
}

/// How long it may take to read a file of a megabyte.
const REDACTED_WITHIN: Duration = Duration::from_secs(20);

/// What the collector shows of a configuration file, line by line; read here, by the very program that reads them on hosts.
///
/// # Errors
/// It can't be read so; no line of it is shown then.
pub async fn redacted(content: &[u8]) -> Seen<Vec<String>> {
    let broken = |error: std::io::Error| Failure::new(FailureKind::Command, format!("awk: {error}"));
    // Nobody else can read it, and it is gone in an instant.
    let file = tempfile::NamedTempFile::new().map_err(broken)?;
    std::fs::write(file.path(), content).map_err(broken)?;
    let mut command = Command::new("awk");
    command.arg(include_str!("collect/conf.awk")).env("RG_CONF", file.path()).env("LC_ALL", "C");
    command.env_remove("RG_ROOT").env_remove("RG_ENV").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let late = |_| Failure::new(FailureKind::Timeout, "awk did not end in time");
    let output = timeout(REDACTED_WITHIN, command.output()).await.map_err(late)?.map_err(broken)?;
    let printed = String::from_utf8_lossy(&output.stdout);
    if printed.lines().any(|line| line == "cc\t1" || line == "ce\t1" || line.starts_with("g\tconfig\t")) {
        return Err(Failure::new(FailureKind::Protocol, "it can't be read as a configuration here"));
    }
    Ok(printed.lines().filter_map(|line| line.strip_prefix("c\t1\t")).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::diagnosis::{
        evidence::REDACTED,
        files::{FileKind, PathRole},
        unit::Manager,
    };

    /// A directory with a configuration; what the collector makes of it, here.
    async fn gather(files: &[(&str, &str)]) -> (tempfile::TempDir, Archive) {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let text = text.replace("{dir}", &directory.path().display().to_string());
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let config = directory.path().join(files[0].0).display().to_string();
        let target = Collected { config: Some(&config), ..Collected::default() };
        let archive = here(&target, Duration::from_secs(60)).await;
        (directory, archive)
    }

    fn texts(archive: &Archive) -> Vec<String> {
        let files = &archive.config.as_ref().unwrap().files;
        files.iter().map(|file| file.text.clone().unwrap_or_else(|failure| failure.to_string())).collect()
    }

    #[tokio::test]
    async fn a_configuration_is_gathered_with_its_includes_and_paths() {
        let (directory, archive) = gather(&[
            (
                "nats.conf",
                "server_name: n1\nSTORE: \"{dir}/store\"\njetstream { store_dir: $STORE }\ninclude more.conf\npid_file: /nowhere/nats.pid\n",
            ),
            ("more.conf", "authorization { user: me, password: s3cr3t-here }\nport: $ROLLGATE_TEST_PORT\n"),
        ])
        .await;
        let store = directory.path().join("store").display().to_string();
        assert_eq!(archive.gaps.iter().filter(|gap| gap.what == "collection").count(), 0, "{:?}", archive.gaps);
        let machine = archive.machine.as_ref().unwrap();
        assert!(machine.boot_id.is_some() && machine.memory_total.is_some(), "{machine:?}");
        assert_eq!(archive.unit.as_ref().unwrap().manager, Manager::None);
        let texts = texts(&archive);
        assert_eq!(texts.len(), 2);
        assert!(texts[0].contains(&format!("STORE: \"{store}\"\njetstream {{ store_dir: $STORE }}\n")), "{}", texts[0]);
        let expected =
            format!("authorization {{ user: \"{REDACTED}\", password: \"{REDACTED}\" }}\nport: $ROLLGATE_TEST_PORT\n");
        assert_eq!(texts[1], expected);
        let environment = &archive.config.as_ref().unwrap().environment;
        assert_eq!((environment[0].name.as_str(), environment[0].set), ("ROLLGATE_TEST_PORT", false));
        let facts = archive.path(&store).unwrap();
        assert_eq!((facts.roles.as_slice(), facts.kind), (&[PathRole::Store][..], None));
        assert_eq!((&facts.writable, facts.ancestor.as_deref()), (&Ok(true), directory.path().to_str()));
        assert!(facts.mount.as_ref().is_some_and(|mount| mount.free.is_some() && !mount.fs_type.is_empty()));
        let pid = archive.path("/nowhere/nats.pid").unwrap();
        assert_eq!((pid.kind, &pid.writable), (None, &Ok(false)));
        assert_eq!(pid.write_error.as_deref(), Some("No such file or directory"));
        let conf = archive.path(&directory.path().join("nats.conf").display().to_string()).unwrap();
        assert_eq!((conf.kind, &conf.readable), (Some(FileKind::File), &Ok(true)));
        assert!(!serde_json::to_string(&archive).unwrap().contains("s3cr3t"));
    }

    #[tokio::test]
    async fn a_file_is_shown_as_hosts_show_theirs() {
        let text = "port: 4222 # why\nauthorization { user: a, password: hunter2000 }\n\ninclude x.conf";
        let lines = redacted(text.as_bytes()).await.unwrap();
        let expected = [
            "port: 4222 #",
            "authorization { user: \"[redacted]\", password: \"[redacted]\" }",
            "",
            "include \"x.conf\"",
        ];
        assert_eq!(lines, expected);
    }

    #[tokio::test]
    async fn what_listens_here_is_known_with_its_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let conf = format!("cluster {{ name: c, routes: [nats://127.0.0.1:{port}, nats://127.0.0.1:1] }}\n");
        let (_directory, archive) = gather(&[("nats.conf", &conf)]).await;
        let found: Vec<_> = archive.listening_on(port).collect();
        assert_eq!((found.len(), found[0].address.as_str()), (1, "127.0.0.1"));
        assert_eq!(found[0].pid, Some(std::process::id()));
        let reach = archive.reach.as_ref().unwrap();
        let of = |port: u16| reach.iter().find(|reach| reach.port == port).map(|reach| reach.result.clone());
        assert_eq!(of(port), Some(Ok(())));
        assert_eq!(
            of(1).map(|result: Seen<()>| result.map_err(|failure| failure.kind)),
            Some(Err(FailureKind::Refused))
        );
    }

    #[tokio::test]
    async fn what_is_not_understood_is_not_told() {
        let (_directory, archive) = gather(&[(
            "nats.conf",
            "# a comment with hunter2000\nport: 4222\noops word hunter2001 \nafter: hunter2002\n",
        )])
        .await;
        let config = archive.config.as_ref().unwrap();
        assert_eq!(config.files[0].lost_at, Some(3));
        let text = texts(&archive).join("");
        assert!(text.starts_with("#\nport: 4222\n") && !text.contains("hunter"), "{text}");
    }

    mod secrets {
        use std::{
            io::Write,
            process::{Command, Stdio},
        };

        use proptest::{collection::vec, prelude::*};

        /// Text that holds `@`, and what is put in its place: quoted or bare.
        const PLACES: &[(&str, bool)] = &[
            ("authorization { user: a, password: @ }\n", false),
            ("authorization { user = a\n pass = \"@\"\n}\n", true),
            ("authorization { token '@' }\n", true),
            ("accounts { A { users: [ {user: a, password: @}, { nkey: @ } ] } }\n", false),
            ("cluster { name: c, routes: [ nats://u:@@h1:6222, \"nats://@@h2\" ] }\n", false),
            ("leafnodes { remotes [ { url: \"tls://u:@@leaf:7422\", seed: @ } ] }\n", false),
            ("PASS_VAR: \"@\"\nauthorization { password: $PASS_VAR }\n", true),
            ("# it was @ once\n", false),
            ("port: 4222 // @\n", false),
            ("jetstream { store_dir: /tmp/x, key: @ }\n", false),
            ("unheard_of: { of: [ @, @ ] }\n", false),
            ("{ \"password\": \"@\", \"port\": 4222 }\n", true),
            ("token: (\n@\n)\n", false),
            ("password: \"first\n@\"\n", true),
            ("password @ and @ more @\n", false),
            ("pass word: @: @\n", false),
            ("passwort: @\n@\n", false),
            ("resolver: URL(http://u:@@127.0.0.1:9090/jwt/v1/accounts/)\n", false),
            ("store_dir: $MINE\nMINE: @\npassword: $MINE\n", false),
            ("mqtt { port: 1883, authorization { password: @\n", false),
        ];

        /// What logs and command lines say, with `@` for the secret.
        const LINES: &[&str] = &[
            "j\t1.000001 h nats-server[1]: [1] 2026/01/01 00:00:00.000001 [ERR] nats://u:@@10.0.0.1:6222 refused @",
            "u\tArgv\t/usr/bin/nats-server --user a --pass @ --auth=@",
            "to\tnats-server: variable reference for '@' on line 5",
            "j\tpassword: \"@\"",
        ];

        fn awk(directory: &std::path::Path, lines: &str) -> String {
            let mut shell = Command::new("sh")
                .args(["-c", "{ awk \"$1\"; cat; } | awk \"$2\"", "test"])
                .args([include_str!("collect/conf.awk"), include_str!("collect/scrub.awk")])
                .env("RG_CONF", directory.join("nats.conf"))
                .env("LC_ALL", "C")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            shell.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
            String::from_utf8_lossy(&shell.wait_with_output().unwrap().stdout).into_owned()
        }

        #[test]
        fn digits_of_a_secret_are_no_secret_where_nobody_wrote_them() {
            let directory = tempfile::tempdir().unwrap();
            std::fs::write(directory.path().join("nats.conf"), "unheard_of: 1000\n").unwrap();
            let kept = "m\tclock\t1795410003\nb\telf\t7f454c4602010100000000000000000002003e00\np\tpid\t10001\n";
            let said = "nats-server[10001]: [10001] 2026/11/23 10:00:00.100010 [FTL] it was";
            let line = format!("j\t1795410003.100010 h1 {said}");
            let secret = super::REDACTED;
            let text = awk(directory.path(), &format!("{kept}{line} 1000\nu\tArgv\tx --y 1000\n"));
            let expected = format!("{kept}{line} {secret}\nu\tArgv\tx --y {secret}\n");
            assert!(text.ends_with(&expected), "{text}");
        }

        proptest! {
            // Each case runs three processes; PROPTEST_CASES asks for more.
            #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

            #[test]
            fn never_leave_the_host(
                parts in vec((0..PLACES.len(), "[A-Za-z0-9_+]{7,19}[0-9]", "[A-Za-z0-9_+][A-Za-z0-9_+ /@;{}!,:-]{7,18}[0-9]"), 1..8),
            ) {
                let directory = tempfile::tempdir().unwrap();
                let (mut text, mut secrets) = (String::new(), Vec::new());
                for (place, bare, quoted) in &parts {
                    let (form, is_quoted) = PLACES[*place];
                    let secret = if is_quoted { quoted } else { bare };
                    // Two @ are the secret and the one before a host.
                    text.push_str(&form.replace("@@", "\u{1}\u{2}").replace('@', "\u{1}").replace('\u{2}', "@").replace('\u{1}', secret));
                    secrets.push(secret.trim().to_owned());
                }
                std::fs::write(directory.path().join("nats.conf"), &text).unwrap();
                let lines: String = secrets
                    .iter()
                    .zip(&parts)
                    // What stood in a comment only is known to nobody.
                    .filter(|(_, (place, ..))| !PLACES[*place].0.contains('#') && !PLACES[*place].0.contains("// @"))
                    .flat_map(|(secret, _)| LINES.iter().map(move |line| line.replace("@@", "\u{1}\u{2}").replace('@', "\u{1}").replace('\u{2}', "@").replace('\u{1}', secret) + "\n"))
                    .collect();
                let output = awk(directory.path(), &lines);
                prop_assert!(output.contains("c\t1\t"), "{output}");
                for secret in &secrets {
                    prop_assert!(!output.contains(secret.as_str()), "{secret:?} in\n{output}\nof\n{text}");
                }
            }
        }
    }
}
