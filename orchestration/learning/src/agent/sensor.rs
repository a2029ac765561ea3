//! When a policy is run.

use crate::{Error, Result};
use api::policy::{Event, Sensor, millis};

/// Times of day and week, as of cron: minute, hour, day of the month, month, weekday.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    /// A bit for each value that is taken.
    fields: [u64; 5],
    any_day: bool,
    any_weekday: bool,
}

/// What the fields hold, with their least and greatest value.
const FIELDS: [(&str, u32, u32); 5] =
    [("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7)];

impl std::str::FromStr for Cron {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |reason: String| Error::Unfit(format!("`{text}`: {reason}"));
        let words: Vec<_> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = words[..] else {
            return Err(wrong("write five fields: minute, hour, day, month, weekday".into()));
        };
        let mut fields = [0; 5];
        for ((word, field), limits) in
            [minute, hour, day, month, weekday].iter().zip(&mut fields).zip(FIELDS)
        {
            *field = bits(word, limits).map_err(wrong)?;
        }
        // Sunday is 0 and 7.
        fields[4] |= fields[4] >> 7 & 1;
        Ok(Self { fields, any_day: day == "*", any_weekday: weekday == "*" })
    }
}

/// `*`, `5`, `1-5`, `*/10`, `0-30/5`, and lists of these.
fn bits(word: &str, (name, least, most): (&str, u32, u32)) -> std::result::Result<u64, String> {
    let wrong =
        || format!("`{word}` is no {name}: write numbers from {least} to {most}, `1-5`, `*/10`");
    let number = |text: &str| {
        text.parse().ok().filter(|value| (least..=most).contains(value)).ok_or_else(wrong)
    };
    let mut bits = 0;
    for part in word.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse().map_err(|_| wrong())?),
            None => (part, 1),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((from, to)) => (number(from)?, number(to)?),
            None if step == 1 => (number(range)?, number(range)?),
            None => (number(range)?, most),
        };
        if step == 0 || from > to {
            return Err(wrong());
        }
        (from..=to).step_by(step).for_each(|value| bits |= 1 << value);
    }
    Ok(bits)
}

impl Cron {
    /// Whether it names the minute that this Unix time in seconds lies in, in UTC.
    pub fn names(&self, unix_s: i64) -> bool {
        let days = unix_s.div_euclid(86_400);
        let minutes = unix_s.rem_euclid(86_400) / 60;
        let (month, day) = civil(days);
        // 1970 began with a Thursday.
        let weekday = (days + 4).rem_euclid(7);
        let has = |at: usize, value: i64| self.fields[at] >> value & 1 == 1;
        let by_day = has(2, day);
        let by_weekday = has(4, weekday);
        // As of cron: with both given, either will do.
        let today = match (self.any_day, self.any_weekday) {
            (false, false) => by_day || by_weekday,
            _ => by_day && by_weekday,
        };
        has(0, minutes % 60) && has(1, minutes / 60) && has(3, month) && today
    }
}

/// Month and day of a day since 1970, after Howard Hinnant's `civil_from_days`.
fn civil(days: i64) -> (i64, i64) {
    let days = days + 719_468;
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (month, of_year - (153 * shifted + 2) / 5 + 1)
}

/// Why a policy is to be run now, if it is; a condition on the telemetry is asked by who can.
///
/// `last_ms` is when it was last run; a policy that never was is due. Times are Unix
/// milliseconds.
pub fn due(
    sensors: &[Sensor],
    last_ms: Option<u64>,
    now_ms: u64,
    events: &[Event],
) -> Option<String> {
    let Some(last_ms) = last_ms.filter(|last| *last <= now_ms) else {
        return Some("it is new".into());
    };
    sensors.iter().find_map(|sensor| match sensor {
        Sensor::Every(period) => {
            let over = now_ms - last_ms >= millis(*period);
            over.then(|| format!("{period} passed"))
        }
        Sensor::Cron(text) => {
            let cron: Cron = text.parse().ok()?;
            let minute = now_ms / 60_000;
            let unix_s = i64::try_from(minute * 60).ok()?;
            (minute > last_ms / 60_000 && cron.names(unix_s)).then(|| format!("it is `{text}`"))
        }
        Sensor::Event(event) => {
            events.contains(event).then(|| format!("the service: {event:?}").to_lowercase())
        }
        Sensor::When(_) | Sensor::Python(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::policy::PolicySpec;
    use types::Period;

    #[test]
    fn times_of_day_and_week_are_those_of_cron() {
        // Friday, 15 May 2026, 08:45 UTC.
        let friday = 1_778_834_700;
        let names = |text: &str| text.parse::<Cron>().unwrap().names(friday);

        for text in ["* * * * *", "45 8 * * 5", "*/15 7-9 15 5 *", "40-50/5 8 1 * 1-5"] {
            assert!(names(text), "{text}");
        }
        for text in ["44 8 * * *", "45 8 * * 6,0", "45 8 14 * *", "*/10 * * * *", "* * * 6 *"] {
            assert!(!names(text), "{text}");
        }
        let sunday = friday + 2 * 86_400;
        assert!("* * * * 7".parse::<Cron>().unwrap().names(sunday));
        assert!("* * 29 2 *".parse::<Cron>().unwrap().names(1_709_164_800));
        for wrong in
            ["", "* * * *", "60 * * * *", "* * 0 * *", "a * * * *", "*/0 * * * *", "5-1 * * * *"]
        {
            assert!(wrong.parse::<Cron>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_policy_is_due_by_time_and_by_what_happens() {
        let mut spec: PolicySpec = super::super::tests::spec("{service: a, sla: 1s}");
        let due = |spec: &PolicySpec, last, now, events: &[Event]| {
            due(&spec.sensors, last, now, events).is_some()
        };

        assert!(due(&spec, None, 1_000_000, &[]));
        assert!(!due(&spec, Some(1_000_000), 1_299_999, &[]));
        assert!(due(&spec, Some(1_000_000), 1_300_000, &[]));
        assert!(due(&spec, Some(2_000_000), 1_300_000, &[]), "a clock that was set back");
        spec.sensors = vec![Sensor::Event(Event::Moved), Sensor::Cron("* * * * *".into())];
        assert!(due(&spec, Some(1_000_000), 1_000_001, &[Event::Moved]));
        assert!(!due(&spec, Some(1_000_000), 1_000_001, &[Event::Ready]));
        assert!(due(&spec, Some(1_000_000), 1_020_000, &[]), "the next minute");
        assert_eq!(spec.every(), None::<Period>);
    }
}
