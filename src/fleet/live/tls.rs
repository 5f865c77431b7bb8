//! TLS settings from the files that the inventory names.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WantsClientCert, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};

use crate::{
    config::inventory::TlsFiles,
    core::view::{Failure, FailureKind},
};

/// Configurations made so far: the system's certificates are read once, not once a host.
#[derive(Default)]
pub struct Cache {
    made: Vec<(TlsFiles, Arc<ClientConfig>)>,
    plain: Option<Arc<ClientConfig>>,
}

impl Cache {
    /// The configuration of these files.
    ///
    /// # Errors
    /// As [`client`].
    pub fn get(&mut self, files: &TlsFiles) -> Result<Arc<ClientConfig>, Failure> {
        if let Some((_, config)) = self.made.iter().find(|(of, _)| of == files) {
            return Ok(Arc::clone(config));
        }
        let config = client(files)?;
        self.made.push((files.clone(), Arc::clone(&config)));
        Ok(config)
    }

    /// A configuration that trusts nobody, for plain HTTP.
    ///
    /// # Errors
    /// The cryptography provider can't be used.
    pub fn plain(&mut self) -> Result<Arc<ClientConfig>, Failure> {
        if let Some(config) = &self.plain {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth());
        self.plain = Some(Arc::clone(&config));
        Ok(config)
    }
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Failure> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::new(FailureKind::Tls, error.to_string()))
}

/// A client configuration that trusts the given CA, or the system's, and shows the given certificate.
///
/// # Errors
/// A file is missing or holds no certificate or key; the failure names it.
pub fn client(files: &TlsFiles) -> Result<Arc<ClientConfig>, Failure> {
    shown(files, builder()?.with_root_certificates(roots(files)?))
}

/// The same for a connection through a relay: the certificate must cover `name`, whatever address was dialled.
///
/// # Errors
/// As [`client`]; or there is nobody to trust.
pub fn client_of(files: &TlsFiles, name: &str) -> Result<Arc<ClientConfig>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(FailureKind::Tls, format!("{name}: {error}"));
    let name = ServerName::try_from(name.to_owned()).map_err(|error| failed(&error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(files)?), provider);
    let verifier = verifier.build().map_err(|error| failed(&error))?;
    let named = Arc::new(Named { name, verifier });
    shown(files, builder()?.dangerous().with_custom_certificate_verifier(named))
}

/// A client configuration that shows nothing, and whose verifier says whom to believe.
///
/// # Errors
/// The cryptography provider can't be used.
pub fn unverified(verifier: Arc<dyn ServerCertVerifier>) -> Result<Arc<ClientConfig>, Failure> {
    Ok(Arc::new(builder()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
}

fn roots(files: &TlsFiles) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    match &files.ca {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| bad(path, &error))?;
            }
        }
        None => {
            let native = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(native.certs);
        }
    }
    Ok(roots)
}

fn shown(
    files: &TlsFiles,
    builder: rustls::ConfigBuilder<ClientConfig, WantsClientCert>,
) -> Result<Arc<ClientConfig>, Failure> {
    let config = match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => {
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| bad(key, &error))?;
            builder.with_client_auth_cert(certificates(cert)?, private).map_err(|error| bad(cert, &error))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// Verifies as rustls does, for a name of our own: the address of a relay is in nobody's certificate.
#[derive(Debug)]
struct Named {
    name: ServerName<'static>,
    verifier: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _dialled: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verifier.verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| bad(path, &error))?;
    if found.is_empty() { Err(bad(path, &"holds no certificate")) } else { Ok(found) }
}

fn bad(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(FailureKind::Tls, format!("{}: {error}", path.display()))
}
