//! `history`: the runs.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::{Code, Error, args::Format, mirror, open, output};
use crate::journal::{Journaled, StateDir};

/// Arguments of `history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Only the latest so many.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    last: usize,
    /// An inventory, whose bucket is asked too (`state:`).
    #[arg(short, long, value_name = "FILE", env = "ROLLGATE_INVENTORY")]
    inventory: Option<PathBuf>,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    runs: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    run: String,
    /// `finished`, `refused`, `aborted`; `halted`, `interrupted` and `open` can be gone on with; `unreadable`.
    state: String,
    resumable: bool,
    cluster: Option<String>,
    playbook: Option<String>,
    began: Option<Timestamp>,
    done: usize,
    of: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Lists the runs, the latest last.
///
/// # Errors
/// The state directory can't be read, or the bucket can't be used.
pub async fn run(args: HistoryArgs) -> Result<Code, Error> {
    let state = StateDir::of_user().map_err(Error::internal)?;
    let mut ids = state.runs().map_err(|error| Error::internal(error).with(Code::Refused))?;
    let buckets = mirror::named(args.inventory.as_deref()).await?;
    ids.extend(buckets.runs().map(|(_, run)| run.id.clone()));
    ids.sort();
    ids.dedup();
    let skip = ids.len().saturating_sub(args.last);
    let mut rows: Vec<Row> = Vec::new();
    for id in ids.into_iter().skip(skip) {
        let closed = state.is_marked_closed(&id) || buckets.run(&id).is_some_and(|(_, run)| run.marked_closed);
        let journaled = mirror::longer(&state, &buckets, &id).await.map_err(|error| error.message());
        rows.push(row(id, closed, journaled));
    }
    match args.output {
        Format::Json => output::print_json(&Answer { schema: "rollgate/history/1", runs: rows })?,
        Format::Text if rows.is_empty() => output::note("no run yet"),
        Format::Text => output::print(&text(&rows)),
    }
    Ok(Code::Done)
}

fn row(id: String, closed: bool, journaled: Result<Journaled, String>) -> Row {
    let mut row = Row {
        run: id,
        state: "unreadable".into(),
        resumable: false,
        cluster: None,
        playbook: None,
        began: None,
        done: 0,
        of: 0,
        error: None,
    };
    match journaled.and_then(|journaled| {
        let progress = open::fold(&journaled.events).map_err(|error| error.to_string())?;
        Ok((journaled, progress))
    }) {
        Err(error) => row.error = Some(error),
        Ok((journaled, progress)) => {
            row.state = progress.ended.unwrap_or(if progress.plan.is_some() { "open" } else { "empty" }).into();
            row.resumable = progress.plan.is_some() && !progress.closed();
            row.began = journaled.events.first().map(|envelope| envelope.at);
            row.done = progress.done.len();
            if let Some(plan) = &progress.plan {
                row.cluster = Some(plan.cluster.clone());
                row.playbook = Some(plan.playbook.clone());
                row.of = plan.turns_allowed();
            }
        }
    }
    if closed {
        (row.state, row.resumable) = ("aborted".into(), false);
    }
    row
}

fn text(rows: &[Row]) -> String {
    let unknown = || "?".to_owned();
    let table = rows.iter().map(|row| {
        vec![
            row.run.clone(),
            row.cluster.clone().unwrap_or_else(unknown),
            row.playbook.clone().unwrap_or_else(unknown),
            row.began.map_or_else(unknown, |at| format!("{at:.0}")),
            format!("{} of {}", row.done, row.of),
            if row.resumable { format!("{} (rollgate resume)", row.state) } else { row.state.clone() },
        ]
    });
    let mut out = output::table(&["run", "cluster", "playbook", "began", "done", "state"], table);
    for error in rows.iter().filter_map(|row| row.error.as_ref()) {
        out.push_str(&format!("{error}\n"));
    }
    out
}
