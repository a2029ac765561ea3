//! Processors that nobody has at a site are lent to its elastic tissues.

use super::{
    advice,
    cache::{Cache, Cell},
    planner::{Fleet, host, is_open},
    sites::Sites,
};
use api::cell::Form;
use decide::plan::{Elastic, HostId, Policy};
use std::collections::BTreeMap;

/// Processors that each elastic tissue of a site may use now, by uid: its own and those lent.
/// None where what runs there asks for all there are, or for more. What services use beyond what
/// they asked for is not lent.
pub(super) fn grants(cache: &Cache, live: &Sites, site: &str) -> BTreeMap<String, u32> {
    let elastic = |run: &Cell| matches!(&run.spec.form, Some(Form::Threads(t)) if t.elastic);
    let here = |run: &Cell| run.status.site(&run.spec) == Some(site);
    let Some(stored) = cache.sites.get(site) else { return BTreeMap::new() };
    if !cache.runs().any(|run| elastic(run) && here(run) && is_open(run)) {
        return BTreeMap::new();
    }
    let fleet = Fleet::new(cache, vec![advice::less(host(cache, site, stored), live)]);
    let grants = Elastic.grow(&fleet.cluster, HostId(0));
    let told = grants.into_iter().filter_map(|grant| {
        let run = fleet.run(grant.tissue)?;
        Some((run.uid().to_owned(), u32::try_from(grant.cpu.0 / 1000).unwrap_or(u32::MAX)))
    });
    told.collect()
}
