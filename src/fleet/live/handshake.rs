//! The certificate of a TLS listener, as it shows it to whoever comes: for what it says, not for whether we trust it. The
//! server has to prove that it has the key; clients are asked for no certificate here, and a server that wants one may
//! refuse us after it has shown its own.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio_rustls::TlsConnector;

use super::{client_port, tls};
use crate::core::{
    diagnosis::{files::Certificate, tls::certificate},
    listeners::ListenerKind,
    view::{Failure, FailureKind, Seen},
};

/// Shakes hands over an open stream; `address` is the name that is asked for.
///
/// # Errors
/// No handshake came about, or the certificate can't be read.
pub async fn shown(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    kind: ListenerKind,
    address: &str,
) -> Seen<Certificate> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(FailureKind::Tls, format!("{}: TLS handshake: {error}", kind.port()))
    };
    let mut stream = BufReader::new(stream);
    if kind.says_info() && !client_port::silent(&mut stream).await? {
        client_port::read_line(&mut stream).await?;
    }
    let witness = Arc::new(Witness::default());
    let config = tls::unverified(Arc::clone(&witness) as _)?;
    // A name that can't be asked for is none that the server could choose a certificate by.
    let name = ServerName::try_from(address.to_owned()).or_else(|_| ServerName::try_from("localhost"));
    let name = name.map_err(|error| failed(&error))?.to_owned();
    let ended = TlsConnector::from(config).connect(name, stream.into_inner()).await;
    match (witness.proven(), ended) {
        (Some(der), _) => certificate(&der).map_err(|error| failed(&error)),
        (None, Err(error)) => Err(failed(&error)),
        (None, Ok(_)) => Err(failed(&"it showed no certificate")),
    }
}

/// Believes everybody, and remembers whose key signed the handshake.
#[derive(Debug)]
struct Witness {
    algorithms: WebPkiSupportedAlgorithms,
    signed: Mutex<Option<Vec<u8>>>,
}

impl Default for Witness {
    fn default() -> Self {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        Self { algorithms, signed: Mutex::new(None) }
    }
}

impl Witness {
    fn proven(&self) -> Option<Vec<u8>> {
        self.signed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn signed(&self, certificate: &CertificateDer<'_>) {
        *self.signed.lock().unwrap_or_else(PoisonError::into_inner) = Some(certificate.to_vec());
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let valid = verify_tls12_signature(message, certificate, signature, &self.algorithms)?;
        self.signed(certificate);
        Ok(valid)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let valid = verify_tls13_signature(message, certificate, signature, &self.algorithms)?;
        self.signed(certificate);
        Ok(valid)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
