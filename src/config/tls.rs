//! Certificates and keys, from files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::complaint::{Complaints, Heap, Source};
use super::secret;
use crate::server::PROTOCOLS;

/// Whether a caller must show a certificate, where an authority for them is configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Without one there is no connection.
    #[default]
    Required,
    /// A token does as well.
    Optional,
}

/// Where certificates and keys are. None of it: connections are not encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificates in PEM, its own first.
    pub cert_file: Option<PathBuf>,
    /// The key to the first of them.
    pub key_file: Option<PathBuf>,
    /// Certificates of the authorities for callers.
    pub client_ca_file: Option<PathBuf>,
    /// What is done about callers without a certificate.
    pub client_certificates: ClientCertificates,
}

impl TlsFiles {
    /// Whether connections are encrypted.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.cert_file.is_some()
    }

    /// What the files say; none where connections are not encrypted.
    ///
    /// # Errors
    /// [`Complaints`], all of them.
    pub fn load(&self) -> Result<Option<ServerConfig>, Complaints> {
        let mut complaints = Heap::default();
        let config = self.read(&mut complaints);
        complaints.none_or_all()?;
        Ok(config)
    }

    /// As [`Self::load`], with complaints among others.
    pub(super) fn read(&self, complaints: &mut Heap) -> Option<ServerConfig> {
        let (cert_file, key_file) = match (&self.cert_file, &self.key_file) {
            (Some(cert_file), Some(key_file)) => (cert_file, key_file),
            (None, None) if self.client_ca_file.is_none() => return None,
            _ => {
                let source = Source::Together("tls.cert_file, tls.key_file, tls.client_ca_file");
                let text =
                    "a certificate and its key go together, and come before those of callers";
                complaints.add(&source, text);
                return None;
            }
        };
        let mut told = |path: &Path, text: String| {
            complaints.add(&Source::File(path.display().to_string()), text);
        };
        let certificates = certificates(cert_file).map_err(|text| told(cert_file, text)).ok();
        let key = secret::bytes(key_file).and_then(|pem| {
            PrivateKeyDer::from_pem_slice(&pem)
                .map_err(|error| format!("has no private key in PEM: {error}"))
        });
        let key = key.map_err(|text| told(key_file, text)).ok();
        let callers = match &self.client_ca_file {
            None => Some(None),
            Some(path) => self.verifier(path).map(Some).map_err(|text| told(path, text)).ok(),
        };
        let (certificates, key, callers) = (certificates?, key?, callers?);
        made(certificates, key, callers).map_err(|text| told(cert_file, text)).ok()
    }

    fn verifier(&self, path: &Path) -> Result<Arc<dyn ClientCertVerifier>, String> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| format!("is no authority: {error}"))?;
        }
        let provider = Arc::new(ring::default_provider());
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = match self.client_certificates {
            ClientCertificates::Required => builder,
            ClientCertificates::Optional => builder.allow_unauthenticated(),
        };
        builder.build().map_err(|error| format!("cannot be used for callers: {error}"))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = secret::public_bytes(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err("has no certificate in PEM".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(format!("is no PEM: {error}")),
    }
}

/// The least version is TLS 1.2, as the library has it.
fn made(
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    callers: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<ServerConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match callers {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier),
    };
    // Checks that the key fits the certificate.
    let mut config = builder
        .with_single_cert(certificates, key)
        .map_err(|error| format!("cannot be used with its key: {error}"))?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}
