//! Files and directories that a server's configuration names, as the service's user meets them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::core::view::Seen;

/// A path, and what the service's user can do with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathFacts {
    /// The path, absolute.
    pub path: String,
    /// What the server wants it for. A path can have several.
    pub roles: Vec<PathRole>,
    /// What is there; none where nothing is.
    pub kind: Option<FileKind>,
    /// The owner's name, or number where it has none.
    pub owner: Option<String>,
    /// The group's name or number.
    pub group: Option<String>,
    /// Permission bits, such as 0o750.
    pub mode: Option<u32>,
    /// Bytes, of a file.
    pub size: Option<u64>,
    /// When it, or the link that leads to it, was last written, replaced or changed otherwise, by the host's clock
    /// (`st_ctime`, which unlike a file's own time nobody sets). Only of files that the configuration consists of or names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Timestamp>,
    /// The service's user can read it: tried as that user, or why it could not be tried.
    pub readable: Seen<bool>,
    /// The service's user can write to it, or make it where it is missing: the kernel was asked as that user, in the file
    /// system that its unit gives it. Its words where not are in [`PathFacts::write_error`].
    pub writable: Seen<bool>,
    /// Why not, in the system's words, such as `Permission denied`, `Read-only file system`, `No space left on device`.
    pub write_error: Option<String>,
    /// The nearest ancestor that exists, where the path itself doesn't.
    pub ancestor: Option<String>,
    /// The first directory on the way that the service's user can't pass.
    pub blocked_by: Option<String>,
    /// The file system it is on, or would be on.
    pub mount: Option<Mount>,
}

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mount {
    /// Where it is mounted.
    pub point: String,
    /// Its type, such as `ext4`.
    pub fs_type: String,
    /// The device or the like.
    pub source: String,
    /// It is mounted read-only.
    pub read_only: bool,
    /// Bytes in all.
    pub total: Option<u64>,
    /// Bytes that a user without privileges can still write.
    pub free: Option<u64>,
    /// Inodes in all; none or 0 where the file system has no fixed number.
    pub inodes: Option<u64>,
    /// Inodes free.
    pub inodes_free: Option<u64>,
    /// `/etc/fstab` or a mount unit wants something mounted at this path or above it, and nothing is.
    pub expected_not_mounted: Option<String>,
}

/// What the server wants a path for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathRole {
    /// The configuration file.
    Config,
    /// A file that it includes.
    Include,
    /// JetStream's store.
    Store,
    /// The pid file.
    Pid,
    /// The log file.
    Log,
    /// Where the ports file is written.
    PortsDir,
    /// A resolver's directory of account JWTs.
    ResolverDir,
    /// An operator's JWT.
    Operator,
    /// A certificate.
    TlsCert,
    /// A private key.
    TlsKey,
    /// Certificates to trust.
    TlsCa,
    /// Credentials of a leafnode or gateway.
    Credentials,
    /// The program.
    Binary,
    /// The service's working directory.
    WorkingDir,
}

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link that leads nowhere.
    BrokenLink,
    /// Something else: a socket, a device.
    Other,
    /// Something or nothing: whoever gathered may not look there.
    Unseen,
}

/// A PEM file that the configuration names, without any private part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TlsFile {
    /// The path.
    pub path: String,
    /// Whoever gathered could read it.
    pub read: bool,
    /// The labels of its PEM blocks, in their order, such as `CERTIFICATE` or `PRIVATE KEY`; empty where it has none.
    pub blocks: Vec<String>,
    /// Its certificates, each as far as it could be parsed.
    pub certificates: Vec<Result<Certificate, String>>,
    /// Hex SHA-256 of the public key (SubjectPublicKeyInfo) of the private key in it, computed on the host.
    pub key_digest: Seen<Option<String>>,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// The subject, as `CN=n1, O=Example`.
    pub subject: String,
    /// The issuer.
    pub issuer: String,
    /// Its serial number in hex.
    pub serial: String,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
    /// DNS names and addresses that it is for.
    pub names: Vec<String>,
    /// It may sign others.
    pub is_ca: bool,
    /// Hex SHA-256 of its public key (SubjectPublicKeyInfo).
    pub key_digest: String,
    /// Extended key usages, such as `serverAuth`; empty where it has no such extension.
    pub usages: Vec<String>,
}

/// A `tls` block of the configuration: its files held against each other, at the host's time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TlsBlock {
    /// Where it stands: `tls`, `cluster.tls`, `leafnodes.remotes.tls` …
    pub block: String,
    /// `cert_file`.
    pub cert: Option<String>,
    /// `key_file`.
    pub key: Option<String>,
    /// `ca_file`.
    pub ca: Option<String>,
    /// Peers or clients must show a certificate.
    pub verify: bool,
    /// The key belongs to the certificate.
    pub key_matches: Seen<bool>,
    /// The chain in `cert` leads to a certificate in `ca`, at the host's time; or what is wrong with it.
    /// A failure where the check itself knows no answer: that is not held against the server.
    pub chain: Seen<Result<(), ChainFault>>,
    /// Where the chain leads nowhere: the file beside the certificate whose certificate did issue its last link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Issuer>,
}

/// A file that holds the issuer of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issuer {
    /// The file.
    pub path: String,
    /// It is a CA of its own, not an intermediate.
    pub root: bool,
}

/// Why a chain of certificates does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChainFault {
    /// It does not lead to any certificate of the CA file: an intermediate is missing, or it is another CA.
    UnknownIssuer,
    /// A certificate of it has expired.
    Expired,
    /// A certificate of it is not valid yet.
    NotYetValid,
    /// It was signed with another key than its issuer's.
    BadSignature,
}

impl std::fmt::Display for ChainFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::UnknownIssuer => "unable to get issuer certificate",
            Self::Expired => "certificate has expired",
            Self::NotYetValid => "certificate is not yet valid",
            Self::BadSignature => "certificate signature failure",
        })
    }
}
