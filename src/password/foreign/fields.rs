//! The fields of texts that hold hashes: numbers and base64.

use base64ct::{Base64Unpadded, Encoding};
use zeroize::Zeroizing;

/// Reads a decimal number without a sign.
pub(super) fn number(text: &str) -> Option<u32> {
    let is_decimal = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_decimal)
}

/// Reads base64 of `length` bytes: with or without padding, in the alphabet of RFC 4648, in that for URLs or in that of
/// passlib, which has `.` in the place of `+`.
pub(super) fn decode(text: &str, length: std::ops::RangeInclusive<usize>) -> Option<Vec<u8>> {
    // Four characters hold three bytes.
    if text.len() > length.end().div_ceil(3) * 4 {
        return None;
    }
    let standard = |c| match c {
        '-' | '.' => '+',
        '_' => '/',
        c => c,
    };
    let unpadded = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text);
    let text: Zeroizing<String> = Zeroizing::new(unpadded.chars().map(standard).collect());
    Base64Unpadded::decode_vec(&text).ok().filter(|bytes| length.contains(&bytes.len()))
}

/// Writes base64 without padding, as in PHC strings.
pub(super) fn encode(bytes: &[u8]) -> String {
    Base64Unpadded::encode_string(bytes)
}

/// Reads exactly `N` fields, parted by `$`.
pub(super) fn parts<const N: usize>(text: &str) -> Option<[&str; N]> {
    let mut all = text.split('$');
    let parts = [(); N].map(|()| all.next());
    if all.next().is_some() || parts.iter().any(Option::is_none) {
        return None;
    }
    Some(parts.map(Option::unwrap_or_default))
}

/// Reads exactly the parameters `names`, in their order: `m=64,t=1,p=1`.
pub(super) fn parameters<const N: usize>(text: &str, names: [&str; N]) -> Option<[u32; N]> {
    let mut all = text.split(',');
    let read = names.map(|name| number(all.next()?.strip_prefix(name)?.strip_prefix('=')?));
    if all.next().is_some() || read.iter().any(Option::is_none) {
        return None;
    }
    Some(read.map(Option::unwrap_or_default))
}
