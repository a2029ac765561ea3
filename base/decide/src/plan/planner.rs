//! Admission, advice and policies together.

use super::{
    Advice, Cluster, Demand, Plan, Policies, Policy, Quotas, Refusal, Request, SiteId,
    admission::ever_fits,
};
use types::Cpu;

/// Decides for one cluster; keeps nothing of it.
#[derive(Debug)]
pub struct Planner {
    /// What is done.
    pub policies: Policies,
    /// What tenants may have.
    pub quotas: Quotas,
}

impl Planner {
    /// Whether the tissue may run at all, now or once others have ended
    /// ([`Refusal::may_pass`]). Looks at every host: to be asked once for each tissue.
    ///
    /// # Errors
    /// What is in the way, with its figures.
    pub fn admit(&self, cluster: &Cluster, demand: &Demand) -> Result<(), Refusal> {
        demand.check()?;
        ever_fits(cluster, demand)?;
        self.quotas.admit(cluster, demand)
    }

    /// Where an admitted tissue goes now, if there is room. The adviser's wishes are tried first:
    /// its number of CPUs at its site, either alone, and then what the demand asks for anywhere.
    pub fn plan(&self, cluster: &Cluster, demand: &Demand, advice: &dyn Advice) -> Option<Plan> {
        let asked = demand.each.cpu;
        let cpu = advised_cpu(cluster, demand, advice).unwrap_or(asked);
        if let Some(site) = advised_site(cluster, demand, advice) {
            let there = |cpu| self.place(cluster, Request { demand, cpu, site: Some(site) });
            if let Some(plan) = there(cpu).or_else(|| (cpu != asked).then(|| there(asked))?) {
                return Some(plan);
            }
        }
        let anywhere = |cpu| Request { demand, cpu, site: None };
        if cpu != asked
            && let Some(plan) = self.place(cluster, anywhere(cpu))
        {
            return Some(plan);
        }
        self.place(cluster, anywhere(asked)).or_else(|| {
            let cpu = self.policies.squeeze(cluster, anywhere(asked))?;
            self.place(cluster, anywhere(cpu))
        })
    }

    /// Without a look at any host when all that is free together is too little.
    fn place(&self, cluster: &Cluster, request: Request<'_>) -> Option<Plan> {
        let needed = request.cpu.0.checked_mul(u64::from(request.demand.ranks))?;
        let classes = cluster.classes(request.demand, request.site);
        let free = classes.fold(0_u64, |sum, class| sum.saturating_add(class.cpu_free));
        if needed > free {
            return None;
        }
        self.policies.place(cluster, request)
    }
}

/// What was advised, if the demand allows it.
fn advised_cpu(cluster: &Cluster, demand: &Demand, advice: &dyn Advice) -> Option<Cpu> {
    let range = demand.elastic?;
    let cpu = advice.cpus(demand, cluster)?;
    (range.min <= cpu && cpu <= range.max).then_some(cpu)
}

fn advised_site(cluster: &Cluster, demand: &Demand, advice: &dyn Advice) -> Option<SiteId> {
    cluster.site(&advice.site(demand, cluster)?)
}
