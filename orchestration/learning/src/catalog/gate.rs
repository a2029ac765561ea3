//! Whether a version may take the place of the one in production.

use super::Record;
use crate::{Error, Result};

/// By which share the root mean square error may be higher: what differs less is chance.
pub const MARGIN: f64 = 0.02;

/// What a promotion is judged by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gate {
    /// The test of both together when the version was made, if it was against what is in production still; or
    /// the back-tests of both, if these were of the same data.
    Recorded {
        /// By which share it may be worse.
        margin: f64,
    },
    /// Both were tested again, on the same held-out data.
    Tested {
        /// By which share it may be worse.
        margin: f64,
        /// The version's root mean square error.
        candidate: f64,
        /// That of the one in production.
        current: f64,
        /// Which one that was.
        against: u32,
    },
    /// Whoever asks has decided.
    Forced,
}

impl Gate {
    /// Says why it may; `current` is the record of what is used now, if there is another one.
    ///
    /// # Errors
    /// It may not, with the reason.
    pub(super) fn judge(&self, candidate: &Record, current: Option<&Record>) -> Result<String> {
        if *self == Self::Forced {
            return Ok("promoted without a test, as was asked for".into());
        }
        let Some(current) = current else {
            return Ok("there is no other version to compare with".into());
        };
        if (candidate.target, candidate.ahead) != (current.target, current.ahead) {
            return Err(Error::Refused(format!(
                "version {} predicts `{}`, and version {}, in production, `{}`: they cannot be compared \
                 (`--force` promotes without a test)",
                candidate.id, candidate.target, current.id, current.target
            )));
        }
        let recorded = recorded(candidate, current);
        let (margin, [one, other]) = match *self {
            Self::Tested { against, .. } if against != current.id => {
                return Err(Error::Refused(format!(
                    "version {} is in production by now, and version {against} was tested: test again",
                    current.id
                )));
            }
            Self::Tested { margin, candidate, current, .. } => (margin, [candidate, current]),
            Self::Recorded { margin } if let Some(errors) = recorded => (margin, errors),
            _ => {
                return Err(Error::Refused(format!(
                    "versions {} and {} were tested on different data: give data to test both on, or \
                     `--force` to promote without a test",
                    candidate.id, current.id
                )));
            }
        };
        compare(candidate.id, current.id, margin, one, other)
    }
}

/// What is kept of both that can be compared: the errors of the one and of the other.
fn recorded(candidate: &Record, current: &Record) -> Option<[f64; 2]> {
    if let Some(beside) = candidate.beside.filter(|beside| beside.against == current.id) {
        return Some([beside.rmse, beside.current_rmse]);
    }
    let alike = (&candidate.tested, candidate.every_s) == (&current.tested, current.every_s);
    alike.then_some([candidate.score.rmse, current.score.rmse])
}

fn compare(one: u32, other: u32, margin: f64, error: f64, current: f64) -> Result<String> {
    let figures = format!(
        "root mean square error {error:.4} of version {one}, {current:.4} of version {other}, in production"
    );
    // What is not a number is not better.
    match error <= current * (1.0 + margin) {
        true => Ok(figures),
        false => Err(Error::Refused(format!(
            "worse by more than {:.1} %: {figures} (`--force` promotes it all the same)",
            100.0 * margin
        ))),
    }
}
