//! The threads that serve the ingress.
//!
//! Each has a runtime of its own and does everything for the connections that it has accepted. On
//! a shared runtime a small request wakes a second thread, which takes over the looking for
//! events, and with it a processor that the cell or the client could use.

use super::Ingress;
use std::{io, num::NonZero, sync::Arc, thread};
use tokio::{net::TcpListener, runtime::Builder};
use tokio_util::sync::CancellationToken;

/// Half of the processors: more make cells and clients wait for a processor.
fn count() -> usize {
    (thread::available_parallelism().map_or(1, NonZero::get) / 2).max(1)
}

/// Serves connections to `listener` until the agent stops; what is still open when it has `ended`
/// is cut off.
///
/// # Errors
/// If the system gives no thread; none serves then.
pub(crate) fn start(
    ingress: &Arc<Ingress>,
    listener: TcpListener,
    ended: &CancellationToken,
) -> io::Result<()> {
    let listener = listener.into_std()?;
    let parts = (0..count()).map(|_| {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok((runtime, listener.try_clone()?))
    });
    for (runtime, listener) in parts.collect::<io::Result<Vec<_>>>()? {
        let (ingress, ended) = (ingress.clone(), ended.clone());
        // Whoever waits for the agent's tasks waits for this thread too.
        let task = ingress.core.tasks.token();
        thread::Builder::new().name("ingress".into()).spawn(move || {
            runtime.block_on(ended.run_until_cancelled(serve(ingress, listener)));
            drop((runtime, task));
        })?;
    }
    Ok(())
}

async fn serve(ingress: Arc<Ingress>, listener: std::net::TcpListener) {
    match TcpListener::from_std(listener) {
        Ok(listener) => ingress.clone().run(listener).await,
        Err(error) => return tracing::error!(%error, "the ingress cannot listen"),
    }
    // The runtime must outlive its connections, which end with their last answer.
    ingress.open.close();
    ingress.open.wait().await;
}
