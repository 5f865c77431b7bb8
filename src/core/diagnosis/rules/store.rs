//! What is in the store: damage, streams that stay off, recovery that goes on or doesn't, data that is gone.

use jiff::SignedDuration;

use super::super::{
    case::{Case, Line},
    catalogue::{Page, pages},
    evidence::Work,
    finding::Finding,
};

pages! {
    STORE_EMPTY = "store-empty" Blocking Store "the server began with an empty store where there was one"
        why "JetStream bootstraps: it found no state of the meta group. Streams with one copy are back with 0 messages, and \
             healthz is 200. A new server of a cluster does the same, and for it nothing is wrong."
        proof "The line `JetStream cluster bootstrapping`, and state that was there before."
        remedy "stop the server and bring the old store back before anything is written" follows ["store-not-mounted"];
    META_SNAPSHOT = "meta-snapshot-corrupt" Blocking Store "the meta group's snapshot on this server is damaged"
        why "Servers from 2.14 refuse to start on it; older ones mend it from their peers."
        proof "The lines `Snapshot corrupt` and `Can't start JetStream: raft: snapshot corrupt`."
        remedy "move the meta group's directory away: the server gets it anew from its peers";
    JETSTREAM_OFF = "jetstream-disabled" Blocking Store "the server turned JetStream off"
        why "It could not write. It serves plain clients, healthz says `JetStream not enabled`, and it stays so until a restart."
        proof "The lines `JetStream out of … resources, will be DISABLED` or `disabling JetStream`."
        remedy "mend the store's file system, then restart the server"
        follows ["disk-full", "inodes-exhausted", "store-read-only", "store-not-writable"];
    JETSTREAM_MISSING = "jetstream-not-configured" Blocking Store "a member of the meta group runs without JetStream"
        why "Its configuration has no `jetstream`, or not any more. healthz is 200, as of any server without JetStream; what is \
             stored on it is offline, and each of its groups has one member less."
        proof "The meta leader's list of members; /varz of this server, without `jetstream`."
        remedy "put the `jetstream` block back, then restart the server";
    JETSTREAM_FAILED = "jetstream-failed" Blocking Store "JetStream could not start"
        why "The server exits where JetStream can't start."
        proof "The fatal line `Can't start JetStream: …`."
        remedy "do what the line asks for"
        follows ["disk-full", "inodes-exhausted", "store-read-only", "store-not-writable", "store-not-mounted",
                 "store-not-a-directory", "meta-snapshot-corrupt"];
    STREAM_METADATA = "stream-metadata-damaged" Warning Store "a stream's metadata is missing or damaged"
        why "A cluster makes it anew from the assignment; a single server leaves the stream out and says 503."
        proof "The lines `Missing stream metafile`, `checksums do not match`, `Missing stream checksum file`."
        remedy "compare the stream with its other replicas, or restore it from a backup"
        follows ["stream-unrecovered", "store-directory-unreadable"];
    STREAM_UNRECOVERED = "stream-unrecovered" Blocking Store "a stream could not be recovered"
        why "The server runs and says 503 for it; no waiting mends it."
        proof "healthz: `could not be recovered`, `stream not found` or `error creating store for stream`."
        remedy "mend the stream's directory, then restart the server"
        follows ["store-directory-unreadable", "disk-full", "store-not-writable", "inodes-exhausted"];
    CONSUMER_STATE = "consumer-state-corrupt" Blocking Store "a consumer's state on disk is damaged"
        why "Servers from 2.14 refuse it and say 503 for ever; older ones silently begin the consumer anew at ack floor 0."
        proof "The line `corrupt state file (10104)`; healthz: `error creating store for consumer`."
        remedy "move the consumer's state away: it comes back from its other replicas, or begins anew";
    STORE_DIR_UNREADABLE = "store-directory-unreadable" Blocking Store "the service's user can't use a directory of the store"
        why "The server runs and leaves the stream out: 503 for ever."
        proof "The lines `Error reading metafile …: permission denied`, `storage directory is not writable (10077)`."
        remedy "give the whole store to the service's user" follows ["store-not-writable"];
    BLOCKS = "message-blocks-damaged" Warning Store "message blocks of a stream are damaged"
        why "healthz is 200 and the leader calls the replica current with lag 0: only counts compared between replicas show \
             what is missing."
        proof "`corrupt record state`, `could not locate msg block`, `malformed or corrupt message` in the log."
        remedy "compare the stream's counts between its replicas; have a damaged replica made anew from them";
    WAL = "wal-damaged" Warning Store "a raft log on this server is damaged"
        why "The server drops its log from there on and gets it anew from its peers; a group without a healthy peer is lost. \
             Garbage, too, is dropped, and of that no server says a word."
        proof "The lines `Could not load … from WAL`, `Corrupt WAL`, `Resetting WAL state`."
        remedy "look at the disk's health, and at the group's other members";
    WRITE_ERROR = "stream-write-error" Blocking Store "a stream can't write to its store"
        why "From 2.14 on healthz says so, and the stream stays off until a restart; older servers stay at 200."
        proof "healthz: `write error`; the line `Critical write error`."
        remedy "mend the store's file system, then restart the server"
        follows ["disk-full", "inodes-exhausted", "store-read-only", "jetstream-disabled"];
    DATA_SHORT = "data-short" Blocking Store "a stream has less than it had"
        why "The server is healthy, and what was stored is not all there: a 200 from healthz does not look at data."
        proof "Message counts and sequences before the restart, and of the other replicas."
        remedy "do not restart another server: its copies may be the last"
        follows ["store-empty", "store-not-mounted", "message-blocks-damaged", "stream-metadata-damaged"];
    RECOVERING = "store-recovering" Blocking Store "the server is recovering its store"
        why "Until it has read its streams, no listener but monitoring is open, and healthz says 500. From 2.12 on a clean \
             restart reads all data too: 1.3 s a GB on a fast disk, 17 s a GB at 60 MB/s (measured)."
        proof "`Starting restore for stream` without its `Restored`, and how fast it goes on."
        remedy "wait: it goes on";
    RECOVERY_STUCK = "store-recovery-stuck" Blocking Store "the recovery of the store does not go on"
        why "The server began to recover its store and has read nothing for some time."
        proof "`Starting restore for stream` without its `Restored`, and no reads by the process."
        remedy "look at the disk's health and at the kernel's log";
    ORPHANS = "orphaned-streams" Warning Store "the server deletes streams that the cluster does not know"
        why "The server has streams on disk that the meta group does not list, and cleans them up: it was away while they were \
             deleted, or it joined another cluster."
        proof "The line `Detected orphaned stream …, will cleanup`."
        remedy "if they should be there, stop the server now and save its store";
    UNSUPPORTED = "assets-unsupported" Warning Store "the server can't run assets that a newer version made"
        why "They are offline on this server. healthz leaves them out."
        proof "The line `Detected unsupported stream` or `consumer`."
        remedy "run the version that made them, or a newer one";
}

/// All that concerns what is in the store.
pub(super) fn rules(case: &Case<'_>) -> Vec<Finding> {
    if case.preflight() {
        // What the running server says of its store is no matter of the next start; what is on disk is.
        return Vec::new();
    }
    let mut found = Vec::new();
    found.extend(refused(case));
    found.extend(empty(case));
    found.extend(turned_off(case));
    found.extend(left_out(case));
    found.extend(assets(case));
    found.extend(damage(case));
    found.extend(raft_log(case));
    found.extend(recovery(case));
    found.extend(short(case));
    found
}

fn refused(case: &Case<'_>) -> Option<Finding> {
    let line = case.died_with("Can't start JetStream")?;
    let text = line.text();
    if text.contains("snapshot corrupt") {
        let path = store_path(case);
        let meta = match case.said(&["Snapshot corrupt", "Could not start metadata controller"]) {
            Some(line) => {
                Finding::of(&META_SNAPSHOT, format!("the meta group's snapshot in {path} is damaged")).line(&line)
            }
            None => Finding::of(&META_SNAPSHOT, format!("the meta group's snapshot in {path} is damaged")),
        };
        let place = raft_place(case, "_meta_");
        return Some(meta.died(&line).run(format!("sudo mv {place} /var/tmp/meta-damaged")));
    }
    if text.contains("requires configured routes") {
        return None;
    }
    Some(
        Finding::of(
            &JETSTREAM_FAILED,
            format!("JetStream could not start: {}", after(text, "Can't start JetStream: ")),
        )
        .died(&line),
    )
}

fn after<'a>(text: &'a str, mark: &str) -> &'a str {
    text.split_once(mark).map_or(text, |(_, rest)| rest)
}

/// It began with nothing. For a new server that is right, so it counts only where there was something.
fn empty(case: &Case<'_>) -> Option<Finding> {
    let line = case.said(&["JetStream cluster bootstrapping"])?;
    if !case.context.had_state {
        return None;
    }
    let store = case.archive.store.as_ref().ok().and_then(Option::as_ref);
    let path = store.map_or("its store", |store| store.path.as_str());
    Some(
        Finding::of(&STORE_EMPTY, format!("the server began with an empty store at {path}"))
            .line(&line)
            .run(format!("sudo systemctl stop {}", case.unit_name()))
            .run(format!("findmnt -T {}; sudo ls -la {}", parent(path), parent(path))),
    )
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(parent, _)| if parent.is_empty() { "/" } else { parent })
}

fn turned_off(case: &Case<'_>) -> Option<Finding> {
    let off = case.health_errors().find(|error| error.error.contains("JetStream not enabled"));
    let line = case.said(&["will be DISABLED", "disabling JetStream"]);
    if off.is_none() && (line.is_none() || case.ready() || !case.alive()) {
        return None;
    }
    let finding = Finding::of(&JETSTREAM_OFF, "the server turned JetStream off");
    let finding = match off {
        Some(error) => finding.quote("healthz", error.error.as_str()),
        None => finding,
    };
    Some(match line {
        Some(line) => finding.line(&line),
        None => finding,
    })
}

/// The meta group has this server as a member, and it runs without JetStream.
fn left_out(case: &Case<'_>) -> Option<Finding> {
    let own = case.server()?.varz.as_ref().ok().filter(|varz| !varz.jetstream)?;
    let (host, members) = super::routes::members(case)?;
    if !members.contains(&own.server_name) || case.settings().is_some_and(|settings| settings.jetstream) {
        return None;
    }
    let main = case.archive.config.as_ref().map_or("/etc/nats/nats-server.conf", |config| config.main.as_str());
    let title = format!("{} is a member of the meta group, and {main} has no JetStream", own.server_name);
    Some(
        Finding::of(&JETSTREAM_MISSING, title)
            .quote(format!("/varz of the meta leader, on {host}"), format!("members: {}", members.join(", ")))
            .quote("/varz", format!("{}: no jetstream", own.server_name))
            .remedy(format!("put the `jetstream` block back into {main}, then restart the server"))
            .run(format!("sudoedit {main}"))
            .run(case.test_command()),
    )
}

/// The asset that a line or an error names, such as `APP > S1`.
fn asset(text: &str) -> &str {
    text.split('\'').nth(1).unwrap_or("a stream")
}

/// Streams and consumers that stay off, whatever one waits.
fn assets(case: &Case<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let denied = case.said(&["Error reading metafile", "storage directory is not writable (10077)"]);
    let denied = denied.filter(|line| line.text().contains("permission denied") || line.text().contains("10077"));
    let foreign = case.archive.store.as_ref().ok().and_then(|store| store.as_ref()?.foreign.first());
    for error in case.health_errors() {
        let text = error.error.as_str();
        let name = asset(text);
        let store = text.contains("error creating store for")
            || text.contains("could not be recovered")
            || text.contains("stream not found");
        let finding = if text.contains("write error") {
            Finding::of(&WRITE_ERROR, format!("the stream {name} can't write to its store"))
                .run(format!("df -h {0}; df -i {0}", store_path(case)))
        } else if text.contains("consumer") && text.contains("error creating store for consumer") {
            let said = case.said(&["corrupt state file"]);
            let finding =
                Finding::of(&CONSUMER_STATE, format!("the consumer {name} has a damaged state on this server"));
            let finding = match said {
                Some(line) => finding.line(&line),
                None => finding.likely(),
            };
            let place = consumer_place(case, name);
            finding
                .run(format!("sudo mv {place} /var/tmp/"))
                .explain(format!("Its other replicas have it still, where it has any ({name})."))
        } else if store && (denied.is_some() || foreign.is_some()) {
            let place = foreign.map_or_else(|| store_path(case), |first| first.clone());
            let finding =
                Finding::of(&STORE_DIR_UNREADABLE, format!("{} can't use {place}, so {name} is off", case.user()));
            let finding = match foreign {
                Some(first) => {
                    finding.quote("owners below the store", format!("{first} does not belong to {}", case.user()))
                }
                None => finding,
            };
            let finding = match denied {
                Some(line) => finding.line(&line),
                None => finding,
            };
            finding.run(format!("sudo chown -R {} {}", case.owner(), store_path(case)))
        } else if store {
            Finding::of(&STREAM_UNRECOVERED, format!("the stream {name} could not be recovered"))
                .run(format!("sudo ls -la '{}'", stream_place(case, name)))
        } else {
            continue;
        };
        let finding = finding.quote("healthz", text);
        match found.iter_mut().find(|other: &&mut Finding| other.code == finding.code) {
            Some(other) => *other = other.clone().quote("healthz", text),
            None => found.push(finding),
        }
    }
    found
}

fn store_path(case: &Case<'_>) -> String {
    match case.archive.store.as_ref().ok().and_then(Option::as_ref) {
        Some(store) => store.path.clone(),
        // nats-server's own default is below the system's directory for temporary files (`server.go`, `EnableJetStream`).
        None => {
            let set = case.settings().and_then(|settings| settings.store_dir.as_deref());
            format!("{}/jetstream", set.unwrap_or("/tmp/nats").trim_end_matches('/'))
        }
    }
}

/// A raft group's directory, quoted: below the system account's name (`jetstream_cluster.go`, `setupMetaGroup`).
fn raft_place(case: &Case<'_>, group: &str) -> String {
    let system = case.settings().and_then(|settings| settings.system_account.as_deref()).unwrap_or("$SYS");
    format!("'{}/{system}/_js_/{group}'", store_path(case))
}

/// `ACCOUNT > STREAM` as a directory of the store.
fn stream_place(case: &Case<'_>, name: &str) -> String {
    let mut parts = name.split(" > ");
    let (account, stream) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!("{}/{account}/streams/{stream}", store_path(case))
}

fn consumer_place(case: &Case<'_>, name: &str) -> String {
    let consumer = name.split(" > ").nth(2).unwrap_or_default();
    format!("'{}/obs/{consumer}/o.dat'", stream_place(case, name))
}

/// What the log tells of damage: marks, the page, and what the title says.
const DAMAGE: &[(&[&str], &Page, &str)] = &[
    (
        &["corrupt record state", "could not locate msg block", "malformed or corrupt message"],
        &BLOCKS,
        "message blocks of a stream are damaged",
    ),
    (
        &["Missing stream metafile", "Missing stream checksum file", "Stream metafile"],
        &STREAM_METADATA,
        "a stream's metadata is missing or damaged",
    ),
    (&["Detected orphaned"], &ORPHANS, "the server deletes streams that the cluster does not know"),
    (&["Detected unsupported"], &UNSUPPORTED, "the server can't run assets that a newer version made"),
];

fn damage(case: &Case<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (marks, page, title) in DAMAGE {
        let Some(line) = case.said(marks) else { continue };
        let name = asset(line.text());
        let title = if name == "a stream" { (*title).to_owned() } else { format!("{title}: {name}") };
        found.push(
            Finding::of(page, title)
                .line(&line)
                .likely()
                .heals_itself()
                .run(format!("sudo ls -la {}", store_path(case))),
        );
    }
    found
}

/// The raft log of a group, where the server says that it dropped a part of it (`raft.go`, `initRaftNode`, `truncateWAL`).
fn raft_log(case: &Case<'_>) -> Option<Finding> {
    let line = case.said(&["from WAL [", "Corrupt WAL"]).or_else(|| case.said(&["Resetting WAL state"]))?;
    // `RAFT [NODE - GROUP] …`
    let named = line.text().strip_prefix("RAFT [").and_then(|rest| rest.split_once("] ")?.0.split_once(" - "));
    let finding = match named {
        Some((_, group)) => {
            let place = raft_place(case, group);
            Finding::of(&WAL, format!("the raft log of the group {group} is damaged"))
                .run(format!("sudo ls -la {place}"))
        }
        None => Finding::of(&WAL, "a raft log is damaged").run(format!("sudo ls -la {}", store_path(case))),
    };
    Some(finding.line(&line).likely().heals_itself().run("journalctl -k -n 50"))
}

/// Whether the store is being recovered, and whether that goes on.
fn recovery(case: &Case<'_>) -> Option<Finding> {
    if !case.alive() {
        return None;
    }
    let work = case.process().filter(|process| process.state != Some('T')).and_then(|process| process.work);
    let marks = |line: &Line<'_>, marks: &[&str]| marks.iter().any(|mark| line.text().contains(mark));
    const BEGINS: [&str; 2] = ["Starting restore for stream", "Recovering "];
    let last = case.lines.iter().rposition(|line| marks(line, &BEGINS) || marks(line, &["Restored ", "Took "]));
    let ready = case.lines.iter().any(|line| marks(line, &["Server is ready", "Listening for client connections"]));
    let Some(begun) = last.filter(|at| !ready && marks(&case.lines[*at], &BEGINS)) else {
        return silent(case, work.filter(|_| !ready)?);
    };
    let line = case.lines[begun];
    let done = case.lines.iter().filter(|line| line.text().contains("Restored ")).count();
    let all = case.archive.store.as_ref().ok().and_then(|store| Some(store.as_ref()?.streams.len()));
    let of = all.filter(|all| *all > 0).map(|all| format!(" of {all}")).unwrap_or_default();
    let waits = case.process().is_some_and(|process| process.state == Some('D'));
    let for_s = line.line.at.map(|at| case.now().duration_since(at)).filter(|span| span.is_positive());
    let since = for_s.map(|span| format!(", {} in this one", super::tls::ago(span))).unwrap_or_default();
    let bytes = case.archive.store.as_ref().ok().and_then(|store| store.as_ref()?.bytes);
    let size = bytes.map(|n| format!("; the store has {}", crate::core::bytes(n))).unwrap_or_default();
    let stuck = work.is_some_and(stands_still) || for_s.is_some_and(|span| span > STUCK_AFTER) && waits;
    let page = if stuck { &RECOVERY_STUCK } else { &RECOVERING };
    let what = if stuck { "the recovery of the store does not go on" } else { "the server is recovering its store" };
    let finding = Finding::of(page, format!("{what}: {done}{of} streams done{since}{size}")).line(&line).heals_itself();
    let finding = match work {
        Some(work) => progress(case, finding, work),
        None => finding,
    };
    if !stuck {
        return Some(finding.run(case.follow_command()));
    }
    let finding = match case.health_errors().next() {
        Some(error) => finding.quote("healthz", error.error.as_str()),
        None => finding,
    };
    let name = line.text().split('\'').nth(1).unwrap_or_default();
    Some(finding.run(format!("sudo ls -la '{}'", stream_place(case, name))).run(look_at_files(case)))
}

/// A server that has opened no listener for clients, tells of no stream that it restores, and does nothing.
fn silent(case: &Case<'_>, work: Work) -> Option<Finding> {
    let begun = case.said(&["Starting JetStream"])?;
    if !stands_still(work) {
        return None;
    }
    let finding =
        Finding::of(&RECOVERY_STUCK, "the recovery of the store does not go on: no stream is named").line(&begun);
    let finding = match case.health_errors().next() {
        Some(error) => finding.quote("healthz", error.error.as_str()),
        None => finding,
    };
    let finding = progress(case, finding, work).heals_itself();
    let streams = case.archive.store.iter().flatten().flat_map(|store| &store.streams).take(3);
    let finding = streams.fold(finding, |finding, stream| {
        finding.run(format!("sudo ls -la '{}/{}/streams/{}'", store_path(case), stream.account, stream.name))
    });
    Some(finding.run(look_at_files(case)))
}

fn look_at_files(case: &Case<'_>) -> String {
    let pid = case.process().map(|process| process.pid.to_string());
    format!("sudo ls -l /proc/{}/fd; journalctl -k -n 50", pid.as_deref().unwrap_or("self"))
}

fn progress(case: &Case<'_>, finding: Finding, work: Work) -> Finding {
    let pid = case.process().map_or(0, |process| process.pid);
    let text =
        format!("{} read, {} ticks of the processor in {} s", crate::core::bytes(work.bytes), work.ticks, work.seconds);
    finding.quote(format!("/proc/{pid}/io and stat, twice"), text)
}

/// While it recovers, a server reads or computes without pause; the slowest disk that was tried gave 3 MB a second. One that
/// stands still reads its own monitoring requests, and works some ticks for them.
fn stands_still(work: Work) -> bool {
    work.seconds >= 2 && work.bytes / work.seconds.max(1) < 64 * 1024 && work.ticks / work.seconds.max(1) < 10
}

/// The slowest recovery that was measured took 17 s a GB (60 MB/s); a single stream rarely has more than 20 GB.
const STUCK_AFTER: SignedDuration = SignedDuration::from_secs(360);

fn short(case: &Case<'_>) -> Option<Finding> {
    let first = case.context.data_short.first()?;
    let more = case.context.data_short.len() - 1;
    let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
    let mut finding = Finding::of(&DATA_SHORT, format!("{first}{more}")).heals_itself();
    for stream in case.context.data_short.iter().take(5) {
        finding = finding.quote("counts before the restart, and of the leaders", stream.as_str());
    }
    Some(finding.run(format!("findmnt -T {}", parent(&store_path(case)))))
}
