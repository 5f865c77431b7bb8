//! The cluster's lock on a host: one file under flock, in a directory of root's (or the user's) own.
//!
//! It outlives a reboot, unlike the records of changes: the token must not shrink, and a host that went down in its turn
//! must know its holder again. A host keeps one lock a service, whatever inventories call it or its cluster.

use super::{Remote, digest_of};
use crate::{
    config::inventory::{Become, Service},
    core::lock::{Claim, TTL},
};

/// What to do with the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb<'a> {
    /// Tell how it stands. Changes nothing.
    Look,
    /// Take or renew it.
    Hold {
        /// Who wants it.
        claim: &'a Claim,
        /// The token it gets.
        token: u64,
    },
    /// Go on under a greater token where this claim has it, and nowhere else.
    Raise {
        /// Who has it.
        claim: &'a Claim,
        /// The token it gets.
        token: u64,
    },
    /// Give it back.
    Release {
        /// Who has it.
        claim: &'a Claim,
        /// The token it has.
        token: u64,
    },
    /// Take it away from a run.
    Break {
        /// The run.
        run: &'a str,
    },
}

/// One round of the lock's protocol on one host.
pub fn lock(service: &Service, become_: Become, verb: Verb<'_>) -> Remote {
    let (name, token, run, claim) = match verb {
        Verb::Look => ("look", 0, "", None),
        Verb::Hold { claim, token } => ("hold", token, claim.run.as_str(), Some(claim)),
        Verb::Raise { claim, token } => ("raise", token, claim.run.as_str(), Some(claim)),
        Verb::Release { claim, token } => ("release", token, claim.run.as_str(), Some(claim)),
        Verb::Break { run } => ("break", 0, run, None),
    };
    // One line a value in the file.
    let line = |text: &str| text.replace(|c: char| c.is_control(), " ");
    let of = |value: fn(&Claim) -> &String| claim.map_or_else(String::new, |claim| line(value(claim)));
    let args = vec![
        name.into(),
        key(service),
        TTL.as_secs().to_string(),
        token.to_string(),
        run.to_owned(),
        of(|claim| &claim.seat),
        of(|claim| &claim.holder),
        of(|claim| &claim.reason),
    ];
    Remote::new("lock", LOCK, args, become_ == Become::Sudo)
}

/// Two clusters may share a host, each with a service of its own.
pub(super) fn key(service: &Service) -> String {
    let text = match service {
        Service::Systemd { unit } => unit.clone(),
        Service::Docker { container } => format!("docker {container}"),
        Service::Podman { container } => format!("podman {container}"),
        Service::Command { start, .. } => start.join("\n"),
    };
    digest_of(&text)
}

/// `LOCK verb key ttl token run seat holder reason`: does it, and prints the lock as it then is, with the host's boot and
/// uptime. Whoever has the seat of the last holder is its successor: that holder is dead, for the seat is a lock of the
/// kernel's on the controller's machine.
const LOCK: &str = r#"
verb=$1 key=$2 ttl=$3 token=$4 run=$5 seat=$6 holder=$7 reason=$8
umask 077
if [ "$(id -u)" = 0 ]; then base=/var/lib/rollgate; else base=${XDG_STATE_HOME:-$HOME/.local/state}/rollgate; fi
dir=$base/locks/$key
read -r boot </proc/sys/kernel/random/boot_id || exit 1
read -r up rest </proc/uptime || exit 1
up=${up%%.*}
load() {
  old_token=0 old_run='' old_seat='' old_holder='' old_reason='' old_since=0 old_boot='' old_beat=0 old_ttl=0
  if [ -r "$dir/state" ]; then
    while IFS='=' read -r name value; do
      case $name in
        token) old_token=$value ;; run) old_run=$value ;; seat) old_seat=$value ;; holder) old_holder=$value ;;
        reason) old_reason=$value ;; since) old_since=$value ;; boot) old_boot=$value ;; beat) old_beat=$value ;;
        ttl) old_ttl=$value ;;
      esac
    done <"$dir/state"
  fi
  if [ "$old_boot" = "$boot" ]; then silent=$((up - old_beat)); else silent=$up; fi
  if [ -n "$old_run" ] && [ "$silent" -ge "$old_ttl" ]; then expired=yes; else expired=no; fi
}
store() {
  printf '%s\n' "token=$1" "run=$2" "seat=$seat" "holder=$holder" "reason=$reason" "since=$3" "boot=$boot" "beat=$up" "ttl=$ttl" \
    >"$dir/state.new" && mv "$dir/state.new" "$dir/state" || exit 1
}
if [ "$verb" != look ]; then
  if ! command -v flock >/dev/null; then echo 'flock (util-linux) is missing on the host' >&2; exit 1; fi
  mkdir -p "$dir" && exec 9>"$dir/mutex" && flock -w 5 9 || { echo "can't lock $dir/mutex" >&2; exit 1; }
fi
load
case $verb in
  hold)
    if [ "$token" = "$old_token" ] && [ "$run" = "$old_run" ] && [ "$seat" = "$old_seat" ]; then
      store "$token" "$run" "$old_since"
    elif [ "$token" -gt "$old_token" ] && { [ -z "$old_run" ] || [ "$expired" = yes ] || [ "$seat" = "$old_seat" ]; }; then
      store "$token" "$run" "$(date +%s)"
      sync "$dir/state" "$dir" 2>/dev/null
    fi ;;
  raise)
    if [ "$token" -gt "$old_token" ] && [ "$run" = "$old_run" ] && [ "$seat" = "$old_seat" ]; then
      store "$token" "$run" "$old_since"
      sync "$dir/state" "$dir" 2>/dev/null
    fi ;;
  release) if [ "$token" = "$old_token" ] && [ "$run" = "$old_run" ]; then seat='' holder='' reason=''; store "$token" '' 0; fi ;;
  break) if [ -n "$run" ] && [ "$run" = "$old_run" ]; then store "$((old_token + 1))" '' 0; fi ;;
esac
load
printf '%s\n' "token=$old_token" "run=$old_run" "seat=$old_seat" "holder=$old_holder" "reason=$old_reason" "since=$old_since" \
  "silent=$silent" "expired=$expired" "boot=$boot" "up=$up"
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::live::lock::{Answer, parse};

    fn claim(run: &str, seat: &str) -> Claim {
        Claim { run: run.into(), seat: seat.into(), holder: "ada@laptop, pid=7".into(), reason: "it's\na test".into() }
    }

    /// Runs the script here, without root, as a host would.
    fn ask(home: &std::path::Path, verb: Verb<'_>) -> Answer {
        let remote = lock(&Service::default(), Become::None, verb);
        let argv = remote.argv();
        let output = std::process::Command::new(&argv[0])
            .args(&argv[1..])
            .env("XDG_STATE_HOME", home)
            .env("PATH", format!("{}:/usr/bin:/bin", home.display()))
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        parse(&super::super::super::ssh::Output { status: output.status.code(), stdout, stderr }).unwrap()
    }

    fn check(home: &std::path::Path, verb: Verb<'_>, token: u64, run: Option<&str>) {
        let lock = ask(home, verb).lock;
        assert_eq!((lock.token, lock.claim.map(|claim| claim.run)), (token, run.map(str::to_owned)), "{verb:?}");
    }

    /// The last heartbeat was long ago, or in an earlier boot.
    fn edit(home: &std::path::Path, from: &str, to: &str) {
        let file = home.join("rollgate/locks").join(key(&Service::default())).join("state");
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text.lines().map(|line| if line.starts_with(from) { to } else { line });
        std::fs::write(&file, lines.collect::<Vec<_>>().join("\n") + "\n").unwrap();
    }

    #[test]
    fn a_host_has_one_holder() {
        let host = super::super::tests::host();
        let (home, one, two) = (host.path(), claim("r1", "s1"), claim("r2", "s2"));
        check(home, Verb::Look, 0, None);
        assert!(!home.join("rollgate").exists(), "looking left something");
        check(home, Verb::Hold { claim: &one, token: 1 }, 1, Some("r1"));
        check(home, Verb::Hold { claim: &one, token: 1 }, 1, Some("r1"));
        check(home, Verb::Hold { claim: &two, token: 2 }, 1, Some("r1"));
        check(home, Verb::Hold { claim: &claim("r1", "s2"), token: 1 }, 1, Some("r1"));
        check(home, Verb::Release { claim: &two, token: 1 }, 1, Some("r1"));
        let seen = ask(home, Verb::Look).lock;
        let held = seen.claim.unwrap();
        assert_eq!((held.holder.as_str(), held.reason.as_str()), ("ada@laptop, pid=7", "it's a test"));
        assert!(!seen.expired && seen.since.is_some());
        check(home, Verb::Release { claim: &one, token: 1 }, 1, None);
        // A token is used once.
        check(home, Verb::Hold { claim: &two, token: 1 }, 1, None);
        check(home, Verb::Hold { claim: &two, token: 2 }, 2, Some("r2"));
    }

    #[test]
    fn silence_lets_another_in_by_the_hosts_own_clock() {
        let host = super::super::tests::host();
        let (home, one, two) = (host.path(), claim("r1", "s1"), claim("r2", "s2"));
        check(home, Verb::Hold { claim: &one, token: 5 }, 5, Some("r1"));
        edit(home, "beat=", "beat=-1000000");
        assert!(ask(home, Verb::Look).lock.expired);
        // Its holder may still come back, while nobody took it.
        check(home, Verb::Hold { claim: &one, token: 5 }, 5, Some("r1"));
        assert!(!ask(home, Verb::Look).lock.expired);
        edit(home, "beat=", "beat=-1000000");
        check(home, Verb::Hold { claim: &two, token: 6 }, 6, Some("r2"));
        check(home, Verb::Hold { claim: &one, token: 5 }, 6, Some("r2"));
    }

    #[test]
    fn a_successor_and_an_operator_need_not_wait() {
        let host = super::super::tests::host();
        let (home, one) = (host.path(), claim("r1", "s1"));
        check(home, Verb::Hold { claim: &one, token: 1 }, 1, Some("r1"));
        check(home, Verb::Hold { claim: &claim("r2", "s1"), token: 2 }, 2, Some("r2"));
        check(home, Verb::Break { run: "r1" }, 2, Some("r2"));
        check(home, Verb::Break { run: "r2" }, 3, None);
        check(home, Verb::Hold { claim: &claim("r2", "s1"), token: 2 }, 3, None);
    }

    #[test]
    fn only_the_holder_gets_a_greater_token_without_a_gap() {
        let host = super::super::tests::host();
        let (home, one, two) = (host.path(), claim("r1", "s1"), claim("r2", "s2"));
        check(home, Verb::Raise { claim: &one, token: 3 }, 0, None);
        check(home, Verb::Hold { claim: &one, token: 1 }, 1, Some("r1"));
        check(home, Verb::Raise { claim: &two, token: 3 }, 1, Some("r1"));
        check(home, Verb::Raise { claim: &one, token: 3 }, 3, Some("r1"));
        check(home, Verb::Hold { claim: &one, token: 1 }, 3, Some("r1"));
        check(home, Verb::Break { run: "r1" }, 4, None);
        check(home, Verb::Raise { claim: &one, token: 9 }, 4, None);
    }

    #[test]
    fn after_a_reboot_the_holder_is_known_and_time_counts_from_the_boot() {
        let host = super::super::tests::host();
        let (home, one) = (host.path(), claim("r1", "s1"));
        check(home, Verb::Hold { claim: &one, token: 1 }, 1, Some("r1"));
        edit(home, "boot=", "boot=another");
        let seen = ask(home, Verb::Look);
        assert_eq!(seen.lock.silent_s, seen.stamp.up);
        check(home, Verb::Hold { claim: &one, token: 1 }, 1, Some("r1"));
    }
}
