//! How much a tenant may have.

use super::{Cluster, Demand, DemandError, Reach, Refusal, Resources};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use types::{Bytes, Cpu};

/// Limits of one tenant; what is absent is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Quota {
    /// CPUs of all its tissues; loans are free of charge.
    pub cpu: Option<Cpu>,
    /// Memory of all its tissues.
    pub memory: Option<Bytes>,
    /// Shares of devices by name.
    pub devices: BTreeMap<String, u64>,
    /// How many may run.
    pub tissues: Option<u32>,
}

/// The quotas of all tenants.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Quotas {
    /// Of tenants that are not named.
    pub default: Quota,
    /// By tenant.
    pub tenants: BTreeMap<String, Quota>,
}

/// What a tenant's tissues have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// The sum over all ranks.
    pub resources: Resources,
    /// How many run.
    pub tissues: u32,
}

impl Usage {
    pub(super) fn add(&mut self, each: &Resources, ranks: u32) {
        self.resources.give(each, ranks);
        self.tissues += 1;
    }

    /// Says whether nothing is left.
    pub(super) fn remove(&mut self, each: &Resources, ranks: u32) -> bool {
        self.resources.take(each, ranks);
        self.tissues -= 1;
        self.tissues == 0
    }
}

impl Quotas {
    /// Whether the tenant may run this as well. An elastic tissue counts with what it asks for.
    ///
    /// # Errors
    /// The limit that is in the way, with its figures.
    pub fn admit(&self, cluster: &Cluster, demand: &Demand) -> Result<(), Refusal> {
        let quota = self.tenants.get(&demand.tenant).unwrap_or(&self.default);
        if *quota == Quota::default() {
            return Ok(());
        }
        let asked = demand.each.times(demand.ranks).ok_or(DemandError::TooLarge)?;
        let Usage { resources: used, tissues } = cluster.usage(&demand.tenant);
        let tenant = || demand.tenant.clone();
        let over = |limit: u64, used: u64, asked: u64| asked > limit.saturating_sub(used);
        if let Some(limit) = quota.cpu
            && over(limit.0, used.cpu.0, asked.cpu.0)
        {
            return Err(Refusal::Cpu { tenant: tenant(), limit, used: used.cpu, asked: asked.cpu });
        }
        if let Some(limit) = quota.memory
            && over(limit.0, used.memory.0, asked.memory.0)
        {
            let (used, asked) = (used.memory, asked.memory);
            return Err(Refusal::Memory { tenant: tenant(), limit, used, asked });
        }
        for (device, &limit) in &quota.devices {
            let (used, asked) = (used.device(device), asked.device(device));
            if over(limit, used, asked) {
                let device = device.clone();
                return Err(Refusal::Device { tenant: tenant(), device, limit, used, asked });
            }
        }
        match quota.tissues {
            Some(limit) if tissues >= limit => {
                Err(Refusal::Tissues { tenant: tenant(), limit, used: tissues })
            }
            _ => Ok(()),
        }
    }
}

/// Whether an empty cluster would have room, so that waiting makes sense. Hosts that are alike
/// are looked at together.
pub(super) fn ever_fits(cluster: &Cluster, demand: &Demand) -> Result<(), Refusal> {
    let each = demand.each_with(demand.cpu_min());
    let mut by_site = vec![0_u64; cluster.sites().len()];
    let (mut largest, mut all) = ((0, 0), 0_u64);
    for class in cluster.classes(demand, None) {
        for ((cpu, memory, devices), (host, count)) in &class.shapes {
            let shape = Resources { cpu: *cpu, memory: *memory, devices: devices.clone() };
            let fits = u64::from(shape.fits(&each));
            if fits > largest.1 {
                largest = (*host, fits);
            }
            let site = &mut by_site[class.site as usize];
            *site = site.saturating_add(fits.saturating_mul(*count));
            all = all.saturating_add(fits.saturating_mul(*count));
        }
    }
    if all == 0 {
        return Err(Refusal::NoHost { reason: nearest_miss(cluster, demand, &each) });
    }
    let ranks = demand.ranks;
    let (place, fit) = match demand.reach {
        Reach::Host => {
            let host = &cluster.hosts()[largest.0 as usize].name;
            (format!("host `{host}`"), largest.1)
        }
        Reach::Site => {
            let site = by_site.iter().zip(cluster.sites()).max();
            site.map_or((String::new(), 0), |(fit, site)| (format!("site `{site}`"), *fit))
        }
        Reach::Anywhere => ("every host".to_owned(), all),
    };
    match u64::from(ranks) <= fit {
        true => Ok(()),
        false => Err(Refusal::TooManyRanks { ranks, fit, place }),
    }
}

/// What the largest allowed host lacks, or what rules the first host out.
fn nearest_miss(cluster: &Cluster, demand: &Demand, each: &Resources) -> String {
    let allowed = cluster.hosts().iter().filter(|host| demand.constraints.allow(host));
    let Some(largest) = allowed.max_by_key(|host| (host.capacity.cpu, host.capacity.memory)) else {
        let Some(first) = cluster.hosts().first() else { return "there are none".into() };
        let obstacle = demand.constraints.obstacle(first).unwrap_or_default();
        return format!("`{}` {obstacle}", first.name);
    };
    let (name, has) = (&largest.name, &largest.capacity);
    if has.cpu < each.cpu {
        return format!("`{name}` has `{}` CPUs, `{}` are needed", has.cpu, each.cpu);
    }
    if has.memory < each.memory {
        return format!("`{name}` has `{}` of memory, `{}` are needed", has.memory, each.memory);
    }
    let lacking = each.devices.iter().find(|(device, shares)| has.device(device) < **shares);
    lacking.map_or_else(
        || format!("none has enough of everything, as `{name}` has of CPU and memory"),
        |(device, shares)| {
            format!("`{name}` has {} shares of `{device}`, {shares} are needed", has.device(device))
        },
    )
}
