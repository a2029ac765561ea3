//! What happens to objects, as it is told to a program.

use crate::{errors::Result, here::Here, values::Event};
use pyo3::prelude::*;
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

/// How long nobody looks whether the program was interrupted.
const SLICE: Duration = Duration::from_millis(50);

/// Receives the events of one scope, from the moment of subscribing on.
#[pyclass(module = "cloudskin.geds", frozen, weakref)]
pub(crate) struct Subscription {
    events: Here<Mutex<Option<geds::Subscription>>>,
    /// Whoever waits holds the lock most of the time, and looks at this between.
    closed: AtomicBool,
    /// Keeps the store open.
    _store: Py<PyAny>,
}

impl Subscription {
    pub(crate) fn new(events: geds::Subscription, store: Py<PyAny>) -> Self {
        let events = Here::new(Mutex::new(Some(events)));
        Self { events, closed: AtomicBool::new(false), _store: store }
    }

    /// What `ask` gets from the subscription; none once it is closed.
    fn with<R>(&self, ask: impl FnOnce(&geds::Subscription) -> R) -> Result<Option<R>> {
        if self.closed.load(SeqCst) {
            return Ok(None);
        }
        let events = self.events.get()?.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(events.as_ref().map(ask))
    }
}

#[pymethods]
impl Subscription {
    /// The next event, waiting up to `timeout` seconds for it, or for ever. None if there was none,
    /// and once the subscription is closed.
    #[pyo3(signature = (timeout = None))]
    fn next(&self, py: Python<'_>, timeout: Option<f64>) -> Result<Option<Event>> {
        let limit = timeout.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)));
        // More than a clock can count is for ever.
        let until = limit.and_then(|limit| Instant::now().checked_add(limit.ok()?));
        loop {
            let left = until.map_or(SLICE, |until| until.saturating_duration_since(Instant::now()));
            // Others may ask and close between slices.
            match py.detach(|| self.with(|events| events.next(left.min(SLICE))))? {
                Some(event) => match event? {
                    Some(event) => return Ok(Some(event.into())),
                    None if left.is_zero() => return Ok(None),
                    None => py.check_signals()?,
                },
                None => return Ok(None),
            }
        }
    }

    /// How many events were not kept because too many were waiting, since this was last asked.
    fn take_missed(&self, py: Python<'_>) -> Result<u64> {
        Ok(py.detach(|| self.with(geds::Subscription::take_missed))?.unwrap_or(0))
    }

    /// Whether it was closed.
    #[getter]
    fn closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    /// Ends the subscription; whoever waits gets None.
    fn close(&self, py: Python<'_>) -> Result<()> {
        self.closed.store(true, SeqCst);
        let events = self.events.get()?;
        py.detach(|| drop(events.lock().unwrap_or_else(PoisonError::into_inner).take()));
        Ok(())
    }
}
