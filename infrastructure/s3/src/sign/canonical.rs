//! A request as one text, the same for whoever signs it and whoever checks.

use super::Head;
use crate::fault::Fault;
use s3s::S3Result;
use std::fmt::Write as _;

/// The parameters of a request's query, decoded, in the order in which they came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(raw: Option<&str>) -> S3Result<Self> {
        let pairs = raw.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let decoded = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| String::from_utf8(unescape(text, true)?).ok();
            Some((decode(name)?, decode(value)?))
        });
        decoded.collect::<Option<_>>().map(Self).ok_or_else(|| Fault::InvalidURI.into())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The first value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The canonical form, without the parameter `left_out`.
    fn canonical(&self, left_out: &str) -> String {
        let kept = self.iter().filter(|(name, _)| *name != left_out);
        let mut pairs: Vec<_> =
            kept.map(|(name, value)| (encode(name, false), encode(value, false))).collect();
        pairs.sort_unstable();
        let pairs: Vec<_> =
            pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("&")
    }
}

/// The canonical request. `signed` are the names of the signed headers, sorted.
pub(super) fn request(
    head: Head<'_>,
    signed: &[&str],
    left_out: &str,
    payload: &str,
) -> S3Result<String> {
    let path = unescape(head.path, false)
        .and_then(|path| String::from_utf8(path).ok())
        .ok_or(Fault::InvalidURI)?;
    let mut text = String::with_capacity(512);
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{}", head.method);
    let _ = writeln!(text, "{}", encode(&path, true));
    let _ = writeln!(text, "{}", head.query.canonical(left_out));
    for name in signed {
        let _ = writeln!(text, "{name}:{}", header(head, name));
    }
    let _ = write!(text, "\n{}\n{payload}", signed.join(";"));
    Ok(text)
}

/// All values of a header, with runs of spaces as one.
fn header(head: Head<'_>, name: &str) -> String {
    let values: Vec<String> = head
        .headers
        .get_all(name)
        .iter()
        .map(|value| {
            let text = String::from_utf8_lossy(value.as_bytes());
            text.split([' ', '\t']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
        })
        .collect();
    values.join(",")
}

/// Escapes all bytes but those that RFC 3986 calls unreserved.
pub(crate) fn encode(text: &str, keeps_slashes: bool) -> String {
    let mut encoded = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            b'/' if keeps_slashes => encoded.push('/'),
            byte => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

/// Undoes escapes; none if one is broken.
pub(crate) fn unescape(text: &str, plus_is_space: bool) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut rest = text.as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    loop {
        match rest {
            [] => return Some(decoded),
            [b'%', high, low, tail @ ..] => {
                decoded.push(digit(high)? << 4 | digit(low)?);
                rest = tail;
            }
            [b'%', ..] => return None,
            [b'+', tail @ ..] if plus_is_space => {
                decoded.push(b' ');
                rest = tail;
            }
            [byte, tail @ ..] => {
                decoded.push(*byte);
                rest = tail;
            }
        }
    }
}
