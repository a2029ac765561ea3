//! Who a policy follows: positions from telemetry, what tracks have taught, and where sites are.

use super::{lock, service_of, situation::At, sources::stretch, tracks};
use crate::control::{
    Error, Result,
    cache::{Id, Policy, Service},
    state::State,
};
use api::{
    policy::{Position, Trajectory, millis},
    site::Location,
};
use learning::{
    agent::{NextSite, Series, Telemetry},
    trajectory::{Cleaned, Course, Fix, GAP_S, LeftOut, Plane, Point, Tracker, clean, place_at},
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
/// What was learned, or was not, counts for so long; then what came meanwhile is learned, too.
const LEARNED_AGE_MAX: Duration = Duration::from_secs(300);
/// A position says where a vehicle was at another moment if both are so near.
const SAME_MS: i64 = 3000;
/// The position after a moment is waited for so long at most: later ones are of another track.
const HEARD_MAX_MS: u64 = (GAP_S * 1000.0) as u64;

/// What was learned for policies; lost with the process, and learned anew.
#[derive(Debug, Default)]
pub(super) struct Trackers(Mutex<HashMap<Id, Learned>>);

#[derive(Debug)]
struct Learned {
    of: Of,
    made: Instant,
    taught: Taught,
}

/// What it was learned for: a policy as it is applied, and sites.
#[derive(Debug, Clone, PartialEq)]
struct Of {
    uid: String,
    generation: u64,
    sites: Vec<(String, Location)>,
}

#[derive(Debug, Clone)]
struct Taught {
    tracker: Arc<Tracker>,
    /// Why tracks were not learned from, or not all, if so.
    why: Option<String>,
}

/// A vehicle as seen from the places of a policy.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) course: Course,
    /// What is said of where it will be, for a decision's record.
    pub(super) next: Option<NextSite>,
}

impl Followed {
    /// Of all sites of a map one will be the nearest, whether the service can go there now or not.
    fn of(
        taught: Taught,
        track: &[Fix],
        left_out: LeftOut,
        (map, places): (&Map, &[&str]),
    ) -> Option<Self> {
        let indices: Vec<_> = places.iter().map(|place| map.index(place)).collect();
        let course = Course::of(&taught.tracker, track, &indices)?;
        let all: Vec<_> = (0..map.sites.len()).map(Some).collect();
        let whole = Course::of(&taught.tracker, track, &all)?;
        let name = |site: usize| map.sites.get(site).map(|(name, _)| name.clone());
        let said = |(site, share)| {
            Some(NextSite {
                site: name(site)?,
                share: super::record::round(share),
                passages: whole.passages,
                ahead_s: whole.ahead_s,
                nearest: name(whole.nearest()?)?,
                left_out,
                unlearned: taught.why.clone(),
            })
        };
        Some(Self { course, next: whole.best().and_then(said) })
    }
}

impl Trackers {
    pub(super) fn forget(&self, policies: &HashSet<Id>) {
        lock(&self.0).retain(|id, _| policies.contains(id));
    }

    /// What is known, or is learned now; an attempt that failed counts as long as one that did not.
    fn taught(
        &self,
        policy: &Id,
        of: Of,
        learn: impl FnOnce(Option<Arc<Tracker>>) -> std::result::Result<Taught, String>,
    ) -> std::result::Result<Taught, String> {
        let before = {
            let known = lock(&self.0);
            let before = known.get(policy).filter(|learned| learned.of == of);
            if let Some(known) = before.filter(|one| one.made.elapsed() < LEARNED_AGE_MAX) {
                return Ok(known.taught.clone());
            }
            before.map(|learned| learned.taught.tracker.clone())
        };
        let taught = learn(before)?;
        let learned = Learned { of, made: Instant::now(), taught: taught.clone() };
        lock(&self.0).insert(policy.clone(), learned);
        Ok(taught)
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
    service: &Service,
    places: &[At],
    now_ms: u64,
) -> Option<std::result::Result<Followed, String>> {
    let trajectory = policy.spec.pipeline.trajectory.as_ref()?;
    let now_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
    Some(follow(state, (policy, trajectory), service, places, now_ms))
}

fn follow(
    state: &State,
    (policy, trajectory): (&Policy, &Trajectory),
    service: &Service,
    places: &[At],
    now_ms: i64,
) -> std::result::Result<Followed, String> {
    let places: Vec<&str> = places.iter().map(|place| place.site.as_str()).collect();
    let map = Map::of(&located(state, Some(service), &places), &trajectory.position)?;
    let asked = Asked::of(state, policy, map.plane);
    let found = asked.track(&trajectory.position, now_ms)?;
    let track = found.tracks.last().map(Vec::as_slice).unwrap_or_default();
    let last = track.last().ok_or("no position that can be was told for 10 minutes")?;
    let age_ms = now_ms.saturating_sub((last.at_s * 1000.0) as i64);
    if age_ms > i64::try_from(millis(trajectory.fresh)).unwrap_or(i64::MAX) {
        let (age_s, left_out) = (age_ms / 1000, found.left_out.count());
        return Err(format!("the last position is {age_s} s old; {left_out} were left out"));
    }
    let (uid, generation) = (policy.uid().to_owned(), policy.generation());
    let of = Of { uid, generation, sites: map.sites.clone() };
    let learn = |before| learn(trajectory, &asked, &map, now_ms, before);
    let taught = state.agents.trackers.taught(&policy.id(), of, learn)?;
    let followed = Followed::of(taught, track, found.left_out, (&map, &places));
    followed.ok_or_else(|| "its position is no place".into())
}

/// Learns from tracks. Where none can be read, what was learned before still counts.
fn learn(
    trajectory: &Trajectory,
    asked: &Asked,
    map: &Map,
    now_ms: i64,
    before: Option<Arc<Tracker>>,
) -> std::result::Result<Taught, String> {
    let ahead_s = millis(trajectory.ahead) as f64 / 1000.0;
    let mut tracker = Tracker::new(&map.points, ahead_s).map_err(|error| types::chain(&error))?;
    let learn_ms = i64::try_from(millis(trajectory.learn)).unwrap_or(i64::MAX);
    let ask = |from_ms, to_ms| asked.both(trajectory.learned_from(), from_ms, to_ms);
    let span = (now_ms.saturating_sub(learn_ms), now_ms);
    let mut tracks = tracks::read(ask, span, tracks::SAMPLES_MAX);
    let why = tracks.why.take();
    if let Some(why) = &why {
        tracing::warn!(why, "tracks of vehicles were not all learned from");
    }
    if let Some(before) = before.filter(|_| why.is_some() && tracks.is_empty()) {
        return Ok(Taught { tracker: before, why });
    }
    tracks.teach(&mut tracker, now_ms, &map.plane);
    Ok(Taught { tracker: Arc::new(tracker), why })
}

/// The sites of which it is known where they are: those where a service may be, whether there is room
/// for it now or not, and some others. What is learned is of all of them, for it is to count longer
/// than a site is full.
fn located(state: &State, service: Option<&Service>, others: &[&str]) -> Vec<(String, Location)> {
    state.cache(|cache| {
        let allowed = |labels: &BTreeMap<String, String>| {
            let wanted = service.map(|service| &service.spec.placement.sites.match_labels);
            wanted.is_some_and(|wanted| {
                wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
            })
        };
        let each = cache.sites.iter().filter(|(name, site)| {
            others.contains(&name.as_str()) || allowed(&site.resource.metadata.labels)
        });
        let mut all: Vec<_> =
            each.filter_map(|(name, site)| Some((name.clone(), site.spec.location?))).collect();
        // What was learned is known by them.
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    })
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
    telemetry: &'a dyn Telemetry,
    tenant: &'a str,
    plane: Plane,
}

impl<'a> Asked<'a> {
    fn of(state: &'a State, policy: &'a Policy, plane: Plane) -> Self {
        let tenant = &policy.resource.metadata.tenant;
        Self { telemetry: &*state.agents.telemetry, tenant, plane }
    }

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
    ) -> std::result::Result<tracks::Both, String> {
        let series = |selector: &str| {
            let found = self.telemetry.points((self.tenant, selector), from_ms, to_ms);
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

/// The site that was the nearest at a moment that is over, if it is known where the vehicle was:
/// one of those where the policy's service may be, or of `sites`.
pub(super) fn nearest_then(
    state: &State,
    policy: &Id,
    sites: &[&str],
    then_ms: u64,
) -> Option<String> {
    let policy = state.cache(|cache| cache.policies.get(policy).cloned())?;
    let trajectory = policy.spec.pipeline.trajectory.as_ref()?;
    let service = service_of(state, &policy);
    let map = Map::of(&located(state, service.as_deref(), sites), &trajectory.position).ok()?;
    let asked = Asked::of(state, &policy, map.plane);
    let until_ms = i64::try_from(then_ms.saturating_add(heard_ms(trajectory))).ok()?;
    let found = asked.track(&trajectory.position, until_ms).ok()?;
    let point = at_moment(&found, i64::try_from(then_ms).ok()?)?;
    map.nearest(point).map(str::to_owned)
}

/// How long after a moment a position may still come that says where a policy's vehicle was then.
pub(super) fn heard_of_ms(state: &State, policy: &Id) -> u64 {
    let policy = state.cache(|cache| cache.policies.get(policy).cloned());
    let trajectory = policy.as_ref().and_then(|policy| policy.spec.pipeline.trajectory.as_ref());
    trajectory.map_or(0, heard_ms)
}

/// A vehicle may tell its position as seldom as the policy lets it.
fn heard_ms(trajectory: &Trajectory) -> u64 {
    millis(trajectory.fresh).clamp(SAME_MS.unsigned_abs(), HEARD_MAX_MS)
}

/// Where it was at a moment: between two positions of a track, or where it was shortly before or after.
fn at_moment(found: &Cleaned, then_ms: i64) -> Option<Point> {
    let then_s = then_ms as f64 / 1000.0;
    if let Some(point) = found.tracks.iter().find_map(|track| place_at(track, then_s)) {
        return Some(point);
    }
    let off = |fix: &Fix| (fix.at_s - then_s).abs();
    let each = found.tracks.iter().flatten();
    let nearest = each.min_by(|one, other| off(one).total_cmp(&off(other)))?;
    (off(nearest) * 1000.0 <= SAME_MS as f64).then_some(nearest.point)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    fn followed(x: &str, fresh_ms: u64) -> Trajectory {
        Trajectory {
            position: Position::Metres { x: x.into(), y: "bus_y{line=\"1\"}".into() },
            tracks: None,
            ahead: types::Period::from_millis(5000),
            learn: types::Period::from_millis(600_000),
            fresh: types::Period::from_millis(fresh_ms),
        }
    }

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

        let with = |x: &str| followed(x, 5000);
        check(&with("bus_x{line=\"1\"}")).unwrap();
        for wrong in ["sum(bus_x)", "bus_x[5m]", "bus_x{", "1", "a or b"] {
            assert!(check(&with(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn where_a_vehicle_was_is_known_from_positions_about_that_moment_alone() {
        let fix = |at_s| Fix { at_s, point: Point { x_m: at_s, y_m: 0.0 } };
        let tracks = vec![vec![fix(1.0)], vec![fix(9.0), fix(39.0)]];
        let found = Cleaned { tracks, ..Cleaned::default() };
        let at = |then_ms| at_moment(&found, then_ms).map(|point| point.x_m);

        // A bus that tells each 30 s was on the way between.
        assert_eq!((at(24_000), at(9000)), (Some(24.0), Some(9.0)));
        assert_eq!((at(41_000), at(7000), at(3000)), (Some(39.0), Some(9.0), Some(1.0)));
        assert_eq!((at(5000), at(43_000)), (None, None));
        assert_eq!(at_moment(&Cleaned::default(), 0), None);

        let fresh = |ms| heard_ms(&followed("bus_x", ms));
        assert_eq!([fresh(1000), fresh(30_000), fresh(3_600_000)], [3000, 30_000, 60_000]);
    }

    fn street() -> Map {
        let site = |name: &str, x| (name.to_owned(), Location::Metres { x, y: 0.0 });
        Map::of(&[site("a", 0.0), site("b", 300.0), site("c", 600.0)], &metres()).unwrap()
    }

    #[test]
    fn a_site_that_is_full_is_still_the_nearest() {
        let map = street();
        let fix = Fix { at_s: 0.0, point: Point { x_m: 290.0, y_m: 0.0 } };
        let tracker = Arc::new(Tracker::new(&map.points, 5.0).unwrap());
        let taught = Taught { tracker, why: Some("the disk failed".into()) };

        // There is no room at `b`.
        let places = (&map, &["c", "a"][..]);
        let followed = Followed::of(taught, &[fix], LeftOut::default(), places).unwrap();

        let next = followed.next.unwrap();
        assert_eq!((next.site.as_str(), next.nearest.as_str()), ("b", "b"));
        assert_eq!(next.unlearned.as_deref(), Some("the disk failed"));
        assert_eq!(followed.course.distances_m, [Some(310.0), Some(290.0)]);
        assert!(followed.course.next.iter().all(|share| *share < 0.2), "{:?}", followed.course);
    }

    /// Has tracks until it fails.
    #[derive(Debug, Default)]
    struct Tells {
        fails: AtomicBool,
        asked: AtomicUsize,
    }

    impl Telemetry for Tells {
        fn range(&self, _: (&str, &str), _: i64, _: i64, _: u64) -> learning::Result<Vec<Series>> {
            Ok(Vec::new())
        }

        fn points(
            &self,
            (_, selector): (&str, &str),
            from_ms: i64,
            to_ms: i64,
        ) -> learning::Result<Vec<Series>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            if self.fails.load(Ordering::Relaxed) {
                return Err(learning::Error::Unfit("the disk failed".into()));
            }
            let value = |at_s: i64| if selector == "x" { (at_s % 60) as f64 * 5.0 } else { 0.0 };
            let times = from_ms / 1000..=to_ms / 1000;
            let points = times.map(|at_s| (at_s * 1000, value(at_s))).collect();
            Ok(vec![Series { points, ..Series::default() }])
        }
    }

    #[test]
    fn what_cannot_be_learned_is_said_once_in_a_while_and_what_was_learned_counts_on() {
        let (telemetry, map, trackers) = (Tells::default(), street(), Trackers::default());
        let asked = Asked { telemetry: &telemetry, tenant: "default", plane: map.plane };
        let (trajectory, id) = (followed("x", 15_000), Id::new("default", "qos"));
        let of = |generation| Of { uid: "1".into(), generation, sites: map.sites.clone() };
        let taught = |generation| {
            let learn = |before| learn(&trajectory, &asked, &map, 600_000, before);
            trackers.taught(&id, of(generation), learn).unwrap()
        };
        let age = || {
            let long_ago = Instant::now().checked_sub(LEARNED_AGE_MAX);
            lock(&trackers.0).get_mut(&id).unwrap().made = long_ago.expect("it is up for so long");
        };
        let first = taught(1);
        assert!(first.why.is_none() && *first.tracker != Tracker::new(&map.points, 5.0).unwrap());

        telemetry.fails.store(true, Ordering::Relaxed);
        age();
        let again = taught(1);

        assert!(Arc::ptr_eq(&again.tracker, &first.tracker), "as before");
        assert!(again.why.unwrap().contains("the disk failed"));
        let asked = telemetry.asked.load(Ordering::Relaxed);
        assert!(taught(1).why.is_some());
        assert_eq!(telemetry.asked.load(Ordering::Relaxed), asked, "it is not tried at each look");
        // Of a policy that was changed nothing is known yet.
        let empty = taught(2);
        assert_eq!(*empty.tracker, Tracker::new(&map.points, 5.0).unwrap());
        assert!(empty.why.is_some());
    }
}
