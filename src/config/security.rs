//! Who may connect, and how: the settings of listeners, tokens and encryption.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::complaint::{Heap, Source};
use super::settings::Setting;
use super::tls::{ClientCertificates, TlsFiles};
use super::tokens;
use super::value::shown;
use crate::service::access::{Callers, Doors, Openness};

/// Who may connect, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// A second listener, for administration; never encrypted.
    pub admin_listen: Option<SocketAddr>,
    /// The file of those who are known.
    pub tokens_file: Option<PathBuf>,
    /// Certificates and keys.
    pub tls: TlsFiles,
    /// Whether it was said that strangers are meant to be served.
    pub allow_anonymous: bool,
    /// Whether it was said that others may listen in.
    pub allow_plaintext: bool,
}

impl Security {
    /// Whether a caller has to be known.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.tokens_file.is_some()
    }

    /// Whether everybody who gets a connection has shown a certificate.
    fn trusts_certificates(&self) -> bool {
        let TlsFiles { client_ca_file, client_certificates, .. } = &self.tls;
        client_ca_file.is_some() && *client_certificates == ClientCertificates::Required
    }

    /// What the gate goes by.
    #[must_use]
    pub fn openness(&self) -> Openness {
        let callers = match (self.is_closed(), self.allow_anonymous, self.trusts_certificates()) {
            (true, ..) => Callers::Known,
            (false, true, _) => Callers::Anybody,
            (false, false, true) => Callers::Certified,
            (false, false, false) => Callers::Local,
        };
        Openness {
            callers,
            allow_plaintext: self.allow_plaintext,
            doors: if self.admin_listen.is_some() { Doors::Two } else { Doors::One },
        }
    }

    /// What is missing before other machines may connect, and which flag says that it is meant.
    pub(super) fn lacks(&self) -> Vec<(&'static str, &'static str)> {
        let known = self.is_closed() || self.trusts_certificates() || self.allow_anonymous;
        let encrypted = self.tls.is_on() || self.allow_plaintext;
        let lacks = [
            (known, "nobody has to prove who they are", "--insecure-allow-anonymous"),
            (encrypted, "everybody on the way can read what is said", "--insecure-allow-plaintext"),
        ];
        lacks
            .into_iter()
            .filter(|(is_there, ..)| !is_there)
            .map(|(_, what, flag)| (what, flag))
            .collect()
    }

    /// Checks what only makes sense together, and the files.
    pub(super) fn check(&self, listen: SocketAddr, complaints: &mut Heap) {
        let lacks = if listen.ip().is_loopback() { Vec::new() } else { self.lacks() };
        for (what, flag) in lacks {
            let text = format!(
                "{listen} can be reached from other machines, and {what}: listen on 127.0.0.1, set \
                 tokens_file and tls.cert_file, or say that it is meant with {flag}"
            );
            complaints.add(&Source::Together("listen"), text);
        }
        if self.admin_listen.is_some_and(|admin| admin == listen && listen.port() != 0) {
            complaints.add(&Source::Together("admin_listen"), "is where listen is");
        }
        self.tls.read(complaints);
        if let Some(path) = &self.tokens_file {
            tokens::read(path, complaints);
        }
    }
}

const CLIENT_CERTIFICATES: [(&str, ClientCertificates); 2] =
    [("required", ClientCertificates::Required), ("optional", ClientCertificates::Optional)];

/// Those that stand above all tables.
pub(super) const TOP: &[Setting] = &[
    Setting {
        key: "admin_listen",
        help: "A second listener, never encrypted, to which metrics, reflection and AdminService move; \
               probes and health are at both. \"\" for none.",
        read: |config, raw| {
            let is_none = raw.text()?.trim().is_empty();
            config.security.admin_listen = if is_none { None } else { Some(raw.address()?) };
            Ok(())
        },
        show: |config| config.security.admin_listen.map_or_else(|| shown::text(""), shown::text),
    },
    Setting {
        key: "tokens_file",
        help: "The file of tokens and certificates that are known, with the roles of each; read again \
               when it changes. Without it everybody on this machine may do everything.",
        read: |config, raw| raw.path().map(|path| config.security.tokens_file = path),
        show: |config| shown::path(&config.security.tokens_file),
    },
    Setting {
        key: "insecure_allow_anonymous",
        help: "Listen beyond this machine although nobody has to prove who they are.",
        read: |config, raw| raw.truth().map(|truth| config.security.allow_anonymous = truth),
        show: |config| config.security.allow_anonymous.to_string(),
    },
    Setting {
        key: "insecure_allow_plaintext",
        help: "Listen beyond this machine without TLS, and take tokens over that: behind a proxy or a \
               mesh that encrypts.",
        read: |config, raw| raw.truth().map(|truth| config.security.allow_plaintext = truth),
        show: |config| config.security.allow_plaintext.to_string(),
    },
];

/// The table of files for encryption.
pub(super) const TLS: &[Setting] = &[
    Setting {
        key: "tls.cert_file",
        help: "The server's certificates in PEM, its own first; read again when they change.",
        read: |config, raw| raw.path().map(|path| config.security.tls.cert_file = path),
        show: |config| shown::path(&config.security.tls.cert_file),
    },
    Setting {
        key: "tls.key_file",
        help: "The private key to tls.cert_file, in PEM; not readable for others.",
        read: |config, raw| raw.path().map(|path| config.security.tls.key_file = path),
        show: |config| shown::path(&config.security.tls.key_file),
    },
    Setting {
        key: "tls.client_ca_file",
        help: "Authorities, in PEM, for the certificates of callers.",
        read: |config, raw| raw.path().map(|path| config.security.tls.client_ca_file = path),
        show: |config| shown::path(&config.security.tls.client_ca_file),
    },
    Setting {
        key: "tls.client_certificates",
        help: "Whether a caller must show a certificate where tls.client_ca_file is set: \"required\", \
               or \"optional\" where a token does as well.",
        read: |config, raw| {
            let word = raw.word(&CLIENT_CERTIFICATES)?;
            config.security.tls.client_certificates = word;
            Ok(())
        },
        show: |config| shown::word(&CLIENT_CERTIFICATES, &config.security.tls.client_certificates),
    },
];
