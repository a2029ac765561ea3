//! Rows, and how they are shown and written.

use crate::Machine;
use serde::{Serialize, Serializer};
use std::{fmt, io, path::Path};

/// Whether a row's promise is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met {
    /// It is.
    Yes,
    /// It is not, or could not be measured.
    No,
    /// The machine was too noisy, or too little was measured, to tell.
    Inconclusive,
}

impl Serialize for Met {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Yes => serializer.serialize_bool(true),
            Self::No => serializer.serialize_bool(false),
            Self::Inconclusive => serializer.serialize_str("inconclusive"),
        }
    }
}

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
    /// Within these, both included: for controls.
    Within(f64, f64),
    /// Nothing; the row is there for people, and counts as met once measured.
    Nothing,
}

impl Goal {
    /// Whether this value keeps it. What is not a number keeps nothing.
    pub fn keeps(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
            Self::Within(least, most) => (least..=most).contains(&value),
            Self::Nothing => value.is_finite(),
        }
    }

    /// Of a lower and an upper bound, the one on which it is judged.
    pub(crate) fn worse(self, (low, high): (f64, f64)) -> f64 {
        match self {
            Self::AtLeast(_) => low,
            _ => high,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "<= {}", figure(*most)),
            Self::AtLeast(least) => write!(f, ">= {}", figure(*least)),
            Self::Within(least, most) => write!(f, "{least:.2} .. {most:.2}"),
            Self::Nothing => f.write_str("none"),
        }
    }
}

/// One measured promise.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Its stable name: `area/what`.
    pub name: String,
    /// Of the value and the peer's.
    pub unit: String,
    /// What was measured; absent if it could not be.
    pub value: Option<f64>,
    /// What ran interleaved in the same run, or why it could not.
    pub peer: Option<String>,
    /// What the peer took.
    pub peer_value: Option<f64>,
    /// Value to peer's value, or the other way round for `>=`.
    pub ratio: Option<f64>,
    /// The promise in words.
    pub goal: String,
    /// Whether it is kept.
    pub met: Met,
    /// For people: spread, sizes, reasons.
    #[serde(skip)]
    pub note: String,
}

impl Row {
    /// A value judged by itself.
    pub fn value(name: &str, unit: &str, value: f64, goal: Goal) -> Self {
        Self {
            name: name.to_owned(),
            unit: unit.to_owned(),
            value: value.is_finite().then_some(value),
            peer: None,
            peer_value: None,
            ratio: None,
            goal: goal.to_string(),
            met: if goal.keeps(value) { Met::Yes } else { Met::No },
            note: String::new(),
        }
    }

    /// A row that could not be measured: not met, with the reason.
    pub fn failed(name: &str, reason: &str) -> Self {
        let mut row = Self::value(name, "", f64::NAN, Goal::Nothing);
        row.note = reason.to_owned();
        row
    }

    /// The same row with a remark for people.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// The same row with what ran beside it, which is not what it is judged by.
    #[must_use]
    pub fn beside(mut self, peer: &str, peer_value: f64) -> Self {
        self.peer = Some(peer.to_owned());
        self.peer_value = Some(peer_value).filter(|value| value.is_finite());
        self.ratio = self
            .value
            .zip(self.peer_value)
            .map(|(value, peer)| value / peer)
            .filter(|r| r.is_finite());
        self
    }
}

/// All rows of an area.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Who measured.
    pub machine: Machine,
    /// What was measured.
    pub rows: Vec<Row>,
}

impl Report {
    /// Writes the report as JSON; it appears whole.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let draft = path.with_extension("draft");
        std::fs::write(&draft, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(&draft, path)
    }

    /// Whether every row was met.
    pub fn all_met(&self) -> bool {
        self.rows.iter().all(|row| row.met == Met::Yes)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = &self.machine;
        let loads = |[one, five, _]: [f64; 3]| format!("{one:.2} {five:.2}");
        writeln!(
            f,
            "{} cores, {}, kernel {}, {} build, load before {}, after {}\n",
            machine.cores,
            machine.cpu_model,
            machine.kernel,
            machine.build,
            loads(machine.load_before),
            loads(machine.load_after)
        )?;
        let head = ["row", "value", "unit", "peer", "ratio", "goal", "met", ""].map(str::to_owned);
        let lines: Vec<[String; 8]> =
            std::iter::once(head).chain(self.rows.iter().map(cells)).collect();
        let widths: [usize; 7] = std::array::from_fn(|at| {
            lines.iter().map(|line| line[at].chars().count()).max().unwrap_or_default()
        });
        for line in &lines {
            let mut text = String::new();
            for (cell, width) in line.iter().zip(widths) {
                text.push_str(&format!("{cell:width$}  "));
            }
            writeln!(f, "{}", format!("{text}{}", line[7]).trim_end())?;
        }
        Ok(())
    }
}

fn cells(row: &Row) -> [String; 8] {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), figure);
    let met = match row.met {
        Met::Yes => "yes",
        Met::No => "NO",
        Met::Inconclusive => "inconclusive",
    };
    [
        row.name.clone(),
        number(row.value),
        row.unit.clone(),
        number(row.peer_value),
        row.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}")),
        row.goal.clone(),
        met.to_owned(),
        [row.peer.as_deref().map(|peer| format!("beside {peer}")), Some(row.note.clone())]
            .into_iter()
            .flatten()
            .filter(|text| !text.is_empty())
            .collect::<Vec<_>>()
            .join("; "),
    ]
}

/// A number with as many digits as mean something.
pub(crate) fn figure(value: f64) -> String {
    let size = value.abs();
    if size >= 100.0 || value == value.trunc() && size >= 1.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_just_the_promised_fields() {
        let row = Row::value("cells/x", "ms", 3.0, Goal::AtMost(4.0)).with_note("n");

        let json = serde_json::to_value(&row).unwrap();

        let wanted = ["name", "unit", "value", "peer", "peer_value", "ratio", "goal", "met"];
        let mut found: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        let mut sorted = wanted;
        found.sort_unstable();
        sorted.sort_unstable();
        assert_eq!(found, sorted);
        assert_eq!(json["met"], true);
        assert_eq!(json["goal"], "<= 4");
        assert_eq!(serde_json::to_value(Met::Inconclusive).unwrap(), "inconclusive");
        assert_eq!(serde_json::to_value(Met::No).unwrap(), false);
    }

    #[test]
    fn what_was_not_measured_is_not_met() {
        assert_eq!(Row::failed("cells/x", "no runc").met, Met::No);
        assert_eq!(Row::value("cells/x", "ms", f64::NAN, Goal::AtMost(1.0)).met, Met::No);
        assert!(Goal::AtLeast(2.0).keeps(2.0) && !Goal::AtLeast(2.0).keeps(1.9));
        assert!(!Goal::Within(0.98, 1.02).keeps(1.03));
    }
}
