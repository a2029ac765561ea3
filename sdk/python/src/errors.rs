//! Failures as the exceptions of `cloudskin.geds`.

use pyo3::{prelude::*, sync::PyOnceLock};
use std::error::Error as _;

/// The result of what a method does.
pub(crate) type Result<T> = std::result::Result<T, Failed>;

/// Why a method failed.
pub(crate) enum Failed {
    /// The store says so.
    Store(geds::Error),
    /// The interpreter does.
    Python(PyErr),
}

impl From<geds::Error> for Failed {
    fn from(error: geds::Error) -> Self {
        Self::Store(error)
    }
}

impl From<PyErr> for Failed {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl From<Failed> for PyErr {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Store(error) => {
                Python::attach(|py| exception(py, &error).unwrap_or_else(|other| other))
            }
            Failed::Python(error) => error,
        }
    }
}

/// An argument that cannot be.
pub(crate) fn invalid(why: impl Into<String>) -> Failed {
    geds::Error::Invalid(why.into()).into()
}

/// The exception is made by Python, where its classes are.
fn exception(py: Python<'_>, error: &geds::Error) -> PyResult<PyErr> {
    static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let find = || Ok::<_, PyErr>(py.import("cloudskin.geds._errors")?.getattr("of")?.unbind());
    let made = MAKE.get_or_try_init(py, find)?.bind(py).call1((name(error), chain(error)))?;
    Ok(PyErr::from_value(made))
}

fn name(error: &geds::Error) -> String {
    format!("{:?}", error.kind())
}

/// What went wrong, and why, and why that.
fn chain(error: &geds::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
