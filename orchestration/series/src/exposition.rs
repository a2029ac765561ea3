//! What a process tells of itself: Prometheus' text format 0.0.4 and OpenMetrics 1.0.

use crate::{Description, Error, NAME, Result, is_label_name, is_metric_name};
use std::collections::HashMap;

/// Which of the two a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text: times are in milliseconds.
    Text,
    /// OpenMetrics: times are in seconds, and `# EOF` ends it.
    OpenMetrics,
}

/// One line of a page.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Labels, the metric's name among them.
    pub labels: Vec<(String, String)>,
    /// Its value.
    pub value: f64,
    /// When, if it says so, in milliseconds since the Unix epoch.
    pub time_ms: Option<i64>,
}

/// All that a page tells.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Its lines, in their order.
    pub samples: Vec<Told>,
    /// What its metrics are, by name.
    pub descriptions: HashMap<String, Description>,
}

impl Format {
    /// By the page's media type.
    pub fn of(content_type: &str) -> Self {
        match content_type.trim_start().starts_with("application/openmetrics-text") {
            true => Self::OpenMetrics,
            false => Self::Text,
        }
    }
}

/// Reads a page.
///
/// # Errors
/// [`Error::Malformed`] with the number of the line, also for a page of more than `samples_max` lines with a value.
pub fn read(page: &str, format: Format, samples_max: usize) -> Result<Page> {
    let mut read = Page::default();
    let mut ended = false;
    for (number, line) in page.split('\n').enumerate() {
        let line = line.trim_end_matches('\r').trim_matches([' ', '\t']);
        if line.is_empty() {
            continue;
        }
        let at = |what: String| Error::Malformed(format!("line {}: {what}", number + 1));
        if ended {
            return Err(at("something stands behind `# EOF`".to_owned()));
        }
        if let Some(comment) = line.strip_prefix('#') {
            ended = format == Format::OpenMetrics && comment.trim() == "EOF";
            describe(comment, &mut read.descriptions);
            continue;
        }
        if read.samples.len() >= samples_max {
            return Err(at(format!("the page has more than {samples_max} samples")));
        }
        read.samples.push(sample(line, format).map_err(at)?);
    }
    match format == Format::OpenMetrics && !ended {
        true => Err(Error::Malformed(
            "the page ends without `# EOF`: a part of it is missing".to_owned(),
        )),
        false => Ok(read),
    }
}

/// Notes a comment that describes a metric; others say nothing.
fn describe(comment: &str, descriptions: &mut HashMap<String, Description>) {
    let mut words = comment.trim_start().splitn(3, [' ', '\t']);
    let (Some(what), Some(name)) = (words.next(), words.next()) else { return };
    let rest = words.next().unwrap_or_default().trim();
    if !is_metric_name(name) || !["TYPE", "HELP", "UNIT"].contains(&what) {
        return;
    }
    let description = descriptions.entry(name.to_owned()).or_default();
    match what {
        "TYPE" => description.kind = rest.to_owned(),
        "HELP" => description.help = unescape(rest),
        _ => description.unit = rest.to_owned(),
    }
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(one) = chars.next() {
        match (one, one == '\\') {
            (_, false) => plain.push(one),
            _ => match chars.next() {
                Some('n') => plain.push('\n'),
                Some(other @ ('\\' | '"')) => plain.push(other),
                Some(other) => plain.extend(['\\', other]),
                None => plain.push('\\'),
            },
        }
    }
    plain
}

fn sample(line: &str, format: Format) -> Result<Told, String> {
    let end = line.find(['{', ' ', '\t']).ok_or("a value is missing")?;
    let (name, rest) = line.split_at(end);
    if !is_metric_name(name) {
        return Err(format!("`{}` is no metric's name", shown(name)));
    }
    let mut labels = vec![(NAME.to_owned(), name.to_owned())];
    let rest = rest.trim_start();
    let rest = match rest.strip_prefix('{') {
        Some(inside) => read_labels(inside, &mut labels)?,
        None => rest,
    };
    // Behind it may stand an exemplar.
    let told = rest.split('#').next().unwrap_or_default();
    let mut words = told.split_ascii_whitespace();
    let value = words.next().ok_or("a value is missing")?;
    let value = number(value).ok_or_else(|| format!("`{}` is no number", shown(value)))?;
    let time_ms = words.next().map(|word| time(word, format)).transpose()?;
    match words.next() {
        Some(word) => Err(format!("`{}` stands behind the time", shown(word))),
        None => Ok(Told { labels, value, time_ms }),
    }
}

/// Reads labels up to the closing brace; gives what stands behind it.
fn read_labels<'a>(
    mut rest: &'a str,
    labels: &mut Vec<(String, String)>,
) -> Result<&'a str, String> {
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        if let Some(behind) = rest.strip_prefix('}') {
            return Ok(behind);
        }
        let (name, value) = rest.split_once('=').ok_or("a label has no value")?;
        let name = name.trim_matches([' ', '\t']);
        if !is_label_name(name) {
            return Err(format!("`{}` is no label's name", shown(name)));
        }
        let value = value.trim_start_matches([' ', '\t']);
        let value = value.strip_prefix('"').ok_or("a label's value stands not in quotes")?;
        let end = closing_quote(value).ok_or("a label's value has no end")?;
        labels.push((name.to_owned(), unescape(&value[..end])));
        rest = value[end + 1..].trim_start_matches([' ', '\t']);
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None if rest.starts_with('}') => {}
            None => return Err("between labels stands no comma".to_owned()),
        }
    }
}

/// Where the first quote is that no backslash stands before.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

fn number(word: &str) -> Option<f64> {
    match word.to_ascii_lowercase().as_str() {
        "+inf" | "inf" => Some(f64::INFINITY),
        "-inf" => Some(f64::NEG_INFINITY),
        "nan" => Some(f64::NAN),
        word => word.parse().ok(),
    }
}

fn time(word: &str, format: Format) -> Result<i64, String> {
    let wrong = || format!("`{}` is no time", shown(word));
    match format {
        Format::Text => word.parse().map_err(|_| wrong()),
        Format::OpenMetrics => {
            let seconds: f64 = word.parse().map_err(|_| wrong())?;
            // A float holds milliseconds exactly up to this.
            let millis = (seconds * 1000.0).round();
            (millis.abs() < 9e15).then_some(millis as i64).ok_or_else(wrong)
        }
    }
}

fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_in_text_is_read() {
        let page = "# HELP http_requests_total All \\n of them.\n# TYPE http_requests_total counter\n\
            http_requests_total{method=\"post\",code=\"200\"} 1027 1395066363000\n\
            # a comment\n   \nodd{path=\"C:\\\\DIR\\\\\",error=\"say \\\"no\\\" # or } not\",} +Inf\nplain 1.5e3\r\n";

        let read = read(page, Format::Text, 10).unwrap();

        let of = |index: usize| &read.samples[index];
        assert_eq!((of(0).value, of(0).time_ms), (1027.0, Some(1_395_066_363_000)));
        assert_eq!(of(1).labels[1].1, "C:\\DIR\\");
        assert_eq!(of(1).labels[2].1, "say \"no\" # or } not");
        assert_eq!((of(1).value, of(2).value, of(2).time_ms), (f64::INFINITY, 1500.0, None));
        assert_eq!(read.descriptions["http_requests_total"].kind, "counter");
        assert_eq!(read.descriptions["http_requests_total"].help, "All \n of them.");
    }

    #[test]
    fn a_page_in_openmetrics_has_seconds_exemplars_and_an_end() {
        let page = "# TYPE a counter\n# UNIT a seconds\na_total 17.0 1520879607.789 # {id=\"x\"} 0.67 1520879607.1\n# EOF\n";
        let read_it = |page: &str| read(page, Format::OpenMetrics, 10);

        let told = &read_it(page).unwrap().samples[0];
        assert_eq!((told.value, told.time_ms), (17.0, Some(1_520_879_607_789)));
        let cut = read_it(page.trim_end_matches("# EOF\n")).unwrap_err();
        assert!(cut.to_string().contains("without `# EOF`"));
        assert!(read_it(&format!("{page}more 1\n")).is_err());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (page, what) in [
            ("up", "value is missing"),
            ("a 1\nup x", "line 2: `x` is no number"),
            ("1up 1", "no metric's name"),
            ("up{a=1} 1", "not in quotes"),
            ("up{a=\"1} 1", "no end"),
            ("up{a=\"1\" b=\"2\"} 1", "no comma"),
            ("up{a} 1", "no value"),
            ("up 1 x", "no time"),
            ("up 1 2 3", "behind the time"),
            ("a 1\nb 2\nc 3", "more than 2"),
        ] {
            let error = read(page, Format::Text, 2).unwrap_err().to_string();
            assert!(error.contains(what), "{page}: {error}");
        }
    }
}
