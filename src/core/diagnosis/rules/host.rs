//! The host: reached, allowed to be used, the same boot, its clock and its memory.

use jiff::SignedDuration;

use super::super::{
    case::Case,
    catalogue::pages,
    finding::{Finding, Severity},
};
use crate::core::view::FailureKind;

pages! {
    UNREACHABLE = "host-unreachable" Blocking Host "the host can't be reached"
        why "Nothing can be gathered there, and nothing is known of its server."
        proof "The attempt to connect."
        remedy "bring the host back, or the way to it";
    SUDO = "sudo-lost" Blocking Host "sudo is refused on the host"
        why "Without it the service can be neither seen whole nor changed."
        proof "`sudo -n` on the host."
        remedy "allow the user to run commands as root without a password";
    REBOOTED = "host-rebooted" Warning Host "the host was rebooted"
        why "The server went down with the host, not by our hand; what had been begun there is lost."
        proof "The host's boot id, or its uptime, and the time when the restart began."
        remedy "find out why: the kernel's log of the boot before";
    CLOCK = "clock-skew" Warning Host "the host's clock differs"
        why "Certificates and JWTs are judged by it, and logs can't be compared. Raft does not need it."
        proof "The host's clock against the controller's."
        remedy "bring time synchronisation back";
    MEMORY = "memory-low" Warning Host "the host has little memory left"
        why "The kernel ends the largest process when memory is used up, and that is the server."
        proof "MemAvailable."
        remedy "find what takes the memory";
}

/// All that concerns the host itself.
pub(super) fn rules(case: &Case<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(reach(case));
    found.extend(rebooted(case));
    found.extend(clock(case));
    found.extend(memory(case));
    found
}

fn sudo(host: &str, said: &str) -> Finding {
    Finding::of(&SUDO, format!("sudo is refused on {host}"))
        .quote(format!("sudo -n on {host}"), said)
        .run("sudo visudo -f /etc/sudoers.d/rollgate")
        .heals_itself()
}

fn reach(case: &Case<'_>) -> Option<Finding> {
    let host = &case.archive.host;
    let failure = match &case.archive.machine {
        Err(failure) => failure,
        Ok(_) => {
            let refused = case.archive.gaps.iter().find(|gap| gap.what == "sudo")?;
            return Some(sudo(host, &refused.why));
        }
    };
    match failure.kind {
        FailureKind::Sudo => Some(sudo(host, &failure.detail)),
        kind if kind.is_unreachable() => Some(
            Finding::of(&UNREACHABLE, format!("{host} can't be reached"))
                .quote(format!("connecting to {host}"), failure.detail.as_str())
                .run(format!("rollgate check --host {host}"))
                .heals_itself(),
        ),
        _ => None,
    }
}

fn rebooted(case: &Case<'_>) -> Option<Finding> {
    let machine = case.archive.machine.as_ref().ok()?;
    let (before, now) = (case.context.boot_before.as_deref()?, machine.boot_id.as_deref()?);
    if before == now {
        return None;
    }
    let up = machine.uptime_s.map(|s| format!(", {s} s ago")).unwrap_or_default();
    let severity = if case.alive() { Severity::Warning } else { Severity::Blocking };
    Some(
        Finding::of(&REBOOTED, format!("{} was rebooted during the turn{up}", case.archive.host))
            .severity(severity)
            .quote("/proc/sys/kernel/random/boot_id", format!("{now}, before: {before}"))
            .run("journalctl -b -1 -n 50"),
    )
}

/// More than this is told. Certificates are issued to the minute, and a clock kept by NTP is right to the millisecond.
const SKEW: SignedDuration = SignedDuration::from_secs(30);

fn clock(case: &Case<'_>) -> Option<Finding> {
    let machine = case.archive.machine.as_ref().ok()?;
    let ahead = machine.clock.duration_since(case.archive.answered_at);
    let behind = case.archive.asked_at.duration_since(machine.clock);
    let (skew, word) = if ahead > behind { (ahead, "ahead of") } else { (behind, "behind") };
    if skew < SKEW {
        return None;
    }
    let title = format!("the clock of {} is {} {word} the controller's", case.archive.host, super::tls::ago(skew));
    let kept = match machine.clock_synchronized {
        Some(true) => ", kept by NTP",
        Some(false) => ", not kept by NTP",
        None => "",
    };
    Some(
        Finding::of(&CLOCK, title)
            .quote("date", format!("{}{kept}; the controller: {}", machine.clock, case.archive.answered_at))
            .run("timedatectl status")
            .heals_itself(),
    )
}

/// Below a fiftieth of the memory and 64 MB, a server that recovers a store is killed for it.
const MEMORY_LOW: u64 = 64 * 1024 * 1024;

fn memory(case: &Case<'_>) -> Option<Finding> {
    let machine = case.archive.machine.as_ref().ok()?;
    let (total, available) = (machine.memory_total?, machine.memory_available?);
    if available >= MEMORY_LOW || available >= total / 50 {
        return None;
    }
    let title = format!("{} has {} of memory left", case.archive.host, crate::core::bytes(available));
    Some(
        Finding::of(&MEMORY, title)
            .quote("/proc/meminfo", format!("MemAvailable {}", crate::core::bytes(available)))
            .run("ps aux --sort=-rss | head"),
    )
}
