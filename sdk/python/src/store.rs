//! The store as a program sees it.

use crate::{
    buffers::{copied, with_bytes},
    errors::Result,
    here::Here,
    object::{Object, View},
    settings::{Limits, Usage, changed, config},
    subscription::Subscription,
    values::{Bucket, Page, Stat, attributes},
    writer::Writer,
};
use geds::{Attributes, Backend, Class, Destination, Geds, Listing, Part, Put, Scope};
use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict},
};
use std::{collections::HashMap, path::PathBuf};

/// The store of one tenant, as one process sees it. All threads may use it.
#[pyclass(module = "cloudskin.geds._native", frozen, subclass, weakref)]
pub(crate) struct Store {
    geds: Here<Geds>,
}

impl Drop for Store {
    fn drop(&mut self) {
        self.geds.drop_detached();
    }
}

/// A bucket and a key.
type Name = (String, String);
/// A bucket, a key, and from where to before where, if not all.
type Piece = (String, String, Option<(u64, u64)>);

impl Store {
    /// Asks the store, the interpreter's lock released.
    fn ask<R: Send>(
        &self,
        py: Python<'_>,
        ask: impl FnOnce(&Geds) -> geds::Result<R> + Send,
    ) -> Result<R> {
        let geds = self.geds.get()?;
        Ok(py.detach(|| ask(geds))?)
    }
}

fn put(
    overwrite: bool,
    if_version: Option<u64>,
    given: Option<&Bound<'_, PyDict>>,
    durable: bool,
) -> Result<Put> {
    let attributes = given.map(attributes).transpose()?;
    Ok(Put { overwrite, if_version, attributes, durable, ..Put::default() })
}

/// A class by its name.
fn class(name: Option<&str>) -> Result<Option<Class>> {
    match name {
        None => Ok(None),
        Some("hot") => Ok(Some(Class::Hot)),
        Some("cold") => Ok(Some(Class::Cold)),
        Some(_) => Err(crate::errors::invalid("a storage class is `hot` or `cold`")),
    }
}

fn kept(given: Option<&Bound<'_, PyDict>>) -> Result<Attributes> {
    Ok(given.map(attributes).transpose()?.unwrap_or_default())
}

fn name(of: &Name) -> (&str, &str) {
    (&of.0, &of.1)
}

#[pymethods]
impl Store {
    #[new]
    #[pyo3(signature = (place, *, tenant = None, **limits))]
    fn new(
        py: Python<'_>,
        place: PathBuf,
        tenant: Option<&str>,
        limits: Option<&Bound<'_, PyDict>>,
    ) -> Result<Self> {
        let config = config(&place, tenant, limits)?;
        let geds = py.detach(|| Geds::open(config))?;
        Ok(Self { geds: Here::new(geds) })
    }

    /// Makes a bucket; with `exist_ok` one that is there is kept.
    #[pyo3(signature = (bucket, *, exist_ok = false))]
    fn create_bucket(&self, py: Python<'_>, bucket: &str, exist_ok: bool) -> Result<Bucket> {
        self.ask(py, |geds| match geds.create_bucket(bucket) {
            Err(geds::Error::BucketExists { .. }) if exist_ok => geds.bucket(bucket),
            made => made,
        })
        .map(Bucket::from)
    }

    /// All buckets by name.
    fn buckets(&self, py: Python<'_>) -> Result<Vec<Bucket>> {
        let buckets = self.ask(py, Geds::buckets)?;
        Ok(buckets.into_iter().map(Bucket::from).collect())
    }

    /// What is known about a bucket.
    fn bucket(&self, py: Python<'_>, bucket: &str) -> Result<Bucket> {
        self.ask(py, |geds| geds.bucket(bucket)).map(Bucket::from)
    }

    /// Replaces what is kept with a bucket.
    fn set_bucket_attributes(
        &self,
        py: Python<'_>,
        bucket: &str,
        attributes: &Bound<'_, PyDict>,
    ) -> Result<()> {
        let attributes = kept(Some(attributes))?;
        self.ask(py, |geds| geds.set_bucket_attributes(bucket, attributes))
    }

    /// Removes a bucket that has no objects.
    fn delete_bucket(&self, py: Python<'_>, bucket: &str) -> Result<()> {
        self.ask(py, |geds| geds.delete_bucket(bucket))
    }

    /// Makes an object of these bytes, sealed and visible to everybody when this returns.
    #[pyo3(signature = (bucket, key, data, *, overwrite = false, if_version = None, attributes = None, durable = false, storage_class = None))]
    #[expect(clippy::too_many_arguments, reason = "they have names in Python")]
    fn put(
        &self,
        bucket: &str,
        key: &str,
        data: &Bound<'_, PyAny>,
        overwrite: bool,
        if_version: Option<u64>,
        attributes: Option<&Bound<'_, PyDict>>,
        durable: bool,
        storage_class: Option<&str>,
    ) -> Result<Stat> {
        let geds = self.geds.get()?;
        let put = put(overwrite, if_version, attributes, durable)?;
        let put = Put { class: class(storage_class)?, ..put };
        Ok(with_bytes(data, |bytes| geds.put(bucket, key, bytes, put))??.into())
    }

    /// A copy of all bytes of an object.
    fn get<'py>(&self, py: Python<'py>, bucket: &str, key: &str) -> Result<Bound<'py, PyBytes>> {
        copied(py, &self.ask(py, |geds| geds.view(bucket, key))?)
    }

    /// All bytes of an object: borrowed where they lie together in memory, else read.
    fn view(slf: &Bound<'_, Self>, bucket: &str, key: &str) -> Result<View> {
        let view = slf.get().ask(slf.py(), |geds| geds.view(bucket, key))?;
        Ok(View::new(view, slf.as_any().clone().unbind()))
    }

    /// Opens a sealed object.
    fn object(slf: &Bound<'_, Self>, bucket: &str, key: &str) -> Result<Object> {
        let object = slf.get().ask(slf.py(), |geds| geds.object(bucket, key))?;
        Ok(Object::new(object, slf.as_any().clone().unbind()))
    }

    /// Begins an object that is written piece by piece, of any size.
    #[pyo3(signature = (bucket, key, *, overwrite = false, if_version = None, attributes = None, durable = false, size_hint = None, storage_class = None))]
    #[expect(clippy::too_many_arguments, reason = "they have names in Python")]
    fn create(
        slf: &Bound<'_, Self>,
        bucket: &str,
        key: &str,
        overwrite: bool,
        if_version: Option<u64>,
        attributes: Option<&Bound<'_, PyDict>>,
        durable: bool,
        size_hint: Option<u64>,
        storage_class: Option<&str>,
    ) -> Result<Writer> {
        let put = put(overwrite, if_version, attributes, durable)?;
        let put = Put { size_hint, class: class(storage_class)?, ..put };
        let writer = slf.get().ask(slf.py(), |geds| geds.create(bucket, key, put))?;
        Ok(Writer::new(writer, slf.as_any().clone().unbind()))
    }

    /// What is known about an object.
    fn stat(&self, py: Python<'_>, bucket: &str, key: &str) -> Result<Stat> {
        self.ask(py, |geds| geds.stat(bucket, key)).map(Stat::from)
    }

    /// A page of a bucket's objects.
    #[pyo3(signature = (bucket, prefix = "", *, delimiter = None, after = None, limit = 0))]
    fn list(
        &self,
        py: Python<'_>,
        bucket: &str,
        prefix: &str,
        delimiter: Option<String>,
        after: Option<String>,
        limit: usize,
    ) -> Result<Page> {
        let listing = Listing { prefix: prefix.to_owned(), delimiter, after, limit };
        self.ask(py, |geds| geds.list(bucket, &listing)).map(Page::from)
    }

    /// Makes another object of the same bytes, which are shared. Names are (bucket, key).
    #[pyo3(signature = (source, target, *, overwrite = false, if_version = None, attributes = None, durable = false))]
    #[expect(clippy::too_many_arguments, reason = "they have names in Python")]
    fn copy(
        &self,
        py: Python<'_>,
        source: Name,
        target: Name,
        overwrite: bool,
        if_version: Option<u64>,
        attributes: Option<&Bound<'_, PyDict>>,
        durable: bool,
    ) -> Result<Stat> {
        let put = put(overwrite, if_version, attributes, durable)?;
        self.ask(py, |geds| geds.copy(name(&source), name(&target), put)).map(Stat::from)
    }

    /// Gives an object another key in its bucket.
    #[pyo3(signature = (bucket, key, new, *, overwrite = false))]
    fn rename(
        &self,
        py: Python<'_>,
        bucket: &str,
        key: &str,
        new: &str,
        overwrite: bool,
    ) -> Result<Stat> {
        let put = Put { overwrite, ..Put::default() };
        self.ask(py, |geds| geds.rename(bucket, key, new, put)).map(Stat::from)
    }

    /// Copies all objects whose keys begin with a prefix, which is replaced, and says how many.
    #[pyo3(signature = (source, target, *, overwrite = false))]
    fn copy_prefix(
        &self,
        py: Python<'_>,
        source: Name,
        target: Name,
        overwrite: bool,
    ) -> Result<u64> {
        let put = Put { overwrite, ..Put::default() };
        self.ask(py, |geds| geds.copy_prefix(name(&source), name(&target), &put))
    }

    /// Renames all objects whose keys begin with a prefix, which is replaced, and says how many.
    #[pyo3(signature = (bucket, prefix, new, *, overwrite = false))]
    fn rename_prefix(
        &self,
        py: Python<'_>,
        bucket: &str,
        prefix: &str,
        new: &str,
        overwrite: bool,
    ) -> Result<u64> {
        let put = Put { overwrite, ..Put::default() };
        self.ask(py, |geds| geds.rename_prefix(bucket, prefix, new, &put))
    }

    /// Makes one object of parts of others without copying bytes. A part is (bucket, key, range);
    /// a range is (start, stop), or None for all.
    #[pyo3(signature = (bucket, key, parts, *, overwrite = false, if_version = None, attributes = None, durable = false))]
    #[expect(clippy::too_many_arguments, reason = "they have names in Python")]
    fn compose(
        &self,
        py: Python<'_>,
        bucket: &str,
        key: &str,
        parts: Vec<Piece>,
        overwrite: bool,
        if_version: Option<u64>,
        attributes: Option<&Bound<'_, PyDict>>,
        durable: bool,
    ) -> Result<Stat> {
        let put = put(overwrite, if_version, attributes, durable)?;
        let part = |(bucket, key, range): Piece| Part {
            range: range.map(|(start, stop)| start..stop),
            ..Part::all(bucket, key)
        };
        let parts: Vec<Part> = parts.into_iter().map(part).collect();
        self.ask(py, |geds| geds.compose(bucket, key, &parts, put)).map(Stat::from)
    }

    /// Replaces an object's attributes and keeps its bytes, version and time.
    #[pyo3(signature = (bucket, key, attributes, *, if_version = None))]
    fn set_attributes(
        &self,
        py: Python<'_>,
        bucket: &str,
        key: &str,
        attributes: &Bound<'_, PyDict>,
        if_version: Option<u64>,
    ) -> Result<Stat> {
        let kept = kept(Some(attributes))?;
        self.ask(py, |geds| geds.set_attributes(bucket, key, kept, if_version)).map(Stat::from)
    }

    /// Gives an object a class of its own, "hot" or "cold", or with None that of its bucket again.
    #[pyo3(signature = (bucket, key, storage_class, *, if_version = None))]
    fn set_storage_class(
        &self,
        py: Python<'_>,
        bucket: &str,
        key: &str,
        storage_class: Option<&str>,
        if_version: Option<u64>,
    ) -> Result<Stat> {
        let class = class(storage_class)?;
        self.ask(py, |geds| geds.set_class(bucket, key, class, if_version)).map(Stat::from)
    }

    /// Removes an object, if it is still the version named; False when there was none.
    #[pyo3(signature = (bucket, key, *, if_version = None))]
    fn delete(
        &self,
        py: Python<'_>,
        bucket: &str,
        key: &str,
        if_version: Option<u64>,
    ) -> Result<bool> {
        self.ask(py, |geds| geds.delete(bucket, key, if_version))
    }

    /// Removes all objects whose keys begin with a prefix, and says how many there were.
    fn delete_prefix(&self, py: Python<'_>, bucket: &str, prefix: &str) -> Result<u64> {
        self.ask(py, |geds| geds.delete_prefix(bucket, prefix))
    }

    /// Marks a folder: an empty object whose key ends with "/". One that is there is kept.
    fn make_folder(&self, py: Python<'_>, bucket: &str, folder: &str) -> Result<Stat> {
        self.ask(py, |geds| geds.make_folder(bucket, folder)).map(Stat::from)
    }

    /// Puts an object on disk, synced, where it outlives the node.
    fn persist(&self, py: Python<'_>, bucket: &str, key: &str) -> Result<Stat> {
        self.ask(py, |geds| geds.persist(bucket, key)).map(Stat::from)
    }

    /// Puts all objects on disk, synced.
    fn persist_all(&self, py: Python<'_>) -> Result<()> {
        self.ask(py, Geds::persist_all)
    }

    /// Registers storage outside for a bucket, for this process: a URL as `s3://bucket/prefix` or
    /// `file:///folder`, and options as `object_store` names them. What is not here is read from
    /// there when it is asked for, and kept as any other.
    #[pyo3(signature = (bucket, url, **options))]
    fn register(
        &self,
        py: Python<'_>,
        bucket: &str,
        url: &str,
        options: Option<HashMap<String, String>>,
    ) -> Result<()> {
        let options = options.unwrap_or_default();
        self.ask(py, |geds| {
            let named = options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            geds.register(bucket, Backend::open(url, named)?)
        })
    }

    /// Forgets the storage outside of a bucket.
    fn unregister(&self, bucket: &str) -> Result<()> {
        self.geds.get()?.unregister(bucket);
        Ok(())
    }

    /// Reads all objects from outside whose keys begin so and that are not here; says how many.
    #[pyo3(signature = (bucket, prefix = ""))]
    fn import_objects(&self, py: Python<'_>, bucket: &str, prefix: &str) -> Result<u64> {
        self.ask(py, |geds| geds.import(bucket, prefix))
    }

    /// Writes all objects outside whose keys begin so; says how many. Without `overwrite` those
    /// that are there already are left as they are.
    #[pyo3(signature = (bucket, prefix = "", *, overwrite = false))]
    fn export_objects(
        &self,
        py: Python<'_>,
        bucket: &str,
        prefix: &str,
        overwrite: bool,
    ) -> Result<u64> {
        self.ask(py, |geds| geds.export(bucket, prefix, overwrite))
    }

    /// Moves the bytes of all objects whose keys begin so to another tier now: "memory", "disk" or
    /// "outside". Says how many objects were moved, and which were not: (key, why).
    #[pyo3(signature = (bucket, prefix = "", *, to))]
    fn relocate(
        &self,
        py: Python<'_>,
        bucket: &str,
        prefix: &str,
        to: &str,
    ) -> Result<(u64, Vec<(String, String)>)> {
        let to = match to {
            "memory" => Destination::Memory,
            "disk" => Destination::Disk,
            "outside" => Destination::Outside,
            _ => return Err(crate::errors::invalid("move to `memory`, `disk` or `outside`")),
        };
        let done = self.ask(py, |geds| geds.relocate(bucket, prefix, to, |_| {}))?;
        let failed = done.failures.into_iter().map(|one| (one.key, one.why));
        Ok((done.objects, failed.collect()))
    }

    /// What the tenant uses now.
    fn usage(&self, py: Python<'_>) -> Result<Usage> {
        self.ask(py, Geds::usage).map(Usage::from)
    }

    /// The limits in force.
    fn limits(&self, py: Python<'_>) -> Result<Limits> {
        self.ask(py, Geds::limits).map(Limits::from)
    }

    /// Changes the limits that are named; lower ones take effect as memory is freed.
    #[pyo3(signature = (**limits))]
    fn set_limits(&self, py: Python<'_>, limits: Option<&Bound<'_, PyDict>>) -> Result<()> {
        let Some(changes) = limits else { return Ok(()) };
        let limits = changed(self.ask(py, Geds::limits)?, changes)?;
        self.ask(py, |geds| geds.set_limits(limits))
    }

    /// Tells what happens in a bucket, below a prefix or to one object, from now on.
    #[pyo3(signature = (bucket, *, prefix = None, key = None))]
    fn _subscribe(
        slf: &Bound<'_, Self>,
        bucket: String,
        prefix: Option<String>,
        key: Option<String>,
    ) -> Result<Subscription> {
        let scope = match (prefix, key) {
            (None, None) => Scope::Bucket(bucket),
            (Some(prefix), None) => Scope::Prefix(bucket, prefix),
            (None, Some(key)) => Scope::Object(bucket, key),
            (Some(_), Some(_)) => {
                return Err(crate::errors::invalid("name a prefix or a key, not both"));
            }
        };
        let events = slf.get().ask(slf.py(), |geds| geds.subscribe(scope))?;
        Ok(Subscription::new(events, slf.as_any().clone().unbind()))
    }
}
