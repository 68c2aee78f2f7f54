//! The `Host` of a request, which a proxy in front may have read otherwise than this server does.
//!
//! **The attack:** a client writes a `Host` that one reader takes for a name and another cuts off, joins with a second one or
//! repairs, so that a rule of the proxy for one host lets a request for another pass.
//!
//! **The rule:** what is no host is refused with 400, whether or not anything depends on it here.
//!
//! Source: RFC 9112 §3.2, RFC 9110 §4.2.1 and §4.2.4; RFC 3986 §3.2.2 for the letters.

use actix_web::dev::ServiceRequest;
use actix_web::http::header::HOST;

/// Says whether all hosts that a request names are ones. The HTTP library has refused two `Host` headers, and a request in
/// HTTP/1.1 without one.
pub(in crate::http) fn is_valid(request: &ServiceRequest) -> bool {
    let mut hosts = request.headers().get_all(HOST);
    let in_target = request.uri().authority();
    hosts.all(|host| is_host(host.as_bytes()))
        && in_target.is_none_or(|authority| is_host(authority.as_str().as_bytes()))
}

/// Says whether `text` is a host, with or without a port.
fn is_host(text: &[u8]) -> bool {
    let (is_name_valid, rest) = match text.strip_prefix(b"[") {
        Some(literal) => {
            let Some(end) = literal.iter().position(|byte| *byte == b']') else { return false };
            let (address, rest) = literal.split_at_checked(end).unwrap_or_default();
            let is_valid = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
            (!address.is_empty() && address.iter().all(is_valid), rest.get(1..).unwrap_or_default())
        }
        None => {
            let end = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
            let (name, rest) = text.split_at_checked(end).unwrap_or_default();
            (!name.is_empty() && name.iter().all(|byte| is_in_name(*byte)), rest)
        }
    };
    let is_port_valid = match rest.split_first() {
        None => true,
        Some((b':', port)) => port.iter().all(u8::is_ascii_digit),
        Some(_) => false,
    };
    is_name_valid && is_port_valid
}

/// Says whether a name may hold `byte`. It leaves out the comma, which RFC 3986 allows: no name has one, and a proxy joins two
/// headers by it.
const fn is_in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')')
        || matches!(byte, b'*' | b'+' | b';' | b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        for host in [
            "a",
            "login.example.org",
            "a_b:443",
            "127.0.0.1:9400",
            "[::1]",
            "[::ffff:1.2.3.4]:1",
            "a:",
            "%61",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        let long = "a".repeat(9000) + "@b";
        for other in [
            "",
            ":80",
            "a b",
            "a\tb",
            "a@b",
            "a@b/c",
            "a/b",
            "a\\b",
            "a?b",
            "a#b",
            "a,b",
            "a, b",
            "a:80:80",
            "a:8x",
            "[::1",
            "[]",
            "[g]",
            "[::1]a",
            "::1",
            "b\u{fc}cher",
            "a\"",
            "<a>",
            &long,
        ] {
            assert!(!is_host(other.as_bytes()), "{other}");
        }
    }
}
