//! `diagnose`: why is a server not ready? At any time, changing nothing.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use anstyle::{AnsiColor, Style};
use clap::Args;
use serde::Serialize;

use super::{
    Code, Error,
    args::{Expiring, Format, Target},
    output,
};
use crate::{
    core::{
        diagnosis::{Diagnosis, Purpose},
        halt::Serving,
    },
    fleet::live::Live,
    run::diagnosis::{self, Looked},
};

/// Arguments of `diagnose`.
#[derive(Debug, Args)]
pub struct Diagnose {
    #[command(flatten)]
    target: Target,
    /// The hosts to look at; without any, all that are selected.
    #[arg(value_name = "HOST")]
    hosts: Vec<String>,
    #[command(flatten)]
    expiring: Expiring,
    /// Keep the evidence too, secrets taken out, in this file: one JSON document a host, a line each.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    hosts: Vec<HostAnswer>,
}

#[derive(Serialize)]
struct HostAnswer {
    cluster: String,
    host: String,
    diagnosis: Diagnosis,
    serving: Serving,
}

/// Diagnoses the hosts.
///
/// # Errors
/// The configuration has mistakes, a host is not in it, or the evidence can't be kept.
pub async fn run(mut args: Diagnose) -> Result<Code, Error> {
    args.target.host.append(&mut args.hosts);
    let (_, selections) = args.target.load()?;
    let context = args.expiring.context(Purpose::Look);
    let mut hosts = Vec::new();
    for selection in &selections {
        let fleet = Live::new(&selection.cluster).await?;
        let (view, found) = diagnosis::look(&fleet, &selection.roll, &context).await;
        if let Some(path) = &args.save {
            save(path, hosts.is_empty(), &found)?;
        }
        hosts.extend(found.into_iter().map(|Looked { archive, diagnosis }| HostAnswer {
            cluster: selection.cluster.name.clone(),
            host: archive.host,
            diagnosis,
            serving: Serving::of(&view),
        }));
    }
    let code = verdict(hosts.iter().map(|host| &host.diagnosis));
    match args.output {
        Format::Json => output::print_json(&Answer { schema: "rollgate/diagnose/1", hosts })?,
        Format::Text => hosts.iter().for_each(|host| output::print(&text(host))),
    }
    Ok(code)
}

/// Writes archives, after those of the clusters before where it is not the `first`. The file is its owner's alone: what
/// is in it is no secret, and no matter of every user's either.
fn save(path: &Path, first: bool, found: &[Looked]) -> Result<(), Error> {
    use std::os::unix::fs::OpenOptionsExt;
    let write = || {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.create(true).write(true).truncate(first).append(!first).mode(0o600).open(path)?;
        for one in found {
            file.write_all(serde_json::to_string(&one.archive)?.as_bytes())?;
            file.write_all(b"\n")?;
        }
        Ok::<_, std::io::Error>(())
    };
    write().map_err(|error| Error::plain(Code::Internal, format!("{} can't be written: {error}", path.display())))
}

/// The exit code: something blocks, or the host of it can't be reached.
pub fn verdict<'a>(diagnoses: impl Iterator<Item = &'a Diagnosis>) -> Code {
    let mut code = Code::Done;
    for diagnosis in diagnoses {
        match diagnosis.root() {
            Some(root) if root.code == "host-unreachable" => return Code::Unreachable,
            Some(_) => code = Code::Refused,
            None if diagnosis.unknown.is_some() || !diagnosis.unidentified.is_empty() => code = Code::Refused,
            None => {}
        }
    }
    code
}

fn text(answer: &HostAnswer) -> String {
    const HOST: Style = AnsiColor::Cyan.on_default().bold();
    let diagnosis = crate::report::render_diagnosis(&answer.diagnosis);
    format!("{HOST}{}{HOST:#}\n{diagnosis}\ncluster  {}\n\n", answer.host, answer.serving)
}
