//! Files to text.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::error::{ConfigErrors, Mistake};

/// Largest file that is read, in bytes: 10,000 hosts at 400 bytes each. What is larger was not
/// meant to be read, and could fill the memory (`/dev/zero`).
const LARGEST: u64 = 4 * 1024 * 1024;

/// The text of the file at `path`, which is to be an inventory, a playbook: a `what`.
pub(super) fn read(path: &Path, what: &str) -> Result<String, ConfigErrors> {
    let unreadable = |problem: &str, help: &str, cause: Option<io::Error>| {
        let mistake = Mistake::anywhere(format!("can't read the {what}: {problem}"));
        ConfigErrors::unreadable(path, mistake.help(help), cause)
    };
    let from_io = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            unreadable("there is no such file", "relative paths are taken from the current directory", Some(error))
        }
        io::ErrorKind::PermissionDenied => {
            unreadable("permission denied", "who runs this must be able to read it", Some(error))
        }
        io::ErrorKind::IsADirectory => unreadable("it is a directory", "name a file in it", Some(error)),
        _ => unreadable(&error.to_string(), "is the file system in order?", Some(error)),
    };
    let file = File::open(path).map_err(from_io)?;
    let mut bytes = Vec::new();
    // One more, to tell a file of just this size from a larger one.
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(from_io)?;
    if bytes.len() as u64 > LARGEST {
        let problem = format!("it is larger than {} MiB", LARGEST / 1024 / 1024);
        return Err(unreadable(&problem, "is it the right file?", None));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        // What precedes is valid, so that lossy conversion changes nothing.
        let before = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
        let line = before.matches('\n').count() + 1;
        let problem = format!("it is not UTF-8 (line {line}, byte {valid})");
        unreadable(&problem, "save it as UTF-8: `iconv -f latin1 -t utf-8`", None)
    })
}

/// Stable hash of `text` in hex: FNV-1a of 128 bits. It tells an edited file from an unedited
/// one, without a dependency; it is no defence against forgery, which needs none, as whoever can
/// write the file can have the servers restarted.
pub(crate) fn digest(text: &str) -> String {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let hash = text.bytes().fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
    format!("{hash:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_fnv() {
        // The published values of FNV-1a 128 for "" and "a".
        assert_eq!(digest(""), "6c62272e07bb014262b821756295c58d");
        assert_eq!(digest("a"), "d228cb696f1a8caf78912b704e4a8964");
    }

    #[test]
    fn files_that_cannot_be_read_say_why() {
        let dir = tempfile::tempdir().unwrap();
        let check = |name: &str, content: Option<&[u8]>, expected: &str| {
            let path = dir.path().join(name);
            if let Some(content) = content {
                std::fs::write(&path, content).unwrap();
            }
            let error = read(&path, "inventory").unwrap_err().render(false);
            assert!(error.contains(expected), "{error}");
            assert!(error.contains(&path.display().to_string()), "{error}");
        };
        check("missing.yaml", None, "there is no such file");
        check(".", None, "it is a directory");
        check("latin1.yaml", Some(b"a: 1\nb: \xe9\n"), "it is not UTF-8 (line 2, byte 8)");
        check("big.yaml", Some(&vec![b'#'; 5 * 1024 * 1024]), "it is larger than 4 MiB");
    }
}
