//! What starts and stops the server.

use super::raw::{RawCommand, RawService};
use super::types::Service;
use crate::config::check::Checker;
use crate::config::error::Mistake;
use crate::config::yaml::{Span, Spanned};

/// Suffixes of units that are no services.
const OTHER_UNITS: [&str; 10] =
    [".socket", ".timer", ".target", ".mount", ".path", ".slice", ".scope", ".device", ".swap", ".automount"];

const KINDS: [&str; 4] = ["systemd", "docker", "podman", "command"];

/// The one service that `raw` describes.
pub(super) fn resolve(raw: &Spanned<RawService>, checker: &mut Checker) -> Option<Service> {
    let RawService { systemd, docker, podman, command } = &raw.value;
    let spans = [
        systemd.as_ref().map(|text| text.span),
        docker.as_ref().map(|text| text.span),
        podman.as_ref().map(|text| text.span),
        command.as_ref().map(|map| map.span),
    ];
    let given: Vec<(&str, Span)> =
        KINDS.into_iter().zip(spans).filter_map(|(kind, span)| Some((kind, span?))).collect();
    match given.as_slice() {
        [_] => {}
        [] => {
            // An unknown key in its place is reported, and is why nothing is left.
            if raw.lost.is_empty() {
                checker.note(
                    Mistake::at(raw.span, "a service of no kind")
                        .help("write one of `systemd: UNIT`, `docker: NAME`, `podman: NAME`, `command: {…}`"),
                );
            }
            return None;
        }
        [first, second, ..] => {
            let message = format!("a service of two kinds, `{}` and `{}`", first.0, second.0);
            checker.note(
                Mistake::at(second.1, message)
                    .related(first.1, "the other")
                    .help("a server is started and stopped in one way: remove all but one"),
            );
            return None;
        }
    }
    if let Some(text) = systemd {
        return unit(text, checker).map(|unit| Service::Systemd { unit });
    }
    if let Some(text) = docker {
        return container(text, checker).map(|container| Service::Docker { container });
    }
    if let Some(text) = podman {
        return container(text, checker).map(|container| Service::Podman { container });
    }
    own_commands(command.as_ref()?, checker)
}

fn unit(text: &Spanned<String>, checker: &mut Checker) -> Option<String> {
    let name = checker.word("a unit's name", text)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '.' | '\\' | '@' | '-');
    if !name.chars().all(allowed) {
        checker.note(
            Mistake::at(text.span, "bad characters in the name of a unit")
                .help("a unit is named without a path: `nats-server`"),
        );
        return None;
    }
    if let Some(suffix) = OTHER_UNITS.iter().find(|suffix| name.ends_with(**suffix)) {
        checker.note(
            Mistake::at(text.span, format!("a `{suffix}` unit is no service"))
                .help("name the `.service` unit that runs nats-server"),
        );
        return None;
    }
    let stem = name.strip_suffix(".service").unwrap_or(&name);
    if stem.is_empty() || stem.ends_with('@') {
        checker.note(
            Mistake::at(text.span, "a template unit needs an instance")
                .help("write the instance after the `@`: `nats-server@main`"),
        );
        return None;
    }
    Some(format!("{stem}.service"))
}

fn container(text: &Spanned<String>, checker: &mut Checker) -> Option<String> {
    checker.name("container", &text.value, text.span).then(|| text.value.clone())
}

fn own_commands(raw: &Spanned<RawCommand>, checker: &mut Checker) -> Option<Service> {
    let RawCommand { start, stop, status, logs } = &raw.value;
    let mut argv = |name: &str, argv: Option<&Spanned<Vec<String>>>, is_needed: bool| {
        let Some(argv) = argv else {
            if is_needed && !raw.lost(name) {
                checker.note(
                    Mistake::at(raw.span, format!("a `command` service without `{name}`"))
                        .help(format!("add `{name}: [PROGRAM, ARGUMENT, …]`")),
                );
            }
            return None;
        };
        if argv.value.first().is_none_or(String::is_empty) {
            if argv.lost.is_empty() {
                checker.note(
                    Mistake::at(argv.span, format!("the `{name}` command is empty"))
                        .help("write a program and its arguments: `[/usr/local/bin/nats-ctl, start]`"),
                );
            }
            return None;
        }
        Some(argv.value.clone())
    };
    let start = argv("start", start.as_ref(), true);
    let stop = argv("stop", stop.as_ref(), true);
    let status = argv("status", status.as_ref(), true);
    let logs = argv("logs", logs.as_ref(), false);
    Some(Service::Command { start: start?, stop: stop?, status: status?, logs })
}
