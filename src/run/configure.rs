//! Files of the operator's: compared with what hosts have, staged and tried everywhere, put in place in a turn, and put back where
//! the server would not take them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep};

use super::{
    OBSERVE_TIMEOUT,
    contact::Contact,
    install::{carry_out, change_id, digest},
    roll::{Roller, Stop},
    turn::{self, Passage},
};
use crate::{
    config::files::{Files, Rendered},
    core::{
        conf::{clean, value::Map},
        configure::{
            self, Change, Configure, File, FileDiff, HostFiles, Known, Line, NoWay, Text, compare, decide, told_apart,
        },
        count_of,
        diagnosis::{
            evidence::{Archive, ConfigFile, ConfigText, REDACTED},
            settings,
        },
        event::Event,
        halt::{Cause, NotProven},
        install::{hex, sha256},
        playbook::Step,
        version::Version,
        view::Failure,
    },
    fleet::{Action, Content, Fleet, keyed},
};

/// Gathering the evidence, the configuration among it.
const COLLECT_TIMEOUT: Duration = Duration::from_secs(15);
/// One digest of a file of some kilobytes.
const DIGEST_TIMEOUT: Duration = Duration::from_secs(15);
/// A digest for each of some thousand lines, at some milliseconds each on a slow host.
const LINES_TIMEOUT: Duration = Duration::from_secs(30);
/// Some kilobytes over a slow link.
const STAGED_WITHIN: Duration = Duration::from_secs(60);
/// A server that has passed the gate says what it runs with as soon as it is asked; a busy host takes longer.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks.
const AGAIN: Duration = Duration::from_secs(1);
/// Hosts that are asked at once: they share our link.
const AT_ONCE: usize = 10;

/// What is in files, by their sha256.
pub type Contents = BTreeMap<String, Arc<[u8]>>;

/// Why a host's files can't be compared with what it has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{host}: {why}")]
pub struct NotCompared {
    /// The host.
    pub host: String,
    /// Why.
    pub why: String,
    /// Whether the host could not be reached.
    pub unreachable: bool,
}

/// What hosts get: nothing, where a host is not named.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Compared {
    /// By host.
    pub files: BTreeMap<String, HostFiles>,
    /// What changes in them.
    pub changes: Vec<Change>,
}

/// Compares files with what hosts have, and decides for each host how its server takes them. Changes nothing.
///
/// # Errors
/// The first host where that can't be told.
pub async fn compared<F: Fleet>(
    fleet: &F,
    steps: &[Step],
    step: &Configure,
    files: &Files,
) -> Result<Compared, NotCompared> {
    let jobs: Vec<_> = files
        .by_host
        .iter()
        .map(|(host, rendered)| async move { of_host(fleet, host, steps, step, rendered, &files.secrets).await })
        .collect();
    let found: Vec<_> = stream::iter(jobs).buffered(AT_ONCE).collect().await;
    let mut compared = Compared::default();
    let mut changes = Vec::new();
    for one in found {
        let Some((host, files, change)) = one? else { continue };
        compared.files.insert(host, files);
        changes.push(change);
    }
    compared.changes = configure::grouped(changes);
    Ok(compared)
}

async fn of_host<F: Fleet>(
    fleet: &F,
    host: &str,
    steps: &[Step],
    step: &Configure,
    rendered: &[Rendered],
    secrets: &BTreeSet<String>,
) -> Result<Option<(String, HostFiles, Change)>, NotCompared> {
    let not = |why: String| NotCompared { host: host.to_owned(), why, unreachable: false };
    let lost = |what: &str, failure: Failure| NotCompared {
        unreachable: failure.kind.is_unreachable(),
        ..not(format!("{what}: {failure}"))
    };
    let archive = fleet.collect(host, None, COLLECT_TIMEOUT).await;
    let mut planned: Vec<(File, &Rendered)> = Vec::new();
    for one in rendered {
        let to = match (&one.to, &archive.config) {
            // What stands in for it when it is tried is put where the configuration has those very words.
            (Some(to), _) => archive.as_written(to).map_or_else(|| clean(to), str::to_owned),
            (None, Ok(config)) => config.main.clone(),
            (None, Err(failure)) => return Err(lost("where its configuration is can't be told", failure.clone())),
        };
        if planned.iter().any(|(other, _)| other.to == to) {
            return Err(not(format!("two files go to {to}")));
        }
        let sha256 = sha256(&one.content);
        let now = fleet.digest(host, &to, DIGEST_TIMEOUT).await.map_err(|failure| lost(&to, failure))?;
        if now.as_ref() != Some(&sha256) {
            planned.push((File { to, sha256, mode: one.mode.clone(), owner: one.owner.clone() }, one));
        }
    }
    if planned.is_empty() {
        return Ok(None);
    }
    let key =
        key().ok_or_else(|| not("this machine has no random numbers, which a comparison of lines needs".into()))?;
    let mut diffs = Vec::new();
    let mut texts = BTreeMap::new();
    for (file, one) in &planned {
        let (diff, text) = shown(fleet, host, &archive, &file.to, &one.content, (&key, secrets)).await;
        diffs.push(diff);
        texts.insert(file.to.clone(), text);
    }
    let (way, why) = way(&archive, steps, step, &texts).map_err(|no| not(no.to_string()))?;
    let files = HostFiles { way, files: planned.into_iter().map(|(file, _)| file).collect() };
    Ok(Some((host.to_owned(), files, Change { hosts: vec![host.to_owned()], way, why, files: diffs })))
}

/// What nobody can guess: digests of short secrets are of no use without it. None where the system gives nothing at random.
fn key() -> Option<String> {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(hex(&bytes))
}

/// What changes in a file, and its text for a comparison of settings, where it is a configuration.
async fn shown<F: Fleet>(
    fleet: &F,
    host: &str,
    archive: &Archive,
    to: &str,
    content: &[u8],
    (key, secrets): (&str, &BTreeSet<String>),
) -> (FileDiff, Option<String>) {
    let config = archive.config.as_ref().ok();
    let known = config.and_then(|config| config.files.iter().find(|file| file.path == to));
    // What the configuration does not consist of is not shown: it may be a key.
    let is_config = known.is_some() || to.ends_with(".conf");
    let then = if is_config { lines_of(fleet, content, key).await } else { Err(no_config()) };
    let now = match known {
        _ if then.is_err() => Text::Lines(Vec::new()),
        Some(file) => present(fleet, host, file, key).await,
        None if fleet.digest(host, to, DIGEST_TIMEOUT).await == Ok(None) => Text::Absent,
        None => Text::Hidden(no_config()),
    };
    let text = match (&now, &then) {
        (Text::Lines(now), Ok(then)) => Some(told_apart(now, then)),
        (Text::Absent, Ok(then)) => Some(told_apart(&[], then)),
        _ => None,
    };
    let then = then.map_or_else(Text::Hidden, Text::Lines);
    let mut diff = compare(to, &now, &then);
    diff.diff.iter_mut().for_each(|line| *line = masked(std::mem::take(line), secrets));
    (diff, text)
}

fn no_config() -> String {
    "it is no part of the server's configuration as it is now".into()
}

/// The lines of a file as it will be.
async fn lines_of<F: Fleet>(fleet: &F, content: &[u8], key: &str) -> Result<Vec<Line>, String> {
    let shown = fleet.redacted(content).await.map_err(|failure| failure.to_string())?;
    let mut raw: Vec<&[u8]> = content.split(|byte| *byte == b'\n').collect();
    if raw.last().is_some_and(|last| last.is_empty()) {
        raw.pop();
    }
    if raw.len() != shown.len() {
        return Err(format!("{} of it can be read here, and {} in all", count_of(shown.len(), "line"), raw.len()));
    }
    Ok(raw.iter().zip(shown).map(|(raw, text)| Line { digest: keyed(key, raw), text }).collect())
}

/// The lines of a file as it is on its host.
async fn present<F: Fleet>(fleet: &F, host: &str, file: &ConfigFile, key: &str) -> Text {
    let text = match &file.text {
        Ok(text) if !file.cut => text,
        Ok(_) => return Text::Hidden("it is too long to be shown".into()),
        Err(failure) => return Text::Hidden(failure.to_string()),
    };
    match fleet.lines(host, &file.path, key, LINES_TIMEOUT).await {
        Ok(digests) if digests.len() == text.lines().count() => {
            let line = |(digest, text): (String, &str)| Line { digest, text: text.to_owned() };
            Text::Lines(digests.into_iter().zip(text.lines()).map(line).collect())
        }
        Ok(_) => Text::Hidden("it was written while it was read".into()),
        Err(failure) => Text::Hidden(failure.to_string()),
    }
}

/// A value that the inventory calls a secret is none to be shown, whatever its place. One that is so short stands in many a word.
fn masked(text: String, secrets: &BTreeSet<String>) -> String {
    let long = secrets.iter().filter(|secret| secret.len() >= 4);
    long.fold(text, |text, secret| text.replace(secret.as_str(), REDACTED))
}

/// How the server of a host takes its files, and why so.
fn way(
    archive: &Archive,
    steps: &[Step],
    step: &Configure,
    texts: &BTreeMap<String, Option<String>>,
) -> Result<(configure::Way, String), NoWay> {
    let config = archive.config.as_ref().ok();
    let maps: Option<(Map, Map)> = config.and_then(|config| {
        let mut then: ConfigText = config.clone();
        for (path, text) in texts.iter().filter_map(|(path, text)| Some((path, text.as_ref()?))) {
            match then.files.iter_mut().find(|file| file.path == *path) {
                Some(file) => file.text = Ok(text.clone()),
                None => then.files.push(ConfigFile {
                    path: path.clone(),
                    text: Ok(text.clone()),
                    cut: false,
                    lost_at: None,
                }),
            }
        }
        // A part of it that could not be shown could not be compared.
        let hidden: Vec<&String> = texts.iter().filter(|(_, text)| text.is_none()).map(|(path, _)| path).collect();
        let whole = !config.files.iter().any(|file| hidden.iter().any(|path| file.path == **path));
        let read = |config: &ConfigText| settings::read(config).ok();
        read(config).zip(read(&then)).filter(|_| whole)
    });
    let others = texts.iter().filter(|(_, text)| text.is_none()).filter_map(|(path, _)| archive.path(path));
    let others: Vec<_> = others.map(|facts| facts.roles.clone()).collect();
    let version = archive.binary.as_ref().ok().and_then(|binary| Version::of(binary.version.as_deref()?));
    let known = Known {
        settings: maps.as_ref().map(|(now, then)| (now, then)),
        others: &others,
        version,
        runs: matches!(archive.process, Ok(Some(_))),
    };
    decide(step, steps, &known)
}

/// Stages the files of every host that has its turn before it, and tries them there. What is wrong with any of them is told
/// together, and ends the run.
pub(super) async fn stage_all<F: Fleet>(roller: &mut Roller<'_, F>) -> Result<(), Stop> {
    if configure::configure(&roller.run.plan.steps).is_none() {
        return Ok(());
    }
    let (fleet, run) = (roller.fleet, roller.recorder.run().to_owned());
    let progress = roller.recorder.progress();
    let begun = progress.turn.as_ref().map(|turn| turn.host.clone());
    let hosts: Vec<String> = progress.to_come().into_iter().chain(begun.clone()).collect();
    let known = progress.files_staged.clone();
    let (plan, contents) = (&roller.run.plan, &roller.run.contents);
    let jobs = hosts.iter().filter_map(|host| {
        let files = plan.files_of(host)?.clone();
        let (run, contents, begun) = (run.clone(), contents.clone(), begun.as_ref() == Some(host));
        let with = configure::stand_ins(plan, &run, host);
        let allow = plan.policy.allow.clone();
        Some(async move {
            let staged = staged(fleet, &run, host, &files, &contents).await;
            let wrong = match staged {
                Err(wrong) => wrong,
                // In its turn they may be in place already.
                Ok(()) if begun => Vec::new(),
                Ok(()) => configure::unproven(&fleet.prove(host, &with, COLLECT_TIMEOUT).await, &with, &allow),
            };
            (host.clone(), files, wrong)
        })
    });
    let jobs: Vec<_> = jobs.collect();
    let done: Vec<_> = roller.attend(stream::iter(jobs).buffered(AT_ONCE).collect()).await?;
    let mut failed = Vec::new();
    for (host, of, why) in done {
        if !why.is_empty() {
            failed.push(NotProven { host, why });
        } else if !known.contains(&host) {
            let files = of.files.into_iter().map(|file| file.to).collect();
            roller.record(Event::FilesStaged { host, files })?;
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(roller.halt_outside("", "stage", Cause::NotProven { hosts: failed }))
}

async fn staged<F: Fleet>(
    fleet: &F,
    run: &str,
    host: &str,
    files: &HostFiles,
    contents: &Contents,
) -> Result<(), Vec<String>> {
    for file in &files.files {
        let content = contents.get(&file.sha256).map_or(Content::Staged, |bytes| Content::Bytes(Arc::clone(bytes)));
        let told = |failure: Failure| match content {
            Content::Staged => format!(
                "{}: what was planned for it is not there, and can't be made again: a template or a variable is another one by now ({failure})",
                file.to
            ),
            _ => format!("{}: {failure}", file.to),
        };
        fleet.stage(host, run, &file.sha256, &content, STAGED_WITHIN).await.map_err(|failure| vec![told(failure)])?;
    }
    Ok(())
}

/// Puts a host's files in place; what there is to say of it.
pub(super) async fn place<F: Fleet>(
    roller: &mut Roller<'_, F>,
    passage: &mut Passage,
    step: &Configure,
    id: String,
) -> Result<Option<String>, Stop> {
    let host = passage.host.clone();
    let run = roller.recorder.run().to_owned();
    let Some(of) = roller.run.plan.files_of(&host).cloned() else { return Ok(None) };
    for (number, file) in of.files.iter().enumerate() {
        let place = Action::Place(file.placement(&run));
        carry_out(roller, passage, "configure", format!("{id}-{number}"), place, step.deadline).await?;
        let found = digest(roller, &host, &file.to, "configure").await?;
        if found.as_ref() != Some(&file.sha256) {
            let found = found.unwrap_or_else(|| "nothing".into());
            let output = format!("{} is {found} and not {}", file.to, file.sha256);
            return Err(turn::halt(roller, passage, "configure", Cause::ChangeFailed { status: None, output }).await);
        }
    }
    Ok(Some(format!("{}, for a {}", count_of(of.files.len(), "file"), of.way.word())))
}

/// Whether a host's files are in place although that is not recorded: its host was rebooted before it could be.
pub(super) async fn are_in_place<F: Fleet>(roller: &mut Roller<'_, F>, host: &str) -> Result<bool, Stop> {
    let Some(of) = roller.run.plan.files_of(host).cloned() else { return Ok(false) };
    for file in &of.files {
        if digest(roller, host, &file.to, "configure").await?.as_ref() != Some(&file.sha256) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A server that came back has to run with the files that are there now: its boot may have started it before they were.
pub(super) async fn is_taken<F: Fleet>(roller: &mut Roller<'_, F>, passage: &Passage) -> Result<(), Stop> {
    let host = passage.host.clone();
    let plan = &roller.run.plan;
    let put_back = |step: &Step| matches!(step, Step::PutBack(back) if back.files.contains_key(&host));
    let restarted = plan.files_of(&host).is_some_and(|of| of.way == configure::Way::Restart);
    if !restarted && !plan.steps.iter().any(put_back) {
        return Ok(());
    }
    let fleet = roller.fleet;
    let mut deadline = Instant::now() + TAKEN_WITHIN;
    let mut contact = Contact::new();
    loop {
        let look =
            || async { tokio::join!(fleet.collect(&host, None, COLLECT_TIMEOUT), fleet.observe(&[], OBSERVE_TIMEOUT)) };
        let (archive, view, away) = contact.evidence(roller, &host, "gate", look).await?;
        deadline += away;
        let (different, unknown) = configure::not_taken(&Archive { view: Some(view), ..archive });
        if different.is_empty() {
            return Ok(());
        }
        if !unknown || Instant::now() >= deadline {
            return Err(turn::halt(roller, passage, "gate", Cause::FilesNotTaken { different }).await);
        }
        roller.attend(sleep(AGAIN)).await?;
    }
}

/// After a reload that failed: where the server goes on with what it had, what stood in the files' places is put back, and the halt
/// says so.
pub(super) async fn not_taken<F: Fleet>(roller: &mut Roller<'_, F>, passage: &mut Passage, stop: Stop) -> Stop {
    let Stop::Halt(halt) = &stop else { return stop };
    let why = match &halt.cause {
        Cause::Unusable { why } => why.first().cloned().unwrap_or_default(),
        Cause::ReloadRefused { line } => line.clone(),
        Cause::NotReloadable { setting } => format!("no reload can change {setting}"),
        _ => return stop,
    };
    let host = passage.host.clone();
    let (Some(of), Some(step)) =
        (roller.run.plan.files_of(&host).cloned(), configure::configure(&roller.run.plan.steps).cloned())
    else {
        return stop;
    };
    let files = of.files.iter().map(|file| file.to.clone()).collect();
    let run = roller.recorder.run().to_owned();
    let id = change_id(roller, &host, "files-back");
    let back = Event::FilesBack { host, step: "reload".into(), files, change: id.clone(), why: why.clone() };
    if let Err(error) = roller.record(back) {
        return error.into();
    }
    for (number, file) in of.files.iter().enumerate().rev() {
        let back = Action::PutBack(file.placement(&run).kept());
        if let Err(stop) = carry_out(roller, passage, "reload", format!("{id}-{number}"), back, step.deadline).await {
            return stop;
        }
    }
    turn::halt(roller, passage, "reload", Cause::FilesRefused { why }).await
}
