//! What holds a policy back, as functions of what is known.

use super::Went;
use crate::{Prices, policy::Moment};
use api::policy::{Guards, hours, millis};

const DAY_S: u64 = 86_400;

/// What the guards say of a wish to go to one of the other places.
pub(super) fn held(
    guards: &Guards,
    prices: &Prices,
    moment: &Moment,
    trail: Option<&[Went]>,
    to: usize,
) -> Option<String> {
    rests(guards, moment)
        .or_else(|| spent(guards, moment))
        .or_else(|| dear(guards, prices, moment, trail?, to))
}

/// What keeps it from moving anywhere, back included.
pub(super) fn rests(guards: &Guards, moment: &Moment) -> Option<String> {
    if let Some(text) = quiet(guards, moment.now_s) {
        return Some(format!("it is quiet from {text}"));
    }
    let cool_down = millis(guards.cool_down) / 1000;
    let ago = moment.moved_s_ago.first().filter(|ago| **ago < cool_down)?;
    Some(format!("it moved {ago} s ago and rests for {cool_down} s"))
}

/// The last move of a day is kept for the way back.
fn spent(guards: &Guards, moment: &Moment) -> Option<String> {
    let moves = moment.moved_s_ago.iter().filter(|ago| **ago < DAY_S).count();
    let most = guards.moves_per_day as usize;
    (moves + 1 >= most).then(|| {
        format!("it moved {moves} times within a day; {most} are allowed, one of them to go back")
    })
}

/// The quiet time that it is, if it is one.
fn quiet(guards: &Guards, now_s: i64) -> Option<&String> {
    let minute = u32::try_from(now_s.div_euclid(60).rem_euclid(1440)).unwrap_or_default();
    guards.quiet_hours.iter().find(|text| match hours(text) {
        Some((from, to)) if from <= to => (from..to).contains(&minute),
        Some((from, to)) => minute >= from || minute < to,
        None => false,
    })
}

/// Whether the day has cost enough to go nowhere dearer.
fn dear(
    guards: &Guards,
    prices: &Prices,
    moment: &Moment,
    trail: &[Went],
    to: usize,
) -> Option<String> {
    let most = guards.euro_per_day?;
    let price = |edge: bool| prices.second(!edge);
    let edge = |place: usize| match place.checked_sub(1) {
        None => moment.here.edge,
        Some(other) => moment.others.get(other).is_none_or(|place| place.edge),
    };
    if price(edge(to + 1)) <= price(moment.here.edge) {
        return None;
    }
    let (mut spent, mut until, mut place) = (0.0, 0, 0);
    for went in trail.iter().filter(|went| went.ago_s < DAY_S) {
        spent += price(edge(place)) * went.ago_s.saturating_sub(until) as f64;
        (until, place) = (went.ago_s, went.from);
    }
    spent += price(edge(place)) * (DAY_S - until) as f64;
    (spent >= most).then(|| format!("the last day cost {spent:.2} euro; {most} are allowed"))
}

/// How it compares with having stayed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Regret {
    /// Seconds for which the level was broken longer than where it was as the window began.
    pub(super) seconds: f64,
    /// That place: 0 is here, others follow.
    pub(super) home: usize,
}

/// The regret of the window that it is; nothing if the service did not move in it.
///
/// A moment counts when the level was broken at one of the two places only. One without an answer
/// counts as broken where it is, and as fine where it was; of one before anything was measured
/// nothing is known.
pub(super) fn regret(
    guards: &Guards,
    moment: &Moment,
    trail: &[Went],
    sla_ms: f64,
) -> Option<Regret> {
    let window_s = (millis(guards.regret_window) / 1000).max(1);
    let into_s =
        moment.now_s.rem_euclid(i64::try_from(window_s).unwrap_or(i64::MAX)).unsigned_abs();
    let moves: Vec<_> = trail.iter().filter(|went| went.ago_s <= into_s).collect();
    let home = moves.last()?.from;
    let step_s = u64::from(moment.step_s.max(1));
    let mut seconds = 0.0;
    for back in 0..=into_s / step_s {
        let ago_s = back * step_s;
        let place = place_at(moment, &moves, ago_s);
        let sample =
            |place: usize| past(moment, place).iter().rev().nth(usize::try_from(back).ok()?);
        if place != home
            && let Some(own) = sample(place)
        {
            let own = own.breaks(sla_ms);
            let other = sample(home).and_then(|sample| sample.latency_ms);
            let other = other.is_some_and(|latency| latency > sla_ms);
            seconds += (f64::from(u8::from(own)) - f64::from(u8::from(other))) * step_s as f64;
        }
    }
    Some(Regret { seconds, home })
}

/// Where it was so long ago: a move takes effect when it is over.
fn place_at(moment: &Moment, moves: &[&Went], ago_s: u64) -> usize {
    let mut to = 0;
    for went in moves {
        let takes_s = match to {
            0 => moment.here.move_s,
            other => moment.others.get(other - 1).map_or(0, |place| place.move_s),
        };
        if went.ago_s.saturating_sub(u64::from(takes_s)) >= ago_s {
            return to;
        }
        to = went.from;
    }
    to
}

fn past<'a>(moment: &Moment<'a>, place: usize) -> &'a [crate::Sample] {
    match place.checked_sub(1) {
        None => moment.here.past,
        Some(other) => moment.others.get(other).map_or(&[], |place| place.past),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Sample, policy::Place};
    use types::Period;

    fn samples(latencies: &[f64]) -> Vec<Sample> {
        latencies.iter().map(|&ms| Sample { latency_ms: Some(ms), ..Sample::default() }).collect()
    }

    fn with<T>(now_s: i64, moved: &[u64], ask: impl Fn(&Moment) -> T) -> T {
        // Every 10 s; the service came from `b` 50 s ago, which took 20 s.
        let (a, b) =
            (samples(&[9.0, 9.0, 9.0, 1.0, 9.0, 9.0]), samples(&[1.0, 1.0, 1.0, 9.0, 1.0, 9.0]));
        let place = |name, past, edge| Place { name, past, edge, move_s: 20 };
        ask(&Moment {
            now_s,
            step_s: 10,
            here: place("a", &a[..], true),
            others: &[place("b", &b[..], false)],
            moved_s_ago: moved,
        })
    }

    #[test]
    fn moves_are_held_by_time_and_number_and_one_is_kept_for_the_way_back() {
        let guards = Guards {
            cool_down: Period::from_millis(60_000),
            moves_per_day: 3,
            quiet_hours: vec!["22:00-06:00".into()],
            ..Guards::default()
        };
        let said = |now_s, moved: &[u64]| {
            with(now_s, moved, |moment| held(&guards, &Prices::default(), moment, None, 0))
        };

        assert_eq!(said(43_200, &[60, 90_000]), None);
        assert!(said(43_200, &[59]).unwrap().contains("rests"));
        assert!(said(43_200, &[100, 200]).unwrap().contains("to go back"));
        assert!(said(79_200, &[]).unwrap().contains("quiet"));
        assert!(said(21_599, &[]).unwrap().contains("quiet"));
        assert_eq!(said(21_600, &[]), None);
    }

    /// By hand: away for the last four samples, 30 s to now; worse at two, better at one.
    #[test]
    fn regret_is_what_staying_would_have_saved() {
        let guards = Guards::default();
        with(3600, &[50], |moment| {
            let went = [Went { ago_s: 50, from: 1 }];
            let found = regret(&guards, moment, &went, 5.0).unwrap();
            assert_eq!(found, Regret { seconds: 10.0, home: 1 });
            assert_eq!(regret(&guards, moment, &[], 5.0), None);
        });
        // It moved long before the first sample that is there, as after a restart: of that nothing is known.
        with(21_000, &[20_000], |moment| {
            let found = regret(&guards, moment, &[Went { ago_s: 20_000, from: 1 }], 5.0).unwrap();
            assert_eq!(found, Regret { seconds: 30.0, home: 1 });
        });
        // The window has just begun: what lies before does not count.
        with(21_600, &[50], |moment| {
            assert_eq!(regret(&guards, moment, &[Went { ago_s: 50, from: 1 }], 5.0), None);
        });
    }

    #[test]
    fn a_day_that_was_dear_is_spent_at_the_edge() {
        let guards = Guards { euro_per_day: Some(1.0), ..Guards::default() };
        let prices = Prices::default();
        with(43_200, &[], |moment| {
            let ask = |went: &[Went]| dear(&guards, &prices, moment, went, 0);
            assert_eq!(ask(&[]), None, "a day at the edge costs little");
            // 0.17 euro an hour: until two hours ago it was in the cloud.
            assert!(ask(&[Went { ago_s: 7200, from: 1 }]).unwrap().contains("3."));
        });
    }
}
