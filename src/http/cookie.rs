//! Reading the `Cookie` header of a request.
//!
//! **The attack:** whoever may set cookies for the parent domain, such as a sibling host, plants one whose name only
//! looks like ours to a reader that decodes or trims names (`__%48ost-…`, a no-break space before the name). It gets
//! around the prefix `__Host-`, so the victim acts in the attacker's session. Or the attacker plants bytes that make the
//! whole header unreadable, which logs the victim out.
//!
//! **The rule:** names are compared byte by byte, and only spaces and tabs around a name or value are dropped. Nothing
//! is decoded: our cookies need no escaping. Neighbours are passed over whatever bytes they hold. If our name comes
//! twice, neither counts.
//!
//! Source: RFC 6265 §5.4; draft-ietf-httpbis-rfc6265bis §4.1.3; CVE-2020-8184 (rack), CVE-2020-7070 (PHP).

/// The error for a name that comes more than once.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the cookie is there more than once")]
pub struct Repeated;

/// Returns the value of the cookie `name`. `lines` holds the values of the `Cookie` headers.
///
/// A value that is not UTF-8 is returned as an empty text, which is no credential but shows that the cookie is there.
///
/// Errors: [`Repeated`].
pub fn find<'a>(lines: impl Iterator<Item = &'a [u8]>, name: &str) -> Result<Option<&'a str>, Repeated> {
    let mut found = None;
    for pair in lines.flat_map(|line| line.split(|byte| *byte == b';')) {
        let Some(at) = pair.iter().position(|byte| *byte == b'=') else { continue };
        let Some((before, value)) = pair.split_at_checked(at) else { continue };
        if trim(before) == name.as_bytes() {
            let value = trim(value.get(1..).unwrap_or_default());
            if found.replace(std::str::from_utf8(value).unwrap_or_default()).is_some() {
                return Err(Repeated);
            }
        }
    }
    Ok(found)
}

/// Drops spaces and tabs at both ends.
fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_name_is_found_and_only_once() {
        let found = |lines: &[&'static [u8]]| find(lines.iter().copied(), "__Host-s");
        for (lines, expected) in [
            (&[&b"__Host-s=1"[..]][..], Ok(Some("1"))),
            (&[b"a=2;\t __Host-s \t=\t1 ;b"], Ok(Some("1"))),
            (&[b"a", b"__Host-s=1=2"], Ok(Some("1=2"))),
            (&[b"__Host-s="], Ok(Some(""))),
            (&[b"__Host-s=\xff"], Ok(Some(""))),
            (&[b"\xff=\xff; __Host-s=1;=;;"], Ok(Some("1"))),
            (&[b"__Host-s"], Ok(None)),
            (&[b"__host-s=1; __Host-s%20=1; __%48ost-s=1; \"__Host-s\"=1; x__Host-s=1"], Ok(None)),
            (&[b"\xc2\xa0__Host-s=1; \xa0__Host-s=1; __Host-s\x0b=1; \r__Host-s=1"], Ok(None)),
            (&[b"a=\"b; __Host-s=1\""], Ok(Some("1\""))),
            (&[], Ok(None)),
            (&[b"__Host-s=1; __Host-s=1"], Err(Repeated)),
            (&[b"__Host-s=1", b"__Host-s="], Err(Repeated)),
        ] {
            assert_eq!(found(lines), expected, "{lines:?}");
        }
    }
}
