//! A place with compute.

use crate::{ApiError, Condition};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use types::{Bytes, Cpu};

/// What is wanted of a site.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SiteSpec {
    /// Takes no new services while true.
    pub cordoned: bool,
    /// Where it is, for policies that follow what moves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
}

/// Where a site is. Only places that are told in the same way can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged, try_from = "Coordinates<f64>")]
pub enum Location {
    /// On earth, in degrees as of WGS 84.
    Degrees {
        /// To the north.
        latitude: f64,
        /// To the east.
        longitude: f64,
    },
    /// In a plane of one's own, in metres.
    Metres {
        /// To the east.
        x: f64,
        /// To the north.
        y: f64,
    },
}

/// Both coordinates of a place, as they are written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Coordinates<T> {
    latitude: Option<T>,
    longitude: Option<T>,
    x: Option<T>,
    y: Option<T>,
}

/// Two coordinates that belong together.
pub(crate) enum Pair<T> {
    /// Latitude and longitude.
    Degrees(T, T),
    /// East and north.
    Metres(T, T),
}

impl<T> Coordinates<T> {
    /// Both, if they are the two of one kind.
    pub(crate) fn pair(self) -> Option<Pair<T>> {
        match (self.latitude, self.longitude, self.x, self.y) {
            (Some(latitude), Some(longitude), None, None) => {
                Some(Pair::Degrees(latitude, longitude))
            }
            (None, None, Some(x), Some(y)) => Some(Pair::Metres(x, y)),
            _ => None,
        }
    }
}

impl TryFrom<Coordinates<f64>> for Location {
    type Error = &'static str;

    fn try_from(told: Coordinates<f64>) -> Result<Self, Self::Error> {
        Ok(match told.pair() {
            Some(Pair::Degrees(latitude, longitude)) => Self::Degrees { latitude, longitude },
            Some(Pair::Metres(x, y)) => Self::Metres { x, y },
            None => {
                return Err(
                    "a location is `{latitude: DEGREES, longitude: DEGREES}` or `{x: METRES, y: METRES}`",
                );
            }
        })
    }
}

/// No plane is larger: the way around the earth.
const METRES_MAX: f64 = 40_075_000.0;

impl Location {
    /// Whether it is a place.
    pub fn is_sound(&self) -> bool {
        match *self {
            Self::Degrees { latitude, longitude } => {
                latitude.abs() <= 90.0 && longitude.abs() <= 180.0
            }
            Self::Metres { x, y } => x.abs() <= METRES_MAX && y.abs() <= METRES_MAX,
        }
    }
}

impl SiteSpec {
    /// Checks values that the types cannot.
    ///
    /// # Errors
    /// [`ApiError::Value`] names the field and what is allowed.
    pub fn check(&self) -> Result<(), ApiError> {
        if self.location.is_none_or(|location| location.is_sound()) {
            return Ok(());
        }
        let reason = "latitudes from -90 to 90, longitudes from -180 to 180, metres up to 40075000";
        Err(ApiError::Value { field: "location", reason: reason.into() })
    }
}

/// What is known of a site.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SiteStatus {
    /// Generation of the spec that this status answers.
    pub observed_generation: u64,
    /// Facts; `Ready` holds while the site's lease does.
    pub conditions: Vec<Condition>,
    /// Whether its agent is connected and its lease holds.
    pub ready: bool,
    /// Where its ingress is reached, and its peers' listener unless `peerAddress` says otherwise.
    pub address: Option<IpAddr>,
    /// Where its peers' listener is reached, over mutual TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_address: Option<IpAddr>,
    /// The ingress' port.
    pub ingress_port: u16,
    /// The port for other sites.
    pub peer_port: u16,
    /// Processor time that it offers.
    pub cpu: Cpu,
    /// Memory that it offers.
    pub memory: Bytes,
    /// Version of its agent.
    pub version: String,
    /// Milliseconds since the Unix epoch of its agent's last word.
    pub last_seen: u64,
    /// How many services it runs.
    pub services: u32,
    /// Its store of objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<SiteStore>,
}

/// Where a site's store of objects is. It begins when it is first used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SiteStore {
    /// Where S3 clients connect, on the site's own machine.
    pub s3: SocketAddr,
    /// Where the stores of other sites connect.
    pub sites: SocketAddr,
    /// The folder on the site's machine in which its sockets and keys are.
    pub folder: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, from_value, json};

    #[test]
    fn a_site_is_somewhere_or_nowhere() {
        let spec = |location: Value| from_value::<SiteSpec>(json!({"location": location}));

        for good in [json!({"x": -400.5, "y": 0}), json!({"latitude": 41.4, "longitude": 2.2})] {
            spec(good).unwrap().check().unwrap();
        }
        for wrong in [json!({"latitude": 91, "longitude": 0}), json!({"x": 1e300, "y": 0})] {
            assert!(spec(wrong).unwrap().check().is_err());
        }
        for half in [json!({"x": 1}), json!({"x": 1, "y": 2, "latitude": 3}), json!({})] {
            let error = spec(half).unwrap_err().to_string();
            assert!(error.contains("a location is"), "{error}");
        }
        assert!(spec(json!({"x": 1, "y": 2, "z": 3})).is_err() && spec(json!("here")).is_err());
        // `y` alone is a truth in some YAML.
        let read: SiteSpec = serde_saphyr::from_str("location: {x: 1, y: 2}").unwrap();
        assert_eq!(read.location, Some(Location::Metres { x: 1.0, y: 2.0 }));
        let written = serde_json::to_value(&read).unwrap();
        assert_eq!(written["location"], json!({"x": 1.0, "y": 2.0}));
        assert!(SiteSpec::default().check().is_ok());
    }
}
