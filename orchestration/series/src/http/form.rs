//! What was asked: parameters of the address or of a form.

use crate::{Error, Result};
use axum::{
    body::{Body, to_bytes},
    http::{Method, Request},
};
use std::time::Duration;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A form is no longer: it holds queries.
const FORM_MAX_BYTES: usize = 256 << 10;

/// Parameters in their order.
#[derive(Debug, Default)]
pub(super) struct Form(Vec<(String, String)>);

fn bad(what: String) -> Error {
    Error::Query(what)
}

impl Form {
    /// Reads the address, and the body of a POST.
    pub(super) async fn of(request: Request<Body>) -> Result<Self> {
        let mut pairs = pairs(request.uri().query().unwrap_or_default());
        if request.method() == Method::POST {
            let body = to_bytes(request.into_body(), FORM_MAX_BYTES).await;
            let body = body.map_err(|_| {
                bad(format!("the form is longer than {FORM_MAX_BYTES} bytes, or was cut"))
            })?;
            let body =
                std::str::from_utf8(&body).map_err(|_| bad("the form is no text".to_owned()))?;
            pairs.extend(self::pairs(body));
        }
        Ok(Self(pairs))
    }

    pub(super) fn get<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn need<'a>(&'a self, name: &'a str) -> Result<&'a str> {
        self.get(name).ok_or_else(|| bad(format!("the parameter `{name}` is missing")))
    }

    /// A moment, in milliseconds since the Unix epoch.
    pub(super) fn time(&self, name: &str) -> Result<Option<i64>> {
        self.get(name)
            .map(|text| {
                time_ms(text).ok_or_else(|| {
                    bad(format!(
                        "invalid parameter {name:?}: cannot parse {text:?} to a valid timestamp"
                    ))
                })
            })
            .transpose()
    }

    /// A period, in milliseconds.
    pub(super) fn period(&self, name: &str) -> Result<Option<i64>> {
        self.get(name)
            .map(|text| {
                period_ms(text).ok_or_else(|| {
                    bad(format!(
                        "invalid parameter {name:?}: cannot parse {text:?} to a valid duration"
                    ))
                })
            })
            .transpose()
    }

    /// A number of things.
    pub(super) fn count(&self, name: &str) -> Result<Option<usize>> {
        self.get(name)
            .map(|text| text.parse().map_err(|_| bad(format!("{name:?} must be a number"))))
            .transpose()
    }
}

fn pairs(text: &str) -> Vec<(String, String)> {
    let parts = text.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decoded(name), decoded(value))
        })
        .collect()
}

/// Without the escapes of forms; what is no escape stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let escape = (*first == b'%').then(|| behind.get(..2).and_then(hex)).flatten();
        rest = if escape.is_some() { &behind[2..] } else { behind };
        bytes.push(match (escape, first) {
            (Some(byte), _) => byte,
            (None, b'+') => b' ',
            (None, byte) => *byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digits: &[u8]) -> Option<u8> {
    let plain = digits.iter().all(u8::is_ascii_hexdigit);
    let text = plain.then_some(digits).and_then(|digits| std::str::from_utf8(digits).ok())?;
    u8::from_str_radix(text, 16).ok()
}

/// Seconds, with a fraction, or RFC 3339.
pub(crate) fn time_ms(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return millis(seconds);
    }
    let date = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(date.unix_timestamp_nanos() / 1_000_000).ok()
}

/// Seconds, or a period as PromQL writes it: `1h30m`.
pub(crate) fn period_ms(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return millis(seconds);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|one: char| !one.is_ascii_digit())?;
        let (count, unit) = rest.split_at(digits);
        let end = unit.find(|one: char| one.is_ascii_digit()).unwrap_or(unit.len());
        let one = match &unit[..end] {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            "d" => Duration::from_secs(86_400),
            "w" => Duration::from_secs(7 * 86_400),
            "y" => Duration::from_secs(365 * 86_400),
            _ => return None,
        };
        total = total.checked_add(one.checked_mul(count.parse().ok()?)?)?;
        rest = &unit[end..];
    }
    i64::try_from(total.as_millis()).ok()
}

fn millis(seconds: f64) -> Option<i64> {
    let millis = (seconds * 1000.0).round();
    // A float holds milliseconds exactly up to this.
    (millis.abs() < 9e15).then_some(millis as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_times_and_periods_are_read() {
        let form = Form(pairs("query=up%7Bsite%3D%22a+b%22%7D&match[]=a&match[]=%zz&empty="));

        assert_eq!(form.get("query"), Some("up{site=\"a b\"}"));
        assert_eq!(form.all("match[]").collect::<Vec<_>>(), ["a", "%zz"]);
        assert_eq!((form.get("empty"), form.need("time").is_err()), (None, true));
        assert_eq!(time_ms("1435781430.781"), Some(1_435_781_430_781));
        assert_eq!(time_ms("2015-07-01T20:10:30.781Z"), Some(1_435_781_430_781));
        assert_eq!((time_ms("inf"), time_ms("yesterday"), time_ms("1e300")), (None, None, None));
        assert_eq!(
            (period_ms("1h30m"), period_ms("15"), period_ms("0.5")),
            (Some(5_400_000), Some(15_000), Some(500))
        );
        assert_eq!(
            (period_ms("5x"), period_ms("m"), period_ms("99999999999999y")),
            (None, None, None)
        );
    }
}
