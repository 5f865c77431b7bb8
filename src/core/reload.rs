//! Did a reload take? Judged by what the server says, what is on disk, and what is on the wire; what is not known is not
//! taken.

use jiff::Timestamp;

use super::{
    conf::value::get,
    diagnosis::{
        Context, Purpose,
        catalogue::page,
        diagnose,
        evidence::Archive,
        files::Certificate,
        settings::{self, Settings},
    },
    listeners::{Listener, ListenerKind, Shown},
    scrub::scrub,
    view::{Exit, Seen, Varz},
};

/// A listener with TLS, and the certificate that its file has.
#[derive(Debug, Clone, PartialEq)]
pub struct TlsListener {
    /// The listener.
    pub listener: Listener,
    /// The first certificate in its file.
    pub certificate: Certificate,
}

/// Every listener with TLS that the configuration on disk has. That for routes is among them: a reload leaves routes as they
/// are, so that no peer proves its certificate.
///
/// # Errors
/// What is not known of them.
pub fn tls_listeners(archive: &Archive) -> Result<Vec<TlsListener>, String> {
    let settings = Settings::of(archive).ok_or("its configuration can't be read")?;
    let config = archive.config.as_ref().map_err(ToString::to_string)?;
    let map = settings::read(config).map_err(|mistake| mistake.to_string())?;
    let https = get(&map, &["https", "https_port"]).is_some();
    let blocks = archive.tls_blocks.as_ref().map_err(|failure| format!("its TLS blocks: {failure}"))?;
    let files = archive.tls_files.as_ref().map_err(|failure| format!("its TLS files: {failure}"))?;
    let mut found = Vec::new();
    for endpoint in &settings.listeners {
        use settings::ListenerKind as Configured;
        let (kind, names): (_, &[&str]) = match endpoint.kind {
            Configured::Monitoring if !https => continue,
            // It has no TLS.
            Configured::Profiling => continue,
            Configured::Client => (ListenerKind::Client, &["tls"]),
            Configured::Monitoring => (ListenerKind::Monitoring, &["tls"]),
            Configured::Route => (ListenerKind::Route, &["cluster.tls"]),
            Configured::Gateway => (ListenerKind::Gateway, &["gateway.tls"]),
            Configured::Leafnode => (ListenerKind::Leafnode, &["leafnodes.tls", "leaf.tls"]),
            Configured::Websocket => (ListenerKind::Websocket, &["websocket.tls", "ws.tls"]),
            Configured::Mqtt => (ListenerKind::Mqtt, &["mqtt.tls"]),
        };
        let Some(block) = blocks.iter().find(|block| names.contains(&block.block.as_str())) else { continue };
        let path = block.cert.as_ref().ok_or_else(|| format!("{} names no certificate", block.block))?;
        let file = files.iter().find(|file| file.path == *path);
        let certificate =
            file.and_then(|file| file.certificates.first()).ok_or_else(|| format!("{path} was not read"))?;
        let certificate = certificate.clone().map_err(|why| format!("{path}: {why}"))?;
        let listener = Listener { kind, host: endpoint.host.clone(), port: endpoint.port, perhaps: false };
        found.push(TlsListener { listener, certificate });
    }
    Ok(found)
}

/// Why a server must not be told to reload what is on disk: none where all of it was tested and is good, by the rules that
/// judge a restart too. What the operator consents to is in `allow`, by name.
pub fn unusable(archive: &Archive, allow: &[String]) -> Vec<String> {
    let mut why = Vec::new();
    match &archive.config_test {
        Err(failure) => why.push(format!("nats-server -t could not be tried: {failure}")),
        Ok(test) if test.exit == Some(Exit::Code(0)) => {
            if !test.as_service_user {
                why.push(format!("nats-server -t ran as {}, which is not the service's user", test.user));
            }
        }
        Ok(test) => {
            let said = test.output.iter().rev().find(|line| !line.trim().is_empty());
            why.push(said.cloned().unwrap_or_else(|| "nats-server -t did not end in time".into()));
        }
    }
    if !why.is_empty() {
        // What else there is follows from it.
        return why;
    }
    let judged = diagnose(archive, &Context { purpose: Purpose::Preflight, ..Context::default() });
    let consented = |code: &str| page(code).is_some_and(|page| allow.iter().any(|name| name == page.consent));
    let blocking = judged.blocking().filter(|finding| !consented(&finding.code));
    why.extend(blocking.map(|finding| format!("{} [{}]", finding.title, finding.code)));
    why.extend(judged.unknown);
    why.extend(tls_listeners(archive).err());
    why
}

/// A refusal of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// This setting can't be reloaded.
    NotReloadable(String),
    /// It would not have what is on disk, as this line says.
    Refused(String),
}

/// What became of a reload so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It took; the proof in words.
    Taken(String),
    /// Not yet; what is missing.
    Wait(Vec<String>),
    /// The server would not.
    Refused(Refusal),
}

/// How nats-server says that it did not reload (`server.go`, on SIGHUP).
const FAILED: &str = "Failed to reload server configuration: ";
/// And why, where the change itself is fine (`reload.go`, `diffOptions`): the setting follows.
const NOT_SUPPORTED: [&str; 2] = ["config reload not supported for ", "config reload does not support "];

/// What a refusal means. What follows the setting's name is left out: the server prints old and new values there, passwords
/// among them.
pub fn refused(line: &str) -> Refusal {
    match NOT_SUPPORTED.iter().find_map(|words| line.split_once(words)) {
        Some((_, rest)) => Refusal::NotReloadable(rest.split(':').next().unwrap_or_default().trim().to_owned()),
        None => Refusal::Refused(scrub(line)),
    }
}

/// What was told to the server, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// By its host's clock, in whole seconds.
    pub at: Timestamp,
    /// When it had loaded its configuration until then.
    pub loaded: Option<Timestamp>,
    /// The process that was told.
    pub server_id: Option<String>,
}

/// Judges a reload. `archive` was gathered after it; `shown` is what the listeners of [`tls_listeners`] showed.
pub fn judge(told: &Told, varz: &Seen<Varz>, archive: &Archive, wanted: &[TlsListener], shown: &[Shown]) -> Verdict {
    let mut lines = archive.log_lines().filter(|(_, line)| line.at.is_none_or(|at| at >= told.at));
    if let Some((_, line)) = lines.find(|(_, line)| line.text.contains(FAILED)) {
        let text = line.text.split_once(FAILED).map_or(line.text.as_str(), |(_, why)| why);
        return Verdict::Refused(refused(text));
    }
    let mut missing = Vec::new();
    if let Err(failure) = archive.journal.as_ref() {
        missing.push(format!("its log can't be read: {failure}"));
    }
    let tested = tested_digest(archive);
    match varz {
        Err(failure) => missing.push(format!("it does not say what it runs with: {failure}")),
        Ok(varz) => {
            missing.extend(not_loaded(told, varz));
            if told.server_id.as_ref().is_some_and(|id| *id != varz.server_id) {
                missing.push("it was restarted meanwhile: another process answers".into());
            }
            match (&varz.config_digest, &tested) {
                (Some(runs), Some(tested)) if runs != tested => {
                    missing.push(format!("it runs with configuration {runs}, and on disk is {tested}"));
                }
                (Some(_), None) => missing.push("the configuration on disk has no digest to compare with".into()),
                _ => {}
            }
        }
    }
    let mut proof: Vec<String> = tested.into_iter().map(|digest| format!("configuration {}", short(&digest))).collect();
    for TlsListener { listener, certificate: wanted } in wanted {
        let port = format!("{} {}", listener.kind.port(), listener.port);
        match shown.iter().find(|shown| shown.listener == *listener).map(|shown| &shown.certificate) {
            None => missing.push(format!("{port}: its certificate was not asked for")),
            Some(Err(failure)) => missing.push(format!("{port}: it did not show its certificate: {failure}")),
            Some(Ok(shown)) if shown.serial != wanted.serial || shown.not_after != wanted.not_after => {
                missing.push(format!(
                    "{port}: it still shows certificate {}, and on disk is {}",
                    shown.serial, wanted.serial
                ));
            }
            Some(Ok(shown)) => {
                proof.push(format!("{port} certificate {} until {}", short(&shown.serial), shown.not_after));
            }
        }
    }
    if missing.is_empty() { Verdict::Taken(proof.join(", ")) } else { Verdict::Wait(missing) }
}

/// Why it has not read its configuration since it was told; nothing where it has.
fn not_loaded(told: &Told, varz: &Varz) -> Option<String> {
    let Some(loaded) = varz.config_load_time else {
        return Some("it does not say when it read its configuration".into());
    };
    let before = told.loaded.is_some_and(|before| loaded <= before);
    (before || loaded < told.at).then(|| format!("it read its configuration last at {loaded}, before it was told to"))
}

/// `… is valid (sha256:…)`, from 2.11 on.
pub fn tested_digest(archive: &Archive) -> Option<String> {
    let test = archive.config_test.as_ref().ok()?;
    test.output.iter().find_map(|line| {
        let (_, rest) = line.split_once("is valid (")?;
        rest.split_once(')').map(|(digest, _)| digest.to_owned())
    })
}

fn short(text: &str) -> String {
    let text = text.strip_prefix("sha256:").unwrap_or(text);
    text.chars().take(11).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        diagnosis::{
            evidence::LogLine,
            files::{TlsBlock, TlsFile},
            testing,
        },
        testing::{at, varz},
        view::{Failure, FailureKind},
    };

    /// With TLS among routes, and the digest that `-t` tells.
    fn healthy() -> Archive {
        let mut archive = testing::healthy();
        let text = archive.config.as_mut().unwrap().files[0].text.as_mut().unwrap();
        *text = text.replace("cluster {", "cluster {\n  tls { cert_file: /c.pem, key_file: /k.pem }");
        archive.config_test.as_mut().unwrap().output = vec!["x.conf is valid (sha256:0123)".into()];
        let certificate = Certificate {
            subject: "CN=n1".into(),
            issuer: "CN=ca".into(),
            serial: "0a:0b".into(),
            not_before: at(-1000),
            not_after: at(1000),
            names: vec!["n1".into()],
            is_ca: false,
            key_digest: "k".into(),
            usages: vec![],
        };
        archive.tls_files = Ok(vec![TlsFile {
            path: "/c.pem".into(),
            read: true,
            blocks: vec!["CERTIFICATE".into()],
            certificates: vec![Ok(certificate)],
            key_digest: Ok(None),
        }]);
        archive.tls_blocks = Ok(vec![TlsBlock {
            block: "cluster.tls".into(),
            cert: Some("/c.pem".into()),
            key: Some("/k.pem".into()),
            ca: None,
            verify: false,
            key_matches: Ok(true),
            chain: Ok(Ok(())),
            issuer: None,
        }]);
        archive
    }

    #[test]
    fn refusals_name_the_setting() {
        let check = |line: &str, expected: Refusal| assert_eq!(refused(line), expected);
        let setting = |name: &str| Refusal::NotReloadable(name.into());
        check("config reload not supported for ClusterName: old=a, new=b", setting("ClusterName"));
        check("config reload not supported for Gateway: old={x user:pw y}, new={}", setting("Gateway"));
        check("config reload not supported for jetstream storage directory", setting("jetstream storage directory"));
        check(
            "config reload does not support moving to or from an account resolver",
            setting("moving to or from an account resolver"),
        );
        check("tls: private key does not match", Refusal::Refused("tls: private key does not match".into()));
    }

    fn running(archive: &Archive, loaded: i64) -> Varz {
        let config_digest = tested_digest(archive);
        Varz { config_load_time: Some(at(loaded)), config_digest, ..varz("h1", "ID", &["h1"]) }
    }

    fn told(seconds: i64) -> Told {
        Told { at: at(seconds), loaded: Some(at(0)), server_id: Some("ID".into()) }
    }

    #[test]
    fn a_reload_is_proved_by_time_digest_and_wire() {
        let archive = healthy();
        let listeners = tls_listeners(&archive).unwrap();
        let kinds: Vec<_> = listeners.iter().map(|one| one.listener.kind).collect();
        assert_eq!(kinds, [ListenerKind::Route]);
        let shows =
            |certificate: Seen<Certificate>| vec![Shown { listener: listeners[0].listener.clone(), certificate }];
        let same = shows(Ok(listeners[0].certificate.clone()));
        // By then its log says nothing new.
        let told = told(1_000_000);
        let good = Ok(running(&archive, 1_000_000));
        assert!(matches!(judge(&told, &good, &archive, &listeners, &same), Verdict::Taken(_)));
        let check = |told: &Told, varz: &Seen<Varz>, shown: &[Shown], expected: &str| match judge(
            told, varz, &archive, &listeners, shown,
        ) {
            Verdict::Wait(missing) => assert!(missing[0].contains(expected), "{missing:?}"),
            other => panic!("{other:?}"),
        };
        check(&told, &Ok(running(&archive, 999_999)), &same, "before it was told to");
        // The host's clock has whole seconds.
        let loaded = Told { loaded: Some(at(1_000_000)), ..told.clone() };
        check(&loaded, &good, &same, "before it was told to");
        let other = Varz { config_digest: Some("sha256:0".into()), ..running(&archive, 1_000_000) };
        check(&told, &Ok(other), &same, "on disk is");
        let restarted = Varz { server_id: "OTHER".into(), ..running(&archive, 1_000_000) };
        check(&told, &Ok(restarted), &same, "another process");
        let old = Certificate { serial: "01".into(), ..listeners[0].certificate.clone() };
        check(&told, &good, &shows(Ok(old)), "still shows certificate 01");
        let silent = Failure::new(FailureKind::Refused, "refused");
        check(&told, &good, &shows(Err(silent.clone())), "did not show its certificate");
        check(&told, &good, &[], "was not asked for");
        check(&told, &Err(silent), &same, "does not say what it runs with");
    }

    #[test]
    fn the_log_says_that_it_would_not() {
        let mut archive = healthy();
        let text =
            "Failed to reload server configuration: config reload not supported for ClientAdvertise: old=, new=x";
        let line = |at| LogLine { at: Some(at), pid: None, level: Some("ERR".into()), from: None, text: text.into() };
        archive.journal.as_mut().unwrap().lines.push(line(at(1_000_001)));
        let varz = Ok(running(&archive, 1_000_001));
        let verdict = judge(&told(1_000_000), &varz, &archive, &[], &[]);
        assert_eq!(verdict, Verdict::Refused(Refusal::NotReloadable("ClientAdvertise".into())));
        // One of an earlier reload says nothing of this one.
        assert!(matches!(judge(&told(1_000_002), &varz, &archive, &[], &[]), Verdict::Wait(_)));
    }

    #[test]
    fn what_is_bad_or_not_known_is_not_reloaded() {
        let good = healthy();
        let with_clock = |clock| {
            let mut archive = good.clone();
            archive.machine.as_mut().unwrap().clock = clock;
            unusable(&archive, &[])
        };
        assert_eq!(with_clock(at(0)), [""; 0]);
        assert!(with_clock(at(1000))[0].contains("[tls-expired]"));
        assert!(with_clock(at(-2000))[0].contains("[tls-not-yet-valid]"));
        let mut untested = good.clone();
        untested.config_test = Err(Failure::new(FailureKind::NotAsked, "no time"));
        assert!(unusable(&untested, &[])[0].contains("could not be tried"));
        let mut bad = good.clone();
        let test = bad.config_test.as_mut().unwrap();
        (test.exit, test.output) = (Some(Exit::Code(1)), vec!["nats-server: x.conf:1:1: unknown field".into()]);
        assert_eq!(unusable(&bad, &[]), ["nats-server: x.conf:1:1: unknown field"]);
        let mut unread = good.clone();
        unread.tls_files = Err(Failure::new(FailureKind::NotAsked, "no root"));
        assert!(unusable(&unread, &[])[0].contains("its TLS files"));
    }
}
