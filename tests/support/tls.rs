//! A TLS server's side of a connection, with a certificate that stands here.

use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A certificate for 127.0.0.1, which is its own authority.
pub const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBOjCB4KADAgECAgEBMAoGCCqGSM49BAMCMBQxEjAQBgNVBAMMCW1haWwudGVz
dDAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowFDESMBAGA1UEAwwJ
bWFpbC50ZXN0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEk3jHoLzXPMzZvCTX
JW3LDmO93M/ZDku+UZMhUJUBbUCdSXbiE+0wvklk7O2eyL7sJHjtlKGFQZfXOelV
vh8YxKMhMB8wDwYDVR0RBAgwBocEfwAAATAMBgNVHRMBAf8EAjAAMAoGCCqGSM49
BAMCA0kAMEYCIQCgboKdJhBdPn9xTUOb6/7TN1a03mSpTUGLob2Iy6+rLAIhAPbs
RB+4IttwtipUqwSTjCjIwu1ULBKuDZ9csxtSgiuy
-----END CERTIFICATE-----
";

/// A certificate for 127.0.0.1 with the same key, as `openssl req -x509` makes it: that of an authority.
pub const OF_AUTHORITY: &str = "\
-----BEGIN CERTIFICATE-----
MIIBfjCCASOgAwIBAgIBAjAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAltYWlsLnRl
c3QwIBcNMjYxMTMwMTUxNTA5WhgPMjEyNjExMDYxNTE1MDlaMBQxEjAQBgNVBAMM
CW1haWwudGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABJN4x6C81zzM2bwk
1yVtyw5jvdzP2Q5LvlGTIVCVAW1AnUl24hPtML5JZOztnsi+7CR47ZShhUGX1znp
Vb4fGMSjZDBiMB0GA1UdDgQWBBQbj4jMFd60hlYrBSfMQn/1j5LfezAfBgNVHSME
GDAWgBQbj4jMFd60hlYrBSfMQn/1j5LfezAPBgNVHRMBAf8EBTADAQH/MA8GA1Ud
EQQIMAaHBH8AAAEwCgYIKoZIzj0EAwIDSQAwRgIhAPmlQ4+CqH94v0HzbgaDQLSy
BqLc1tJc+IugYLfnBU/FAiEA9XhzErmEHA3eKxr/3MPV4Q2UdZ3osbGjYJXiGzpz
SMA=
-----END CERTIFICATE-----
";

/// Their key, which guards nothing.
const KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgEohB1G17zsEQ0Wdv
JcrV8n0ZiJwkr6F+0dmqRMxtdLOhRANCAASTeMegvNc8zNm8JNclbcsOY73cz9kO
S75RkyFQlQFtQJ1JduIT7TC+SWTs7Z7IvuwkeO2UoYVBl9c56VW+HxjE
-----END PRIVATE KEY-----
";

/// Does TLS on a connection that a client has opened. The handshake is done by the first reading or writing.
pub fn serve_tls(stream: TcpStream) -> StreamOwned<ServerConnection, TcpStream> {
    serve_tls_as(CERTIFICATE, stream)
}

/// Does the same as [`serve_tls`] with another certificate.
pub fn serve_tls_as(certificate: &str, stream: TcpStream) -> StreamOwned<ServerConnection, TcpStream> {
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), stream)
}
