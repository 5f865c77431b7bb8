//! `show`: what happened in a run.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{Code, Error, args::Format, mirror, open, output};
use crate::{
    core::{event::Envelope, event::Event, install::mixed, progress::Progress},
    journal::StateDir,
    report::{Lines, Reporter, end, render_halt, span},
};

/// Arguments of `show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The run (`rollgate history`); the latest where none is named.
    #[arg(value_name = "RUN")]
    run: Option<String>,
    /// An inventory, whose bucket is asked too (`state:`).
    #[arg(short, long, value_name = "FILE", env = "ROLLGATE_INVENTORY")]
    inventory: Option<PathBuf>,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Serialize)]
struct Answer<'a> {
    schema: &'static str,
    run: &'a str,
    events: &'a [Envelope],
}

/// Tells a run.
///
/// # Errors
/// There is no such run, or its journal is damaged.
pub async fn run(args: ShowArgs) -> Result<Code, Error> {
    let state = StateDir::of_user().map_err(Error::internal)?;
    let buckets = mirror::named(args.inventory.as_deref()).await?;
    let there = buckets.runs().map(|(_, run)| run.id.clone()).max();
    let latest = || state.runs().map(|ids| ids.last().cloned().max(there));
    let id = match &args.run {
        Some(id) => Some(id.clone()),
        None => latest().map_err(|error| Error::internal(error).with(Code::Refused))?,
    };
    let plain = |id: &String| id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let known = |id: &String| plain(id) && (state.run(id).is_dir() || buckets.run(id).is_some());
    let Some(id) = id.filter(known) else {
        return Err(Error::plain(Code::Usage, "there is no such run").hint("see: rollgate history"));
    };
    let journaled = mirror::longer(&state, &buckets, &id).await?;
    open::fold(&journaled.events)?;
    match args.output {
        Format::Json => {
            output::print_json(&Answer { schema: "rollgate/run/1", run: &id, events: &journaled.events })?;
        }
        Format::Text => output::print(&text(&id, &journaled.events)),
    }
    Ok(Code::Done)
}

fn text(id: &str, events: &[Envelope]) -> String {
    let mut lines = Lines::new(Vec::new());
    for envelope in events {
        lines.report(envelope, &Progress::default());
        match &envelope.event {
            Event::Halted { halt } | Event::Refused { halt } => lines.say(&render_halt(halt)),
            event => end(event).iter().for_each(|text| lines.say(text)),
        }
    }
    mixed(events).iter().for_each(|mixed| lines.say(&mixed.words(span)));
    let began = events.first().map(|envelope| format!(", began {:.0}", envelope.at)).unwrap_or_default();
    format!("run {id}{began}\n{}", String::from_utf8_lossy(&lines.into_inner()))
}
