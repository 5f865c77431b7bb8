//! Every command that runs on a host, as a value. Nothing else in the crate builds a command line; arguments are
//! never pasted into a script, they are its `$1`, `$2` … and openssh quotes them.

use std::time::Duration;

use crate::{
    config::inventory::{Become, Service},
    fleet::{Action, Change},
};

/// A POSIX sh script with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    name: &'static str,
    script: &'static str,
    args: Vec<String>,
    root: bool,
    stdin: Option<String>,
}

impl Remote {
    fn new(name: &'static str, script: &'static str, args: Vec<String>, root: bool) -> Self {
        Self { name, script, args, root, stdin: None }
    }

    /// What it reads from standard input; nothing unless it says so.
    pub fn stdin(&self) -> Option<&str> {
        self.stdin.as_deref()
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
/// file can be read without privileges, the lame duck's duration (`lame_duck_duration`, not one that an include sets).
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
    let start = Change { id: String::new(), what: Action::Start, limit: Duration::ZERO };
    let sudo: &[&str] = if become_ == Become::Sudo { &["sudo"] } else { &[] };
    let words = ["ssh", destination].into_iter().chain(sudo.iter().copied()).map(str::to_owned);
    words.chain(action(service, &start)).collect::<Vec<_>>().join(" ")
}

/// Begins a change, or attaches to it, and reports how far it is.
pub fn change(service: &Service, become_: Become, change: &Change, wait: Duration) -> Remote {
    let limit = change.limit.as_secs().max(1).to_string();
    let ticks = (wait.as_millis() / 50).max(1).to_string();
    let launcher = if matches!(service, Service::Systemd { .. }) { "systemd-run" } else { "setsid" };
    let mut args = vec![change.id.clone(), launcher.into(), limit, ticks, RUNNER.into()];
    args.extend(action(service, change));
    Remote::new("change", CHANGE, args, become_ == Become::Sudo)
}

/// The service manager's command line.
fn action(service: &Service, change: &Change) -> Vec<String> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let container = |program: &str, name: &str| match change.what {
        // Their own default would kill the server after 10 s, in the middle of a lame duck.
        Action::Stop => words(&[program, "stop", "--time", &change.limit.as_secs().max(1).to_string(), name]),
        Action::Start => words(&[program, "start", name]),
    };
    match (service, change.what) {
        (Service::Systemd { unit }, Action::Stop) => words(&["systemctl", "stop", unit]),
        (Service::Systemd { unit }, Action::Start) => words(&["systemctl", "start", unit]),
        (Service::Docker { container: name }, _) => container("docker", name),
        (Service::Podman { container: name }, _) => container("podman", name),
        (Service::Command { stop, .. }, Action::Stop) => stop.clone(),
        (Service::Command { start, .. }, Action::Start) => start.clone(),
    }
}

/// `CHANGE id launcher limit ticks runner argv…`: starts the runner detached unless the change was claimed, waits in
/// steps of 50 ms, prints the record. It may be cut off anywhere and be run again.
///
/// The runner and its words go through a file: systemd expands `$` in the arguments of a unit, and only systemd 254 and
/// later can be told not to.
///
/// root keeps its records in /run, which nobody else can write and which a reboot empties, as it ends every change.
const CHANGE: &str = r#"
id=$1 launcher=$2 limit=$3 ticks=$4 runner=$5; shift 5
umask 077
if [ "$(id -u)" = 0 ]; then base=/run/rollgate; else base=${XDG_STATE_HOME:-$HOME/.local/state}/rollgate; fi
dir=$base/$id
mkdir -p "$dir" || exit 1
find "$base" -mindepth 1 -maxdepth 1 -mtime +7 -exec rm -rf {} + 2>/dev/null
if [ ! -d "$dir/claim" ]; then
  {
    printf 'set --'
    for word in "$dir" "$limit" "$@"; do printf " '%s'" "$(printf %s "$word" | sed "s/'/'\\\\''/g")"; done
    printf '\n%s\n' "$runner"
  } >"$dir/run.$$" && mv "$dir/run.$$" "$dir/run" || exit 1
  if [ "$launcher" = systemd-run ] && [ "$(id -u)" = 0 ]; then
    systemd-run --quiet --collect --unit="rollgate-$id" -- /bin/sh "$dir/run" </dev/null || exit 1
  else
    setsid sh "$dir/run" </dev/null >/dev/null 2>&1 &
  fi
fi
n=0
while [ ! -e "$dir/status" ] && [ "$n" -lt "$ticks" ]; do
  if [ -e "$dir/pid" ] && read -r pid <"$dir/pid" && ! kill -0 "$pid" 2>/dev/null && [ ! -e "$dir/status" ]; then
    echo "lost=yes"; break
  fi
  sleep 0.05 2>/dev/null || sleep 1
  n=$((n+1))
done
if [ -e "$dir/began" ]; then echo "began=$(cat "$dir/began")"; fi
if [ -e "$dir/status" ]; then echo "status=$(cat "$dir/status")"; fi
echo "output:"
if [ -e "$dir/output" ]; then tail -c 4096 "$dir/output"; fi
"#;

/// `RUNNER dir limit argv…`: claims the change (mkdir succeeds once), runs it under a limit, leaves its result.
const RUNNER: &str = r#"
dir=$1 limit=$2; shift 2
mkdir "$dir/claim" 2>/dev/null || exit 0
date +%s >"$dir/began"
echo "$$" >"$dir/pid"
timeout -k 10 "$limit" "$@" >"$dir/output" 2>&1 </dev/null
echo "$?" >"$dir/status.new"
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
    args.extend(status.into_iter().chain(logs));
    let remote = Remote::new("the collector", COLLECT, args, false);
    Remote { stdin: Some(collector()), ..remote }
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
        ("conf_awk", include_str!("collect/conf.awk")),
        ("scrub_awk", include_str!("collect/scrub.awk")),
        ("listeners_awk", include_str!("collect/listeners.awk")),
        ("probe_sh", include_str!("collect/probe.sh")),
    ];
    let mut script: String = parts.iter().map(|(name, text)| format!("{name}='{}'\n", quoted(text))).collect();
    script.push_str(include_str!("collect/collect.sh"));
    script
}

/// One GET by the host's own curl, where sshd allows no forwarding. Prints the body and then the status on a line.
pub fn curl(url: &str, limit: Duration) -> Remote {
    let limit = limit.as_secs().max(1).to_string();
    Remote::new("curl", CURL, vec![url.to_owned(), limit], false)
}

const CURL: &str = r#"exec curl -sS --noproxy '*' --max-time "$2" -w '\n%{http_code}' "$1""#;

#[cfg(test)]
mod tests {
    use super::*;

    fn systemd() -> Service {
        Service::Systemd { unit: "nats-server.service".into() }
    }

    fn stop() -> Change {
        Change { id: "r1-n2-stop".into(), what: Action::Stop, limit: Duration::from_secs(180) }
    }

    fn check(remote: &Remote, before: &[&str], after: &[&str]) {
        let argv = remote.argv();
        let script = argv.iter().position(|word| word == remote.script).unwrap();
        assert_eq!(argv[..script], *before);
        assert_eq!(argv[script + 1..], *after);
    }

    #[test]
    fn changes_run_as_root_under_a_limit() {
        let remote = change(&systemd(), Become::Sudo, &stop(), Duration::from_secs(20));
        check(
            &remote,
            &["sudo", "-n", "--", "sh", "-c"],
            &[
                "rollgate",
                "r1-n2-stop",
                "systemd-run",
                "180",
                "400",
                RUNNER,
                "systemctl",
                "stop",
                "nats-server.service",
            ],
        );
    }

    #[test]
    fn looking_needs_no_privileges() {
        check(&service_state(&systemd(), Become::Sudo, false), &["sh", "-c"], &["rollgate", "nats-server.service", ""]);
    }

    #[test]
    fn a_container_has_as_long_as_the_step_allows() {
        let docker = Service::Docker { container: "nats".into() };
        assert_eq!(action(&docker, &stop()), ["docker", "stop", "--time", "180", "nats"]);
    }

    #[test]
    fn the_operators_own_commands_stay_whole() {
        let own = Service::Command {
            start: vec!["/opt/my nats/ctl".into(), "start; rm -rf /".into()],
            stop: vec!["ctl".into(), "stop".into()],
            status: vec!["ctl".into(), "status".into()],
            logs: None,
        };
        let start = Change { what: Action::Start, ..stop() };
        let argv = change(&own, Become::None, &start, Duration::from_secs(1)).argv();
        assert_eq!(argv[0], "sh");
        assert_eq!(argv[argv.len() - 2..], ["/opt/my nats/ctl", "start; rm -rf /"]);
    }

    /// Runs the change script here, without root, as a host would.
    fn run_change(home: &std::path::Path, id: &str, argv: &[&str], ticks: &str) -> String {
        let output = std::process::Command::new("sh")
            .args(["-c", CHANGE, "rollgate", id, "setsid", "5", ticks, RUNNER])
            .args(argv)
            .env("XDG_STATE_HOME", home)
            .env("PATH", format!("{}:/usr/bin:/bin", home.display()))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// A host where `id -u` says 1000, so that records stay in the test's own directory.
    fn host() -> tempfile::TempDir {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let id = home.path().join("id");
        std::fs::write(&id, "#!/bin/sh\necho 1000\n").unwrap();
        std::fs::set_permissions(&id, std::fs::Permissions::from_mode(0o755)).unwrap();
        home
    }

    #[test]
    fn a_change_is_done_once_however_often_it_is_asked_for() {
        let home = host();
        let counter = home.path().join("count");
        let script = format!("echo x >>{}; echo said; exit 3", counter.display());
        let argv = ["sh", "-c", script.as_str()];
        let record =
            |text: String| text.lines().filter(|line| !line.starts_with("began=")).collect::<Vec<_>>().join("|");
        for _ in 0..3 {
            assert_eq!(record(run_change(home.path(), "c1", &argv, "200")), "status=3|output:|said");
        }
        assert_eq!(std::fs::read_to_string(&counter).unwrap(), "x\n");
        run_change(home.path(), "c2", &argv, "200");
        assert_eq!(std::fs::read_to_string(&counter).unwrap(), "x\nx\n");
    }

    #[test]
    fn words_reach_the_command_as_they_are() {
        let home = host();
        let words = ["printf", "[%s]", "$HOME ${x} $$", "it's", "a b", "100%", "", "\\n", "`id`"];
        let record = run_change(home.path(), "c1", &words, "200");
        let printed = record.split_once("output:\n").unwrap().1;
        assert_eq!(printed, "[$HOME ${x} $$][it's][a b][100%][][\\n][`id`]");
    }

    #[test]
    fn a_change_outlives_the_one_who_asked() {
        let home = host();
        let go = home.path().join("go");
        let script = format!("while [ ! -e {0} ]; do sleep 0.05; done; echo done", go.display());
        let argv = ["sh", "-c", script.as_str()];
        let first = run_change(home.path(), "c1", &argv, "2");
        assert!(!first.contains("status="), "{first}");
        std::fs::write(&go, "").unwrap();
        let second = run_change(home.path(), "c1", &argv, "200");
        assert!(second.contains("status=0") && second.ends_with("done\n"), "{second}");
    }

    #[test]
    fn a_change_that_was_killed_is_lost_and_not_repeated() {
        let home = host();
        let counter = home.path().join("count");
        let script =
            format!("echo x >>{}; kill -9 $(cat {}/rollgate/c1/pid) $PPID", counter.display(), home.path().display());
        let record = run_change(home.path(), "c1", &["sh", "-c", &script], "200");
        assert!(record.contains("lost=yes") && !record.contains("status="), "{record}");
        run_change(home.path(), "c1", &["sh", "-c", &script], "20");
        assert_eq!(std::fs::read_to_string(&counter).unwrap(), "x\n");
    }
}
