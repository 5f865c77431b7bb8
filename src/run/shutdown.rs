//! The operator's wish to stop: the first signal at the next safe point, the second at once.

use tokio::sync::watch;

/// What was asked for so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Wish {
    /// Nothing: go on.
    #[default]
    GoOn,
    /// Stop at the next safe point.
    Soon {
        /// The signal's name.
        signal: &'static str,
    },
    /// Stop at once.
    Now {
        /// The signal's name.
        signal: &'static str,
    },
}

/// Where a run learns of the wish.
pub type Wishes = watch::Receiver<Wish>;

/// Listens for INT, TERM and HUP from now on.
///
/// # Errors
/// The process can't handle signals.
pub fn listen() -> std::io::Result<Wishes> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let (sender, receiver) = watch::channel(Wish::GoOn);
    tokio::spawn(async move {
        loop {
            let signal = tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
                _ = hangup.recv() => "SIGHUP",
            };
            sender.send_modify(|wish| {
                *wish = match wish {
                    Wish::GoOn => Wish::Soon { signal },
                    // A terminal that closes sends HUP and TERM together; that is one wish, not two.
                    Wish::Soon { signal: first } if signal != "SIGINT" && *first != signal => return,
                    Wish::Soon { .. } | Wish::Now { .. } => Wish::Now { signal },
                }
            });
        }
    });
    Ok(receiver)
}

/// A wish that never comes, for callers without signals.
pub fn never() -> Wishes {
    watch::channel(Wish::GoOn).1
}

/// Ends when the operator wishes to stop.
pub(super) async fn wished(wishes: &mut Wishes) {
    if wishes.wait_for(|wish| *wish != Wish::GoOn).await.is_err() {
        // Nobody is left who could wish for anything.
        std::future::pending::<()>().await;
    }
}
