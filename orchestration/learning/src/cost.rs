//! What running, moving and breaking a service level cost.
//!
//! The terms are those of the reference's cost model: infrastructure (a cloud is paid by the second,
//! an edge box by its energy), the control plane, a penalty that grows exponentially with what a
//! service level is exceeded by, and the time for which two instances run while one moves.

use crate::{Error, Result, document};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Prices in euro.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Prices {
    /// For an hour of the service's share of a cloud machine.
    pub cloud_hour: f64,
    /// Watts that the service needs at an edge box.
    pub edge_watts: f64,
    /// For a kilowatt-hour.
    pub kwh: f64,
    /// For an hour of the service's share of the control plane.
    pub control_hour: f64,
    /// `alpha` of the penalty: euro for a second at the scale where `beta` times the excess is
    /// about 0.7.
    pub penalty_alpha: f64,
    /// `beta` of the penalty, for each millisecond of excess.
    pub penalty_beta_ms: f64,
    /// An excess counts up to here, in milliseconds; what is not answered at all counts so.
    pub penalty_excess_max_ms: f64,
}

impl Default for Prices {
    /// Four virtual processors of a public cloud, a box of 30 W, and a penalty of the same size
    /// as the cloud's price when one second in a hundred is 100 ms late.
    fn default() -> Self {
        Self {
            cloud_hour: 0.17,
            edge_watts: 30.0,
            kwh: 0.25,
            control_hour: 0.01,
            penalty_alpha: 0.0028,
            penalty_beta_ms: 0.01,
            penalty_excess_max_ms: 200.0,
        }
    }
}

/// Euro, by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Cost {
    /// Of cloud and edge.
    pub infrastructure: f64,
    /// Of the control plane.
    pub control: f64,
    /// For broken service levels.
    pub penalty: f64,
    /// Of the second instance while the service moves.
    pub migration: f64,
}

impl Cost {
    /// All of it.
    pub fn total(&self) -> f64 {
        self.infrastructure + self.control + self.penalty + self.migration
    }

    /// So many times as much.
    #[must_use]
    pub fn times(&self, factor: f64) -> Self {
        Self {
            infrastructure: self.infrastructure * factor,
            control: self.control * factor,
            penalty: self.penalty * factor,
            migration: self.migration * factor,
        }
    }
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.infrastructure += other.infrastructure;
        self.control += other.control;
        self.penalty += other.penalty;
        self.migration += other.migration;
    }
}

impl Prices {
    /// Reads them from a YAML file; those that it does not name are as usual.
    ///
    /// # Errors
    /// A file that cannot be read, an unknown name, or a price that is negative or no number.
    pub fn read(path: &Path) -> Result<Self> {
        document::read(path, Self::checked)
    }

    /// Takes them from a document; those that it does not name are as usual.
    ///
    /// # Errors
    /// An unknown name, or a price that is negative or no number.
    pub fn of(document: &serde_json::Map<String, serde_json::Value>) -> Result<Self> {
        let unfit = |reason: String| Error::Unfit(format!("prices: {reason}"));
        let prices = Self::deserialize(serde_json::Value::Object(document.clone()));
        prices.map_err(|error| unfit(error.to_string()))?.checked().map_err(unfit)
    }

    fn checked(self) -> std::result::Result<Self, String> {
        let Self { cloud_hour, edge_watts, kwh, control_hour, .. } = self;
        let penalty = [self.penalty_alpha, self.penalty_beta_ms, self.penalty_excess_max_ms];
        let each = [cloud_hour, edge_watts, kwh, control_hour].into_iter().chain(penalty);
        if each.into_iter().any(|price| !(0.0..=1e9).contains(&price)) {
            return Err("a price is a number from 0 to a billion".into());
        }
        // Beyond this the exponential is no number.
        if self.penalty_beta_ms * self.penalty_excess_max_ms > 100.0 {
            return Err("penaltyBetaMs times penaltyExcessMaxMs is at most 100".into());
        }
        Ok(self)
    }

    /// For a second of an instance.
    pub fn second(&self, cloud: bool) -> f64 {
        let hour = if cloud { self.cloud_hour } else { self.edge_watts / 1000.0 * self.kwh };
        hour / 3600.0
    }

    /// For a second at a latency, or without any answer: `alpha (e^(beta (q - sla)) - 1)`.
    pub fn penalty(&self, latency_ms: Option<f64>, sla_ms: f64) -> f64 {
        let excess = latency_ms.map_or(f64::INFINITY, |latency| latency - sla_ms);
        let excess = excess.clamp(0.0, self.penalty_excess_max_ms);
        self.penalty_alpha * (self.penalty_beta_ms * excess).exp_m1()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_penalty_begins_at_the_service_level_and_has_an_end() {
        let prices = Prices::default();

        assert_eq!(prices.penalty(Some(99.0), 100.0), 0.0);
        assert!(prices.penalty(Some(150.0), 100.0) < prices.penalty(Some(200.0), 100.0));
        assert_eq!(prices.penalty(None, 100.0), prices.penalty(Some(9e9), 100.0));
        assert!(prices.second(true) > 10.0 * prices.second(false));
    }
}
