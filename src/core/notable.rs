//! Which lines of a server's log matter when it does not come back.

/// Fragments of a line that a dying server, or its manager, leaves: the gravest first. Where each comes from: `server/`
/// of nats-server, `exec_status` and `unit.c` of systemd, and seen on servers 2.9 to 2.15 that were made to fail.
const FATAL: &[&str] = &[
    // The configuration, before there is a logger: stderr only, whatever `log_file` says.
    "nats-server: ",
    "error opening file",
    "[FTL]",
    "panic:",
    "fatal error:",
    "Failed to execute",
    "Failed at step",
    "killed by the OOM killer",
    "Start request repeated too quickly",
    "Main process exited",
    "Failed with result",
];

/// Fragments of a line of a server that lives but can't serve.
const GRAVE: &[&str] = &[
    "[ERR]",
    "cluster name",
    "duplicate name",
    "Waiting for routing to be established",
    "will be DISABLED",
    "has NO quorum",
    "JetStream cluster bootstrapping",
    "Detected orphaned",
    "Detected unsupported",
    "orrupt",
    "checksums do not match",
    "was removed from the cluster",
];

/// Fragments of a line that is worth showing where there is nothing graver.
const REST: &[&str] = &["Starting restore for stream", "Restored ", "[WRN]"];

/// More lines than this are not read at night.
const AT_MOST: usize = 8;

/// The lines that matter, at most eight, in their own order. The gravest kinds choose first; lines that differ only in
/// numbers and addresses count once; warnings are left out where there is anything graver.
pub fn notable(lines: &[String]) -> Vec<String> {
    let mut chosen = choose(lines, &[FATAL, GRAVE].concat());
    if chosen.is_empty() {
        chosen = choose(lines, REST);
    }
    chosen.sort_unstable();
    chosen.into_iter().map(|index| lines[index].clone()).collect()
}

fn choose(lines: &[String], marks: &[&str]) -> Vec<usize> {
    let mut chosen: Vec<usize> = Vec::new();
    let mut texts: Vec<String> = Vec::new();
    for mark in marks {
        for (index, line) in lines.iter().enumerate().filter(|(_, line)| line.contains(mark)) {
            let text = without_numbers(message(line));
            if chosen.len() < AT_MOST && !chosen.contains(&index) && !texts.contains(&text) {
                chosen.push(index);
                texts.push(text);
            }
        }
    }
    chosen
}

/// A log line without the `[pid] date time` that nats-server puts before it.
fn message(line: &str) -> &str {
    let marks = ["[FTL] ", "[ERR] ", "[WRN] ", "[INF] "];
    marks.iter().find_map(|mark| line.find(mark).map(|at| line[at + mark.len()..].trim())).unwrap_or(line.trim())
}

/// A server that can't join logs the same about each peer, connection and second.
fn without_numbers(text: &str) -> String {
    text.split(|c: char| c.is_ascii_digit()).filter(|part| !matches!(*part, "" | "." | ":")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], expected: &[&str]) {
        let lines: Vec<String> = lines.iter().map(|line| (*line).into()).collect();
        assert_eq!(notable(&lines), expected);
    }

    #[test]
    fn the_fatal_line_is_found_among_the_usual() {
        let fatal = r#"[17] 2026/11/22 12:00:00.000000 [FTL] Error listening on port: 0.0.0.0:4222, "listen tcp 0.0.0.0:4222: bind: address already in use""#;
        check(&["[17] 2026/11/22 12:00:00.000000 [INF] Starting nats-server", fatal], &[fatal]);
    }

    #[test]
    fn repetitions_count_once() {
        check(&["[1] t [FTL] no", "[2] t [FTL] no", "[2] t [FTL] other"], &["[1] t [FTL] no", "[2] t [FTL] other"]);
    }

    #[test]
    fn the_gravest_survive_the_limit() {
        let mut lines: Vec<String> = ('a'..='t').map(|word| format!("[1] t [ERR] slow {word}")).collect();
        lines.push("nats-server: Parse error on line 6".into());
        let found = notable(&lines);
        assert_eq!(found.len(), AT_MOST);
        assert_eq!(found.last().map(String::as_str), Some("nats-server: Parse error on line 6"));
    }

    #[test]
    fn nothing_notable_is_nothing() {
        check(&["[1] t [INF] Server is ready"], &[]);
    }

    #[test]
    fn warnings_show_only_alone() {
        check(&["[1] t [WRN] Plaintext passwords", "[1] t [FTL] no"], &["[1] t [FTL] no"]);
        check(&["[1] t [WRN] Plaintext passwords"], &["[1] t [WRN] Plaintext passwords"]);
    }

    #[test]
    fn addresses_do_not_make_a_line_new() {
        let one = "[694] 2026/11/22 19:11:17.147173 [ERR] 10.77.0.11:6222 - rid:12 - Route Error 'no'";
        let two = "[694] 2026/11/22 19:11:18.148505 [ERR] 10.77.0.13:6222 - rid:15 - Route Error 'no'";
        check(&[one, two], &[one]);
    }
}
