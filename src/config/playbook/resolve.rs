//! The raw playbook made into the resolved one.

use std::time::Duration;

use super::raw::{RawDrain, RawGate, RawPlaybook, RawPolicy, RawReboot, RawSettle, RawStep};
use super::types::{Canary, Drain, Gate, Hooks, OrderRule, Policy, Reboot, Reload, Settle, Start, Step, Stop};
use super::{configure, hooks, install, order, own_step};
use crate::config::check::Checker;
use crate::config::duration;
use crate::config::error::Mistake;
use crate::config::suggest;
use crate::config::yaml::{DurationText, Span, Spanned};
use crate::core::safety::Objection;

/// Most good looks in a row that can be asked for: at one a second a quarter of an hour.
const MOST_LOOKS: u32 = 1000;

/// What a playbook says, but for where it was read from.
pub(super) struct Parts {
    pub name: String,
    pub description: String,
    pub policy: Policy,
    pub turn: Vec<Step>,
    pub hooks: Hooks,
}

/// What `raw` says; what is wrong goes to `checker`, and has its default in the result.
pub(super) fn resolve(raw: &Spanned<RawPlaybook>, checker: &mut Checker) -> Parts {
    let playbook = &raw.value;
    if playbook.name.is_none() && !raw.lost("name") {
        let mistake = Mistake::anywhere("the playbook has no `name`");
        checker.note(mistake.help("begin the file with `name: my-restart`"));
    }
    if let Some(name) = &playbook.name {
        checker.name("playbook", &name.value, name.span);
    }
    let policy = playbook.policy.as_ref();
    let turn = resolve_turn(raw, checker);
    let hooks = hooks::resolve(playbook, &turn, checker);
    Parts {
        name: playbook.name.as_ref().map(|name| name.value.clone()).unwrap_or_default(),
        description: playbook.description.as_deref().unwrap_or_default().trim().to_owned(),
        policy: policy.map(|policy| resolve_policy(&policy.value, checker)).unwrap_or_default(),
        turn,
        hooks,
    }
}

fn resolve_turn(raw: &Spanned<RawPlaybook>, checker: &mut Checker) -> Vec<Step> {
    const HELP: &str = "the usual turn is `turn: [stop, start, gate, settle]`";
    let Some(turn) = &raw.value.turn else {
        if !raw.lost("turn") {
            checker.note(Mistake::anywhere("the playbook has no `turn`").help(HELP));
        }
        return Vec::new();
    };
    let is_whole = turn.lost.is_empty();
    if turn.value.is_empty() && is_whole {
        checker.note(Mistake::at(turn.span, "a turn without steps does nothing").help(HELP));
    }
    let steps: Vec<(Step, Span)> =
        turn.value.iter().map(|raw| (resolve_step(&raw.value, raw.span, checker), raw.span)).collect();
    // A step that could not be read may be the one that is missing.
    order::check(&steps, is_whole, checker);
    // Judged as if all were done: what is left out must not be what makes it right.
    let kept = steps.into_iter().zip(&turn.value).filter(|(_, raw)| !own_step::left_out(&raw.value));
    kept.map(|((step, _), _)| step).collect()
}

pub(super) fn resolve_step(raw: &RawStep, span: Span, checker: &mut Checker) -> Step {
    match raw {
        RawStep::Drain(raw) => Step::Drain(match raw {
            Some(raw) => resolve_drain(raw, checker),
            None => Drain::default(),
        }),
        RawStep::Stop(raw) => {
            let written = raw.as_ref().and_then(|raw| raw.deadline.as_ref());
            let default = Stop::default();
            let deadline = or_default(written, default.deadline, checker);
            Step::Stop(Stop { deadline })
        }
        RawStep::Start(raw) => {
            let written = raw.as_ref().and_then(|raw| raw.deadline.as_ref());
            let default = Start::default();
            let deadline = or_default(written, default.deadline, checker);
            Step::Start(Start { deadline })
        }
        RawStep::Install(raw) => Step::Install(install::install(raw.as_ref(), span, checker)),
        RawStep::Configure(raw) => Step::Configure(configure::configure(raw.as_ref(), span, checker)),
        RawStep::Reboot(raw) => Step::Reboot(match raw {
            Some(raw) => resolve_reboot(raw, checker),
            None => Reboot::default(),
        }),
        RawStep::Gate(raw) => Step::Gate(match raw {
            Some(raw) => resolve_gate(raw, span, checker),
            None => Gate::default(),
        }),
        RawStep::Settle(raw) => Step::Settle(match raw {
            Some(raw) => resolve_settle(raw, Settle::default(), span, checker),
            None => Settle::default(),
        }),
        RawStep::Canary(raw) => {
            let Canary { hold, interval } = Canary::default();
            let settle = Settle { hold, interval };
            let Settle { hold, interval } = match raw {
                Some(raw) => resolve_settle(raw, settle, span, checker),
                None => settle,
            };
            Step::Canary(Canary { hold, interval })
        }
        RawStep::Reload(raw) => {
            let written = raw.as_ref().and_then(|raw| raw.deadline.as_ref());
            let deadline = or_default(written, Reload::default().deadline, checker);
            let through = raw.as_ref().and_then(|raw| raw.through).unwrap_or_default();
            Step::Reload(Reload { through, deadline })
        }
        RawStep::Run(raw) => Step::Run(own_step::run(raw.as_ref(), span, checker)),
        RawStep::File(raw) => Step::File(own_step::file(raw.as_ref(), span, checker)),
        RawStep::Http(raw) => Step::Http(own_step::http(raw.as_ref(), span, checker)),
        RawStep::Pause(raw) => Step::Pause(own_step::pause(raw.as_ref(), span, checker)),
    }
}

/// More clients a second than this are a thundering herd for the servers that they come to.
const FASTEST_EVICTION: u32 = 10_000;
/// A client that came back a hundred times will not leave.
const MOST_PASSES: u32 = 100;

fn resolve_drain(raw: &RawDrain, checker: &mut Checker) -> Drain {
    let default = Drain::default();
    let mut count = |what, number: Option<&Spanned<i64>>, most, default| {
        number.and_then(|number| checker.count(what, number, most)).unwrap_or(default)
    };
    let rate = count("`rate`", raw.rate.as_ref(), FASTEST_EVICTION, default.rate);
    let passes = count("`passes`", raw.passes.as_ref(), MOST_PASSES, default.passes);
    Drain {
        deadline: or_default(raw.deadline.as_ref(), default.deadline, checker),
        step_down: raw.step_down.unwrap_or(default.step_down),
        evict: raw.evict.unwrap_or(default.evict),
        rate,
        passes,
    }
}

fn resolve_reboot(raw: &RawReboot, checker: &mut Checker) -> Reboot {
    let default = Reboot::default();
    let command = raw.command.as_ref().map(|words| {
        if words.value.first().is_none_or(|program| program.value.0.is_empty()) && words.lost.is_empty() {
            let mistake = Mistake::at(words.span, "a `reboot` with an empty command");
            checker.note(mistake.help("leave `command` out for `systemctl reboot`"));
        }
        words.value.iter().map(|word| word.value.0.clone()).collect()
    });
    Reboot {
        command: command.unwrap_or(default.command),
        deadline: or_default(raw.deadline.as_ref(), default.deadline, checker),
    }
}

fn or_default(written: Option<&Spanned<DurationText>>, default: Duration, checker: &mut Checker) -> Duration {
    let help = format!("{} is the default", duration::format(default));
    written.and_then(|text| checker.positive(text, &help)).unwrap_or(default)
}

fn resolve_policy(raw: &RawPolicy, checker: &mut Checker) -> Policy {
    let default = Policy::default();
    Policy {
        order: raw.order.as_ref().map_or(default.order, |order| resolve_order(order, checker)),
        stop_after: raw.stop_after.as_ref().and_then(|number| checker.count("`stop_after`", number, u32::MAX)),
        only_if: raw.only_if,
        allow: resolve_allow(raw.allow.as_deref().unwrap_or_default(), checker),
        on_failure: raw.on_failure.unwrap_or_default(),
        pause: raw.pause.as_ref().and_then(|text| checker.duration(text)).unwrap_or(default.pause),
        safety_deadline: or_default(raw.safety_deadline.as_ref(), default.safety_deadline, checker),
    }
}

fn resolve_allow(raw: &[Spanned<String>], checker: &mut Checker) -> Vec<String> {
    for name in raw {
        if !Objection::consents().any(|one| one == name.value) {
            let mistake = Mistake::at(name.span, format!("there is no objection `{}` to consent to", name.value));
            checker.note(mistake.help(suggest::hint(&name.value, Objection::consents())));
        }
    }
    raw.iter().map(|name| name.value.clone()).collect()
}

fn resolve_order(raw: &Spanned<Vec<Spanned<OrderRule>>>, checker: &mut Checker) -> Vec<OrderRule> {
    if raw.value.is_empty() && raw.lost.is_empty() {
        checker.note(
            Mistake::at(raw.span, "an order without rules").help("for the inventory's own order write `[inventory]`"),
        );
    }
    let mut rules: Vec<&Spanned<OrderRule>> = Vec::new();
    for rule in &raw.value {
        if let Some(first) = rules.iter().find(|first| first.value == rule.value) {
            checker.note(
                Mistake::at(rule.span, "this rule stands twice in the order")
                    .related(first.span, "first here")
                    .help("remove one of them"),
            );
        } else if let Some(first) = rules.iter().find(|first| first.value == OrderRule::Inventory) {
            checker.note(
                Mistake::at(rule.span, "this rule decides nothing after `inventory`")
                    .related(first.span, "leaves no two servers equal")
                    .help("put `inventory` last"),
            );
        }
        rules.push(rule);
    }
    rules.into_iter().map(|rule| rule.value).collect()
}

/// Where a value that conflicts was written, or the step that takes it as the default.
fn place(text: Option<&Spanned<DurationText>>, step: Span) -> Span {
    text.map_or(step, |text| text.span)
}

fn resolve_gate(raw: &RawGate, span: Span, checker: &mut Checker) -> Gate {
    let default = Gate::default();
    let looks = raw.looks.as_ref().and_then(|number| checker.count("`looks`", number, MOST_LOOKS));
    let mut get = |text: &Option<Spanned<DurationText>>, default| or_default(text.as_ref(), default, checker);
    let deadline = get(&raw.deadline, default.deadline);
    let gate = Gate {
        deadline,
        hard_cap: get(&raw.hard_cap, default.hard_cap.max(deadline)),
        stalled_after: get(&raw.stalled_after, default.stalled_after),
        connections: raw.connections.unwrap_or_default(),
        connections_within: get(&raw.connections_within, default.connections_within),
        looks: looks.unwrap_or(default.looks),
        first_interval: get(&raw.first_interval, default.first_interval),
        max_interval: get(&raw.max_interval, default.max_interval),
        look_timeout: get(&raw.look_timeout, default.look_timeout),
    };
    let text = duration::format;
    if gate.first_interval > gate.max_interval {
        let (first, max) = (text(gate.first_interval), text(gate.max_interval));
        let at = place(raw.first_interval.as_ref().or(raw.max_interval.as_ref()), span);
        checker.note(
            Mistake::at(at, format!("`first_interval` ({first}) is above `max_interval` ({max})"))
                .help("waits between looks grow from the first to the largest"),
        );
    }
    if gate.hard_cap < gate.deadline {
        let (cap, deadline) = (text(gate.hard_cap), text(gate.deadline));
        checker.note(
            Mistake::at(
                place(raw.hard_cap.as_ref(), span),
                format!("`hard_cap` ({cap}) is below `deadline` ({deadline})"),
            )
            .help("the cap is for a server whose recovery moves, the deadline for one that does not"),
        );
    }
    let deadline_span = place(raw.deadline.as_ref(), span);
    let deadline = text(gate.deadline);
    if gate.look_timeout >= gate.deadline {
        let timeout = text(gate.look_timeout);
        checker.note(
            Mistake::at(deadline_span, format!("the gate's deadline ({deadline}) ends within one look ({timeout})"))
                .help(format!("write a `deadline` above the `look_timeout`, say {}", text(gate.look_timeout * 10))),
        );
        return gate;
    }
    let streak = gate.max_interval.saturating_mul(gate.looks - 1);
    if streak >= gate.deadline {
        let (looks, interval) = (gate.looks, text(gate.max_interval));
        let message =
            format!("the gate's deadline ({deadline}) leaves no time for {looks} looks up to {interval} apart");
        checker.note(
            Mistake::at(deadline_span, message)
                .help(format!("write a `deadline` well above {}, or ask for fewer looks", text(streak))),
        );
    }
    gate
}

fn resolve_settle(raw: &RawSettle, default: Settle, span: Span, checker: &mut Checker) -> Settle {
    let hold = raw.hold.as_ref().and_then(|text| checker.positive(text, "to settle not at all, leave the step out"));
    let settle = Settle {
        hold: hold.unwrap_or(default.hold),
        interval: or_default(raw.interval.as_ref(), default.interval, checker),
    };
    if settle.interval > settle.hold {
        let (interval, hold) = (duration::format(settle.interval), duration::format(settle.hold));
        let at = place(raw.interval.as_ref().or(raw.hold.as_ref()), span);
        checker.note(
            Mistake::at(at, format!("looks {interval} apart see nothing of a time of {hold}"))
                .help("write an `interval` below `for`: a few looks should fall into it"),
        );
    }
    settle
}
