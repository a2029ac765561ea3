//! What is known of a vehicle at a moment: how far each place is, and which will be the nearest.

use super::{Fix, Likely, Tracker};
use crate::agent::Figures;

/// Where a vehicle is and goes, as seen from places.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// Its last position.
    pub last: Fix,
    /// Metres to each place; nothing where it is not known where the place is.
    pub distances_m: Vec<Option<f64>>,
    /// How likely each place will be the nearest.
    pub next: Vec<f64>,
    /// By how many passages that were alike; nothing was learned of such where there are none.
    pub passages: u32,
    /// The time ahead, in seconds.
    pub ahead_s: f64,
}

impl Course {
    /// For places, of which each is one of the tracker's sites or nowhere; nothing without a fix.
    pub fn of(tracker: &Tracker, track: &[Fix], places: &[Option<usize>]) -> Option<Self> {
        let last = *track.last()?;
        let Likely { shares, passages } = tracker.likely(track)?;
        let distance = |place: &Option<usize>| Some(tracker.site((*place)?)?.to(last.point));
        let share = |place: &Option<usize>| place.and_then(|site| shares.get(site)).copied();
        Some(Self {
            last,
            distances_m: places.iter().map(distance).collect(),
            next: places.iter().map(|place| share(place).unwrap_or_default()).collect(),
            passages,
            ahead_s: tracker.horizon_s(),
        })
    }

    /// As names of conditions: `here.distance`, `there.next`.
    pub fn figures(&self) -> Figures {
        let next = self.next.iter().copied().map(Some).collect();
        let each = [("distance", self.distances_m.clone()), ("next", next)];
        each.map(|(name, values)| (name.to_owned(), values)).into()
    }

    /// The place that will most likely be the nearest, and how likely.
    pub fn best(&self) -> Option<(usize, f64)> {
        let each = self.next.iter().copied().enumerate();
        each.reduce(|best, next| if next.1 > best.1 { next } else { best })
    }

    /// The place that is the nearest now.
    pub fn nearest(&self) -> Option<usize> {
        let each = self.distances_m.iter().enumerate();
        let known = each.filter_map(|(place, away)| Some((place, (*away)?)));
        known.reduce(|best, next| if next.1 < best.1 { next } else { best }).map(|best| best.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Point, *};

    #[test]
    fn without_anything_learned_the_nearest_is_told_and_between_two_nothing_is_sure() {
        let sites = [0.0, 300.0, 600.0].map(|x_m| Point { x_m, y_m: 0.0 });
        let tracker = Tracker::new(&sites, 5.0).unwrap();
        let at = |x_m| [Fix { at_s: 0.0, point: Point { x_m, y_m: 0.0 } }];

        let course = Course::of(&tracker, &at(120.0), &[Some(1), None, Some(0)]).unwrap();

        assert_eq!(course.distances_m, [Some(180.0), None, Some(120.0)]);
        assert_eq!((course.nearest(), course.passages), (Some(2), 0));
        let (best, share) = course.best().unwrap();
        assert!(best == 2 && (share - 0.6).abs() < 1e-9, "{course:?}");
        assert_eq!(course.figures()["next"][1], Some(0.0));
        assert_eq!(Course::of(&tracker, &[], &[]), None);
        let nowhere = Course::of(&tracker, &at(f64::NAN), &[Some(0)]);
        assert_eq!(nowhere, None);
    }
}
