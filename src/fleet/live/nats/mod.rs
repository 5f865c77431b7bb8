//! The system account: what servers say and do when asked over NATS. It needs no monitoring port and no ssh.

mod clients;
mod connection;
mod leaders;
mod login;
mod wire;

pub use clients::{Attachment, AttachmentKind, Attachments};
pub use connection::{Answers, Peer, SystemAccount};
pub use leaders::{Moved, Target};
pub use login::{Access, Environment, Secret, access};
