//! Whether a model answers what a policy asks for.

use crate::{
    Error, Result,
    agent::{Load, Wanted},
    model::Target,
};

/// Checks that a model that forecasts this answers what is wanted.
///
/// # Errors
/// It forecasts something else.
pub fn fits(target: Target, wanted: &Wanted) -> Result<()> {
    let does = match (wanted.load, target) {
        (Load::Latency, Target::Latency | Target::LatencyMax)
        | (Load::Cpu, Target::Cpu | Target::CpuMax)
        | (Load::Requests, Target::Requests | Target::RequestsMax) => true,
        (Load::Broken, Target::Broken(level_ms)) => (level_ms - wanted.sla_ms).abs() < 1e-6,
        _ => false,
    };
    if does {
        return Ok(());
    }
    let (name, load) = (wanted.model, wanted.load);
    Err(Error::Unfit(format!(
        "model `{name}` forecasts {target}, and the policy's pipeline loads {load:?}: write another `load`, or train for it"
    )))
}
