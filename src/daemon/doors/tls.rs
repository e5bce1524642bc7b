//! TLS on the client door: a certificate and its key in PEM files, read again on SIGHUP.

use crate::sync::lock;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

/// A certificate in use.
pub(crate) struct Tls {
    cert: PathBuf,
    key: PathBuf,
    acceptor: Mutex<TlsAcceptor>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("cert", &self.cert).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads a certificate chain and its key.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub(crate) fn load(cert: &Path, key: &Path) -> Result<Self, String> {
        let acceptor = Mutex::new(read(cert, key)?);
        Ok(Self { cert: cert.to_owned(), key: key.to_owned(), acceptor })
    }

    /// Reads the files again; the old certificate stays in use when that fails.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub(crate) fn reload(&self) -> Result<(), String> {
        let acceptor = read(&self.cert, &self.key)?;
        *lock(&self.acceptor) = acceptor;
        Ok(())
    }

    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> std::io::Result<TlsStream<S>> {
        let acceptor = lock(&self.acceptor).clone();
        acceptor.accept(stream).await
    }
}

fn read(cert: &Path, key: &Path) -> Result<TlsAcceptor, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect);
    let chain = chain.map_err(|e| format!("read the certificate `{}`: {e}", cert.display()))?;
    if chain.is_empty() {
        return Err(format!("`{}` holds no certificate in PEM form", cert.display()));
    }
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(|e| format!("read the key `{}`: {e}", key.display()))?;
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key_der))
        .map_err(|e| format!("use the certificate `{}`: {e}", cert.display()))?;
    // They would come before an answer, in a packet that the peer may or may not have acknowledged then: see `delivery`.
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
