//! Positions, as buses push them into telemetry, and how far sites are from one.

use super::{
    Drive, SITES,
    road::distance,
    setup::{A_METRE, CLOUD_AWAY, NEAR},
};
use crate::{Error, Result, continuum::View, run::unix_ms};
use learning::trajectory::{Fix, Point};
use orchestrator::camera::Distances;
use series::{Labels, NAME, Sample};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Between two positions that the bus tells, and between two changes of distances.
const TELLS: Duration = Duration::from_secs(1);
const MOVES: Duration = Duration::from_millis(50);
/// Milliseconds between the ends of tracks of buses before, and from the last to now.
const APART_MS: i64 = 120_000;

/// Seconds since the bus left; less than none before.
pub(super) fn since(leaves: Instant) -> f64 {
    leaves.elapsed().as_secs_f64() - leaves.saturating_duration_since(Instant::now()).as_secs_f64()
}

/// The samples of a position: one for each coordinate.
fn position(vehicle: &str, at_ms: i64, point: Point) -> Result<[(Labels, Sample); 2]> {
    let labels =
        |name: &str| Labels::new([(NAME, name), ("vehicle", vehicle)]).map_err(Error::Positions);
    Ok([
        (labels("vehicle_x_m")?, Sample::new(at_ms, point.x_m)),
        (labels("vehicle_y_m")?, Sample::new(at_ms, point.y_m)),
    ])
}

/// Pushes tracks, one after the other, the last of which has just ended.
pub(super) async fn tracks(view: &View, tracks: &[Vec<Fix>]) -> Result<usize> {
    let (mut batch, mut end_ms) = (Vec::new(), unix_ms() as i64 - APART_MS);
    for (number, track) in tracks.iter().enumerate() {
        let length_ms = track.last().map_or(0, |fix| (fix.at_s * 1000.0) as i64);
        for fix in track {
            let at_ms = end_ms - length_ms + (fix.at_s * 1000.0) as i64;
            batch.extend(position(&format!("bus-before-{number}"), at_ms, fix.point)?);
        }
        end_ms -= length_ms + APART_MS;
    }
    view.client.push(&batch).await?;
    Ok(batch.len() / 2)
}

/// Pushes where the bus is, again and again; ends only with an error.
pub(super) async fn positions(view: &View, drive: &Drive, leaves: Instant) -> Error {
    let mut ticks = interval(TELLS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let pushed = match position("bus", unix_ms() as i64, drive.place(since(leaves))) {
            Ok(batch) => view.client.push(&batch).await.map_err(Error::from),
            Err(error) => Err(error),
        };
        if let Err(error) = pushed {
            return error;
        }
    }
}

/// Makes sites as far as they are from the bus, again and again.
pub(super) async fn distances(
    view: &View,
    drive: &Drive,
    leaves: Instant,
    to: &Distances,
) -> Error {
    let mut ticks = interval(MOVES);
    loop {
        ticks.tick().await;
        let place = drive.place(since(leaves));
        let each = SITES.map(|site| (site.0, round_trip(distance(place, site))));
        for (site, away) in each.into_iter().chain([("cloud", CLOUD_AWAY)]) {
            match view.address(site) {
                Ok(address) => to.set(address, away),
                Err(error) => return error,
            }
        }
    }
}

/// What an answer from so many metres away takes on its way.
fn round_trip(metres: f64) -> Duration {
    NEAR + A_METRE.mul_f64(metres.max(0.0))
}
