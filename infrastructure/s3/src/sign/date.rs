//! Dates of requests: `20250102T030405Z`.

/// Seconds since the Unix epoch of a date in the basic format of ISO 8601.
pub(super) fn parse(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<u64> {
        bytes.get(from..to)?.iter().try_fold(0, |number: u64, digit| {
            digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
        })
    };
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(9, 11)?, number(11, 13)?, number(13, 15)?);
    let is_valid = year >= 1970
        && (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    is_valid.then(|| days_before(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// The same format, from seconds since the epoch.
pub(super) fn from_seconds(seconds: u64) -> String {
    let (mut year, mut days) = (1970, seconds / 86_400);
    while days >= days_of_year(year) {
        days -= days_of_year(year);
        year += 1;
    }
    let mut month = 1;
    while days >= days_of(year, month) {
        days -= days_of(year, month);
        month += 1;
    }
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{:02}T{hour:02}{minute:02}{second:02}Z", days + 1)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of_year(year: u64) -> u64 {
    365 + u64::from(is_leap(year))
}

fn days_of(year: u64, month: u64) -> u64 {
    match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from the epoch to that day; the year is below 10,000.
fn days_before(year: u64, month: u64, day: u64) -> u64 {
    (1970..year).map(days_of_year).sum::<u64>()
        + (1..month).map(|month| days_of(year, month)).sum::<u64>()
        + (day - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for seconds in [0, 951_782_400, 1_369_353_600, 1_735_689_599, 4_102_444_800] {
            assert_eq!(parse(&from_seconds(seconds)), Some(seconds));
        }
        assert_eq!(from_seconds(1_369_353_600), "20130524T000000Z");
    }

    #[test]
    fn refuses_what_is_no_date() {
        for text in ["", "20130524", "20130524T000000", "20131324T000000Z", "20130230T000000Z"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse("2013052\u{e9}T00000Z"), None);
        assert_eq!(parse("99991231T246000Z"), None);
    }
}
