//! What the rules look at: one archive, what the run knows besides, and the parts that many rules need.

use jiff::{SignedDuration, Timestamp};

use super::{
    evidence::{Archive, ConfigTest, LogLine, Process},
    files::TlsFile,
    finding::{Finding, Quote},
    settings::{Endpoint, Settings},
    unit::{Manager, UnitState},
};
use crate::core::view::{Exit, HealthError, Phase, ServerView};

/// What is known besides the archive.
#[derive(Debug, Clone)]
pub struct Context {
    /// Why it is asked.
    pub purpose: Purpose,
    /// What healthz said before the server was touched: it was not caused by the restart.
    pub health_before: Vec<HealthError>,
    /// Streams that have less than they had, as the gate found them.
    pub data_short: Vec<String>,
    /// The host's boot before the server was touched.
    pub boot_before: Option<String>,
    /// When the server was started by us, by the host's clock.
    pub started: Option<Timestamp>,
    /// Certificates that expire within so many days are told.
    pub expiring_days: u32,
    /// There was JetStream state on this server before it was touched.
    pub had_state: bool,
}

impl Default for Context {
    fn default() -> Self {
        Self {
            purpose: Purpose::Look,
            health_before: Vec::new(),
            data_short: Vec::new(),
            boot_before: None,
            started: None,
            expiring_days: EXPIRING_DAYS,
            had_state: false,
        }
    }
}

/// Renewals that are automatic happen a month ahead; a certificate that is closer to its end was forgotten.
pub const EXPIRING_DAYS: u32 = 30;

/// Why a diagnosis is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To tell why a server is as it is.
    Look,
    /// To tell why a server that was restarted is not ready.
    Halt,
    /// To tell whether a server that is to be restarted could start: what it is now does not matter.
    Preflight,
    /// Both: what is wrong with it now, and what would keep it from coming back.
    Check,
}

/// A line of a log, with where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) source: &'a str,
    pub(super) line: &'a LogLine,
}

impl Line<'_> {
    pub(super) fn text(&self) -> &str {
        &self.line.text
    }

    pub(super) fn quote(&self) -> Quote {
        let source = match self.line.at {
            Some(at) => format!("{}, {}", self.source, at.strftime("%H:%M:%S")),
            None => self.source.to_owned(),
        };
        let level = self.line.level.as_deref().map(|level| format!("[{level}] ")).unwrap_or_default();
        Quote { source, text: format!("{level}{}", self.line.text) }
    }
}

/// One archive under judgement.
pub(super) struct Case<'a> {
    pub(super) archive: &'a Archive,
    pub(super) context: &'a Context,
    /// The lines of the run that is judged: of the process that lives, or since the server was last ready.
    pub(super) lines: Vec<Line<'a>>,
    /// What the process died with: the last fatal line, where it does not live.
    pub(super) last_words: Option<Line<'a>>,
    /// What `nats-server -t` has against the configuration.
    pub(super) refused: Option<String>,
    settings: Option<Settings>,
}

/// A line that repeats while its cause stands comes at least this often (routes are tried every second, with a back-off
/// in newer servers): an older one is of the past.
const REPEATS_WITHIN: SignedDuration = SignedDuration::from_secs(60);

impl<'a> Case<'a> {
    pub(super) fn new(archive: &'a Archive, context: &'a Context) -> Self {
        let lines = run_lines(archive);
        let alive = archive.process.as_ref().is_ok_and(Option::is_some);
        let last_words = (!alive).then(|| lines.iter().rev().find(|line| is_fatal(line.line)).copied()).flatten();
        let last_words = last_words.filter(|line| !mended(archive, line.text()));
        let refused = config_test(archive);
        Self { archive, context, lines, last_words, refused, settings: Settings::of(archive) }
    }

    pub(super) fn process(&self) -> Option<&'a Process> {
        self.archive.process.as_ref().ok()?.as_ref()
    }

    pub(super) fn unit(&self) -> Option<&'a UnitState> {
        self.archive.unit.as_ref().ok()
    }

    /// Whether the server's process lives, as far as anybody knows.
    pub(super) fn alive(&self) -> bool {
        self.process().is_some() || self.unit().is_some_and(|unit| unit.phase == Phase::Running)
    }

    pub(super) fn preflight(&self) -> bool {
        self.context.purpose == Purpose::Preflight
    }

    /// What the controller saw of this server.
    pub(super) fn server(&self) -> Option<&'a ServerView> {
        self.archive.view.as_ref()?.server(&self.archive.host)
    }

    /// What it saw of the others.
    pub(super) fn peers(&self) -> impl Iterator<Item = &'a ServerView> {
        let host = &self.archive.host;
        self.archive.view.iter().flat_map(|view| &view.servers).filter(move |server| server.host != *host)
    }

    /// The server answered, and calls itself healthy.
    pub(super) fn ready(&self) -> bool {
        self.server().is_some_and(ServerView::healthy)
    }

    /// What healthz has against it, and whether it had it before the server was touched: that is no cause of a halt.
    pub(super) fn all_health_errors(&self) -> impl Iterator<Item = (&'a HealthError, bool)> {
        let errors =
            self.server().and_then(|server| server.health.as_ref().ok()).map_or(&[][..], |health| &health.errors);
        let before = &self.context.health_before;
        errors
            .iter()
            .map(|error| (error, before.iter().any(|before| before.kind == error.kind && before.error == error.error)))
    }

    /// What healthz has against it, without what stood before.
    pub(super) fn health_errors(&self) -> impl Iterator<Item = &'a HealthError> {
        self.all_health_errors().filter_map(|(error, stood)| (!stood).then_some(error))
    }

    /// The host's clock.
    pub(super) fn now(&self) -> Timestamp {
        self.archive.machine.as_ref().map_or(self.archive.answered_at, |machine| machine.clock)
    }

    /// The user that the server runs as.
    pub(super) fn user(&self) -> &'a str {
        let user = self.unit().and_then(|unit| unit.user.as_deref());
        let user = user.or_else(|| self.process()?.user.as_deref());
        // On a host without a service it is whoever asks who will start the server.
        user.or_else(|| Some(self.archive.machine.as_ref().ok()?.gathered_by.as_str())).unwrap_or("root")
    }

    /// The user and group, as chown wants them.
    pub(super) fn owner(&self) -> String {
        let group = self.unit().and_then(|unit| unit.group.as_deref());
        format!("{}:{}", self.user(), group.unwrap_or_default())
    }

    /// The unit's name, or what is said in its place.
    pub(super) fn unit_name(&self) -> &'a str {
        self.unit().map_or("nats-server", |unit| &unit.name)
    }

    /// The process's own words, or those of `nats-server -t`, that contain one of `marks`: where they were read, and
    /// whether it died with them.
    pub(super) fn refusal(&self, marks: &[&str]) -> Option<(Quote, bool)> {
        let has = |text: &str| marks.iter().any(|mark| text.contains(mark));
        if let Some(line) = self.last_words.filter(|line| has(line.text())) {
            return Some((line.quote(), true));
        }
        let text = self.refused.as_deref().filter(|text| has(text))?;
        Some((Quote { source: self.config_test_source(), text: text.to_owned() }, false))
    }

    pub(super) fn config_test_source(&self) -> String {
        match &self.archive.config_test {
            Ok(test) => format!("{} as {}", test.argv.join(" "), test.user),
            Err(_) => "nats-server -t".into(),
        }
    }

    /// Whether what could be read and written was tried as the service's user, or by one who may become it.
    pub(super) fn tried_as_user(&self) -> bool {
        self.archive.machine.as_ref().is_ok_and(|host| host.as_root || host.gathered_by == self.user())
    }

    /// The last fatal line, where it contains `mark`.
    pub(super) fn died_with(&self, mark: &str) -> Option<Line<'a>> {
        self.last_words.filter(|line| line.text().contains(mark))
    }

    /// The last line of the run that contains one of `marks`.
    pub(super) fn said(&self, marks: &[&str]) -> Option<Line<'a>> {
        self.lines.iter().rev().find(|line| marks.iter().any(|mark| line.text().contains(mark))).copied()
    }

    /// The same for what repeats while its cause stands; what was said longer ago is of the past.
    pub(super) fn keeps_saying(&self, marks: &[&str]) -> Option<Line<'a>> {
        let now = self.now();
        self.said(marks).filter(|line| line.line.at.is_none_or(|at| now.duration_since(at) <= REPEATS_WITHIN))
    }

    /// Whether a port's listener is this server's own.
    pub(super) fn own(&self, pid: Option<u32>) -> bool {
        let main = self.process().map(|process| process.pid).or_else(|| self.unit()?.pid);
        pid.is_some() && pid == main
    }

    /// The configured listeners.
    pub(super) fn listeners(&self) -> &[Endpoint] {
        self.settings.as_ref().map_or(&[], |settings| &settings.listeners)
    }

    /// The configuration, where it could be read.
    pub(super) fn settings(&self) -> Option<&Settings> {
        self.settings.as_ref()
    }

    /// What is in a TLS file.
    pub(super) fn tls_file(&self, path: &str) -> Option<&'a TlsFile> {
        self.archive.tls_files.as_ref().ok()?.iter().find(|file| file.path == path)
    }

    /// A line of a configuration file, secrets taken out.
    pub(super) fn config_line(&self, path: &str, number: u32) -> Option<&'a str> {
        let files = &self.archive.config.as_ref().ok()?.files;
        let file = files.iter().find(|file| file.path == path)?;
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        file.text.as_ref().ok()?.lines().nth(index).map(str::trim)
    }

    /// The command that tests the configuration as the service's user.
    pub(super) fn test_command(&self) -> String {
        let binary = self.archive.binary.as_ref().map_or("nats-server", |binary| &binary.path);
        let main = self.archive.config.as_ref().map_or("/etc/nats/nats-server.conf", |config| &config.main);
        match self.container() {
            Some((tool, name)) => format!("sudo {tool} exec {name} {binary} -t -c {main}"),
            None => format!("sudo -u {} {binary} -t -c {main}", self.user()),
        }
    }

    pub(super) fn is_systemd(&self) -> bool {
        self.unit().is_some_and(|unit| unit.manager == Manager::Systemd)
    }

    /// The container that it runs in, and the program that manages it.
    fn container(&self) -> Option<(&'static str, &'a str)> {
        let tool = match self.unit()?.manager {
            Manager::Docker => "docker",
            Manager::Podman => "podman",
            Manager::Systemd | Manager::Command | Manager::None => return None,
        };
        Some((tool, self.unit_name()))
    }

    /// The command that has its manager do `verb` with it (`start`, `restart`); none where its commands are the operator's.
    pub(super) fn manage(&self, verb: &str) -> Option<String> {
        match self.unit()?.manager {
            Manager::Systemd => Some(format!("sudo systemctl {verb} {}", self.unit_name())),
            Manager::Docker | Manager::Podman => {
                self.container().map(|(tool, name)| format!("sudo {tool} {verb} {name}"))
            }
            Manager::Command | Manager::None => None,
        }
    }

    /// Where the state of the service was read.
    pub(super) fn state_source(&self) -> String {
        match self.container() {
            Some((tool, name)) => format!("{tool} inspect {name}"),
            None if self.is_systemd() => format!("systemctl show {}", self.unit_name()),
            None => "the status command".into(),
        }
    }

    /// The command that shows the last lines of its log.
    pub(super) fn log_command(&self, lines: u32) -> String {
        match self.container() {
            Some((tool, name)) => format!("sudo {tool} logs --tail {lines} {name}"),
            None => format!("journalctl -u {} -n {lines}", self.unit_name()),
        }
    }

    /// The command that goes on showing it.
    pub(super) fn follow_command(&self) -> String {
        match self.container() {
            Some((tool, name)) => format!("sudo {tool} logs --follow --tail 10 {name}"),
            None => format!("journalctl -fu {}", self.unit_name()),
        }
    }

    /// How the process ended, in words.
    pub(super) fn exit(&self) -> Option<Exit> {
        self.unit()?.exit
    }
}

/// What a server says when it is ready to serve (`server.go`, `Start`).
const READY: &str = "Server is ready";

/// The lines of the process that lives; or, where none does, those since a server was last ready: of the last start, and
/// of those before it that failed too.
fn run_lines(archive: &Archive) -> Vec<Line<'_>> {
    let all = archive.log_lines().map(|(source, line)| Line { source, line });
    match archive.process.as_ref().ok().and_then(Option::as_ref) {
        Some(process) => all
            .filter(|line| match (line.line.pid, process.started, line.line.at) {
                (Some(pid), ..) if process.inner_pid.is_none() => pid == process.pid,
                // Every start in a container has the same id. The start is told to the second.
                (_, Some(started), Some(at)) => at >= started - SignedDuration::from_secs(2),
                _ => false,
            })
            .collect(),
        None => {
            let all: Vec<Line<'_>> = all.collect();
            let mut sources: Vec<&str> = all.iter().map(|line| line.source).collect();
            sources.dedup();
            let since = |source: &str| {
                let of: Vec<&Line<'_>> = all.iter().filter(|line| line.source == source).collect();
                let ready = of.iter().rposition(|line| line.text().contains(READY)).map_or(0, |at| at + 1);
                of[ready..].iter().map(|line| **line).collect::<Vec<_>>()
            };
            sources.into_iter().flat_map(since).collect()
        }
    }
}

/// What a process says as it dies: a fatal line; a configuration error, which has no level; a panic. systemd's words
/// are in `from`.
fn is_fatal(line: &LogLine) -> bool {
    let text = line.text.as_str();
    line.level.as_deref() == Some("FTL")
        || line.level.is_none()
            && (text.starts_with("nats-server: ")
                || text.contains("error opening file:")
                || text.starts_with("panic: ")
                || text.starts_with("fatal error: "))
}

/// What `nats-server -t` looks at as a start does: where it passes now, such words are of an earlier start.
const TESTED: [&str; 7] = [
    "arse error on line",
    "unknown field",
    "error parsing include file",
    "variable reference for",
    "error parsing X509 certificate/key pair",
    "failed to parse root ca certificate",
    "error parsing certificates",
];

fn mended(archive: &Archive, words: &str) -> bool {
    let passes = |test: &ConfigTest| test.as_service_user && test.exit == Some(Exit::Code(0));
    archive.config_test.as_ref().is_ok_and(passes)
        && words.starts_with("nats-server: ")
        && TESTED.iter().any(|mark| words.contains(mark))
}

/// What `nats-server -t` printed against the configuration; none where it passed or was not run.
fn config_test(archive: &Archive) -> Option<String> {
    let test = archive.config_test.as_ref().ok()?;
    if test.exit == Some(Exit::Code(0)) {
        return None;
    }
    // Of several mistakes only the first line has the program's name before it. With a warning, such as a route that stands
    // there twice, a server starts, though `-t` fails.
    let first = test.output.iter().rposition(|line| line.starts_with(PROGRAM))?;
    let mistake = test.output.iter().skip(first).find(|line| !line.contains("invalid use of field"))?;
    Some(format!("{PROGRAM}{}", mistake.trim_start_matches(PROGRAM)))
}

/// What stands before the words of a start that failed early.
const PROGRAM: &str = "nats-server: ";

/// A configuration error's place and text: `nats-server: FILE:LINE:COLUMN: TEXT`.
pub(super) struct ConfigError<'a> {
    pub(super) file: Option<&'a str>,
    pub(super) line: Option<u32>,
    pub(super) text: &'a str,
}

impl<'a> ConfigError<'a> {
    pub(super) fn parse(words: &'a str) -> Self {
        let words = words.strip_prefix("nats-server: ").unwrap_or(words).trim();
        let placed = words.split_once(": ").and_then(|(place, text)| {
            let mut parts = place.rsplitn(3, ':');
            let (_column, line, file) = (parts.next()?.parse::<u32>().ok()?, parts.next()?, parts.next()?);
            Some((file, line.parse::<u32>().ok()?, text))
        });
        match placed {
            Some((file, line, text)) => Self { file: Some(file), line: Some(line), text },
            None => Self { file: None, line: None, text: words },
        }
    }
}

impl Finding {
    pub(super) fn line(self, line: &Line<'_>) -> Self {
        let quote = line.quote();
        self.quote(quote.source, quote.text)
    }

    pub(super) fn died(self, line: &Line<'_>) -> Self {
        let quote = line.quote();
        self.fatal(quote.source, quote.text)
    }

    /// Quotes what [`Case::refusal`] found.
    pub(super) fn refused(self, (quote, fatal): &(Quote, bool)) -> Self {
        let (source, text) = (quote.source.clone(), quote.text.clone());
        if *fatal { self.fatal(source, text) } else { self.quote(source, text) }
    }
}
