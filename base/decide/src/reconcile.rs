//! Who may hold a service, and what is said about it.

use crate::{HeldView, Request, ServiceView, SitesView, Verdict, place};
use api::{
    link::HeldState,
    service::{OnSiteLost, Phase},
};
use std::time::Duration;
use types::Epoch;

/// What the control plane shall do about one service.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Store that this site holds the service under this epoch.
    Assign {
        /// The new holder.
        site: String,
        /// Higher than any that was given out.
        epoch: Epoch,
        /// Why.
        cause: Cause,
        /// What it was chosen from.
        verdict: Verdict,
    },
    /// Say this in the service's status.
    Observe(Observation),
    /// No site holds it any more: the resource can go.
    Remove,
    /// Nothing changes before this monotonic time unless something is reported.
    Wake(Duration),
}

/// Why a service gets a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// It has none.
    Placed,
    /// Its site's lease and the margin ran out.
    Restarted {
        /// That site.
        lost: String,
    },
}

/// What is true of a service now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Where it is in its life.
    pub phase: Phase,
    /// Whether a site is known to answer for it.
    pub ready: bool,
    /// One word for programs.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
}

/// What to do about one service, whatever led here: the same snapshot always gives the same
/// actions, and a service that is as it should be gives none that change anything.
pub fn reconcile(service: &ServiceView, sites: &SitesView, now: Duration) -> Vec<Action> {
    match (service.deleting, &service.migration, &service.site) {
        // A migration ends by itself, in a commit or an abort; only then others decide.
        (_, Some(migration), _) => vec![Action::Observe(migrating(&migration.to))],
        (true, None, site) => take_down(service, site.as_deref(), sites, now),
        (false, None, None) => vec![find_site(service, sites, now)],
        (false, None, Some(site)) => follow(service, site, sites, now),
    }
}

/// The highest epoch that `site` shall drop of what it holds, if any. Give no service when there
/// is none with that uid any more.
pub fn stale(service: Option<&ServiceView>, site: &str, held: &HeldView) -> Option<Epoch> {
    // The last call of a transaction says what to do with it; a forwarder ends by itself.
    if held.call_pending || held.state == HeldState::Forwarding {
        return None;
    }
    let Some(service) = service else { return Some(held.epoch) };
    let receiving = service
        .migration
        .as_ref()
        .is_some_and(|migration| migration.to == site && migration.epoch == held.epoch);
    let holds = service.site.as_deref() == Some(site) && held.epoch >= service.epoch;
    let leaving = service.deleting && service.migration.is_none();
    (!receiving && (!holds || leaving)).then_some(held.epoch)
}

fn migrating(to: &str) -> Observation {
    Observation {
        phase: Phase::Migrating,
        ready: true,
        reason: "Migrating",
        message: format!("it answers, and is being moved to `{to}`"),
    }
}

fn find_site(service: &ServiceView, sites: &SitesView, now: Duration) -> Action {
    let request =
        Request { placement: &service.placement, resources: &service.resources, lost: None };
    let verdict = place(request, sites, now);
    match verdict.site.clone() {
        Some(site) => {
            Action::Assign { site, epoch: service.issued.next(), cause: Cause::Placed, verdict }
        }
        None => Action::Observe(Observation {
            phase: Phase::Pending,
            ready: false,
            reason: "NoSite",
            message: verdict.reason,
        }),
    }
}

/// A service that is to go, goes once its site has dropped it or can no longer serve it.
fn take_down(
    service: &ServiceView,
    site: Option<&str>,
    sites: &SitesView,
    now: Duration,
) -> Vec<Action> {
    let Some(site) = site else { return vec![Action::Remove] };
    if sites.ready(site, now) {
        let dropped = service.held.iter().all(|held| held.state == HeldState::Forwarding);
        return if dropped { vec![Action::Remove] } else { Vec::new() };
    }
    let takeover = sites.takeover(site);
    match service.on_site_lost {
        _ if !sites.sites.contains_key(site) => vec![Action::Remove],
        // The site serves it on while it is cut off: only the site can end it.
        OnSiteLost::Keep => vec![Action::Observe(Observation {
            phase: Phase::SiteLost,
            ready: false,
            reason: "Deleting",
            message: format!(
                "it goes when `{site}` is back and has dropped it, or when site `{site}` is deleted"
            ),
        })],
        OnSiteLost::Restart if now >= takeover => vec![Action::Remove],
        OnSiteLost::Restart => vec![Action::Wake(takeover)],
    }
}

/// A service that has a site: watches whether the site is lost, else what it says.
fn follow(service: &ServiceView, site: &str, sites: &SitesView, now: Duration) -> Vec<Action> {
    let expires = sites.expires(site).unwrap_or_default();
    if now < expires {
        let observation = report(service, site);
        return vec![Action::Observe(observation), Action::Wake(expires)];
    }
    let lost = |message| {
        Action::Observe(Observation {
            phase: Phase::SiteLost,
            ready: false,
            reason: "SiteLost",
            message,
        })
    };
    let takeover = sites.takeover(site);
    match service.on_site_lost {
        OnSiteLost::Keep => {
            vec![lost(format!("`{site}` is cut off; it serves on by itself if it still runs"))]
        }
        OnSiteLost::Restart if now < takeover => vec![
            lost(format!("the lease of `{site}` ran out; another site takes over in a moment")),
            Action::Wake(takeover),
        ],
        OnSiteLost::Restart => match take_over(service, site, sites, now) {
            Ok(assign) => vec![assign],
            Err(verdict) => vec![lost(format!("`{site}` is lost, and {}", verdict.reason))],
        },
    }
}

fn take_over(
    service: &ServiceView,
    site: &str,
    sites: &SitesView,
    now: Duration,
) -> Result<Action, Verdict> {
    let request =
        Request { placement: &service.placement, resources: &service.resources, lost: Some(site) };
    let verdict = place(request, sites, now);
    match verdict.site.clone() {
        Some(target) => Ok(Action::Assign {
            site: target,
            epoch: service.issued.next(),
            cause: Cause::Restarted { lost: site.to_owned() },
            verdict,
        }),
        None => Err(verdict),
    }
}

/// What the site that holds the epoch says of it.
fn report(service: &ServiceView, site: &str) -> Observation {
    let starting = |message: String| Observation {
        phase: Phase::Starting,
        ready: false,
        reason: "Starting",
        message,
    };
    let held = service.held.iter().find(|held| held.epoch == service.epoch);
    let Some(held) = held else { return starting(format!("`{site}` was told to serve it")) };
    match held.state {
        HeldState::Serving => Observation {
            phase: Phase::Ready,
            ready: true,
            reason: "Serving",
            message: format!("`{site}` answers"),
        },
        HeldState::Failed => Observation {
            phase: Phase::Failed,
            ready: false,
            reason: "Failed",
            message: held.message.clone(),
        },
        HeldState::Fenced => starting(format!("`{site}` waits for its lease")),
        HeldState::Prepared | HeldState::HandedOver | HeldState::Forwarding => {
            starting(format!("`{site}` ends a migration"))
        }
        HeldState::Starting => starting(format!("`{site}` makes it ready")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Lease, MigrationView, SiteView};
    use api::service::{Placement, Resources};
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};
    use types::{Bytes, Cpu};

    const LEASE: Lease =
        Lease { length: Duration::from_millis(3000), margin: Duration::from_millis(1000) };

    fn service(on_site_lost: OnSiteLost) -> ServiceView {
        ServiceView {
            placement: Placement::default(),
            resources: Resources::default(),
            on_site_lost,
            deleting: false,
            site: None,
            epoch: Epoch(0),
            issued: Epoch(0),
            migration: None,
            held: Vec::new(),
        }
    }

    fn site(last_beat: u64) -> SiteView {
        SiteView {
            labels: BTreeMap::new(),
            cordoned: false,
            connected: true,
            last_beat: Duration::from_millis(last_beat),
            cpu: Cpu(8000),
            memory: Bytes(1 << 30),
            cpu_used: Cpu(0),
            memory_used: Bytes(0),
            services: 0,
        }
    }

    fn two_sites() -> SitesView {
        let sites = BTreeMap::from([("a".to_owned(), site(0)), ("b".to_owned(), site(0))]);
        SitesView { lease: LEASE, sites }
    }

    fn held(epoch: u64, state: HeldState) -> HeldView {
        HeldView { epoch: Epoch(epoch), state, message: String::new(), call_pending: false }
    }

    fn assigned(actions: &[Action]) -> Option<(&str, Epoch)> {
        actions.iter().find_map(|action| match action {
            Action::Assign { site, epoch, .. } => Some((&**site, *epoch)),
            _ => None,
        })
    }

    fn phase(actions: &[Action]) -> Option<Phase> {
        actions.iter().find_map(|action| match action {
            Action::Observe(observation) => Some(observation.phase),
            _ => None,
        })
    }

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_restart_waits_for_the_lease_and_the_margin() {
        let mut sites = two_sites();
        let placed = ServiceView {
            site: Some("a".into()),
            epoch: Epoch(1),
            issued: Epoch(4),
            ..service(OnSiteLost::Restart)
        };
        let mut beat_b = |now| {
            sites.sites.get_mut("b").unwrap().last_beat = at(now);
            reconcile(&placed, &sites, at(now))
        };

        assert_eq!(phase(&beat_b(2999)), Some(Phase::Starting));
        assert_eq!(phase(&beat_b(3000)), Some(Phase::SiteLost));
        assert_eq!(assigned(&beat_b(3999)), None);
        assert_eq!(assigned(&beat_b(4000)), Some(("b", Epoch(5))));
    }

    #[test]
    fn what_is_kept_never_moves_by_itself() {
        let kept = ServiceView {
            site: Some("a".into()),
            epoch: Epoch(1),
            issued: Epoch(1),
            ..service(OnSiteLost::Keep)
        };

        let actions = reconcile(&kept, &two_sites(), at(1_000_000));

        assert_eq!(phase(&actions), Some(Phase::SiteLost));
        assert_eq!(actions.len(), 1);
    }

    #[test]
    fn a_site_that_comes_back_with_an_old_epoch_drops_it() {
        let mut moved = ServiceView {
            site: Some("b".into()),
            epoch: Epoch(2),
            issued: Epoch(2),
            ..service(OnSiteLost::Restart)
        };
        moved.held = vec![held(1, HeldState::Forwarding), held(2, HeldState::Serving)];
        assert_eq!(phase(&reconcile(&moved, &two_sites(), at(0))), Some(Phase::Ready));

        let drop = |site, epoch| stale(Some(&moved), site, &held(epoch, HeldState::Fenced));
        assert_eq!(drop("a", 1), Some(Epoch(1)));
        assert_eq!(drop("b", 1), Some(Epoch(1)));
        assert_eq!(drop("b", 2), None);
        for (state, pending) in [(HeldState::Forwarding, false), (HeldState::HandedOver, true)] {
            let leaving = HeldView { call_pending: pending, ..held(1, state) };
            assert_eq!(stale(Some(&moved), "a", &leaving), None, "{state:?}");
        }
        assert_eq!(stale(None, "a", &held(7, HeldState::Serving)), Some(Epoch(7)));
    }

    #[test]
    fn the_target_of_a_migration_keeps_what_it_receives() {
        let mut moving = ServiceView {
            site: Some("a".into()),
            epoch: Epoch(1),
            issued: Epoch(2),
            migration: Some(MigrationView { to: "b".into(), epoch: Epoch(2) }),
            ..service(OnSiteLost::Restart)
        };
        assert_eq!(stale(Some(&moving), "b", &held(2, HeldState::Prepared)), None);
        assert_eq!(stale(Some(&moving), "a", &held(1, HeldState::HandedOver)), None);

        moving.migration = None;
        assert_eq!(stale(Some(&moving), "b", &held(2, HeldState::Prepared)), Some(Epoch(2)));
    }

    #[test]
    fn a_deleted_service_goes_after_its_site_dropped_it() {
        let mut going = ServiceView {
            deleting: true,
            site: Some("a".into()),
            epoch: Epoch(1),
            issued: Epoch(1),
            ..service(OnSiteLost::Restart)
        };
        going.held.push(held(1, HeldState::Serving));
        assert_eq!(reconcile(&going, &two_sites(), at(0)), []);
        assert_eq!(stale(Some(&going), "a", &going.held[0]), Some(Epoch(1)));

        going.held.clear();
        assert_eq!(reconcile(&going, &two_sites(), at(0)), [Action::Remove]);
        assert_eq!(reconcile(&going, &two_sites(), at(3500)), [Action::Wake(at(4000))]);
        assert_eq!(reconcile(&going, &two_sites(), at(4000)), [Action::Remove]);
        going.on_site_lost = OnSiteLost::Keep;
        assert_eq!(phase(&reconcile(&going, &two_sites(), at(9000))), Some(Phase::SiteLost));
    }

    /// One thing that happens in a simulated continuum.
    #[derive(Debug, Clone)]
    enum Happening {
        Pass(u64),
        Beat { site: usize, late: u64 },
        Cut(usize),
        Join(usize),
    }

    /// A site by its own lights: what it holds, and until when it may serve.
    #[derive(Default)]
    struct Agent {
        holds: Option<Epoch>,
        lease_ends: u64,
    }

    struct World {
        now: u64,
        service: ServiceView,
        sites: SitesView,
        agents: Vec<Agent>,
        given: BTreeSet<Epoch>,
    }

    const NAMES: [&str; 3] = ["a", "b", "c"];

    impl World {
        fn new() -> Self {
            let sites = NAMES.map(|name| (name.to_owned(), site(0))).into();
            let agents = NAMES.map(|_| Agent { holds: None, lease_ends: 3000 }).into();
            Self {
                now: 0,
                service: service(OnSiteLost::Restart),
                sites: SitesView { lease: LEASE, sites },
                agents,
                given: BTreeSet::new(),
            }
        }

        fn happen(&mut self, happening: &Happening) {
            match *happening {
                Happening::Pass(millis) => self.now += millis,
                Happening::Beat { site, late } => self.beat(site, late),
                Happening::Cut(site) => self.view(site).connected = false,
                Happening::Join(site) => {
                    self.view(site).connected = true;
                    self.beat(site, 0);
                }
            }
            // The orchestrator closes the connection of a site whose lease ran out.
            for (index, name) in NAMES.iter().enumerate() {
                if at(self.now) >= self.sites.expires(name).unwrap() {
                    self.view(index).connected = false;
                }
            }
            self.converge();
        }

        fn view(&mut self, index: usize) -> &mut SiteView {
            self.sites.sites.get_mut(NAMES[index]).unwrap()
        }

        /// A beat that was sent `late` ms ago arrives, and its answer returns.
        fn beat(&mut self, index: usize, late: u64) {
            let now = self.now;
            if !self.view(index).connected {
                return;
            }
            self.view(index).last_beat = at(now);
            let agent = &mut self.agents[index];
            agent.lease_ends = agent.lease_ends.max(now.saturating_sub(late) + 3000);
            let holder = self.service.site.as_deref() == Some(NAMES[index]);
            agent.holds = holder.then_some(self.service.epoch);
        }

        fn converge(&mut self) {
            let actions = reconcile(&self.service, &self.sites, at(self.now));
            for action in actions {
                let Action::Assign { site, epoch, cause, .. } = action else { continue };
                assert!(self.given.insert(epoch), "epoch {epoch} was given out twice");
                assert!(epoch > self.service.epoch);
                if let Cause::Restarted { lost } = cause {
                    let index = NAMES.iter().position(|name| **name == lost).unwrap();
                    assert!(self.agents[index].lease_ends + 1000 <= self.now, "taken over early");
                }
                let index = NAMES.iter().position(|name| **name == site).unwrap();
                self.agents[index].holds = Some(epoch);
                self.service.site = Some(site);
                self.service.epoch = epoch;
                self.service.issued = epoch;
            }
        }

        fn serving(&self) -> Vec<Epoch> {
            let serves = |agent: &&Agent| self.now < agent.lease_ends;
            self.agents.iter().filter(serves).filter_map(|agent| agent.holds).collect()
        }
    }

    fn happening() -> impl Strategy<Value = Happening> {
        prop_oneof![
            (1_u64..1500).prop_map(Happening::Pass),
            (0_usize..3, 0_u64..800).prop_map(|(site, late)| Happening::Beat { site, late }),
            (0_usize..3).prop_map(Happening::Cut),
            (0_usize..3).prop_map(Happening::Join),
        ]
    }

    proptest! {
        #[test]
        fn there_is_never_a_second_writer(
            happenings in proptest::collection::vec(happening(), 1..200)
        ) {
            let mut world = World::new();
            for happening in &happenings {
                world.happen(happening);
                prop_assert!(world.serving().len() <= 1, "{:?} serve", world.serving());
            }
        }
    }
}
