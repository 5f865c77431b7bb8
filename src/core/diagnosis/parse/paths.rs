//! Paths, and the file systems that they are on.

use jiff::Timestamp;

use std::collections::BTreeMap;

use super::{Fields, Tagged, one, text};
use crate::core::{
    diagnosis::files::{FileKind, Mount, PathFacts, PathRole},
    view::{Failure, FailureKind, Seen},
};

/// None where nothing was told of any path. What another user than the service's could do tells nothing of the service.
pub fn paths(tagged: &Tagged<'_>, service_user: Option<&str>) -> Option<Vec<PathFacts>> {
    let mut order: Vec<&str> = Vec::new();
    let mut facts: BTreeMap<&str, Fields<'_>> = BTreeMap::new();
    for line in tagged.lines("f") {
        let mut parts = line.splitn(3, '\t');
        let (Some(path), Some(key)) = (parts.next(), parts.next()) else { continue };
        if !facts.contains_key(path) {
            order.push(path);
        }
        facts.entry(path).or_default().entry(key).or_default().push(parts.next().unwrap_or_default());
    }
    if order.is_empty() {
        return None;
    }
    let tried = match (tagged.first("pu"), service_user) {
        _ if !tagged.has("pe") => Err("it could not be tried".to_owned()),
        (Some(found), Some(wanted)) if found != wanted => Err(format!("it was tried as {found}, not as {wanted}")),
        _ => Ok(()),
    };
    Some(order.into_iter().filter_map(|path| Some(one_path(path, facts.get(path)?, &tried))).collect())
}

fn one_path(path: &str, fields: &Fields<'_>, tried: &Result<(), String>) -> PathFacts {
    let kind = one(fields, "kind");
    let stat: Vec<&str> = one(fields, "stat").map_or_else(Vec::new, |text| text.split('|').collect());
    let answer = |key: &str| -> Seen<bool> {
        if let Err(why) = tried {
            return Err(Failure::new(FailureKind::Denied, format!("{path}: {why}")));
        }
        match one(fields, key) {
            Some(text) => Ok(text == "1"),
            // A missing file is not readable; whether one is writable is asked only where the server writes.
            None if key == "readable" && kind == Some("none") => Ok(false),
            None => Err(Failure::new(FailureKind::NotAsked, format!("{path}: it was not tried"))),
        }
    };
    PathFacts {
        path: path.to_owned(),
        roles: fields.get("role").into_iter().flatten().filter_map(|role| path_role(role)).collect(),
        kind: match kind {
            Some("file") => Some(FileKind::File),
            Some("directory") => Some(FileKind::Directory),
            Some("broken-link") => Some(FileKind::BrokenLink),
            Some("other") => Some(FileKind::Other),
            Some("none") => None,
            _ => Some(FileKind::Unseen),
        },
        owner: stat.first().map(|text| (*text).to_owned()),
        group: stat.get(1).map(|text| (*text).to_owned()),
        mode: stat.get(2).and_then(|text| u32::from_str_radix(text, 8).ok()),
        size: stat.get(3).and_then(|text| text.parse().ok()),
        changed: one(fields, "changed").and_then(changed),
        readable: answer("readable"),
        writable: answer("writable"),
        write_error: text(fields, "write-error").filter(|_| tried.is_ok()),
        ancestor: text(fields, "ancestor").filter(|_| tried.is_ok()),
        blocked_by: text(fields, "blocked").filter(|_| tried.is_ok()),
        mount: mount(fields),
    }
}

/// Seconds with their fraction. Where `stat` tells whole ones only, it may have been at the end of that second.
fn changed(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "999999999"));
    let nanoseconds: i32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Timestamp::new(seconds.parse().ok()?, nanoseconds).ok()
}

fn mount(fields: &Fields<'_>) -> Option<Mount> {
    let mut parts = one(fields, "mount")?.split('\t');
    let (point, fs_type, source) = (parts.next()?, parts.next()?, parts.next()?);
    let read_only = parts.next()?.split(',').any(|option| option == "ro");
    let space: Vec<Option<u64>> =
        one(fields, "space").map_or_else(Vec::new, |text| text.split('|').map(|number| number.parse().ok()).collect());
    let number = |at: usize| space.get(at).copied().flatten();
    let bytes = |at: usize| number(at)?.checked_mul(number(0)?);
    Some(Mount {
        point: point.to_owned(),
        fs_type: fs_type.to_owned(),
        source: source.to_owned(),
        read_only,
        total: bytes(1),
        free: bytes(2),
        inodes: number(3),
        inodes_free: number(4),
        expected_not_mounted: text(fields, "not-mounted"),
    })
}

fn path_role(text: &str) -> Option<PathRole> {
    Some(match text {
        "config" => PathRole::Config,
        "include" => PathRole::Include,
        "store" => PathRole::Store,
        "pid" => PathRole::Pid,
        "log" => PathRole::Log,
        "ports-dir" => PathRole::PortsDir,
        "resolver-dir" => PathRole::ResolverDir,
        "operator" => PathRole::Operator,
        "tls-cert" => PathRole::TlsCert,
        "tls-key" => PathRole::TlsKey,
        "tls-ca" => PathRole::TlsCa,
        "credentials" => PathRole::Credentials,
        "binary" => PathRole::Binary,
        "working-dir" => PathRole::WorkingDir,
        _ => return None,
    })
}
