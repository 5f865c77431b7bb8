//! The controller's own disk: full, read-only, and mended.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    harness::{Lab, Options, WIDE},
    process::{Ended, Running, strings},
};

/// A small disk of memory.
struct Disk(PathBuf);

impl Disk {
    fn new(path: PathBuf, size: &str) -> Self {
        fs::create_dir_all(&path).expect("a place for the disk");
        mount(&["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "rollgate-test"], &path);
        Self(path)
    }

    fn remount(&self, options: &str) {
        mount(&["-o", &format!("remount,{options}")], &self.0);
    }

    /// Takes all room that is left.
    fn fill(&self) {
        let mut filler = File::options().create(true).append(true).open(self.0.join("filler")).expect("a file");
        for size in [64 << 10, 4 << 10, 1] {
            while filler.write_all(&vec![7; size]).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.0.join("filler")).expect("the filler");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn mount(args: &[&str], path: &Path) {
    let status = Command::new("mount").args(args).arg(path).status().expect("mount");
    assert!(status.success(), "mount {args:?}: {status}");
}

#[test]
fn a_disk_without_room() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    let inventory = lab.inventory();
    let disk = Disk::new(lab.work.path().join("disk"), "512k");
    let state = disk.0.join("rollgate");
    let start = |args: &[&str]| {
        let mut command = lab.rollgate_command(args);
        command.env("XDG_STATE_HOME", &disk.0);
        Running::start(command, &state)
    };
    let roll = ["run", &lab.file("quick.yaml"), "-i", &inventory, "--yes"];
    let before = lab.server_ids();

    // Too small for a run, and read-only: refused before anything is touched, and nothing is left.
    let refused = |says: &str| -> Ended {
        let ended = start(&roll).wait(WIDE);
        ended.exits(3).began_nothing().says(&[says]);
        assert_eq!(lab.server_ids(), before, "{ended}");
        lab.hosts().iter().for_each(|host| assert_eq!(lab.traces(host), "", "{ended}"));
        ended
    };
    refused("No space left on device").says(&["nothing was touched", "XDG_STATE_HOME"]);
    assert_eq!(fs::read_dir(state.join("runs")).map_or(0, Iterator::count), 0, "a run that never was left something");
    disk.remount("ro");
    refused("Read-only file system");

    // It fills up in a turn: the turn ends, the halt finds room, and no other begins.
    disk.remount("rw,size=3m");
    lab.hosts().iter().for_each(|host| lab.hold_stops(host));
    let mut running = start(&roll);
    let first = running.step("stop");
    lab.stop_is_held(&first);
    disk.fill();
    lab.hosts().iter().for_each(|host| lab.release(host));
    let halted = running.wait(WIDE);
    halted.exits(4).journal_is_whole();
    let halt = halted.halt("journal-full");
    assert_eq!(strings(&halt["done"]), [&first], "{halted}");
    assert_eq!(strings(&halt["untouched"]).len(), 2, "{halted}");
    halted.says(&["No space left on device"]);
    let id = halted.run().to_owned();
    let resume = ["resume", "-i", &inventory, &id, "--yes"];
    start(&resume).wait(WIDE).exits(3).says(&["No space left on device"]);

    // With room it goes on; and not even what was kept for the end is there the next time.
    disk.free();
    lab.hosts().iter().for_each(|host| lab.hold_stops(host));
    let mut running = start(&resume);
    let second = running.step("stop");
    lab.stop_is_held(&second);
    fs::remove_file(state.join("runs").join(&id).join("reserve")).expect("the reserve");
    disk.fill();
    lab.hosts().iter().for_each(|host| lab.release(host));
    let stopped = running.wait(WIDE);
    // A few lines may still fit into the last page.
    stopped.exits(4).says(&["the run stopped", "nothing more will be touched"]);
    stopped.says(&["No space left on device", "when there is room for it, go on with: rollgate resume"]);

    disk.free();
    let ended = start(&resume).wait(WIDE);
    ended.exits(0);
    assert_eq!(ended.of("settled")[0]["host"], *second, "{ended}");
    for host in lab.hosts() {
        assert_eq!(lab.stops_and_starts(&host), (1, 2), "{host}: {ended}");
        assert_eq!(lab.traces(&host), "", "{host}");
    }
    lab.all_healthy();
}
