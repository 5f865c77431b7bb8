//! The collector's output read into an [`Archive`]: any bytes in, an archive out. What is missing is a gap.
//!
//! A line is a tag and its fields, separated by tabs; lines of different sections may be mixed. The tags stand in
//! `src/fleet/live/collect/`.

mod log;
mod paths;
mod unit;

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    evidence::{
        Archive, Binary, ConfigFile, ConfigTest, ConfigText, EnvironmentVariable, Gap, HostFacts, Listener, Reach,
        ReachRole, StoreShape, StreamShape, VERSION, not_asked,
    },
    settings::Settings,
    tls,
};
use crate::core::{
    conf::clean,
    view::{Exit, Failure, FailureKind, Seen},
};

pub use log::nats_line;

/// More of anything says nothing more, and must not fill the memory: the collector itself stays far below.
const MOST: usize = 5000;

/// Who was asked, and when.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The host's name.
    pub host: String,
    /// The server name that the inventory expects.
    pub server_name: Option<String>,
    /// The controller's clock before.
    pub asked_at: Timestamp,
    /// The controller's clock after.
    pub answered_at: Timestamp,
    /// Lines of the log file older than this were not asked for.
    pub since: Option<Timestamp>,
}

/// `key → values` of one tag.
type Fields<'a> = BTreeMap<&'a str, Vec<&'a str>>;

/// The output by tags. Order within a tag is kept.
struct Tagged<'a>(BTreeMap<&'a str, Vec<&'a str>>);

impl<'a> Tagged<'a> {
    fn new(text: &'a str) -> Self {
        let mut tags: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for line in text.lines() {
            let (tag, rest) = line.split_once('\t').unwrap_or((line, ""));
            let lines = tags.entry(tag).or_default();
            if lines.len() < MOST {
                lines.push(rest);
            }
        }
        Self(tags)
    }

    fn has(&self, tag: &str) -> bool {
        self.0.contains_key(tag)
    }

    fn lines(&self, tag: &str) -> impl Iterator<Item = &'a str> + use<'a, '_> {
        self.0.get(tag).into_iter().flatten().copied()
    }

    fn first(&self, tag: &str) -> Option<&'a str> {
        self.lines(tag).next()
    }

    fn fields(&self, tag: &str) -> Fields<'a> {
        let mut fields = Fields::new();
        for line in self.lines(tag) {
            let (key, value) = line.split_once('\t').unwrap_or((line, ""));
            fields.entry(key).or_default().push(value);
        }
        fields
    }
}

fn one<'a>(fields: &Fields<'a>, key: &str) -> Option<&'a str> {
    fields.get(key)?.first().copied().map(str::trim).filter(|text| !text.is_empty())
}

fn text(fields: &Fields<'_>, key: &str) -> Option<String> {
    one(fields, key).map(str::to_owned)
}

fn number<T: std::str::FromStr>(fields: &Fields<'_>, key: &str) -> Option<T> {
    one(fields, key)?.parse().ok()
}

fn seconds(text: &str) -> Option<Timestamp> {
    Timestamp::from_second(text.trim().parse().ok()?).ok()
}

fn kib(fields: &Fields<'_>, key: &str) -> Option<u64> {
    number::<u64>(fields, key)?.checked_mul(1024)
}

/// Reads what the collector printed. Total: anything that is not understood is left out, and what it should have told is
/// unknown.
pub fn archive(asked: &Asked, output: &[u8]) -> Archive {
    let output = String::from_utf8_lossy(output);
    let tagged = Tagged::new(&output);
    let mut gaps = gaps(&tagged);
    let silent = |what: &str| Failure::new(FailureKind::Command, format!("the collector did not tell {what}"));
    let machine = tagged.fields("m");
    let offset = one(&machine, "zone").map_or(0, zone_seconds);
    let unit = unit::unit(&tagged);
    let as_root = one(&machine, "uid") == Some("0");
    let (tls_files, chains) = tls::files(tagged.lines("x"));
    let mut archive = Archive {
        v: VERSION,
        host: asked.host.clone(),
        server_name: asked.server_name.clone(),
        asked_at: asked.asked_at,
        answered_at: asked.answered_at,
        machine: host_facts(&machine).ok_or_else(|| silent("of the host")),
        process: unit::process(&tagged).unwrap_or_else(|| Err(silent("of the process"))),
        journal: log::journal(&tagged, as_root, offset),
        log_file: log::file(&tagged, offset, asked.since),
        oom_kills: if tagged.has("k") {
            Ok(tagged.lines("k").filter(|line| !line.is_empty()).map(|line| log::journal_line(line, offset)).collect())
        } else {
            Err(because(&gaps, "kernel log"))
        },
        binary: binary(&tagged, unit.as_ref().ok().and_then(|unit| unit.user.as_deref()))
            .ok_or_else(|| because(&gaps, "binary")),
        config: config(&tagged).ok_or_else(|| because(&gaps, "config")),
        config_test: config_test(&tagged, unit.as_ref().ok().and_then(|unit| unit.user.as_deref()))
            .ok_or_else(|| because(&gaps, "configuration test")),
        listeners: if tagged.has("li0") {
            Ok(tagged.lines("li").filter_map(listener).collect())
        } else {
            Err(because(&gaps, "listeners"))
        },
        half_open: tagged.lines("lh").filter_map(|line| u16::from_str_radix(line, 16).ok()).collect(),
        paths: paths::paths(&tagged, unit.as_ref().ok().and_then(|unit| unit.user.as_deref()))
            .ok_or_else(|| because(&gaps, "config")),
        tls_files: if tagged.has("x0") { Ok(tls_files) } else { Err(because(&gaps, "config")) },
        tls_blocks: Err(not_asked("the configuration could not be read")),
        store: store(&tagged).unwrap_or_else(|| Err(because(&gaps, "store"))),
        reach: if tagged.has("r0") {
            Ok(tagged.lines("r").filter_map(reach).collect())
        } else {
            Err(because(&gaps, "reach"))
        },
        unit,
        view: None,
        gaps: {
            if !tagged.has("end") {
                gaps.push(Gap { what: "collection".into(), why: "it was cut short".into() });
            }
            gaps
        },
    };
    if let Some(settings) = Settings::of(&archive) {
        archive.tls_blocks = Ok(tls::blocks(&settings, &archive, &chains));
    }
    archive
}

fn gaps(tagged: &Tagged<'_>) -> Vec<Gap> {
    let gap = |line: &str| {
        let (what, why) = line.split_once('\t')?;
        Some(Gap { what: what.to_owned(), why: why.to_owned() })
    };
    let mut gaps: Vec<Gap> = tagged.lines("g").filter_map(gap).collect();
    if let Some(user) = tagged.first("pn") {
        let why = format!("there is no user {user} on this host");
        gaps.push(Gap { what: "service user".into(), why });
    }
    gaps
}

/// The failure of a section, from the gap that names it.
fn because(gaps: &[Gap], what: &str) -> Failure {
    match gaps.iter().find(|gap| gap.what == what) {
        Some(gap) => Failure::new(FailureKind::Command, gap.why.clone()),
        None => Failure::new(FailureKind::NotAsked, format!("{what}: nothing was told")),
    }
}

fn host_facts(fields: &Fields<'_>) -> Option<HostFacts> {
    let user = text(fields, "user")?;
    Some(HostFacts {
        hostname: text(fields, "hostname").unwrap_or_default(),
        addresses: one(fields, "addresses")
            .map_or_else(Vec::new, |text| text.split_whitespace().take(MOST).map(str::to_owned).collect()),
        clock: seconds(one(fields, "clock")?)?,
        boot_id: text(fields, "boot"),
        uptime_s: one(fields, "uptime").and_then(|text| text.split(['.', ' ']).next()?.parse().ok()),
        arch: text(fields, "arch"),
        as_root: one(fields, "uid") == Some("0"),
        gathered_by: user,
        memory_total: kib(fields, "MemTotal"),
        memory_available: kib(fields, "MemAvailable"),
        swap_total: kib(fields, "SwapTotal"),
        swap_free: kib(fields, "SwapFree"),
        clock_synchronized: one(fields, "synchronized").map(|text| text == "1"),
    })
}

/// Seconds east of Greenwich, of `+0130`.
fn zone_seconds(text: &str) -> i64 {
    let (sign, digits) = match text.split_at_checked(1) {
        Some(("-", rest)) => (-1, rest),
        Some(("+", rest)) => (1, rest),
        _ => return 0,
    };
    let number: i64 = digits.parse().unwrap_or(0);
    sign * ((number / 100) * 3600 + (number % 100) * 60)
}

fn binary(tagged: &Tagged<'_>, service_user: Option<&str>) -> Option<Binary> {
    // What another user may execute tells nothing of the service.
    let as_service = service_user.is_none() || tagged.first("pu") == service_user;
    let fields = tagged.fields("b");
    let said: Vec<&str> = fields.get("version").into_iter().flatten().copied().collect();
    let version = said.iter().find_map(|line| line.strip_prefix("nats-server: v"));
    Some(Binary {
        path: text(&fields, "path")?,
        exists: one(&fields, "exists") == Some("1"),
        executable: one(&fields, "executable").map(|text| text == "1").filter(|_| as_service),
        arch: one(&fields, "elf").and_then(elf_machine),
        size: number(&fields, "size"),
        runs: one(&fields, "runs").map(|text| text == "1"),
        // `#!`
        script: one(&fields, "elf").filter(|hex| hex.starts_with("2321")).map(|_| true),
        version: version.map(|text| format!("v{}", text.trim())),
        said: version.is_none().then(|| said.join("\n")).filter(|text| !text.is_empty()),
    })
}

/// The machine of an ELF header in hex (`elf.h`: `e_ident`, then `e_type`, then `e_machine` in the file's byte order), as
/// `uname -m` says it.
fn elf_machine(hex: &str) -> Option<String> {
    let byte = |at: usize| u8::from_str_radix(hex.get(at * 2..at * 2 + 2)?, 16).ok();
    if hex.get(..8)? != "7f454c46" {
        return None;
    }
    let machine = match byte(5)? {
        1 => u16::from_le_bytes([byte(18)?, byte(19)?]),
        _ => u16::from_be_bytes([byte(18)?, byte(19)?]),
    };
    Some(match (machine, byte(4)?) {
        (62, _) => "x86_64".into(),
        (183, _) => "aarch64".into(),
        (40, _) => "arm".into(),
        (3, _) => "i386".into(),
        (243, 2) => "riscv64".into(),
        (22, _) => "s390x".into(),
        (21, _) => "ppc64le".into(),
        (8, 2) => "mips64".into(),
        (258, _) => "loongarch64".into(),
        (other, _) => format!("machine {other}"),
    })
}

fn config(tagged: &Tagged<'_>) -> Option<ConfigText> {
    let mut files: Vec<(&str, ConfigFile)> = Vec::new();
    for line in tagged.lines("cf") {
        let Some((number, path)) = line.split_once('\t') else { continue };
        // nats-server names the first as it was told, and an include by its clean path.
        let path = if files.is_empty() { path.to_owned() } else { clean(path) };
        let file = ConfigFile { path, text: Ok(String::new()), cut: false, lost_at: None };
        files.push((number, file));
    }
    let of = |tag: &str| {
        let mut by_file: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for line in tagged.lines(tag) {
            let (number, rest) = line.split_once('\t').unwrap_or((line, ""));
            by_file.entry(number).or_default().push(rest);
        }
        by_file
    };
    let (lines, errors, cut, lost) = (of("c"), of("ce"), of("cc"), of("cl"));
    for (number, file) in &mut files {
        let text = lines.get(number).map(|lines| lines.join("\n") + "\n").unwrap_or_default();
        file.text = match errors.get(number).and_then(|all| all.first()) {
            Some(error) => Err(Failure::new(FailureKind::Command, format!("{}: {error}", file.path))),
            None => Ok(text),
        };
        file.cut = cut.contains_key(number) || lines.get(number).is_some_and(|lines| lines.len() >= MOST);
        file.lost_at = lost.get(number).and_then(|all| all.first()?.parse().ok());
    }
    let environment = tagged.lines("cv").filter_map(|line| {
        let mut fields = line.splitn(3, '\t');
        let (name, set) = (fields.next()?.to_owned(), fields.next()? == "1");
        Some(EnvironmentVariable { name, set, value: fields.next().map(str::to_owned) })
    });
    Some(ConfigText {
        main: files.first()?.1.path.clone(),
        environment: environment.collect(),
        files: files.into_iter().map(|(_, file)| file).collect(),
    })
}

fn config_test(tagged: &Tagged<'_>, wanted: Option<&str>) -> Option<ConfigTest> {
    let fields = tagged.fields("t");
    let user = tagged.first("pu")?.to_owned();
    if !tagged.has("t") && !tagged.has("to") {
        return None;
    }
    let program = text(&tagged.fields("b"), "path")?;
    let conf = tagged.first("cf").and_then(|line| line.split_once('\t')).map(|(_, path)| path)?;
    let exit = match number::<i32>(&fields, "status") {
        // `timeout` says 124 for what it ended.
        Some(124) | None => None,
        Some(code) if code > 128 => Some(Exit::Signal(code - 128)),
        Some(code) => Some(Exit::Code(code)),
    };
    Some(ConfigTest {
        argv: vec![program, "-t".into(), "-c".into(), conf.to_owned()],
        as_service_user: wanted.is_none_or(|wanted| wanted == user),
        user,
        exit,
        output: tagged.lines("to").filter(|line| !line.is_empty()).map(str::to_owned).collect(),
    })
}

fn listener(line: &str) -> Option<Listener> {
    let mut fields = line.split('\t');
    let address = fields.next()?.to_owned();
    let port = fields.next()?.parse().ok()?;
    let mut word = || fields.next().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    let pid = word().and_then(|text| text.parse().ok());
    Some(Listener { address, port, pid, program: word(), user: word(), unit: word() })
}

fn reach(line: &str) -> Option<Reach> {
    let mut fields = line.split('\t');
    let role = match fields.next()? {
        "route" => ReachRole::Route,
        "gateway" => ReachRole::Gateway,
        "leafnode" => ReachRole::Leafnode,
        "resolver" => ReachRole::Resolver,
        _ => return None,
    };
    let (target, port) = (fields.next()?.to_owned(), fields.next()?.parse().ok()?);
    let said = fields.next()?;
    let result = match said.strip_prefix("failed: ") {
        None if matches!(said, "ok" | "plain" | "silent") => Ok(()),
        None => return None,
        Some(why) if why.contains("refused") => Err(FailureKind::Refused),
        Some(why) if why.contains("timed out") => Err(FailureKind::Timeout),
        Some(_) => Err(FailureKind::Unreachable),
    };
    let why = said.strip_prefix("failed: ").unwrap_or_default();
    let result = result.map_err(|kind| Failure::new(kind, format!("{target}:{port}: {why}")));
    let plain = match said {
        "plain" => Some(true),
        "silent" => Some(false),
        _ => None,
    };
    Some(Reach { role, target, port, result, plain })
}

/// None where nothing was told.
fn store(tagged: &Tagged<'_>) -> Option<Seen<Option<StoreShape>>> {
    if tagged.has("s0") {
        return Some(Ok(None));
    }
    let fields = tagged.fields("s");
    let stream = |line: &str| {
        let mut fields = line.split('\t');
        let (account, name) = (fields.next()?.to_owned(), fields.next()?.to_owned());
        let mut count = || fields.next()?.parse::<u64>().ok();
        let (meta, messages) = (count()? == 1, count()? == 1);
        Some(StreamShape { account, name, meta, messages, blocks: count()?, consumers: count()? })
    };
    Some(Ok(Some(StoreShape {
        path: text(&fields, "path")?,
        exists: one(&fields, "exists") == Some("1"),
        meta: one(&fields, "meta") == Some("1"),
        streams: tagged.lines("st").filter_map(stream).collect(),
        raft_groups: number(&fields, "groups").unwrap_or(0),
        bytes: kib(&fields, "kib"),
        foreign: tagged.lines("sf").map(str::to_owned).collect(),
    })))
}

#[cfg(test)]
pub(crate) mod tests;
