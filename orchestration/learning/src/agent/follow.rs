//! Who is followed: what is told of it. The figures themselves are a
//! [`Course`](crate::trajectory::Course)'s.

use super::{Agent, Choice, Situation};

impl Agent {
    /// The words about who is followed, if anybody is.
    pub(super) fn tell_course(&self, situation: &Situation, option: &Choice, name: &str) -> String {
        let Some(trajectory) = &self.spec.pipeline.trajectory else { return String::new() };
        let figure = |name: &str, place: usize| {
            situation.figures.get(name).and_then(|values| *values.get(place)?)
        };
        let say = |place: usize| match (figure("distance", place), figure("next", place)) {
            (Some(metres), Some(next)) => format!("{:.0} %, {metres:.0} m away now", 100.0 * next),
            _ => "not known".to_owned(),
        };
        let (here, there, ahead) = (say(0), say(option.place + 1), trajectory.ahead);
        format!("the nearest place in {ahead} is `{name}` with {there}, and this one with {here}: ")
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Advice, Figures, Load, NoModels, Went, run_case, tests::spec};
    use super::*;
    use crate::{
        Sample,
        policy::{Moment, Place},
        trajectory::{Course, Fix, Point, Tracker},
    };
    use proptest::prelude::*;

    const FOLLOWS: &str = "
service: a
sla: 120ms
sensors: [every: 1s]
pipeline: {trajectory: {position: {x: bus_x, y: bus_y}, ahead: 5s}}
guards: {coolDown: 10s, movesPerDay: 1000}
tests:
- name: goes where the vehicle will be
  at: west
  places: {west: {distance: 160, next: 0.1}, east: {distance: 140, next: 0.9}}
  expect: {go: east, alarm: true, because: \"`east` with 90 %, 140 m away now\"}
- name: stays where it is not known where the vehicle is
  at: west
  places: {west: {latency: [60]}, east: {latency: [60]}}
  expect: {alarm: false, because: \"`here.next` is not known\"}
";

    fn agent(text: &str) -> Agent {
        Agent::new(&spec(text), &NoModels, &[5]).unwrap()
    }

    #[test]
    fn it_goes_where_the_vehicle_will_be_and_stays_where_that_is_not_known() {
        let agent = agent(FOLLOWS);
        for case in &agent.spec().tests {
            let tested = run_case(&agent, case, |_| Figures::new());
            assert!(tested.passed, "{tested:?}");
        }
        assert_eq!(agent.load, Load::Latency);
        let near = FOLLOWS.replace(
            "sensors:",
            "conditions: {go: there.distance < 0.8 * here.distance}\nsensors:",
        );
        assert!(Agent::check(&spec(&near)).is_ok());
        let nobody = spec("{service: a, sla: 1s, conditions: {go: there.next > 0.5}}");
        assert!(Agent::check(&nobody).unwrap_err().to_string().contains("there.next"));
    }

    /// Sites 300 m apart along a road.
    fn tracker() -> Tracker {
        let sites = [0.0, 300.0, 600.0].map(|x_m| Point { x_m, y_m: 0.0 });
        Tracker::new(&sites, 5.0).unwrap()
    }

    /// Asks each second while a vehicle is at these places of the road, which are `NaN` where nothing
    /// is known; answers the moments of moves, and where the service was in the end.
    fn play(agent: &Agent, tracker: &Tracker, road: &[f64]) -> (Vec<usize>, usize) {
        let names = ["west", "middle", "east"];
        let samples = [Sample { latency_ms: Some(60.0), ..Sample::default() }; 3];
        let (mut at, mut moves, mut track) = (0, Vec::<(usize, usize)>::new(), Vec::new());
        for (second, &x_m) in road.iter().enumerate() {
            if x_m.is_finite() {
                track.push(Fix { at_s: second as f64, point: Point { x_m, y_m: 0.0 } });
            }
            let order: Vec<usize> =
                std::iter::once(at).chain((0..3).filter(|&site| site != at)).collect();
            let places: Vec<Place> = order
                .iter()
                .map(|&site| Place { name: names[site], past: &samples, edge: true, move_s: 1 })
                .collect();
            let known = Course::of(
                tracker,
                &track,
                &order.iter().map(|&site| Some(site)).collect::<Vec<_>>(),
            );
            let figures = known
                .filter(|_| x_m.is_finite())
                .map(|course| course.figures())
                .unwrap_or_default();
            let went: Vec<Went> = moves
                .iter()
                .rev()
                .map(|&(then, from)| Went {
                    ago_s: (second - then) as u64,
                    from: order.iter().position(|&site| site == from).unwrap(),
                })
                .collect();
            let ago: Vec<u64> = went.iter().map(|went| went.ago_s).collect();
            let moment = Moment {
                now_s: 43_200 + second as i64,
                step_s: 5,
                here: places[0],
                others: &places[1..],
                moved_s_ago: &ago,
            };
            let situation = Situation { moment: &moment, trail: Some(&went), figures: &figures };
            let Advice { verdict, .. } = agent.advise(&situation);
            if let Some(go) = verdict.go {
                moves.push((second, at));
                at = order[go + 1];
            }
        }
        (moves.into_iter().map(|(second, _)| second).collect(), at)
    }

    #[test]
    fn the_service_is_where_the_vehicle_arrives_and_is_moved_once_for_each_site() {
        let (agent, mut tracker) = (agent(FOLLOWS), tracker());
        let drive: Vec<f64> = (0..60).map(|second| f64::from(second) * 10.0).collect();
        let track = |_| -> Vec<Fix> {
            let fix =
                |(at, &x_m): (usize, &f64)| Fix { at_s: at as f64, point: Point { x_m, y_m: 0.0 } };
            drive.iter().enumerate().map(fix).collect()
        };
        (0..10).map(track).for_each(|track| tracker.learn(&track));

        let (moves, at) = play(&agent, &tracker, &drive);

        assert_eq!((moves.len(), at), (2, 2), "{moves:?}");
        // It passes the middle between two sites after 15 s and after 45 s.
        assert!((8..15).contains(&moves[0]) && (38..45).contains(&moves[1]), "{moves:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// Wherever a vehicle is said to be: moves keep the cool-down, and one that stands, seen
        /// with an error of 25 m, is not followed to and fro.
        #[test]
        fn a_service_does_not_swing_between_sites(
            jumps in proptest::collection::vec(prop_oneof![5 => -50.0..650.0_f64, 1 => Just(f64::NAN)], 30..120),
            stands in -50.0..650.0_f64,
            errors in proptest::collection::vec(-25.0..25.0_f64, 120),
        ) {
            let (agent, tracker) = (agent(FOLLOWS), tracker());

            let (moves, _) = play(&agent, &tracker, &jumps);
            for pair in moves.windows(2) {
                prop_assert!(pair[1] - pair[0] >= 10, "{moves:?}");
            }
            let seen: Vec<f64> = errors.iter().map(|error| stands + error).collect();
            let (moves, _) = play(&agent, &tracker, &seen);
            // Away from where nobody is, and once more if that was the wrong one of two.
            prop_assert!(moves.len() <= 2, "{stands}: {moves:?}");
        }
    }
}
