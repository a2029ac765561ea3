//! What the store tells, as objects of the interpreter.

use crate::{buffers::with_bytes, errors::Result};
use geds::{Attributes, Class, Happening, Tier};
use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict, PyString},
};

/// Attributes that were given as a dictionary from names to text or bytes.
pub(crate) fn attributes(given: &Bound<'_, PyDict>) -> Result<Attributes> {
    let mut attributes = Attributes::new();
    for (name, value) in given {
        let name: String = name.extract()?;
        match value.cast::<PyString>() {
            Ok(text) => attributes.insert(name, text.to_str()?.as_bytes()),
            Err(_) => attributes.insert(name, with_bytes(&value, <[u8]>::to_vec)?),
        }
    }
    Ok(attributes)
}

fn dictionary<'py>(py: Python<'py>, attributes: &Attributes) -> Result<Bound<'py, PyDict>> {
    let dictionary = PyDict::new(py);
    for (name, value) in attributes.iter() {
        dictionary.set_item(name, PyBytes::new(py, value))?;
    }
    Ok(dictionary)
}

/// Milliseconds as seconds, the unit of `os.stat` and `time.time`.
fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}

/// What is known about a sealed object.
#[pyclass(module = "cloudskin.geds", frozen, eq)]
#[derive(Clone, PartialEq)]
pub(crate) struct Stat(geds::Stat);

impl From<geds::Stat> for Stat {
    fn from(stat: geds::Stat) -> Self {
        Self(stat)
    }
}

#[pymethods]
impl Stat {
    /// How many bytes it has.
    #[getter]
    fn size(&self) -> u64 {
        self.0.size
    }

    /// The class of its own: "hot", "cold", or None for that of its bucket.
    #[getter]
    fn storage_class(&self) -> Option<&'static str> {
        self.0.class.map(|class| match class {
            Class::Hot => "hot",
            Class::Cold => "cold",
        })
    }

    /// The number of this sealed state, given out once; moving bytes between tiers keeps it.
    #[getter]
    fn version(&self) -> u64 {
        self.0.version
    }

    /// When it was sealed, in seconds since the Unix epoch.
    #[getter]
    fn modified(&self) -> f64 {
        seconds(self.0.modified)
    }

    /// The CRC-32C of all bytes, where it was computed.
    #[getter]
    fn crc32c(&self) -> Option<u32> {
        self.0.crc32c
    }

    /// Where the bytes lie: "memory", "disk", "mixed" for some of an object in each, or "outside" in the bucket's
    /// back end.
    #[getter]
    fn tier(&self) -> &'static str {
        match self.0.tier {
            Tier::Memory => "memory",
            Tier::Disk => "disk",
            Tier::Mixed => "mixed",
            Tier::Outside => "outside",
        }
    }

    /// What the writer keeps beside the bytes.
    #[getter]
    fn attributes<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        dictionary(py, &self.0.attributes)
    }

    fn __repr__(&self) -> String {
        let (size, version, tier) = (self.size(), self.version(), self.tier());
        format!("Stat(size={size}, version={version}, tier='{tier}')")
    }
}

/// A bucket.
#[pyclass(module = "cloudskin.geds", frozen, eq)]
#[derive(Clone, PartialEq)]
pub(crate) struct Bucket(geds::Bucket);

impl From<geds::Bucket> for Bucket {
    fn from(bucket: geds::Bucket) -> Self {
        Self(bucket)
    }
}

#[pymethods]
impl Bucket {
    /// Its name.
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    /// When it was created, in seconds since the Unix epoch.
    #[getter]
    fn created(&self) -> f64 {
        seconds(self.0.created)
    }

    /// How many objects it has.
    #[getter]
    fn objects(&self) -> u64 {
        self.0.objects
    }

    /// What the owner keeps with it.
    #[getter]
    fn attributes<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        dictionary(py, &self.0.attributes)
    }

    fn __repr__(&self) -> String {
        format!("Bucket(name='{}', objects={})", self.0.name, self.0.objects)
    }
}

/// An object in a list.
#[pyclass(module = "cloudskin.geds", frozen, eq, get_all)]
#[derive(Clone, PartialEq)]
pub(crate) struct Entry {
    /// Its key.
    key: String,
    /// What is known about it.
    stat: Stat,
}

#[pymethods]
impl Entry {
    fn __repr__(&self) -> String {
        format!("Entry(key={:?}, stat={})", self.key, self.stat.__repr__())
    }
}

/// A part of a list. Entries and prefixes are each in byte order.
#[pyclass(module = "cloudskin.geds", frozen, get_all)]
pub(crate) struct Page {
    /// Objects.
    entries: Vec<Entry>,
    /// What stands for the objects behind a delimiter.
    prefixes: Vec<String>,
    /// What to ask for the next page with, if there is more.
    next: Option<String>,
}

impl From<geds::Page> for Page {
    fn from(page: geds::Page) -> Self {
        let entry = |entry: geds::Entry| Entry { key: entry.key, stat: entry.stat.into() };
        let entries = page.entries.into_iter().map(entry).collect();
        Self { entries, prefixes: page.prefixes, next: page.next }
    }
}

/// Something that happened to one object. What is replaced faster than it is told may be left out:
/// the last state of a name is always told.
#[pyclass(module = "cloudskin.geds", frozen, get_all)]
pub(crate) struct Event {
    /// Where.
    bucket: String,
    /// To which object.
    key: String,
    /// What: "created", "sealed", "deleted", "renamed" or "attributes".
    what: &'static str,
    /// For "sealed": which version.
    version: Option<u64>,
    /// For "sealed": how many bytes it has.
    size: Option<u64>,
    /// For "renamed": what the key was.
    former: Option<String>,
}

impl From<geds::Event> for Event {
    fn from(event: geds::Event) -> Self {
        let (what, version, size, former) = match event.what {
            Happening::Created => ("created", None, None, None),
            Happening::Sealed { version, size } => ("sealed", Some(version), Some(size), None),
            Happening::Deleted => ("deleted", None, None, None),
            Happening::Renamed { from } => ("renamed", None, None, Some(from)),
            Happening::Attributes => ("attributes", None, None, None),
        };
        Self { bucket: event.bucket, key: event.key, what, version, size, former }
    }
}

#[pymethods]
impl Event {
    fn __repr__(&self) -> String {
        format!("Event(what='{}', bucket='{}', key={:?})", self.what, self.bucket, self.key)
    }
}
