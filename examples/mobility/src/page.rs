//! `demo.html`: one page that needs nothing else.

use crate::{Picture, Played, Record, Seen, Summary, judge::Counted};
use data_encoding::BASE64;
use serde_json::{Value, json};
use std::net::IpAddr;

/// Style, script and the place for the data.
const TEMPLATE: &str = include_str!("page.html");

/// Where the data goes.
const DATA: &str = "/*DATA*/null";

/// What pages have in common, and where it goes.
const PARTS: [(&str, &str); 2] =
    [("/*STYLE*/\n", include_str!("parts.css")), ("/*SCRIPT*/\n", include_str!("parts.js"))];

/// The page of a run.
pub fn render(record: &Record, summary: &Summary, pictures: &[Picture]) -> String {
    let parts: Vec<Value> = record.played.iter().map(|played| part(record, played)).collect();
    let pictures: Vec<Value> = pictures
        .iter()
        .map(|picture| json!({"frame": picture.frame, "jpeg": BASE64.encode(&picture.jpeg)}))
        .collect();
    let data = json!({
        "summary": summary,
        "parts": parts,
        "pictures": pictures,
        "frames": frames(record),
        "why": record.why,
    });
    filled(TEMPLATE, &data)
}

/// A page with what pages have in common, and its data.
pub(crate) fn filled(template: &str, data: &Value) -> String {
    let whole = PARTS.iter().fold(template.to_owned(), |page, (at, part)| page.replace(at, part));
    whole.replace(DATA, &embedded(data))
}

/// JSON that cannot end the script element that it stands in.
fn embedded(data: &Value) -> String {
    data.to_string().replace('<', "\\u003c")
}

/// The answers and moves of one part; times are milliseconds since its first frame was due.
fn part(record: &Record, played: &Played) -> Value {
    let answers: Vec<Value> = played
        .answers
        .iter()
        .filter(|answer| answer.status.is_some())
        .map(|answer| {
            let site = site(record, answer.address.ip());
            json!([answer.frame, round(answer.answered_ms), round(answer.latency_ms), site])
        })
        .collect();
    let moves: Vec<Value> = played
        .moves
        .iter()
        .map(|moved| {
            json!({
                "from": moved.from,
                "to": moved.to,
                "requested": round(moved.requested_ms - played.started_ms),
                "switched": round(moved.switched_ms - played.started_ms),
                "done": round(moved.done_ms - played.started_ms),
                "stopUs": moved.stop_us,
                "precopyBytes": moved.precopy_bytes,
                "finalBytes": moved.final_bytes,
                "phases": moved.phases,
                "reason": moved.reason,
            })
        })
        .collect();
    json!({
        "fps": played.part.fps,
        "firstFrame": played.part.first_frame,
        "frames": played.part.frames,
        "answers": answers,
        "moves": moves,
        "dns": names(record, played),
    })
}

/// What the name server said during a part: `[site, from, to]`.
fn names(record: &Record, played: &Played) -> Vec<Value> {
    let last = played.answers.last().map_or(0.0, |answer| answer.answered_ms);
    let mut spans: Vec<(String, f64, f64)> = Vec::new();
    for seen in &record.seen {
        let (from, to) = (seen.asked_ms - played.started_ms, seen.answered_ms - played.started_ms);
        if to < 0.0 || from > last {
            continue;
        }
        let said = said(record, seen);
        match spans.last_mut() {
            Some(span) if span.0 == said => span.2 = to,
            Some(span) => {
                span.2 = from;
                spans.push((said, from, to));
            }
            None => spans.push((said, from, to)),
        }
    }
    spans.iter().map(|(said, from, to)| json!([said, round(*from), round(*to)])).collect()
}

fn said(record: &Record, seen: &Seen) -> String {
    match &seen.outcome {
        crate::Outcome::Address(address, _) => site(record, *address),
        crate::Outcome::Empty => "empty".to_owned(),
        crate::Outcome::Failed(reason) => reason.clone(),
    }
}

fn site(record: &Record, address: IpAddr) -> String {
    let found = record.sites.iter().find(|(at, _)| *at == address);
    found.map_or_else(|| address.to_string(), |(_, name)| name.clone())
}

/// What was answered to each frame of the video, by its number: `[count, boxes]`.
fn frames(record: &Record) -> Vec<Value> {
    let mut frames = Vec::new();
    for played in &record.played {
        for answer in &played.answers {
            let at = usize::try_from(played.part.first_frame + answer.frame).unwrap_or(usize::MAX);
            // Each part begins where the one before ended; what is far beyond is not shown.
            if at > frames.len() + 100_000 {
                continue;
            }
            frames.resize(frames.len().max(at + 1), Value::Null);
            if let Some(counted) = Counted::of(answer) {
                frames[at] = json!([counted.count, counted.boxes]);
            }
        }
    }
    frames
}

/// To a hundredth: a page needs no more.
pub(crate) fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Checks that a page is whole with its data, and needs nothing else.
    pub(crate) fn check(template: &str) {
        assert_eq!(template.matches(DATA).count(), 1);
        let page = filled(template, &json!({"found": "here"}));
        assert!(page.contains(r#"{"found":"here"}"#), "{page}");
        assert!(PARTS.iter().all(|(at, _)| !page.contains(at)), "{page}");
        for outside in ["http://", "https://", "src=\"", "@import", "url("] {
            let found = page.matches(outside).count();
            // The namespace of SVG is a name, not a place.
            let names = page.matches("http://www.w3.org/2000/svg").count();
            let allowed = if outside == "http://" { names } else { 0 };
            assert_eq!(found, allowed, "{outside}");
        }
    }

    #[test]
    fn data_cannot_leave_its_script() {
        let text = embedded(&json!({"why": "</script><script>alert(1)</script>"}));

        assert!(!text.contains('<'), "{text}");
        let back: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back["why"], "</script><script>alert(1)</script>");
    }

    #[test]
    fn the_template_has_one_place_for_data_and_loads_nothing() {
        check(TEMPLATE);
    }
}
