//! Certificates: read from the PEM that the host sent, and held against each other.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use x509_parser::prelude::*;

use rustls::pki_types::{CertificateDer, UnixTime};

use super::{
    evidence::{Archive, not_asked},
    files::{Certificate, ChainFault, Issuer, TlsBlock, TlsFile},
    settings::{Settings, TlsSettings},
};
use crate::core::view::{Exit, Failure, FailureKind, Seen};

/// The certificates of each file, as bytes.
pub type Chains = BTreeMap<String, Vec<Vec<u8>>>;

/// Reads the collector's `x` lines: `PATH \t KIND \t TEXT`.
pub fn files<'a>(lines: impl Iterator<Item = &'a str>) -> (Vec<TlsFile>, Chains) {
    let mut order: Vec<&str> = Vec::new();
    let mut raw: BTreeMap<&str, Raw> = BTreeMap::new();
    for line in lines {
        let mut parts = line.splitn(3, '\t');
        let (Some(path), Some(kind), Some(text)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let file = raw.entry(path).or_insert_with(|| {
            order.push(path);
            Raw::default()
        });
        match kind {
            "label" => file.labels.push(text.to_owned()),
            "pem" => file.pem.push_str(text.trim()),
            "end" => file.certificates.push(std::mem::take(&mut file.pem)),
            "public" => file.public.push_str(text.trim()),
            "no-public" => file.no_public = Some(text.to_owned()),
            "unread" => file.unread = true,
            _ => {}
        }
    }
    let mut chains = Chains::new();
    let files = order.into_iter().filter_map(|path| Some(raw.remove(path)?.read(path, &mut chains))).collect();
    (files, chains)
}

#[derive(Default)]
struct Raw {
    labels: Vec<String>,
    pem: String,
    certificates: Vec<String>,
    public: String,
    no_public: Option<String>,
    unread: bool,
}

impl Raw {
    fn read(self, path: &str, chains: &mut Chains) -> TlsFile {
        let mut certificate = |text: &String| {
            let der = STANDARD.decode(text).map_err(|error| format!("not base64: {error}"))?;
            let read = certificate(&der);
            chains.entry(path.to_owned()).or_default().push(der);
            read
        };
        let key_digest = match (&self.no_public, self.public.is_empty()) {
            _ if self.unread => Err(Failure::new(FailureKind::Command, format!("{path}: can't be read"))),
            (Some(why), _) => Err(Failure::new(FailureKind::Command, format!("{path}: {why}"))),
            (None, true) => Ok(None),
            (None, false) => match STANDARD.decode(&self.public) {
                Ok(der) => Ok(Some(digest(&der))),
                Err(error) => Err(Failure::new(FailureKind::Protocol, format!("{path}: public key: {error}"))),
            },
        };
        let certificates = self.certificates.iter().map(&mut certificate).collect();
        TlsFile { path: path.to_owned(), blocks: self.labels, certificates, key_digest, read: !self.unread }
    }
}

/// Hex SHA-256.
fn digest(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads one certificate.
///
/// # Errors
/// What is wrong with it.
pub fn certificate(der: &[u8]) -> Result<Certificate, String> {
    let (_, parsed) = X509Certificate::from_der(der).map_err(|error| format!("not a certificate: {error}"))?;
    let time = |time: ASN1Time| {
        Timestamp::from_second(time.timestamp()).map_err(|error| format!("a date out of range: {error}"))
    };
    let names =
        parsed.subject_alternative_name().ok().flatten().map_or_else(Vec::new, |names| {
            names.value.general_names.iter().filter_map(general_name).collect::<Vec<_>>()
        });
    let usages = parsed.extended_key_usage().ok().flatten().map_or_else(Vec::new, |usage| {
        let usage = usage.value;
        let named = [
            (usage.any, "any"),
            (usage.server_auth, "serverAuth"),
            (usage.client_auth, "clientAuth"),
            (usage.code_signing, "codeSigning"),
            (usage.email_protection, "emailProtection"),
        ];
        named.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| (*name).to_owned()).collect()
    });
    Ok(Certificate {
        subject: parsed.subject().to_string(),
        issuer: parsed.issuer().to_string(),
        serial: parsed.raw_serial_as_string(),
        not_before: time(parsed.validity().not_before)?,
        not_after: time(parsed.validity().not_after)?,
        names,
        is_ca: parsed.is_ca(),
        key_digest: digest(parsed.public_key().raw),
        usages,
    })
}

/// Holds the files of each `tls` block against each other.
pub fn blocks(settings: &Settings, archive: &Archive, chains: &Chains) -> Vec<TlsBlock> {
    let at = archive.machine.as_ref().map_or(archive.answered_at, |machine| machine.clock);
    let alone = settings.tls.len() == 1;
    settings.tls.iter().map(|block| one_block(block, archive, chains, at, alone)).collect()
}

fn one_block(block: &TlsSettings, archive: &Archive, chains: &Chains, at: Timestamp, alone: bool) -> TlsBlock {
    let files = archive.tls_files.as_deref().unwrap_or_default();
    // The collector has made paths absolute, from the service's working directory.
    let absolute = |path: &Option<String>| {
        let path = path.as_deref()?;
        let found = files.iter().find(|file| {
            let end = path.trim_start_matches("./");
            file.path == path || file.path.strip_suffix(end).is_some_and(|start| start.ends_with('/'))
        });
        Some(found.map_or(path, |file| file.path.as_str()).to_owned())
    };
    let (cert, key, ca) = (absolute(&block.cert), absolute(&block.key), absolute(&block.ca));
    let file = |path: &Option<String>| files.iter().find(|file| Some(&file.path) == path.as_ref());
    let chain = match (cert.as_ref().and_then(|path| chains.get(path)), ca.as_ref().and_then(|path| chains.get(path))) {
        (Some(chain), Some(anchors)) => verify(chain, anchors, at),
        _ => Err(not_asked("there is no certificate, or no CA file, to hold against the other")),
    };
    let issuer = match (&chain, cert.as_ref().and_then(|path| chains.get(path))) {
        (Ok(Err(ChainFault::UnknownIssuer)), Some(chain)) => issuer(chain, &cert, chains, files, at),
        _ => None,
    };
    TlsBlock {
        issuer,
        block: block.block.clone(),
        key_matches: matches(file(&cert), file(&key)).or_else(|failure| by_test(archive, alone).ok_or(failure)),
        chain,
        verify: block.verify,
        cert,
        key,
        ca,
    }
}

/// The file whose certificate issued the last link of a chain that leads nowhere.
fn issuer(
    chain: &[Vec<u8>],
    cert: &Option<String>,
    chains: &Chains,
    files: &[TlsFile],
    at: Timestamp,
) -> Option<Issuer> {
    let others = chains.iter().filter(|(path, _)| Some(*path) != cert.as_ref());
    let (path, _) = others.into_iter().find(|(_, anchors)| verify(chain, anchors, at) == Ok(Ok(())))?;
    let certificates = files.iter().find(|file| file.path == *path)?.certificates.iter().flatten();
    let root = certificates.into_iter().any(|one| one.is_ca && one.subject == one.issuer);
    Some(Issuer { path: path.clone(), root })
}

fn matches(cert: Option<&TlsFile>, key: Option<&TlsFile>) -> Seen<bool> {
    let (Some(cert), Some(key)) = (cert, key) else {
        return Err(not_asked("there is no certificate, or no key, to hold against the other"));
    };
    let Some(Ok(leaf)) = cert.certificates.first() else {
        return Err(Failure::new(FailureKind::Protocol, format!("{}: no certificate that can be read", cert.path)));
    };
    match &key.key_digest {
        Ok(Some(digest)) => Ok(*digest == leaf.key_digest),
        Ok(None) => Err(Failure::new(FailureKind::Protocol, format!("{}: no private key in it", key.path))),
        Err(failure) => Err(failure.clone()),
    }
}

/// What `nats-server -t` says of keys where openssl could not: it loads every pair.
fn by_test(archive: &Archive, alone: bool) -> Option<bool> {
    let test = archive.config_test.as_ref().ok()?;
    if test.exit == Some(Exit::Code(0)) {
        return Some(true);
    }
    let mismatch = test.output.iter().any(|line| line.contains("private key does not match public key"));
    (mismatch && alone).then_some(false)
}

/// Whether the chain leads to one of the anchors at that time. A failure where webpki, which is stricter than Go, has other
/// objections.
fn verify(chain: &[Vec<u8>], anchors: &[Vec<u8>], at: Timestamp) -> Seen<Result<(), ChainFault>> {
    let unknown = |what: &str| Failure::new(FailureKind::Protocol, format!("the chain was not checked: {what}"));
    let der = |bytes: &Vec<u8>| CertificateDer::from(bytes.clone());
    let Some((leaf, rest)) = chain.split_first() else { return Err(unknown("no certificate")) };
    let (leaf, rest) = (der(leaf), rest.iter().map(der).collect::<Vec<_>>());
    let anchors: Vec<_> = anchors.iter().map(der).collect();
    let anchors: Vec<_> = anchors.iter().filter_map(|der| webpki::anchor_from_trusted_cert(der).ok()).collect();
    if anchors.is_empty() {
        return Err(unknown("the CA file has no certificate that can be trusted"));
    }
    let seconds = u64::try_from(at.as_second()).map_err(|_| unknown("the clock is before 1970"))?;
    let time = UnixTime::since_unix_epoch(::core::time::Duration::from_secs(seconds));
    let leaf = webpki::EndEntityCert::try_from(&leaf).map_err(|error| unknown(&error.to_string()))?;
    let verified = leaf.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &anchors,
        &rest,
        time,
        webpki::KeyUsage::server_auth(),
        None,
        None,
    );
    match verified {
        Ok(_) => Ok(Ok(())),
        Err(webpki::Error::UnknownIssuer) => Ok(Err(ChainFault::UnknownIssuer)),
        Err(webpki::Error::CertExpired { .. }) => Ok(Err(ChainFault::Expired)),
        Err(webpki::Error::CertNotValidYet { .. }) => Ok(Err(ChainFault::NotYetValid)),
        Err(webpki::Error::InvalidSignatureForPublicKey) => Ok(Err(ChainFault::BadSignature)),
        Err(error) => Err(unknown(&error.to_string())),
    }
}

fn general_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(four) => Some(::core::net::Ipv4Addr::from(four).to_string()),
            Err(_) => Some(::core::net::Ipv6Addr::from(<[u8; 16]>::try_from(*bytes).ok()?).to_string()),
        },
        _ => None,
    }
}
