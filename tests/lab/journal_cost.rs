//! What an event costs: a thousand appended to a journal, each synced before the next, as a roll does. `make bench` runs it; an
//! argument is the directory to write in, so that the disk is the one that the state directory is on.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rollgate::{
    core::event::{Envelope, Event, SCHEMA},
    journal::{Journal, Sink},
};

const EVENTS: u64 = 1_000;
/// The figure that issue 5 asks for.
const LIMIT: Duration = Duration::from_millis(5);

fn main() -> ExitCode {
    let place = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    match measure(&place) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("journal-cost: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(place: &str) -> std::io::Result<bool> {
    let home = tempfile::tempdir_in(place)?;
    let mut journal = Journal::create(&home.path().join("runs/bench"))?;
    let note = Some("3 leaders moved; 40 clients told to leave, 0 left (at first 2 leafnodes)".to_owned());
    let mut took = Vec::new();
    for seq in 0..EVENTS {
        let event = Event::StepFinished {
            host: "h1".into(),
            step: "drain".into(),
            took_ms: 350,
            note: note.clone(),
            restarts: None,
        };
        let envelope = Envelope { v: SCHEMA, run: "bench".into(), seq, at: Timestamp::now(), event };
        let began = Instant::now();
        journal.append(&envelope)?;
        took.push(began.elapsed());
    }
    let mean = took.iter().sum::<Duration>() / u32::try_from(took.len()).unwrap_or(u32::MAX);
    took.sort();
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    let at = |percent: usize| ms(took[took.len() * percent / 100]);
    println!(
        "journal      {:8.2} ms an event (limit {} ms), median {:.2}, 99 % within {:.2}",
        ms(mean),
        LIMIT.as_millis(),
        at(50),
        at(99)
    );
    Ok(mean <= LIMIT)
}
