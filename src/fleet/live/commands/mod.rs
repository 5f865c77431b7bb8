//! Every command that runs on a host, as a value. Nothing else in the crate builds a command line; arguments are
//! never pasted into a script, they are its `$1`, `$2` … and openssh quotes them.

mod lock;
mod stage;
#[cfg(test)]
pub(crate) mod tests;

use std::time::Duration;

pub use lock::{Verb, lock};
pub use stage::{digest as digest_at, lines as lines_at, stage};

use super::lock::Fence;
use crate::{
    config::{
        digest,
        inventory::{Become, Service},
    },
    core::{
        install::{Role, StandIn},
        scrub::scrub,
    },
    fleet::{Action, Change, Content, PutFile},
};

/// A POSIX sh script with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    name: &'static str,
    script: &'static str,
    args: Vec<String>,
    root: bool,
    input: Option<Content>,
}

impl Remote {
    fn new(name: &'static str, script: &'static str, args: Vec<String>, root: bool) -> Self {
        Self { name, script, args, root, input: None }
    }

    /// What it reads from standard input; nothing unless it says so.
    pub fn input(&self) -> Option<&Content> {
        self.input.as_ref()
    }

    /// What it does, for messages.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The words to run on the host; the first is a program.
    pub fn argv(&self) -> Vec<String> {
        let sudo: &[&str] = if self.root { &["sudo", "-n", "--"] } else { &[] };
        let shell = ["sh", "-c", self.script, "rollgate"];
        sudo.iter().chain(&shell).map(|word| (*word).to_owned()).chain(self.args.iter().cloned()).collect()
    }
}

/// Whether privileges can be had without a password. Prints nothing.
pub fn sudo() -> Remote {
    Remote::new("sudo", "true", Vec::new(), true)
}

/// The state of the service, as `key=value` lines, and the host's boot id; with `next` also what its next start would find,
/// which runs the program for its version and so is not for every look.
pub fn service_state(service: &Service, become_: Become, next: bool) -> Remote {
    let strings = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    match service {
        Service::Systemd { unit } => {
            Remote::new("systemctl show", SYSTEMD_STATE, strings(&[unit, if next { "next" } else { "" }]), false)
        }
        Service::Docker { container } => {
            Remote::new("docker inspect", CONTAINER_STATE, strings(&["docker", container]), become_ == Become::Sudo)
        }
        Service::Podman { container } => {
            Remote::new("podman inspect", CONTAINER_STATE, strings(&["podman", container]), become_ == Become::Sudo)
        }
        Service::Command { status, .. } => {
            Remote::new("status command", COMMAND_STATE, status.clone(), become_ == Become::Sudo)
        }
    }
}

/// What the unit is, what a stop of it sends, and what its next start would find: the program's version and, where the
/// file can be read without privileges, the lame duck's duration (`lame_duck_duration`; where an include sets it, the collector knows).
const SYSTEMD_STATE: &str = r#"
if read -r boot 2>/dev/null </proc/sys/kernel/random/boot_id; then echo "Boot=$boot"; fi
show=$(systemctl show "$1" --property=LoadState,ActiveState,SubState,Result,NRestarts,MainPID,ExecMainCode,ExecMainStatus,TimeoutStopUSec,UnitFileState,ExecStart,ExecStop,KillSignal,SendSIGKILL) || exit
printf '%s\n' "$show"
[ "$2" = next ] || exit 0
start=$(printf '%s\n' "$show" | sed -n 's/^ExecStart={ path=\([^ ;]*\) ; argv\[\]=\(.*\) ; ignore_errors=.*/\1 \2 /p' | head -n 1)
program=${start%% *}
case ${program##*/} in
  nats-server*) if [ -x "$program" ]; then echo "Version=$(timeout 5 "$program" --version 2>/dev/null)"; fi ;;
esac
conf=$(printf '%s\n' "$start" | sed -n 's/.* \(-c\|-config\|--config\)[ =]\([^ ]*\) .*/\2/p')
if [ -r "$conf" ]; then
  echo "ConfigAt=$(stat -Lc %Y "$conf" 2>/dev/null)"
  sed -n 's/^[[:space:]]*"\{0,1\}lame_duck_duration"\{0,1\}[[:space:]]*[:=]\{0,1\}[[:space:]]*["'\'']\{0,1\}\([0-9a-z.]*\).*/LameDuck=\1/p' "$conf" | tail -n 1
fi
exit 0
"#;

const CONTAINER_STATE: &str = r#"
if read -r boot 2>/dev/null </proc/sys/kernel/random/boot_id; then echo "Boot=$boot"; fi
exec "$1" inspect --type container --format 'Status={{.State.Status}}
ExitCode={{.State.ExitCode}}
OOMKilled={{.State.OOMKilled}}
Pid={{.State.Pid}}
RestartCount={{.RestartCount}}
StopSignal={{.Config.StopSignal}}' "$2"
"#;

const COMMAND_STATE: &str = r#"
if read -r boot 2>/dev/null </proc/sys/kernel/random/boot_id; then echo "Boot=$boot"; fi
"$@" </dev/null
echo "StatusExit=$?"
"#;

/// The command that starts the service on a host, as an operator would type it.
pub fn start_by_hand(destination: &str, service: &Service, become_: Become) -> String {
    let start = Change { id: String::new(), what: Action::Start, limit: Duration::ZERO, boot: None };
    let sudo: &[&str] = if become_ == Become::Sudo { &["sudo"] } else { &[] };
    let words = ["ssh", destination].into_iter().chain(sudo.iter().copied()).map(str::to_owned);
    scrub(&words.chain(action(service, Become::None, &start)).collect::<Vec<_>>().join(" "))
}

/// Begins a change, or attaches to it, and reports how far it is. The fence is asked right before the effect.
pub fn change(service: &Service, become_: Become, change: &Change, fence: &Fence, wait: Duration) -> Remote {
    let limit = change.limit.as_secs().max(1).to_string();
    let ticks = (wait.as_millis() / 50).max(1).to_string();
    let launcher = if matches!(service, Service::Systemd { .. }) { "systemd-run" } else { "setsid" };
    let keep = if matches!(change.what, Action::Run { .. } | Action::Put { .. } | Action::Reboot { .. }) {
        "end"
    } else {
        "all"
    };
    let boot = change.boot.clone().unwrap_or_default();
    let mut args = vec![change.id.clone(), launcher.into(), limit, ticks, boot, RUNNER.into(), keep.into()];
    args.extend([lock::key(service), fence.token.to_string(), fence.run.clone()]);
    args.extend([fence.before.boot.clone(), fence.before.up.to_string()]);
    args.extend(action(service, become_, change));
    Remote::new("change", CHANGE, args, become_ == Become::Sudo)
}

/// How far a change is, without beginning it.
pub fn record(id: &str, become_: Become) -> Remote {
    Remote::new("record of a change", RECORD, vec![id.to_owned()], become_ == Become::Sudo)
}

/// Removes the records of all changes of a run, and what it staged. What it kept of the files that it replaced stays, for a rollback.
pub fn clear(run: &str, become_: Become) -> Remote {
    Remote::new("removal of records", CLEAR, vec![run.to_owned()], become_ == Become::Sudo)
}

fn digest_of(text: &str) -> String {
    digest(text)
}

/// What the change runs: the service manager's command line, or the operator's own.
fn action(service: &Service, become_: Become, change: &Change) -> Vec<String> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    // Their own default would kill the server after 10 s, in the middle of a lame duck.
    let limit = change.limit.as_secs().max(1).to_string();
    match (service, &change.what) {
        (_, Action::Run { command, privileged }) => {
            let drop = !privileged && become_ == Become::Sudo;
            let before = if drop { words(&["sh", "-c", AS_LOGIN_USER, "rollgate"]) } else { Vec::new() };
            let environment = command.environment.iter().map(|(name, value)| format!("{name}={value}"));
            before.into_iter().chain(words(&["env"])).chain(environment).chain(command.argv.iter().cloned()).collect()
        }
        (_, Action::Place(placement)) => stage::place(placement),
        (_, Action::PutBack(kept)) => stage::put_back(kept),
        (_, Action::Put { file, privileged }) => {
            let drop = !privileged && become_ == Become::Sudo;
            let before = if drop { words(&["sh", "-c", AS_LOGIN_USER, "rollgate"]) } else { Vec::new() };
            before.into_iter().chain(put_file(file)).collect()
        }
        (_, Action::Reboot { command }) => command.clone(),
        (Service::Systemd { unit }, Action::Stop) => words(&["systemctl", "stop", unit]),
        (Service::Systemd { unit }, Action::Reload) => words(&["sh", "-c", RELOAD, "rollgate", unit]),
        (Service::Docker { container }, Action::Reload) => words(&["docker", "kill", "--signal", "HUP", container]),
        (Service::Podman { container }, Action::Reload) => words(&["podman", "kill", "--signal", "HUP", container]),
        (Service::Command { .. }, Action::Reload) => words(&["sh", "-c", NO_RELOAD]),
        (Service::Systemd { unit }, Action::Start) => words(&["systemctl", "start", unit]),
        (Service::Docker { container }, Action::Stop) => words(&["docker", "stop", "--time", &limit, container]),
        (Service::Docker { container }, Action::Start) => words(&["docker", "start", container]),
        (Service::Podman { container }, Action::Stop) => words(&["podman", "stop", "--time", &limit, container]),
        (Service::Podman { container }, Action::Start) => words(&["podman", "start", container]),
        (Service::Command { stop, .. }, Action::Stop) => stop.clone(),
        (Service::Command { start, .. }, Action::Start) => start.clone(),
    }
}

/// The unit's own reload where it has one, else the signal that the published unit sends.
const RELOAD: &str = r#"
if [ "$(systemctl show --property=CanReload --value -- "$1")" = yes ]; then exec systemctl reload -- "$1"; fi
exec systemctl kill --kill-who=main --signal=HUP -- "$1"
"#;

/// The inventory has no command for it.
const NO_RELOAD: &str = "echo 'the service is commands of your own, and none of them reloads'; exit 64";

/// The command that puts a file in its place, or takes it away.
pub fn put_file(file: &PutFile) -> Vec<String> {
    let state = if file.content.is_some() { "present" } else { "absent" };
    let words = ["sh", "-c", PUT_FILE, "rollgate", &file.path, state, &file.mode];
    let rest = [file.owner.as_deref().unwrap_or_default(), file.content.as_deref().unwrap_or_default()];
    words.into_iter().chain(rest).map(str::to_owned).collect()
}

/// `PUT_FILE path state mode owner content`: whoever reads the path finds the old file or the new one, whole. A link there is
/// replaced, and what it leads to is left alone.
const PUT_FILE: &str = r#"
path=$1 state=$2 mode=$3 owner=$4 content=$5
if [ -d "$path" ]; then echo "$path is a directory" >&2; exit 1; fi
if [ "$state" = absent ]; then exec rm -f -- "$path"; fi
new=${path%/*}/.${path##*/}.rollgate
umask 077
rm -f -- "$new" && printf %s "$content" >"$new" && { [ -z "$owner" ] || chown -- "$owner" "$new"; } &&
  chmod -- "$mode" "$new" && { sync -- "$new" 2>/dev/null || sync; } && mv -f -- "$new" "$path" && exit 0
rm -f -- "$new"
exit 1
"#;

/// Back from root to whoever logged in: records of changes are root's, an operator's command need not be.
const AS_LOGIN_USER: &str = r#"exec sudo -n -u "$SUDO_USER" -- "$@""#;

/// `CHANGE id launcher limit ticks in_boot runner keep key token run boot before argv…`: starts the runner detached unless the change was claimed, waits in
/// steps of 50 ms, prints the record. It may be cut off anywhere and be run again.
///
/// The runner and its words go through a file: systemd expands `$` in the arguments of a unit, and only systemd 254 and
/// later can be told not to.
///
/// root keeps its records in /run, which nobody else can write and which a reboot empties: a stop or a start that it has
/// ended may be asked for again. A command of the operator's and a reboot may not, and their record (of which the `end` of the
/// output is kept) outlives the boot.
const CHANGE: &str = r#"
id=$1 launcher=$2 limit=$3 ticks=$4 in_boot=$5 runner=$6 keep=$7; shift 6
umask 077
if [ "$(id -u)" != 0 ]; then base=${XDG_STATE_HOME:-$HOME/.local/state}/rollgate
elif [ "$keep" = all ]; then base=/run/rollgate
else base=/var/lib/rollgate/steps; fi
dir=$base/$id
read -r now </proc/sys/kernel/random/boot_id
if [ -n "$in_boot" ] && [ "$now" != "$in_boot" ]; then
  printf 'lost=yes\noutput:\n'
  exit 0
fi
mkdir -p "$dir" || exit 1
rm -f "$dir/fenced"
find "$base" -mindepth 1 -maxdepth 1 ! -name locks ! -name stage ! -name runs -mtime +7 -exec rm -rf {} + 2>/dev/null
if [ ! -d "$dir/claim" ]; then
  {
    printf "SUDO_USER='%s'; export SUDO_USER\nset --" "${SUDO_USER:-}"
    if [ "$(id -u)" = 0 ]; then locks=/var/lib/rollgate/locks; else locks=$base/locks; fi
    for word in "$dir" "$limit" "$locks" "$@"; do printf " '%s'" "$(printf %s "$word" | sed "s/'/'\\\\''/g")"; done
    printf '\n%s\n' "$runner"
  } >"$dir/run.$$" && mv "$dir/run.$$" "$dir/run" || exit 1
  if [ "$launcher" = systemd-run ] && [ "$(id -u)" = 0 ]; then
    systemd-run --quiet --collect --unit="rollgate-$id" -- /bin/sh "$dir/run" </dev/null ||
      systemctl --quiet is-active "rollgate-$id" || [ -d "$dir/claim" ] || exit 1
  else
    setsid sh "$dir/run" </dev/null >/dev/null 2>&1 &
  fi
fi
n=0
while [ ! -e "$dir/status" ] && [ ! -e "$dir/fenced" ] && [ "$n" -lt "$ticks" ]; do
  if [ -d "$dir/claim" ] && [ "$(cat "$dir/boot")" != "$now" ]; then echo "lost=yes"; break; fi
  if [ -e "$dir/pid" ] && read -r pid <"$dir/pid" && ! kill -0 "$pid" 2>/dev/null && [ ! -e "$dir/status" ]; then
    echo "lost=yes"; break
  fi
  sleep 0.05 2>/dev/null || sleep 1
  n=$((n+1))
done
if [ -e "$dir/fenced" ] && [ ! -d "$dir/claim" ]; then echo "fenced=$(cat "$dir/fenced")"; fi
if [ -e "$dir/began" ]; then echo "began=$(cat "$dir/began")"; fi
if [ -e "$dir/status" ]; then echo "status=$(cat "$dir/status")"; fi
echo "output:"
if [ -e "$dir/output" ]; then tail -c 4096 "$dir/output"; fi
"#;

/// `RECORD id`: as [`CHANGE`] prints it, and `record=none` where nothing was claimed.
const RECORD: &str = r#"
id=$1
if [ "$(id -u)" = 0 ]; then base=/run/rollgate; else base=${XDG_STATE_HOME:-$HOME/.local/state}/rollgate; fi
dir=$base/$id
if [ ! -d "$dir" ] && [ "$(id -u)" = 0 ]; then dir=/var/lib/rollgate/steps/$id; fi
if [ ! -d "$dir/claim" ]; then echo "record=none"; fi
if [ -e "$dir/pid" ] && read -r pid <"$dir/pid" && ! kill -0 "$pid" 2>/dev/null && [ ! -e "$dir/status" ]; then echo "lost=yes"; fi
if [ -e "$dir/began" ]; then echo "began=$(cat "$dir/began")"; fi
if [ -e "$dir/status" ]; then echo "status=$(cat "$dir/status")"; fi
echo "output:"
if [ -e "$dir/output" ]; then tail -c 4096 "$dir/output"; fi
"#;

/// `CLEAR run`.
const CLEAR: &str = r#"
if [ "$(id -u)" = 0 ]; then base=/run/rollgate; else base=${XDG_STATE_HOME:-$HOME/.local/state}/rollgate; fi
for dir in "$base/$1"-* "/var/lib/rollgate/steps/$1"-*; do
 [ -e "$dir" ] || continue; rm -rf "$dir" || exit 1; done
if [ "$(id -u)" = 0 ]; then staged=/var/lib/rollgate/stage/$1; else staged=$base/stage/$1; fi
if [ -d "$staged" ]; then
  find "$staged" -mindepth 1 -maxdepth 1 ! -name 'kept-*' -exec rm -rf {} + || exit 1
  rmdir "$staged" 2>/dev/null
fi
echo cleared
"#;

/// `RUNNER dir limit locks keep key token run boot before argv…`: asks the lock, claims the change (mkdir succeeds once) while
/// nobody can take the lock away, runs it under a limit, leaves its result. Of a command of the operator's only the end of what it
/// prints is kept; what it leaves running then holds the pipe, but not the step.
const RUNNER: &str = r#"
dir=$1 limit=$2 lock=$3/$5 keep=$4 token=$6 run=$7 boot=$8 before=$9; shift 9
fenced() { echo "$1" >"$dir/fenced.new"; mv "$dir/fenced.new" "$dir/fenced"; exit 0; }
mkdir -p "$lock" && exec 9>"$lock/mutex" && flock -w 5 9 || fenced "the lock can't be asked"
now= up=
read -r now </proc/sys/kernel/random/boot_id
read -r up rest </proc/uptime
if [ "$now" != "$boot" ] || [ "${up%%.*}" -ge "$before" ]; then fenced late; fi
grep -qsx "token=$token" "$lock/state" && grep -qsx "run=$run" "$lock/state" || fenced "the lock is not with $run"
echo "$now" >"$dir/boot"
mkdir "$dir/claim" 2>/dev/null || exit 0
if [ "$keep" = end ]; then sync; fi
exec 9>&-
date +%s >"$dir/began"
echo "$$" >"$dir/pid"
if [ "$keep" = end ]; then
  { timeout -k 10 "$limit" "$@" 2>&1 </dev/null; echo "$?" >"$dir/status.new"; } | tail -c 4096 >"$dir/output" &
  while [ ! -s "$dir/status.new" ]; do sleep 0.05 2>/dev/null || sleep 1; done
  n=0
  while kill -0 "$!" 2>/dev/null && [ "$n" -lt 5 ]; do sleep 0.05 2>/dev/null; n=$((n+1)); done
else
  timeout -k 10 "$limit" "$@" >"$dir/output" 2>&1 </dev/null
  echo "$?" >"$dir/status.new"
fi
mv "$dir/status.new" "$dir/status"
"#;

/// The collector (`collect/`): all evidence of one host as tagged lines, within about `limit`. `since` is the log's begin in
/// seconds by the host's clock, 0 for its last lines. `config` and `program` stand in for those of the service.
///
/// The script goes in by standard input: sudo writes arguments to the host's log.
pub fn collect(target: &Collected<'_>, become_: Become, since: i64, limit: Duration) -> Remote {
    let word = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let (kind, name) = match target.service {
        None => ("none", ""),
        Some(Service::Systemd { unit }) => ("systemd", unit.as_str()),
        Some(Service::Docker { container }) => ("docker", container.as_str()),
        Some(Service::Podman { container }) => ("podman", container.as_str()),
        Some(Service::Command { .. }) => ("command", ""),
    };
    let (status, logs) = match target.service {
        Some(Service::Command { status, logs, .. }) => (status.clone(), logs.clone().unwrap_or_default()),
        _ => (Vec::new(), Vec::new()),
    };
    let whole = limit.as_secs().max(2);
    // Parts run one after the other, and few of them ever wait: one may take half of the whole.
    let part = (whole / 2).max(1);
    let mut args = vec![if become_ == Become::Sudo { "sudo" } else { "none" }.to_owned(), whole.to_string()];
    args.extend([kind.into(), name.into(), since.to_string(), part.to_string()]);
    args.extend([word(target.config), word(target.program), status.len().to_string()]);
    let or_same = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    let stand_in = |with: &StandIn| {
        let role = if with.role == Role::Program { "program" } else { "config" };
        let staged = format!("{}/{}", with.run, with.name());
        [role, &staged, &with.to, &with.beside(), &or_same(&with.mode), &or_same(&with.owner)].join("\t")
    };
    args.push(target.stand_ins.iter().map(stand_in).collect::<Vec<_>>().join("\n"));
    args.extend(status.into_iter().chain(logs));
    let remote = Remote::new("the collector", COLLECT, args, false);
    Remote { input: Some(Content::Bytes(collector().into_bytes().into())), ..remote }
}

/// What the collector looks at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Collected<'a> {
    /// The server's service; none for a configuration alone.
    pub service: Option<&'a Service>,
    /// The configuration file, where it is not the service's.
    pub config: Option<&'a str>,
    /// The program, where it is not the service's.
    pub program: Option<&'a str>,
    /// Files of a run that stand in for some of the service's.
    pub stand_ins: &'a [StandIn],
}

/// Runs the collector as root where that is wanted and allowed, else as whoever this is: less is seen then, and it says so.
const COLLECT: &str = r#"
become=$1 whole=$2; shift 2
script=$(cat)
if timeout 1 true 2>/dev/null; then T="timeout -k 2 $whole"; else T=; fi
run='eval "$(cat)"'
sudo_said=
if [ "$become" = sudo ] && [ "$(id -u)" != 0 ]; then
  if sudo_said=$(sudo -n -- sh -c : 2>&1 </dev/null); then
    printf '%s\n' "$script" | sudo -n -- $T sh -c "$run" rollgate "$@"
    exit
  fi
  [ -n "$sudo_said" ] || sudo_said="sudo -n was refused"
fi
export sudo_said
printf '%s\n' "$script" | $T sh -c "$run" rollgate "$@"
"#;

/// `collect.sh` with the programs that it calls in front of it, as shell variables.
fn collector() -> String {
    let quoted = |text: &str| text.replace('\'', "'\\''");
    let parts = [
        ("conf_awk", include_str!("../collect/conf.awk")),
        ("scrub_awk", include_str!("../collect/scrub.awk")),
        ("listeners_awk", include_str!("../collect/listeners.awk")),
        ("swap_awk", include_str!("../collect/swap.awk")),
        ("probe_sh", include_str!("../collect/probe.sh")),
    ];
    let mut script: String = parts.iter().map(|(name, text)| format!("{name}='{}'\n", quoted(text))).collect();
    script.push_str(include_str!("../collect/collect.sh"));
    script
}

/// What the server's process has read so far, in bytes; none where the manager does not tell its process.
pub fn bytes_read(service: &Service, become_: Become) -> Option<Remote> {
    let Service::Systemd { unit } = service else { return None };
    Some(Remote::new("bytes read", BYTES_READ, vec![unit.clone()], become_ == Become::Sudo))
}

/// `rchar` counts what comes from the page cache too (proc(5)), as most of a restart's reading does.
const BYTES_READ: &str = r#"
pid=$(systemctl show --property=MainPID --value -- "$1") || exit
sed -n 's/^rchar: //p' "/proc/$pid/io"
"#;

/// One GET by the host's own curl, where sshd allows no forwarding. Prints the body and then the status on a line.
pub fn curl(url: &str, limit: Duration) -> Remote {
    let limit = limit.as_secs().max(1).to_string();
    Remote::new("curl", CURL, vec![url.to_owned(), limit], false)
}

const CURL: &str = r#"exec curl -sS --noproxy '*' --max-time "$2" -w '\n%{http_code}' "$1""#;
