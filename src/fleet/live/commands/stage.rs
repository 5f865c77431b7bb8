//! Files on a host: staged, placed, put back, and told by their digest.
//!
//! What was staged and what was kept lie in a directory of the run's own that only root (or the user) can enter: they may have
//! secrets. All is written to a temporary name and renamed, so that it is there whole or not at all.

use super::{Remote, lock};
use crate::{
    config::inventory::{Become, Service},
    core::install::{Kept, Placement, beside},
    fleet::{Content, live::lock::Fence},
};

/// Where a run's files lie, and what the scripts share. What there is to compute a sha256 with differs from host to host.
macro_rules! script {
    ($text:literal) => {
        concat!(
            r#"
umask 077
LC_ALL=C; export LC_ALL
if [ "$(id -u)" = 0 ]; then base=/var/lib/rollgate; else base=${XDG_STATE_HOME:-$HOME/.local/state}/rollgate; fi
have() { command -v "$1" >/dev/null 2>&1; }
fail() { echo "$1" >&2; exit 1; }
sum_of() {
  if have sha256sum; then sha256sum <"$1"; elif have shasum; then shasum -a 256 <"$1"; elif have openssl; then openssl dgst -sha256 -r <"$1"
  else fail 'no sha256sum, shasum or openssl on the host'; fi | cut -c 1-64
}
flush() { sync "$1" 2>/dev/null || sync; }
"#,
            $text
        )
    };
}

/// Has a file ready on the host. With [`Content::Staged`] it only tells whether it is there.
pub fn stage(
    service: &Service,
    become_: Become,
    (run, sha256): (&str, &str),
    content: &Content,
    size: u64,
    fence: &Fence,
) -> Remote {
    let (source, path) = match content {
        Content::Staged => ("staged", ""),
        Content::OnHost(path) => ("host", path.as_str()),
        Content::File(_) | Content::Bytes(_) => ("stdin", ""),
    };
    let mut args = vec![run.to_owned(), sha256.to_owned(), size.to_string(), source.to_owned(), path.to_owned()];
    args.extend([lock::key(service), fence.token.to_string(), fence.run.clone()]);
    args.extend([fence.before.boot.clone(), fence.before.up.to_string()]);
    let input = matches!(content, Content::File(_) | Content::Bytes(_)).then(|| content.clone());
    Remote { input, ..Remote::new("staging", STAGE, args, become_ == Become::Sudo) }
}

/// The sha256 of the file at a path of the host.
pub fn digest(path: &str, become_: Become) -> Remote {
    Remote::new("digest", DIGEST, vec![path.to_owned()], become_ == Become::Sudo)
}

/// A digest of every line of the file at a path of the host, made with a key.
pub fn lines(path: &str, key: &str, become_: Become) -> Remote {
    Remote::new("digests", LINES, vec![path.to_owned(), key.to_owned()], become_ == Become::Sudo)
}

/// What a placement runs on its host, by way of the runner.
pub(super) fn place(placement: &Placement) -> Vec<String> {
    let Placement { run, to, sha256, mode, owner } = placement;
    let text = |option: &Option<String>| option.clone().unwrap_or_default();
    let words = [run, to, &beside(to, "new"), &placement.kept().name(), sha256, &text(mode), &text(owner)];
    words_of(PLACE, &words)
}

/// What putting back runs on its host.
pub(super) fn put_back(kept: &Kept) -> Vec<String> {
    words_of(PUT_BACK, &[&kept.run, &kept.to, &beside(&kept.to, "new"), &kept.name()])
}

fn words_of(text: &str, words: &[&String]) -> Vec<String> {
    let head = ["sh", "-c", text, "rollgate"].map(str::to_owned);
    head.into_iter().chain(words.iter().map(|word| (*word).clone())).collect()
}

/// `STAGE run sha256 size source path key token holder boot before`.
const STAGE: &str = script!(
    r#"
run=$1 sum=$2 size=$3 source=$4 path=$5 lock=$base/locks/$6 token=$7 holder=$8 boot=$9
shift 9
before=$1 dir=$base/stage/$run
fenced() { echo "fenced=$1"; exit 0; }
now= up=
mkdir -p "$lock" && exec 9>"$lock/mutex" && flock -w 5 9 || fenced "the lock can't be asked"
read -r now </proc/sys/kernel/random/boot_id
read -r up rest </proc/uptime
if [ "$now" != "$boot" ] || [ "${up%%.*}" -ge "$before" ]; then fenced late; fi
grep -qsx "token=$token" "$lock/state" && grep -qsx "run=$holder" "$lock/state" || fenced "the lock is not with $holder"
exec 9>&-
if [ -f "$dir/$sum" ] && [ "$(sum_of "$dir/$sum")" = "$sum" ]; then echo staged; exit 0; fi
[ "$source" = staged ] && { echo missing; exit 0; }
mkdir -p "$dir" || exit 1
find "$base/stage" -mindepth 1 -maxdepth 1 ! -name "$run" -mtime +7 -exec rm -rf {} + 2>/dev/null
if [ "$source" = host ]; then
  [ -f "$path" ] || fail "$path is not a file"
  size=$(wc -c <"$path")
fi
# What it will take the place of is kept here too.
free=$(df -P -k "$dir" | awk 'NR == 2 { print $4 }')
if [ "${free:-0}" -lt $((size / 512 + 1024)) ]; then fail "$((${free:-0} / 1024)) MB free in $base: too little for twice $((size / 1048576 + 1)) MB"; fi
new=$dir/.$sum.$$
trap 'rm -f "$new"' EXIT
if [ "$source" = host ]; then cp "$path" "$new"; else cat >"$new"; fi || exit 1
found=$(sum_of "$new")
[ "$found" = "$sum" ] || fail "its sha256 is ${found:-not known} and not $sum"
chmod 600 "$new" && flush "$new" && mv -f "$new" "$dir/$sum" && echo staged
"#
);

/// `DIGEST path`.
const DIGEST: &str = script!(
    r#"
if [ ! -e "$1" ]; then echo absent; exit 0; fi
sum=$(sum_of "$1") && [ -n "$sum" ] && echo "sha256=$sum"
"#
);

/// `LINES path key`. More lines than that are not worth the seconds that they would take.
const LINES: &str = script!(
    r#"
[ -f "$1" ] || fail "there is no file $1"
[ "$(awk 'END { print NR }' "$1")" -le 3000 ] || fail "$1 has more than 3000 lines"
while IFS= read -r line || [ -n "$line" ]; do
  printf '%s\n%s' "$2" "$line" | sum_of /dev/stdin || exit 1
done <"$1"
echo end
"#
);

/// `PLACE run to new kept sha256 mode owner`. A link is replaced and not followed: what it leads to may be somebody else's, or a
/// version by name. Its capabilities go with the file; other extended attributes don't, as with `cp -p`.
const PLACE: &str = script!(
    r#"
run=$1 to=$2 new=$3 keep=$base/stage/$1/$4 sum=$5 mode=$6 owner=$7
staged=$base/stage/$run/$sum in=${to%/*}
[ -d "$to" ] && fail "$to is a directory"
[ -d "${in:-/}" ] || fail "there is no directory ${in:-/}"
there=no
if [ -f "$to" ] && [ "$(sum_of "$to")" = "$sum" ]; then there=yes
elif [ ! -f "$staged" ] || [ "$(sum_of "$staged")" != "$sum" ]; then fail "what was staged for $to is not there any more"; fi
mkdir -p "$base/stage/$run" || exit 1
if [ ! -e "$keep.whole" ]; then
  rm -rf "$keep" "$keep.link" "$keep.none"
  if [ -L "$to" ]; then readlink "$to" >"$keep.link" || exit 1; fi
  if [ -e "$to" ]; then cp -pL "$to" "$keep" && flush "$keep" || fail "what stands at $to can't be kept"
  elif [ ! -L "$to" ]; then : >"$keep.none"; fi
  : >"$keep.whole" && flush "$base/stage/$run" || exit 1
fi
[ "$there" = no ] || { echo "in place already"; exit 0; }
trap 'rm -f "$new"' EXIT
rm -f "$new"
cat "$staged" >"$new" || fail "$new can't be written"
caps=
if [ -e "$to" ]; then
  [ -n "$mode" ] || mode=$(stat -Lc %a "$to")
  [ -n "$owner" ] || owner=$(stat -Lc %u:%g "$to")
  if have getcap; then caps=$(getcap "$(readlink -f "$to")" 2>/dev/null); fi
fi
if [ -n "$owner" ]; then chown "$owner" "$new" || exit 1; fi
chmod "${mode:-644}" "$new" || exit 1
if [ -n "$caps" ]; then setcap "${caps##* }" "$new" || fail "the capabilities of $to can't be given to the new file"; fi
[ "$(sum_of "$new")" = "$sum" ] || fail "$new was not written whole"
flush "$new" && mv -f "$new" "$to" && flush "${in:-/}" || exit 1
if have restorecon; then restorecon "$to" 2>/dev/null; fi
exit 0
"#
);

/// `PUT_BACK run to new kept`. A link comes back as one where it still leads to what it led to.
const PUT_BACK: &str = script!(
    r#"
run=$1 to=$2 new=$3 keep=$base/stage/$1/$4 in=${2%/*}
[ -e "$keep.whole" ] || fail "run $run has kept nothing of $to"
trap 'rm -f "$new"' EXIT
rm -f "$new"
if [ -e "$keep.none" ]; then rm -f "$to" && flush "${in:-/}"; exit; fi
if [ -e "$keep.link" ]; then
  ln -s "$(cat "$keep.link")" "$new" || exit 1
  if [ -e "$keep" ] && [ "$(sum_of "$new" 2>/dev/null)" != "$(sum_of "$keep")" ]; then rm -f "$new"; fi
fi
if [ ! -L "$new" ]; then cp -p "$keep" "$new" && flush "$new" || fail "$new can't be written"; fi
mv -f "$new" "$to" && flush "${in:-/}" || exit 1
if have restorecon; then restorecon "$to" 2>/dev/null; fi
exit 0
"#
);

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
        path::Path,
        process::Command,
    };

    use super::{super::tests::host, *};
    use crate::core::install::sha256;

    /// Runs one of the scripts as a host without root would.
    fn run(home: &Path, argv: &[String]) -> Result<(), String> {
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", home.display());
        let output =
            Command::new(&argv[0]).args(&argv[1..]).env("XDG_STATE_HOME", home).env("PATH", path).output().unwrap();
        if output.status.success() { Ok(()) } else { Err(String::from_utf8(output.stderr).unwrap().trim().into()) }
    }

    fn stage(home: &Path, run: &str, content: &str) -> String {
        let directory = home.join("rollgate/stage").join(run);
        fs::create_dir_all(&directory).unwrap();
        let sum = sha256(content.as_bytes());
        fs::write(directory.join(&sum), content).unwrap();
        sum
    }

    fn placement(run: &str, to: &Path, sum: &str) -> Placement {
        Placement::new(run, to.to_str().unwrap(), sum)
    }

    #[test]
    fn a_file_takes_the_place_and_the_mode_of_another_and_gives_it_back() {
        let home = host();
        let to = home.path().join("it's a program");
        fs::write(&to, "old").unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(0o751)).unwrap();
        let first = placement("r1", &to, &stage(home.path(), "r1", "new"));
        let second = Placement { mode: Some("600".into()), ..placement("r1", &to, &stage(home.path(), "r1", "newer")) };
        let mode = || fs::metadata(&to).unwrap().permissions().mode() & 0o7777;
        for (placement, content, expected) in
            [(&first, "new", 0o751), (&first, "new", 0o751), (&second, "newer", 0o600)]
        {
            run(home.path(), &place(placement)).unwrap();
            assert_eq!((fs::read_to_string(&to).unwrap().as_str(), mode()), (content, expected));
        }
        // Not what the first placement left, but what stood there before the run.
        for _ in 0..2 {
            run(home.path(), &put_back(&first.kept())).unwrap();
            assert_eq!((fs::read_to_string(&to).unwrap().as_str(), mode()), ("old", 0o751));
        }
        let left: Vec<_> = fs::read_dir(home.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().contains(".rollgate")), "{left:?}");
    }

    #[test]
    fn a_link_is_replaced_and_comes_back() {
        let home = host();
        let (to, version) = (home.path().join("nats-server"), home.path().join("nats-server-2.14"));
        fs::write(&version, "old").unwrap();
        symlink("nats-server-2.14", &to).unwrap();
        let placement = placement("r1", &to, &stage(home.path(), "r1", "new"));
        run(home.path(), &place(&placement)).unwrap();
        assert!(fs::symlink_metadata(&to).unwrap().is_file());
        assert_eq!(fs::read_to_string(&version).unwrap(), "old");
        run(home.path(), &put_back(&placement.kept())).unwrap();
        assert_eq!(fs::read_link(&to).unwrap(), Path::new("nats-server-2.14"));
        // What it led to is another one by now, or gone: its content comes back.
        for _ in 0..2 {
            run(home.path(), &place(&placement)).unwrap();
            fs::write(&version, "somebody's").unwrap();
            run(home.path(), &put_back(&placement.kept())).unwrap();
            assert!(fs::symlink_metadata(&to).unwrap().is_file());
            assert_eq!(fs::read_to_string(&to).unwrap(), "old");
            let _ = fs::remove_file(&version);
        }
    }

    #[test]
    fn where_nothing_stood_nothing_stands_again() {
        let home = host();
        let to = home.path().join("new.conf");
        let placement = placement("r1", &to, &stage(home.path(), "r1", "new"));
        run(home.path(), &place(&placement)).unwrap();
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o644);
        run(home.path(), &put_back(&placement.kept())).unwrap();
        assert!(!to.exists());
    }

    #[test]
    fn what_can_t_be_done_changes_nothing_and_says_why() {
        let home = host();
        let to = home.path().join("file");
        fs::write(&to, "old").unwrap();
        let sum = stage(home.path(), "r1", "new");
        let check = |placement: &Placement, why: &str| {
            let said = run(home.path(), &place(placement)).unwrap_err();
            assert!(said.contains(why), "{said}");
            assert_eq!(fs::read_to_string(&to).unwrap(), "old");
        };
        check(&placement("r1", &to, &sha256(b"never staged")), "not there any more");
        check(&placement("r1", home.path(), &sum), "is a directory");
        check(&placement("r1", &home.path().join("no/file"), &sum), "there is no directory");
        fs::write(home.path().join("rollgate/stage/r1").join(&sum), "damaged").unwrap();
        check(&placement("r1", &to, &sum), "not there any more");
        let said = run(home.path(), &put_back(&Kept { run: "r9".into(), to: "/x".into() })).unwrap_err();
        assert!(said.contains("run r9 has kept nothing of /x"), "{said}");
    }
}
