//! Blocks: keeps one service for each component.

use super::{
    Result, apply,
    batch::Batch,
    cache::{Block, Id, Service},
    state::State,
    status::set_condition,
};
use api::{Kind, Resource, block::Component, service::Phase};
use std::sync::Arc;
use types::ErrorKind;

/// Makes, changes and takes down the services of every block.
pub(super) async fn converge(state: &Arc<State>) -> Result<()> {
    let blocks: Vec<Arc<Block>> = state.cache(|cache| cache.blocks.values().cloned().collect());
    for block in blocks {
        if block.deleting() {
            take_down(state, &block).await?;
        } else {
            keep(state, &block).await?;
        }
    }
    Ok(())
}

/// The name of a component's service.
pub(super) fn service_name(block: &str, component: &Component) -> String {
    format!("{block}-{}", component.name)
}

fn owned(state: &State, block: &Block) -> Vec<Arc<Service>> {
    state.cache(|cache| {
        let all = cache.services.values();
        all.filter(|service| {
            service.resource.metadata.owner_references.iter().any(|owner| owner == block.uid())
        })
        .cloned()
        .collect()
    })
}

async fn keep(state: &Arc<State>, block: &Arc<Block>) -> Result<()> {
    let metadata = &block.resource.metadata;
    let mut wanted = Vec::new();
    let mut obstacle = None;
    for component in &block.spec.components {
        let name = service_name(&metadata.name, component);
        if let Err(error) = keep_service(state, block, component, &name).await {
            // Another writer or a stopped store is the loop's affair, the rest is the user's.
            if matches!(error, super::Error::Raced | super::Error::Store(_)) {
                return Err(error);
            }
            obstacle.get_or_insert(format!("service `{name}`: {}", types::chain(&error)));
        }
        wanted.push(name);
    }
    for service in owned(state, block) {
        let extra = !wanted.contains(&service.resource.metadata.name);
        if extra && !service.deleting() {
            apply::mark_deleted(state, &service.resource).await?;
        }
    }
    report(state, block, wanted, obstacle).await
}

async fn keep_service(
    state: &Arc<State>,
    block: &Block,
    component: &Component,
    name: &str,
) -> Result<()> {
    let metadata = &block.resource.metadata;
    let id = Id::new(&metadata.tenant, name);
    let existing = state.cache(|cache| cache.services.get(&id).cloned());
    let foreign = existing.as_ref().is_some_and(|service| {
        !service.resource.metadata.owner_references.iter().any(|owner| owner == block.uid())
    });
    if foreign {
        return Err(super::Error::refuse(
            ErrorKind::AlreadyExists,
            "exists already and is not this block's: delete it, or rename the component",
        ));
    }
    if existing.is_some_and(|service| service.deleting()) {
        // It is made anew once it is gone.
        return Ok(());
    }
    let mut document = Resource::new(Kind::Service, &metadata.tenant, name, &component.service);
    document.metadata.labels.clone_from(&metadata.labels);
    let owner = Some(block.uid().to_owned());
    apply::apply(state, document, apply::Options { owner, dry_run: false }).await.map(drop)
}

async fn report(
    state: &Arc<State>,
    block: &Block,
    services: Vec<String>,
    obstacle: Option<String>,
) -> Result<()> {
    let tenant = &block.resource.metadata.tenant;
    let waiting = state.cache(|cache| {
        let ready = |name: &&String| {
            let service = cache.services.get(&Id::new(tenant, name));
            service.is_some_and(|service| {
                matches!(service.status.phase, Phase::Ready | Phase::Migrating)
            })
        };
        services.iter().find(|name| !ready(name)).cloned()
    });
    let (ready, reason, message) = match (obstacle, waiting) {
        (Some(obstacle), _) => (false, "Refused", obstacle),
        (None, Some(name)) => (false, "Waiting", format!("service `{name}` is not ready")),
        (None, None) => (true, "Ready", "every component is ready".into()),
    };
    let mut status = block.status.clone();
    status.observed_generation = block.generation();
    status.services = services;
    set_condition(&mut status.conditions, "Ready", ready, reason, message, state.wall_ms());
    if status == block.status {
        return Ok(());
    }
    let mut batch = Batch::new();
    batch.put(block.with_status(&status));
    state.commit(batch).await.map(drop)
}

async fn take_down(state: &Arc<State>, block: &Block) -> Result<()> {
    let services = owned(state, block);
    for service in services.iter().filter(|service| !service.deleting()) {
        apply::mark_deleted(state, &service.resource).await?;
    }
    if services.is_empty() {
        let mut batch = Batch::new();
        batch.remove(&block.resource);
        state.commit(batch).await?;
    }
    Ok(())
}
