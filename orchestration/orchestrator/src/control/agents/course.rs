//! Who a policy follows: positions from telemetry, what tracks have taught, and where sites are.

use super::{lock, situation::At, sources::stretch};
use crate::control::{
    Error, Result,
    cache::{Id, Policy},
    state::State,
};
use api::{
    policy::{Position, Trajectory, millis},
    site::Location,
};
use learning::{
    agent::{NextSite, Series},
    trajectory::{Cleaned, Course, Fix, LeftOut, Plane, Point, Tracker, clean},
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use types::ErrorKind;

/// Whence a vehicle came is looked for in so long.
const BEFORE_MS: i64 = 600_000;
/// Clocks of vehicles may be so much ahead.
const AHEAD_MS: i64 = 2000;
/// What was learned counts for so long; then what came meanwhile is learned, too.
const LEARNED_AGE_MAX: Duration = Duration::from_secs(300);
/// A position says where a vehicle was at another moment if both are so near.
const SAME_MS: i64 = 3000;

/// What was learned for policies; lost with the process, and learned anew.
#[derive(Debug, Default)]
pub(super) struct Trackers(Mutex<HashMap<Id, Learned>>);

#[derive(Debug)]
struct Learned {
    /// Of the policy.
    uid: String,
    generation: u64,
    sites: Vec<(String, Location)>,
    made: Instant,
    tracker: Arc<Tracker>,
}

/// A vehicle as seen from the places of a policy.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) course: Course,
    /// Positions that were left out.
    left_out: LeftOut,
}

impl Followed {
    /// What is said of where it will be, for a decision's record.
    pub(super) fn next(&self, places: &[At]) -> Option<NextSite> {
        let (site, share) = self.course.best()?;
        let name = |place: usize| places.get(place).map(|place| place.site.clone());
        Some(NextSite {
            site: name(site)?,
            share: super::record::round(share),
            passages: self.course.passages,
            ahead_s: self.course.ahead_s,
            nearest: name(self.course.nearest()?)?,
            left_out: self.left_out,
        })
    }
}

impl Trackers {
    pub(super) fn forget(&self, policies: &HashSet<Id>) {
        lock(&self.0).retain(|id, _| policies.contains(id));
    }

    fn known(&self, policy: &Policy, sites: &[(String, Location)]) -> Option<Arc<Tracker>> {
        let known = lock(&self.0);
        let learned = known.get(&policy.id())?;
        let same = learned.uid == policy.uid() && learned.generation == policy.generation();
        let fits = same && learned.sites == sites && learned.made.elapsed() < LEARNED_AGE_MAX;
        fits.then(|| learned.tracker.clone())
    }
}

/// Checks the selectors of a policy before it is applied.
pub(in crate::control) fn check(trajectory: &Trajectory) -> Result<()> {
    for position in [&trajectory.position, trajectory.learned_from()] {
        let (east, north) = position.selectors();
        for selector in [east, north] {
            stretch(selector, 1000).map_err(|error| {
                let why = types::chain(&error);
                let text = format!("`pipeline.trajectory`: `{selector}` is no selector: {why}");
                Error::refuse(ErrorKind::Invalid, text)
            })?;
        }
    }
    Ok(())
}

/// What is known of who a policy follows, or why nothing is; nothing if it follows nobody.
pub(super) fn followed(
    state: &State,
    policy: &Policy,
    places: &[At],
    now_ms: u64,
) -> Option<std::result::Result<Followed, String>> {
    let trajectory = policy.spec.pipeline.trajectory.as_ref()?;
    Some(follow(state, policy, trajectory, places, i64::try_from(now_ms).unwrap_or(i64::MAX)))
}

fn follow(
    state: &State,
    policy: &Policy,
    trajectory: &Trajectory,
    places: &[At],
    now_ms: i64,
) -> std::result::Result<Followed, String> {
    let mut names: Vec<&str> = places.iter().map(|place| place.site.as_str()).collect();
    names.sort_unstable();
    let map = Map::of(&located(state, &names), &trajectory.position)?;
    let asked = Asked { state, tenant: &policy.resource.metadata.tenant, plane: map.plane };
    let found = asked.track(&trajectory.position, now_ms)?;
    let track = found.tracks.last().map(Vec::as_slice).unwrap_or_default();
    let last = track.last().ok_or("no position that can be was told for 10 minutes")?;
    let age_ms = now_ms.saturating_sub((last.at_s * 1000.0) as i64);
    if age_ms > i64::try_from(millis(trajectory.fresh)).unwrap_or(i64::MAX) {
        let (age_s, left_out) = (age_ms / 1000, found.left_out.count());
        return Err(format!("the last position is {age_s} s old; {left_out} were left out"));
    }
    let tracker = match state.agents.trackers.known(policy, &map.sites) {
        Some(tracker) => tracker,
        None => learn(policy, trajectory, &asked, &map, now_ms)?,
    };
    let indices: Vec<_> = places.iter().map(|place| map.index(&place.site)).collect();
    let course = Course::of(&tracker, track, &indices).ok_or("its position is no place")?;
    Ok(Followed { course, left_out: found.left_out })
}

/// Learns from all tracks, and remembers that.
fn learn(
    policy: &Policy,
    trajectory: &Trajectory,
    asked: &Asked,
    map: &Map,
    now_ms: i64,
) -> std::result::Result<Arc<Tracker>, String> {
    let ahead_s = millis(trajectory.ahead) as f64 / 1000.0;
    let mut tracker = Tracker::new(&map.points, ahead_s).map_err(|error| types::chain(&error))?;
    let learn_ms = i64::try_from(millis(trajectory.learn)).unwrap_or(i64::MAX);
    let (east, north) = asked.both(trajectory.learned_from(), now_ms - learn_ms, now_ms)?;
    let north: BTreeMap<_, _> = north.iter().map(|one| (&one.labels, &one.points)).collect();
    for one in &east {
        let Some(north) = north.get(&one.labels) else { continue };
        let found = clean(&one.points, north, now_ms, &map.plane);
        found.tracks.iter().for_each(|track| tracker.learn(track));
    }
    let tracker = Arc::new(tracker);
    let learned = Learned {
        uid: policy.uid().to_owned(),
        generation: policy.generation(),
        sites: map.sites.clone(),
        made: Instant::now(),
        tracker: tracker.clone(),
    };
    lock(&asked.state.agents.trackers.0).insert(policy.id(), learned);
    Ok(tracker)
}

/// The sites of which it is known where they are.
fn located(state: &State, names: &[&str]) -> Vec<(String, Location)> {
    let location = |name: &str| state.cache(|cache| cache.sites.get(name)?.spec.location);
    names.iter().filter_map(|name| Some(((*name).to_owned(), location(name)?))).collect()
}

/// Sites in a plane.
#[derive(Debug, PartialEq)]
struct Map {
    plane: Plane,
    sites: Vec<(String, Location)>,
    points: Vec<Point>,
}

impl Map {
    /// The sites that are told in the coordinates that positions are told in.
    fn of(
        located: &[(String, Location)],
        position: &Position,
    ) -> std::result::Result<Self, String> {
        let plane = |(_, location): &(String, Location)| Plane::about(*location);
        let fits = |plane: &Plane| plane.is_degrees() == position.is_degrees();
        let Some(plane) = located.iter().map(plane).find(fits) else {
            let unit = if position.is_degrees() { "degrees" } else { "metres" };
            return Err(format!("no site that it may go to has a `spec.location` in {unit}"));
        };
        let placed = |(name, location): &(String, Location)| {
            Some(((name.clone(), *location), plane.site(*location)?))
        };
        let (sites, points) = located.iter().filter_map(placed).unzip();
        Ok(Self { plane, sites, points })
    }

    fn index(&self, site: &str) -> Option<usize> {
        self.sites.iter().position(|(name, _)| name == site)
    }

    fn nearest(&self, point: Point) -> Option<&str> {
        let away = |at: &usize| self.points[*at].to(point);
        let at = (0..self.points.len()).min_by(|one, other| away(one).total_cmp(&away(other)))?;
        Some(&self.sites[at].0)
    }
}

/// Who asks for positions, and in which plane they are.
struct Asked<'a> {
    state: &'a State,
    tenant: &'a str,
    plane: Plane,
}

impl Asked<'_> {
    /// The track of one vehicle up to now.
    fn track(&self, position: &Position, now_ms: i64) -> std::result::Result<Cleaned, String> {
        let until_ms = now_ms.saturating_add(AHEAD_MS);
        let (east, north) = self.both(position, now_ms.saturating_sub(BEFORE_MS), until_ms)?;
        let selectors = position.selectors();
        let (east, north) = (one(&east, selectors.0)?, one(&north, selectors.1)?);
        Ok(clean(east, north, now_ms, &self.plane))
    }

    fn both(
        &self,
        position: &Position,
        from_ms: i64,
        to_ms: i64,
    ) -> std::result::Result<(Vec<Series>, Vec<Series>), String> {
        let series = |selector: &str| {
            let found = self.state.agents.telemetry.points((self.tenant, selector), from_ms, to_ms);
            found.map_err(|error| types::chain(&error))
        };
        let (east, north) = position.selectors();
        Ok((series(east)?, series(north)?))
    }
}

/// The one series that a selector is to have.
fn one<'a>(found: &'a [Series], selector: &str) -> std::result::Result<&'a [(i64, f64)], String> {
    match found {
        [one] => Ok(&one.points),
        [] => Err(format!("nothing was told of `{selector}` for 10 minutes")),
        more => {
            Err(format!("`{selector}` is of {} series: name one vehicle by its labels", more.len()))
        }
    }
}

/// The nearest of some sites at a moment that is over, if it is known where the vehicle was.
pub(super) fn nearest_then(
    state: &State,
    policy: &Id,
    sites: &[&str],
    then_ms: u64,
) -> Option<String> {
    let policy = state.cache(|cache| cache.policies.get(policy).cloned())?;
    let trajectory = policy.spec.pipeline.trajectory.as_ref()?;
    let map = Map::of(&located(state, sites), &trajectory.position).ok()?;
    let asked = Asked { state, tenant: &policy.resource.metadata.tenant, plane: map.plane };
    let then_ms = i64::try_from(then_ms).ok()?;
    let found = asked.track(&trajectory.position, then_ms.saturating_add(SAME_MS)).ok()?;
    let fix = at_moment(&found, then_ms)?;
    map.nearest(fix.point).map(str::to_owned)
}

/// The position nearest in time to a moment, if one is near enough.
fn at_moment(found: &Cleaned, then_ms: i64) -> Option<Fix> {
    let off = |fix: &Fix| (fix.at_s - then_ms as f64 / 1000.0).abs();
    let each = found.tracks.iter().flatten();
    let nearest = each.min_by(|one, other| off(one).total_cmp(&off(other)))?;
    (off(nearest) * 1000.0 <= SAME_MS as f64).then_some(*nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metres() -> Position {
        Position::Metres { x: "x".into(), y: "y".into() }
    }

    #[test]
    fn sites_are_compared_in_the_coordinates_of_the_vehicle() {
        let site = |name: &str, location| (name.to_owned(), location);
        let all = [
            site("a", Location::Degrees { latitude: 41.0, longitude: 1.0 }),
            site("b", Location::Metres { x: 0.0, y: 0.0 }),
            site("c", Location::Metres { x: 300.0, y: 0.0 }),
        ];

        let map = Map::of(&all, &metres()).unwrap();

        assert_eq!((map.index("a"), map.index("c")), (None, Some(1)));
        assert_eq!(map.nearest(Point { x_m: 151.0, y_m: 9.0 }), Some("c"));
        let why = Map::of(&all[..1], &metres()).unwrap_err();
        assert!(why.contains("`spec.location` in metres"), "{why}");
    }

    #[test]
    fn one_vehicle_is_followed_and_what_is_no_selector_is_refused() {
        let series = vec![Series::default(); 2];
        assert!(one(&series, "bus_x").unwrap_err().contains("of 2 series"));
        assert!(one(&[], "bus_x").unwrap_err().contains("nothing was told of `bus_x`"));

        let with = |x: &str| Trajectory {
            position: Position::Metres { x: x.into(), y: "bus_y{line=\"1\"}".into() },
            tracks: None,
            ahead: types::Period::from_millis(5000),
            learn: types::Period::from_millis(60_000),
            fresh: types::Period::from_millis(5000),
        };
        check(&with("bus_x{line=\"1\"}")).unwrap();
        for wrong in ["sum(bus_x)", "bus_x[5m]", "bus_x{", "1", "a or b"] {
            assert!(check(&with(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn where_a_vehicle_was_is_known_from_positions_of_that_moment_alone() {
        let fix = |at_s| Fix { at_s, point: Point { x_m: at_s, y_m: 0.0 } };
        let found = Cleaned {
            tracks: vec![vec![fix(1.0)], vec![fix(9.0), fix(10.0)]],
            ..Cleaned::default()
        };

        assert_eq!(at_moment(&found, 9400), Some(fix(9.0)));
        assert_eq!(at_moment(&found, 5000), None);
        assert_eq!(at_moment(&Cleaned::default(), 0), None);
    }
}
