//! One POST of a forward: the HTTP client and whom it trusts, the signature, and what the target's answer means.
//!
//! Nothing here keeps a position or waits for a next try; that is the forward's own task. Proxies that the environment
//! names are not used, and redirects are not followed: a signed event goes where its owner said, and nowhere else.

use crate::clock::Time;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use sha2::Sha256;
use std::error::Error as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, crypto::ring};

/// How long a target may take to answer.
const POST_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a target may take to accept a connection: a machine that is off does not say so.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An idle connection is closed by us before most servers close it (nginx: 75 s), so that no event meets its end.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The rest of an answer is not worth a longer wait: small servers write it apart from the header, where it is held up
/// for a delayed acknowledgement (40 ms) on a connection that is used again. A new one is cheaper then.
const ANSWER_REST: Duration = Duration::from_millis(3);
/// Of a target's answer so much is read, bytes: a connection can be used again only when it is empty.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// The longest `Retry-After` that is kept: a target that says more is asked once a day.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Which daemons an event has passed on its way, each by the identity of its log, oldest first, with commas between.
pub(crate) const VIA: HeaderName = HeaderName::from_static("x-wehelp-via");
/// The code with which a wehelpd refuses an event that went in a circle.
pub(crate) const LOOP: &str = "forward-loop";
/// The identity of the log that `X-Wehelp-Seq` is a position in.
const LOG: HeaderName = HeaderName::from_static("x-wehelp-log");
const SEQ: HeaderName = HeaderName::from_static("x-wehelp-seq");
const SIGNATURE: HeaderName = HeaderName::from_static("x-wehelp-signature");

/// What became of one POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A 2xx.
    Taken,
    /// A wehelpd's 508: it has had this event already; it went in a circle, and this is its end.
    Circle,
    /// The target does not want this event: 4xx, but for those that mean "later".
    Refused(String),
    /// The target could not take it now, and said perhaps how long to wait.
    Failed(String, Option<Duration>),
}

/// Where a forward posts to.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    uri: Uri,
    authorization: Option<HeaderValue>,
}

impl Address {
    /// Reads a URL: `http` or `https`, a host, a port that can be one, perhaps `USER:PASSWORD@`, percent-encoded.
    ///
    /// # Errors
    /// A sentence without the URL, which may hold a password.
    pub(crate) fn parse(url: &str) -> Result<Self, &'static str> {
        let uri: Uri = url.parse().map_err(|_| "a forward's URL begins with http:// or https:// and names a host")?;
        let authority = uri.authority().filter(|_| matches!(uri.scheme_str(), Some("http" | "https")));
        let authority = authority.ok_or("a forward's URL begins with http:// or https:// and names a host")?;
        let (user, place) = match authority.as_str().rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority.as_str()),
        };
        if authority.host().is_empty() {
            return Err("a forward's URL names a host");
        }
        // `http` reads a port that is none as no port, and would post to 80.
        let port = place.strip_prefix(authority.host()).unwrap_or_default();
        if !port.is_empty() && port.strip_prefix(':').and_then(|p| p.parse::<u16>().ok()).is_none_or(|p| p == 0) {
            return Err("a forward's URL has a port from 1 to 65535, or none");
        }
        let authorization = user.map(basic).transpose()?;
        let mut parts = uri.clone().into_parts();
        parts.authority = Some(place.parse().map_err(|_| "a forward's URL names a host")?);
        let uri = Uri::from_parts(parts).map_err(|_| "a forward's URL cannot be read")?;
        Ok(Self { uri, authorization })
    }
}

/// `Basic …` of the part before the `@`.
fn basic(user: &str) -> Result<HeaderValue, &'static str> {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let decode = |text: &str| percent_encoding::percent_decode_str(text).collect::<Vec<u8>>();
    let pair = [decode(name), b":".to_vec(), decode(password)].concat();
    let mut value = HeaderValue::from_str(&format!("Basic {}", data_encoding::BASE64.encode(&pair)))
        .map_err(|_| "the user or the password in the URL cannot be sent")?;
    value.set_sensitive(true);
    Ok(value)
}

/// A URL as it may be shown: without the password in it.
pub(crate) fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let Some((user, place)) = rest[..end].rsplit_once('@') else { return url.to_owned() };
    let name = user.split_once(':').map_or(user, |(name, _)| name);
    let hidden = if user.contains(':') { ":***" } else { "" };
    format!("{scheme}://{name}{hidden}@{place}{}", &rest[end..])
}

/// One event (or a test) as it is posted.
pub(crate) struct Message {
    /// The line that a follower sees, or a test's.
    pub(crate) body: Bytes,
    /// Its position; none for a test.
    pub(crate) seq: Option<crate::seq::Seq>,
    /// The log that it comes from.
    pub(crate) log: String,
    /// The logs that it has passed, this one included.
    pub(crate) via: String,
}

/// An HTTP client with the roots that it trusts; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Poster(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Poster {
    /// One that trusts the system's roots, and those in a PEM file. Reads files.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub(crate) fn new(ca: Option<&Path>) -> Result<Self, String> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let https = HttpsConnectorBuilder::new().with_tls_config(tls(ca)?).https_or_http().enable_http1();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(https.wrap_connector(tcp));
        Ok(Self(client))
    }

    /// Posts one event and tells what became of it.
    pub(crate) async fn post(&self, to: &Address, secret: Option<&str>, message: Message, now: Time) -> Outcome {
        let request = match request(to, secret, message, now) {
            Ok(request) => request,
            Err(error) => return Outcome::Failed(format!("make the request: {error}"), None),
        };
        match tokio::time::timeout(POST_TIMEOUT, self.0.request(request)).await {
            Err(_) => Outcome::Failed(format!("no answer within {} s", POST_TIMEOUT.as_secs()), None),
            Ok(Err(error)) => Outcome::Failed(why(&error), None),
            Ok(Ok(response)) => {
                let (head, body) = response.into_parts();
                // What it says besides is asked for only where the status does not tell.
                let rest = if head.status == StatusCode::LOOP_DETECTED { CONNECT_TIMEOUT } else { ANSWER_REST };
                let said = tokio::time::timeout(rest, Limited::new(body, ANSWER_BYTES_MAX).collect()).await;
                let said = said.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes).unwrap_or_default();
                meaning(head.status, &head.headers, &said, now)
            }
        }
    }
}

fn tls(ca: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    // A root that cannot be read is left out, as every browser does; a target that needs it is then refused in words.
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    let mut named = Vec::new();
    if let Some(path) = ca {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
        let certificates = certificates.map_err(|e| format!("read the certificates of `{}`: {e}", path.display()))?;
        if certificates.is_empty() {
            return Err(format!("`{}` holds no certificate in PEM form", path.display()));
        }
        for certificate in &certificates {
            roots.add(certificate.clone()).map_err(|e| format!("use a certificate of `{}`: {e}", path.display()))?;
        }
        named = certificates;
    }
    let failed = |e: &dyn std::fmt::Display| format!("set up TLS: {e}");
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(|e| failed(&e))?;
    if named.is_empty() {
        return Ok(builder.with_root_certificates(roots).with_no_client_auth());
    }
    let roots = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    let trust = Trust { named, roots: roots.build().map_err(|e| failed(&e))? };
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(trust)).with_no_client_auth())
}

/// Trusts what the roots have signed, and a certificate that was itself named with `--ca`: what `openssl req -x509` makes
/// calls itself an authority, which webpki takes for no server's certificate, and which curl takes.
#[derive(Debug)]
struct Trust {
    named: Vec<CertificateDer<'static>>,
    roots: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, tokio_rustls::rustls::Error> {
        if self.named.iter().any(|named| named == end_entity) {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        self.roots.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, tokio_rustls::rustls::Error> {
        self.roots.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, tokio_rustls::rustls::Error> {
        self.roots.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.roots.supported_verify_schemes()
    }
}

fn request(
    to: &Address,
    secret: Option<&str>,
    message: Message,
    now: Time,
) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let mut request = Request::post(to.uri.clone())
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("wehelp/", env!("CARGO_PKG_VERSION")))
        .header(LOG, message.log)
        .header(VIA, message.via);
    if let Some(seq) = message.seq {
        request = request.header(SEQ, seq.to_string());
    }
    if let Some(secret) = secret {
        request = request.header(SIGNATURE, signature(secret, now, &message.body));
    }
    if let Some(authorization) = &to.authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    request.body(Full::new(message.body))
}

/// What the target's answer means for the event.
fn meaning(status: StatusCode, headers: &HeaderMap, body: &[u8], now: Time) -> Outcome {
    let said = format!("the target answered {}", status.as_u16());
    match status.as_u16() {
        200..=299 => Outcome::Taken,
        // Hosts that are short of something say 508 too, and mean "later".
        508 if says_loop(body) => Outcome::Circle,
        408 | 425 | 429 => Outcome::Failed(said, retry_after(headers, now)),
        400..=499 => Outcome::Refused(said),
        300..=399 => Outcome::Failed(format!("{said}; redirects are not followed, give the address itself"), None),
        _ => Outcome::Failed(said, retry_after(headers, now)),
    }
}

/// Whether an answer is a wehelpd's that ends a circle.
fn says_loop(body: &[u8]) -> bool {
    serde_json::from_slice(body).is_ok_and(|said: crate::control::Refusal| said.error == LOOP)
}

/// `Retry-After`, in seconds or as a date.
fn retry_after(headers: &HeaderMap, now: Time) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let then = httpdate::parse_http_date(value).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
            then.saturating_sub(Duration::from_millis(now.millis().try_into().unwrap_or(0)))
        }
    };
    Some(pause.min(RETRY_AFTER_MAX))
}

/// The innermost reason: what is around it says only that a request failed.
fn why(error: &hyper_util::client::legacy::Error) -> String {
    let mut reason = error.source();
    while let Some(inner) = reason.and_then(std::error::Error::source) {
        reason = Some(inner);
    }
    let reason = reason.map_or_else(|| error.to_string(), ToString::to_string);
    match (error.is_connect(), reason.contains("certificate")) {
        (true, true) => format!("cannot trust the target: {reason} (--ca names a file with the root that signed it)"),
        (true, false) => format!("cannot connect: {reason}"),
        _ => format!("the connection broke: {reason}"),
    }
}

/// `t=SECONDS,v1=HEX`: HMAC-SHA256 over `SECONDS.BODY`, so that a receiver can refuse old ones.
fn signature(secret: &str, now: Time, body: &[u8]) -> String {
    let seconds = now.millis() / 1000;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body);
    let digest = data_encoding::HEXLOWER.encode(&mac.finalize().into_bytes());
    format!("t={seconds},v1={digest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_millis(1_700_000_000_999);

    #[test]
    fn a_signature_is_what_openssl_computes() {
        // printf '1700000000.{}' | openssl dgst -sha256 -hmac key
        let digest = "9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae";
        assert_eq!(signature("key", NOW, b"{}"), format!("t=1700000000,v1={digest}"));
    }

    #[test]
    fn a_url_needs_a_scheme_a_host_and_a_port_that_can_be_one() {
        for url in ["http://h", "https://h/x?y", "http://h:1/", "http://[::1]:8080/", "http://u:p@h:65535"] {
            assert!(Address::parse(url).is_ok(), "{url}");
        }
        for url in [
            "",
            "h",
            "ftp://h/",
            "http://",
            "http:///x",
            "http://h:99999/",
            "http://h:0/",
            "http://h:/",
            "http://h:8a/",
            "https://u:p@h:70000/",
            "http://h h/",
        ] {
            assert!(Address::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_password_is_decoded_and_sent_apart_from_the_address() {
        let address = Address::parse("https://me:p%40ss%3A%E4%BD%A0@host:8443/hook?x=1").unwrap();
        assert_eq!(address.uri.to_string(), "https://host:8443/hook?x=1");
        let expected = data_encoding::BASE64.encode("me:p@ss:你".as_bytes());
        assert_eq!(address.authorization.unwrap(), format!("Basic {expected}"));
    }

    #[test]
    fn a_password_is_never_shown() {
        for (url, shown) in [
            ("https://me:secret@host/x", "https://me:***@host/x"),
            ("https://me:se@cret@host:1/x", "https://me:***@host:1/x"),
            ("https://me@host/x", "https://me@host/x"),
            ("https://host/x?y=a:b@c", "https://host/x?y=a:b@c"),
            ("https://:secret@host", "https://:***@host"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }

    #[test]
    fn an_answer_says_taken_never_or_later() {
        let none = HeaderMap::new();
        let of = |status| meaning(StatusCode::from_u16(status).unwrap(), &none, b"508 Resource Limit Is Reached", NOW);
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(of(status), Outcome::Taken, "{status}");
        }
        for status in [400, 401, 403, 404, 405, 409, 410, 413, 422, 451] {
            assert!(matches!(of(status), Outcome::Refused(_)), "{status}");
        }
        for status in [301, 302, 307, 408, 425, 429, 500, 502, 503, 504, 508] {
            assert!(matches!(of(status), Outcome::Failed(_, None)), "{status}");
        }
        let own = br#"{"error":"forward-loop","message":"it ends here"}"#;
        assert_eq!(meaning(StatusCode::LOOP_DETECTED, &none, own, NOW), Outcome::Circle);
        assert!(matches!(meaning(StatusCode::SERVICE_UNAVAILABLE, &none, own, NOW), Outcome::Failed(..)));
    }

    #[test]
    fn retry_after_is_a_number_or_a_date_and_bounded() {
        let of = |value: &str| {
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(value).unwrap())]), NOW)
        };
        assert_eq!(of("7"), Some(Duration::from_secs(7)));
        assert_eq!(of(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(of("Tue, 14 Nov 2023 22:14:20 GMT"), Some(Duration::from_millis(59_001)));
        assert_eq!(of("Tue, 14 Nov 2023 22:13:00 GMT"), Some(Duration::ZERO));
        assert_eq!(of("99999999999"), Some(RETRY_AFTER_MAX));
        for nothing in ["", "soon", "-1", "1.5"] {
            assert_eq!(of(nothing), None, "{nothing}");
        }
    }
}
