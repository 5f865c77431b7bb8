//! Logins to NATS, and the system account: what servers say and do when asked over it. It needs no monitoring port and no ssh.

mod clients;
mod connection;
mod leaders;
mod login;
mod wire;

pub use clients::{Attachment, AttachmentKind, Attachments};
pub use connection::{Answers, Peer, SystemAccount, connect};
pub use leaders::{Moved, Target};
pub use login::{Access, Environment, Secret, access, read};
