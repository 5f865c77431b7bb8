//! `preflight`: could the server of this very machine start? For a unit's `ExecStartPre=` and a container's entrypoint: no
//! ssh, no inventory, one line a finding.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::{Code, Error, args::Format, diagnose, output};
use crate::{
    core::diagnosis::{Context, Diagnosis, EXPIRING_DAYS, Purpose, diagnose as judge},
    fleet::live::{Collected, collect},
    report::finding_line,
};

/// A unit's start has 90 s by default (`DefaultTimeoutStartSec`), and a collection less than one.
const LIMIT: Duration = Duration::from_secs(20);

/// Arguments of `preflight`.
#[derive(Debug, Args)]
pub struct Preflight {
    /// The server's configuration.
    #[arg(short, long, value_name = "FILE")]
    config: String,
    /// The server's program, where it is not in PATH.
    #[arg(short, long, value_name = "FILE")]
    binary: Option<String>,
    /// Tell certificates that expire within so many days.
    #[arg(long, value_name = "DAYS", default_value_t = EXPIRING_DAYS)]
    expiring_days: u32,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    diagnosis: Diagnosis,
}

/// Looks at this machine.
///
/// # Errors
/// The answer can't be printed.
pub async fn run(args: Preflight) -> Result<Code, Error> {
    let target = Collected { config: Some(&args.config), program: args.binary.as_deref(), ..Collected::default() };
    let archive = collect::here(&target, LIMIT).await;
    let context = Context { purpose: Purpose::Preflight, expiring_days: args.expiring_days, ..Context::default() };
    let diagnosis = judge(&archive, &context);
    let code = diagnose::verdict(std::iter::once(&diagnosis));
    match args.output {
        Format::Json => output::print_json(&Answer { schema: "rollgate/preflight/1", diagnosis })?,
        Format::Text => output::print(&text(&diagnosis)),
    }
    Ok(code)
}

fn text(diagnosis: &Diagnosis) -> String {
    let mut lines: Vec<String> = diagnosis.findings.iter().map(finding_line).collect();
    lines.extend(diagnosis.unknown.iter().map(|why| format!("blocking: nothing could be gathered: {why}")));
    lines.iter().map(|line| format!("{line}\n")).collect()
}
