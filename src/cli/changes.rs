//! Files that a plan puts in place: compared before the plan is made, and what changes in them in words.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use super::{Code, Error};
use crate::{
    config::{files, inventory::Cluster},
    core::{
        configure::{FileDiff, Side, configure},
        count_of,
        plan::Plan,
        playbook::Step,
    },
    fleet::Fleet,
    run::configure::{Compared, Contents, NotCompared, compared},
};

/// What the files of a plan are, and what is in them; none where no step has files.
pub async fn prepare(
    fleet: &impl Fleet,
    steps: &[Step],
    cluster: &Cluster,
    hosts: &[String],
) -> Result<Option<(Compared, Contents)>, Error> {
    let Some(step) = configure(steps) else { return Ok(None) };
    let files = files::fill(step, cluster, hosts)?;
    let compared = compared(fleet, steps, step, &files).await?;
    Ok(Some((compared, files.contents())))
}

/// What is in the files of a plan that was made before, as far as it can be made again.
pub fn again(plan: &Plan, cluster: &Cluster) -> Contents {
    let hosts: Vec<String> = plan.turns.iter().map(|turn| turn.host.clone()).collect();
    let Some(step) = configure(&plan.steps) else { return Contents::new() };
    match files::fill(step, cluster, &hosts) {
        Ok(files) => files.contents(),
        Err(error) => {
            let error = Error::from(error).message();
            super::output::note(&format!("the files can't be made again, and what is staged has to do: {error}"));
            Contents::new()
        }
    }
}

impl From<NotCompared> for Error {
    fn from(error: NotCompared) -> Self {
        let code = if error.unreachable { Code::Unreachable } else { Code::Refused };
        Self::plain(code, error.to_string()).hint("nothing was touched")
    }
}

/// What changes on which hosts.
pub fn text(plan: &Plan) -> String {
    const HOSTS: Style = Style::new().bold();
    let mut out = String::new();
    for change in &plan.changes {
        // Writing to a String can't fail.
        let _ = writeln!(out, "{HOSTS}{}{HOSTS:#}: {}: {}", change.hosts.join(", "), change.way.word(), change.why);
        change.files.iter().for_each(|file| of_file(&mut out, file));
    }
    out
}

fn of_file(out: &mut String, file: &FileDiff) {
    const LESS: Style = AnsiColor::Red.on_default();
    const MORE: Style = AnsiColor::Green.on_default();
    const PLAIN: Style = Style::new();
    let new = if file.side == Side::Created { ", a new file" } else { "" };
    let hidden = file.hidden.as_ref().map(|why| format!(", changed and not shown: {why}")).unwrap_or_default();
    let _ = writeln!(out, "  {}{new}{hidden}", file.to);
    for line in &file.diff {
        let style = match line.as_bytes().first() {
            Some(b'-') => LESS,
            Some(b'+') => MORE,
            _ => PLAIN,
        };
        let _ = writeln!(out, "    {style}{line}{style:#}");
    }
    if file.more > 0 {
        let _ = writeln!(out, "    and {}", count_of(file.more, "more line"));
    }
}
