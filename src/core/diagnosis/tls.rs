//! Certificates: read from the PEM that the host sent, and held against each other.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use x509_parser::prelude::*;

use super::files::{Certificate, TlsFile};
use crate::core::view::{Failure, FailureKind};

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
