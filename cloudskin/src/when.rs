//! Moments and lengths of time for people.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// How long ago, in one or two units: `5s`, `3m20s`, `2h`, `9d`.
pub(crate) fn age(then: Option<u64>, now: u64) -> String {
    let Some(then) = then.filter(|then| *then > 0) else { return String::new() };
    let seconds = now.saturating_sub(then) / 1000;
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 if !seconds.is_multiple_of(60) => format!("{minutes}m{}s", seconds % 60),
        120..7200 => format!("{minutes}m"),
        7200..172_800 => format!("{hours}h"),
        _ => format!("{}d", hours / 24),
    }
}

/// A moment in UTC, as RFC 3339 writes it.
pub(crate) fn moment(millis: u64) -> String {
    let seconds = millis / 1000;
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a day since the Unix epoch.
fn date(mut days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    // The calendar repeats every 400 years, which are 146,097 days.
    let mut year = 1970 + days / 146_097 * 400;
    days %= 146_097;
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    for (month, length) in (1..).zip(months) {
        if days < length {
            return (year, month, days + 1);
        }
        days -= length;
    }
    (year, 12, 31)
}

/// A number of milliseconds with the digits that matter.
pub(crate) fn millis(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.2} s", ms / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        assert_eq!(moment(0), "1970-01-01T00:00:00Z");
        assert_eq!(moment(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(moment(1_767_225_599_999), "2025-12-31T23:59:59Z");
        assert_eq!(moment(4_107_542_400_000), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn ages_have_few_digits() {
        let age = |seconds: u64| age(Some(1), seconds * 1000 + 1);

        assert_eq!([age(0), age(119), age(200)], ["0s", "119s", "3m20s"]);
        assert_eq!([age(700), age(7200), age(800_000)], ["11m", "2h", "9d"]);
        assert_eq!(super::age(None, 5), "");
    }

    #[test]
    fn lengths_have_the_digits_that_matter() {
        assert_eq!([millis(1.234), millis(312.4), millis(2345.0)], ["1.23 ms", "312 ms", "2.35 s"]);
    }
}
