//! Lengths of time as people write them: `5s`, `250ms`, `1h30m`.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, time::Duration};

/// A length of time, written as numbers with units: `ms`, `s`, `m`, `h`, `d`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Period(pub Duration);

/// The text is not a length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a length of time: write numbers with units, such as `250ms`, `5s` or `1h30m`"
)]
pub struct PeriodError(String);

/// Largest first: a period is written with as few numbers as possible.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Period {
    /// A whole number of milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, millis) in UNITS {
            let count = rest / u128::from(millis);
            rest %= u128::from(millis);
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, PeriodError> {
        parse(text).map(Self).ok_or_else(|| PeriodError(text.chars().take(80).collect()))
    }
}

fn parse(text: &str) -> Option<Duration> {
    if text.is_empty() {
        return None;
    }
    let mut millis = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        millis = millis.checked_add(number.parse::<u64>().ok()?.checked_mul(*factor)?)?;
        rest = tail;
    }
    Some(Duration::from_millis(millis))
}

impl TryFrom<String> for Period {
    type Error = PeriodError;

    fn try_from(text: String) -> Result<Self, PeriodError> {
        text.parse()
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_units() {
        assert_eq!("5s".parse(), Ok(Period::from_millis(5_000)));
        assert_eq!("1h30m".parse(), Ok(Period::from_millis(5_400_000)));
        assert_eq!("0s".parse(), Ok(Period::default()));
        for wrong in ["", "5", "s", "-5s", "5 s", "5y", "99999999999999999999s", "213503982335d"] {
            assert!(wrong.parse::<Period>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(millis in 0_u64..=u64::MAX / 2) {
            let period = Period::from_millis(millis);
            prop_assert_eq!(period.to_string().parse(), Ok(period));
        }
    }
}
