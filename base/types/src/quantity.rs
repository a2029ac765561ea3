//! Quantities as Kubernetes writes them: `500m` of a CPU, `64Mi` of memory.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The text is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}")]
pub struct QuantityError {
    text: String,
    what: &'static str,
}

/// Processor time in thousandths of a core; written `500m` or `2`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(try_from = "Text", into = "String")]
pub struct Cpu(pub u64);

/// A size in bytes; written `64Mi`, `1G` or plain.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(try_from = "Text", into = "String")]
pub struct Bytes(pub u64);

/// YAML gives a bare `2` as a number and `500m` as text; both are quantities.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Whole(u64),
    Text(String),
}

/// Binary units first, so that what divides by both is written in them.
const UNITS: [(&str, u64); 9] = [
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
    ("", 1),
];

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1000) {
            write!(f, "{}", self.0 / 1000)
        } else {
            write!(f, "{}m", self.0)
        }
    }
}

impl FromStr for Cpu {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let parsed = match text.strip_suffix('m') {
            Some(millis) => whole(millis),
            None => text.split_once('.').map_or_else(
                || whole(text)?.checked_mul(1000),
                |(cores, part)| decimal(cores, part),
            ),
        };
        parsed.map(Self).ok_or_else(|| QuantityError {
            text: text.chars().take(80).collect(),
            what: "a number of CPUs: write `500m`, `0.5` or `2`",
        })
    }
}

/// Cores with at most three decimals, in thousandths.
fn decimal(cores: &str, part: &str) -> Option<u64> {
    if part.is_empty() || part.len() > 3 {
        return None;
    }
    let scale = 10_u64.pow(3 - u32::try_from(part.len()).ok()?);
    whole(cores)?.checked_mul(1000)?.checked_add(whole(part)? * scale)
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = UNITS
            .iter()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor))
            .unwrap_or(&("", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl FromStr for Bytes {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .and_then(|(_, factor)| whole(number)?.checked_mul(*factor))
            .map(Self)
            .ok_or_else(|| QuantityError {
                text: text.chars().take(80).collect(),
                what: "a size: write `64Mi`, `1G` or a number of bytes",
            })
    }
}

/// `str::parse` would also take a sign.
fn whole(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

impl TryFrom<Text> for Cpu {
    type Error = QuantityError;

    fn try_from(text: Text) -> Result<Self, QuantityError> {
        match text {
            Text::Whole(cores) => cores.to_string().parse(),
            Text::Text(text) => text.parse(),
        }
    }
}

impl TryFrom<Text> for Bytes {
    type Error = QuantityError;

    fn try_from(text: Text) -> Result<Self, QuantityError> {
        match text {
            Text::Whole(bytes) => Ok(Self(bytes)),
            Text::Text(text) => text.parse(),
        }
    }
}

impl From<Cpu> for String {
    fn from(cpu: Cpu) -> Self {
        cpu.to_string()
    }
}

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> Self {
        bytes.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_kubernetes_quantities() {
        assert_eq!("500m".parse(), Ok(Cpu(500)));
        assert_eq!("0.25".parse(), Ok(Cpu(250)));
        assert_eq!("2".parse(), Ok(Cpu(2000)));
        assert_eq!("64Mi".parse(), Ok(Bytes(64 << 20)));
        assert_eq!("1G".parse(), Ok(Bytes(1_000_000_000)));
        assert_eq!(serde_json::from_str::<Cpu>("2").ok(), Some(Cpu(2000)));
        for wrong in ["", "m", "-1", "+1", "1.", "1.2345", "99999999999999999999"] {
            assert!(wrong.parse::<Cpu>().is_err(), "{wrong}");
        }
        for wrong in ["", "Mi", "-1", "1.5Gi", "1mi", "99999999Ti"] {
            assert!(wrong.parse::<Bytes>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(number: u64) {
            prop_assert_eq!(Bytes(number).to_string().parse(), Ok(Bytes(number)));
            prop_assert_eq!(Cpu(number / 1000).to_string().parse(), Ok(Cpu(number / 1000)));
        }
    }
}
