//! Where a service goes.

use crate::{SiteView, SitesView};
use api::{
    decision::Alternative,
    service::{Placement, Resources},
};
use std::{cmp::Ordering, time::Duration};

/// What is to be placed.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Where it may run.
    pub placement: &'a Placement,
    /// What it needs.
    pub resources: &'a Resources,
    /// The site it was lost with: not chosen, and `placement.site` counts no more.
    pub lost: Option<&'a str>,
}

/// The choice and what it was taken from.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The best site, if any may take it.
    pub site: Option<String>,
    /// Why, as a sentence.
    pub reason: String,
    /// Every site with its score or what rules it out, best first.
    pub alternatives: Vec<Alternative>,
}

/// Chooses the site that has the largest share of its scarcest resource left afterwards, so that
/// services spread; fewer services and then the name break a tie.
pub fn place(request: Request<'_>, sites: &SitesView, now: Duration) -> Verdict {
    let mut ranked: Vec<(u32, Alternative)> = sites
        .sites
        .iter()
        .map(|(name, site)| (site.services, judge(request, sites, name, site, now)))
        .collect();
    ranked.sort_by(|(services, a), (other_services, b)| {
        better(a.score, b.score)
            .then_with(|| services.cmp(other_services))
            .then_with(|| a.name.cmp(&b.name))
    });
    let alternatives: Vec<Alternative> = ranked.into_iter().map(|(_, judged)| judged).collect();
    let best = alternatives.first().filter(|judged| judged.score.is_some());
    let reason = match best {
        Some(best) => format!("`{}` {}", best.name, best.reason),
        None if alternatives.is_empty() => "no site has joined yet".to_owned(),
        None => {
            let ruled_out: Vec<String> = alternatives
                .iter()
                .map(|site| format!("`{}` {}", site.name, site.reason))
                .collect();
            format!("no site can take it: {}", ruled_out.join("; "))
        }
    };
    Verdict { site: best.map(|best| best.name.clone()), reason, alternatives }
}

/// Higher scores first, those ruled out last.
fn better(a: Option<f64>, b: Option<f64>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => b.total_cmp(&a),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

fn judge(
    request: Request<'_>,
    sites: &SitesView,
    name: &str,
    site: &SiteView,
    now: Duration,
) -> Alternative {
    let (score, reason) = match obstacle(request, sites, name, site, now) {
        Some(reason) => (None, reason),
        None => {
            let left = left_over(request.resources, site);
            (Some(left), format!("would have {:.0} % of its scarcest resource left", left * 100.0))
        }
    };
    Alternative { name: name.to_owned(), score, reason }
}

/// What rules a site out, as the rest of a sentence that begins with its name.
fn obstacle(
    request: Request<'_>,
    sites: &SitesView,
    name: &str,
    site: &SiteView,
    now: Duration,
) -> Option<String> {
    if request.lost == Some(name) {
        return Some("is the site that was lost".into());
    }
    if let Some(pinned) = request.placement.site.as_deref()
        && request.lost.is_none()
        && pinned != name
    {
        return Some(format!("is not `{pinned}`, which `placement.site` asks for"));
    }
    let missing = request
        .placement
        .sites
        .match_labels
        .iter()
        .find(|(label, value)| site.labels.get(*label) != Some(*value));
    if let Some((label, value)) = missing {
        return Some(format!("has no label `{label}: {value}`"));
    }
    if site.cordoned {
        return Some("is cordoned".into());
    }
    if !sites.ready(name, now) {
        return Some("is not connected".into());
    }
    lacking(request.resources, site)
}

fn lacking(needed: &Resources, site: &SiteView) -> Option<String> {
    let (cpu_free, memory_free) = free(site);
    if needed.cpu.0 > cpu_free {
        return Some(format!(
            "has `{}` of CPU free, `{}` is needed",
            types::Cpu(cpu_free),
            needed.cpu
        ));
    }
    if needed.memory.0 > memory_free {
        return Some(format!(
            "has `{}` of memory free, `{}` is needed",
            types::Bytes(memory_free),
            needed.memory
        ));
    }
    None
}

/// Thousandths of a core and bytes that nothing was assigned to.
fn free(site: &SiteView) -> (u64, u64) {
    (site.cpu.0.saturating_sub(site.cpu_used.0), site.memory.0.saturating_sub(site.memory_used.0))
}

/// The share of the scarcest resource that stays free.
#[expect(clippy::cast_precision_loss, reason = "a score needs no more than 52 bits")]
fn left_over(needed: &Resources, site: &SiteView) -> f64 {
    let share = |free: u64, needed: u64, all: u64| free.saturating_sub(needed) as f64 / all as f64;
    let (cpu_free, memory_free) = free(site);
    let cpu = share(cpu_free, needed.cpu.0, site.cpu.0.max(1));
    cpu.min(share(memory_free, needed.memory.0, site.memory.0.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lease;
    use std::collections::BTreeMap;
    use types::{Bytes, Cpu};

    const NOW: Duration = Duration::from_secs(100);

    fn site(tier: &str, cpu_used: u64) -> SiteView {
        SiteView {
            labels: BTreeMap::from([("tier".into(), tier.into())]),
            cordoned: false,
            connected: true,
            last_beat: NOW,
            cpu: Cpu(4000),
            memory: Bytes(1 << 30),
            cpu_used: Cpu(cpu_used),
            memory_used: Bytes(0),
            services: u32::from(cpu_used > 0),
        }
    }

    fn sites(all: impl IntoIterator<Item = (&'static str, SiteView)>) -> SitesView {
        SitesView {
            lease: Lease { length: Duration::from_secs(3), margin: Duration::from_secs(1) },
            sites: all.into_iter().map(|(name, view)| (name.to_owned(), view)).collect(),
        }
    }

    fn ask<'a>(placement: &'a Placement, resources: &'a Resources) -> Request<'a> {
        Request { placement, resources, lost: None }
    }

    #[test]
    fn services_spread_to_the_emptiest_site() {
        let sites =
            sites([("a", site("edge", 2000)), ("b", site("edge", 500)), ("c", site("edge", 500))]);

        let verdict = place(ask(&Placement::default(), &Resources::default()), &sites, NOW);

        assert_eq!(verdict.site.as_deref(), Some("b"));
        let order: Vec<&str> = verdict.alternatives.iter().map(|site| &*site.name).collect();
        assert_eq!(order, ["b", "c", "a"]);
    }

    #[test]
    fn each_obstacle_is_named() {
        let gone = SiteView { last_beat: Duration::from_secs(97), ..site("edge", 0) };
        let cut = SiteView { connected: false, ..site("edge", 0) };
        let cordoned = SiteView { cordoned: true, ..site("edge", 0) };
        let sites = sites([
            ("cloud", site("cloud", 0)),
            ("cordoned", cordoned),
            ("cut", cut),
            ("full", site("edge", 3600)),
            ("gone", gone),
        ]);
        let mut placement = Placement::default();
        placement.sites.match_labels.insert("tier".into(), "edge".into());

        let verdict = place(ask(&placement, &Resources::default()), &sites, NOW);

        assert_eq!(verdict.site, None);
        for part in [
            "`cloud` has no label `tier: edge`",
            "`cordoned` is cordoned",
            "`cut` is not connected",
            "`full` has `400m` of CPU free, `500m` is needed",
            "`gone` is not connected",
        ] {
            assert!(verdict.reason.contains(part), "{part}: {}", verdict.reason);
        }
    }

    #[test]
    fn a_pinned_service_goes_to_its_site_until_that_is_lost() {
        let sites = sites([("a", site("edge", 0)), ("b", site("edge", 3000))]);
        let placement = Placement { site: Some("b".into()), ..Placement::default() };
        let resources = Resources::default();

        let first = place(ask(&placement, &resources), &sites, NOW);
        let after = place(
            Request { placement: &placement, resources: &resources, lost: Some("b") },
            &sites,
            NOW,
        );

        assert_eq!(first.site.as_deref(), Some("b"));
        assert_eq!(after.site.as_deref(), Some("a"));
    }
}
