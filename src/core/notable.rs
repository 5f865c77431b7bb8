//! Which lines of a server's log matter when it does not come back.

/// Fragments that mark a line as worth showing, the gravest first. Where each comes from: `server/` of nats-server,
/// and seen on servers 2.9 to 2.15 made to fail.
const MARKS: &[&str] = &[
    // The configuration, before there is a logger.
    "nats-server: ",
    "error opening file",
    // Fatal: the process exits with it.
    "[FTL]",
    "panic:",
    "fatal error:",
    // systemd's own words for a process that could not be started or died.
    "Failed to execute",
    "Failed at step",
    "Main process exited",
    "Failed with result",
    "Start request repeated too quickly",
    "A process of this unit has been killed by the OOM killer",
    "Killing process",
    // The server lives but can't serve.
    "[ERR]",
    "cluster name",
    "duplicate name",
    "Waiting for routing to be established",
    "will be DISABLED",
    "has NO quorum",
    "bootstrapping",
    "Detected orphaned",
    "Detected unsupported",
    "Corrupt",
    "corrupt",
    "checksums do not match",
    "was removed from the cluster",
    "Restored ",
    "[WRN]",
];

/// Words in a route error that say why a server can't join: the gravest of what a living server logs.
const AT_MOST: usize = 8;

/// The lines that matter, at most eight, in their own order: the gravest kinds first choose, repeated texts count once.
pub fn notable(lines: &[String]) -> Vec<String> {
    let mut chosen: Vec<usize> = Vec::new();
    let mut texts: Vec<&str> = Vec::new();
    for mark in MARKS {
        for (index, line) in lines.iter().enumerate() {
            if chosen.len() == AT_MOST {
                break;
            }
            let text = message(line);
            if line.contains(mark) && !chosen.contains(&index) && !texts.contains(&text) {
                chosen.push(index);
                texts.push(text);
            }
        }
    }
    chosen.sort_unstable();
    chosen.into_iter().map(|index| lines[index].clone()).collect()
}

/// A log line without what differs between repetitions: `[pid] date time [LVL] ` of nats-server.
fn message(line: &str) -> &str {
    ["[FTL] ", "[ERR] ", "[WRN] ", "[INF] ", "nats-server: "]
        .iter()
        .find_map(|mark| line.find(mark).map(|at| &line[at..]))
        .unwrap_or(line)
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
        let mut lines: Vec<String> = (0..20).map(|n| format!("[1] t [WRN] slow {n}")).collect();
        lines.push("nats-server: Parse error on line 6".into());
        let found = notable(&lines);
        assert_eq!(found.len(), AT_MOST);
        assert_eq!(found.last().map(String::as_str), Some("nats-server: Parse error on line 6"));
    }

    #[test]
    fn nothing_notable_is_nothing() {
        check(&["[1] t [INF] Server is ready"], &[]);
    }
}
