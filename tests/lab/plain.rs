//! `service: {command: …}`: servers without systemd and without root, by commands of the operator's own.

use std::fs;

use crate::{harness::Lab, process::strings};

#[test]
fn own_commands() {
    let Some(lab) = Lab::plain() else { return };
    let before = lab.server_ids();
    assert!(before.iter().all(Option::is_some), "{before:?}");
    let ended = lab.rollgate(&["run", &lab.file("quick.yaml"), "-i", &lab.inventory(), "--yes"]);
    ended.exits(0).journal_is_whole();
    let mut rolled = ended.rolled();
    rolled.sort_unstable();
    assert_eq!(rolled, lab.hosts(), "{ended}");
    let after = lab.server_ids();
    assert!(before.iter().zip(&after).all(|(old, new)| new.is_some() && old != new), "{before:?} {after:?}\n{ended}");
}

#[test]
fn an_own_start_command_that_fails() {
    let Some(lab) = Lab::plain() else { return };
    let order = lab.plan(&lab.inventory());
    let before = lab.server_ids();
    let service = lab.path.join("service").display().to_string();
    let broken = lab.write("start", "#!/bin/sh\necho 'no licence today' >&2\nexit 7\n");
    let inventory = lab
        .inventory_with(|text| text.replace(&format!("start: [{service}, start]"), &format!("start: [sh, {broken}]")));
    assert!(fs::read_to_string(&inventory).is_ok_and(|text| text.contains(&broken)));
    let ended = lab.rollgate(&["run", &lab.file("quick.yaml"), "-i", &inventory, "--yes"]);
    ended.exits(4).journal_is_whole();
    let halt = ended.halt("change-failed");
    assert_eq!(halt["host"], order[0], "{ended}");
    assert_eq!(halt["step"], "start", "{ended}");
    assert_eq!(halt["status"], 7, "{ended}");
    assert_eq!(strings(&halt["untouched"]), order[1..], "{ended}");
    ended.says(&["exit status 7", "no licence today"]);
    for (place, host) in lab.hosts().iter().enumerate() {
        let expected = if *host == order[0] { &None } else { &before[place] };
        assert_eq!(&lab.server_id(host), expected, "{host}: {ended}");
    }
}
