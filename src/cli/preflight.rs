//! `preflight`: could the server of this very machine start? For a unit's `ExecStartPre=` and a container's entrypoint: no
//! ssh, no inventory, one line a finding.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::{
    Code, Error,
    args::{Expiring, Format},
    diagnose, output,
};
use crate::{
    core::diagnosis::{Diagnosis, Purpose, diagnose as judge},
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
    #[command(flatten)]
    expiring: Expiring,
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
/// There is no program to look at, or the answer can't be printed.
pub async fn run(args: Preflight) -> Result<Code, Error> {
    let target = Collected { config: Some(&args.config), program: args.binary.as_deref(), ..Collected::default() };
    let archive = collect::here(&target, LIMIT).await;
    // Without the program the configuration is not tested, and that is no pass.
    if archive.machine.is_ok() && archive.binary.is_err() {
        return Err(Error::plain(Code::Usage, "there is no nats-server in PATH").hint("name it: `--binary FILE`"));
    }
    let context = args.expiring.context(Purpose::Preflight);
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
