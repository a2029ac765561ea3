//! Who is followed: where a vehicle is, and what is learned of where vehicles go.

use super::{expression, millis, require};
use crate::{
    ApiError,
    site::{Coordinates, Pair},
};
use serde::{Deserialize, Serialize};
use types::Period;

/// Where whoever uses the service goes. Sites are compared by `spec.location`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Trajectory {
    /// Where it is: one series for each coordinate.
    pub position: Position,
    /// Vehicles whose tracks are learned from, any number of them; itself if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracks: Option<Position>,
    /// The nearest site in so long is told.
    #[serde(default = "default_ahead")]
    pub ahead: Period,
    /// Tracks are learned from so far back.
    #[serde(default = "default_learn")]
    pub learn: Period,
    /// A position that is older is none.
    #[serde(default = "default_fresh")]
    pub fresh: Period,
}

/// Coordinates as selectors of series. Those of one moment have the same time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, try_from = "Coordinates<String>")]
pub enum Position {
    /// On earth, in degrees.
    Degrees {
        /// To the north.
        latitude: String,
        /// To the east.
        longitude: String,
    },
    /// In a plane of one's own, in metres.
    Metres {
        /// To the east.
        x: String,
        /// To the north.
        y: String,
    },
}

impl TryFrom<Coordinates<String>> for Position {
    type Error = &'static str;

    fn try_from(told: Coordinates<String>) -> Result<Self, Self::Error> {
        Ok(match told.pair() {
            Some(Pair::Degrees(latitude, longitude)) => Self::Degrees { latitude, longitude },
            Some(Pair::Metres(x, y)) => Self::Metres { x, y },
            None => {
                return Err(
                    "a position is `{latitude: SELECTOR, longitude: SELECTOR}` or `{x: SELECTOR, y: SELECTOR}`",
                );
            }
        })
    }
}

fn default_ahead() -> Period {
    Period::from_millis(30_000)
}
fn default_learn() -> Period {
    Period::from_millis(86_400_000)
}
fn default_fresh() -> Period {
    Period::from_millis(15_000)
}

impl Position {
    /// The selectors of what lies to the east and to the north.
    pub fn selectors(&self) -> (&str, &str) {
        match self {
            Self::Degrees { latitude, longitude } => (longitude, latitude),
            Self::Metres { x, y } => (x, y),
        }
    }

    /// Whether it is in degrees.
    pub fn is_degrees(&self) -> bool {
        matches!(self, Self::Degrees { .. })
    }
}

impl Trajectory {
    /// What tracks are learned from.
    pub fn learned_from(&self) -> &Position {
        self.tracks.as_ref().unwrap_or(&self.position)
    }

    pub(super) fn check(&self) -> Result<(), ApiError> {
        for (field, position) in [
            ("pipeline.trajectory.position", &self.position),
            ("pipeline.trajectory.tracks", self.learned_from()),
        ] {
            let (east, north) = position.selectors();
            expression(field, east)?;
            expression(field, north)?;
        }
        let alike = self.learned_from().is_degrees() == self.position.is_degrees();
        require(alike, "pipeline.trajectory.tracks", "degrees or metres, as `position`")?;
        let within = |period, least, most| (least..=most).contains(&millis(period));
        let (hour, month) = (3_600_000, 31 * 86_400_000);
        require(within(self.ahead, 1000, hour), "pipeline.trajectory.ahead", "from `1s` to `1h`")?;
        require(
            within(self.learn, 60_000, month),
            "pipeline.trajectory.learn",
            "from `1m` to `31d`",
        )?;
        require(within(self.fresh, 1000, hour), "pipeline.trajectory.fresh", "from `1s` to `1h`")
    }
}
