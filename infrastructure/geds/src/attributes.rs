//! What a user keeps beside an object's bytes.

use crate::{Class, Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most bytes that an object's attributes may take, encoded.
pub const ATTRIBUTES_MAX_BYTES: usize = 16 << 10;

/// Names the site that has the bytes, in records of objects that are written elsewhere; never told.
const SITE: &str = "\0site";

/// Names the class that an object has of its own, in notes of the journal; never told.
const CLASS: &str = "\0class";

/// A small map from names to bytes that is kept with an object and means nothing to the store.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attributes(BTreeMap<String, Vec<u8>>);

impl Attributes {
    /// No attributes.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// The same with another one.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.insert(name, value);
        self
    }

    /// Sets one, in place of what the name had.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) {
        self.0.insert(name.into(), value.into());
    }

    /// Removes one and gives what it was.
    pub fn remove(&mut self, name: &str) -> Option<Vec<u8>> {
        self.0.remove(name)
    }

    /// The same with the site that has the bytes.
    pub(crate) fn with_site(self, site: &str) -> Self {
        self.with(SITE, site)
    }

    /// Whether a site is named that has the bytes.
    pub(crate) fn has_site(&self) -> bool {
        self.0.contains_key(SITE)
    }

    /// Removes the site that has the bytes, and gives it.
    pub(crate) fn take_site(&mut self) -> Option<String> {
        self.remove(SITE).and_then(|site| String::from_utf8(site).ok())
    }

    /// The same with a class of its own.
    pub(crate) fn with_class(self, class: Option<Class>) -> Self {
        match class {
            None => self,
            Some(Class::Hot) => self.with(CLASS, "hot"),
            Some(Class::Cold) => self.with(CLASS, "cold"),
        }
    }

    /// Removes the class of its own, and gives it.
    pub(crate) fn take_class(&mut self) -> Option<Class> {
        match self.remove(CLASS)?.as_slice() {
            b"hot" => Some(Class::Hot),
            b"cold" => Some(Class::Cold),
            _ => None,
        }
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice)
    }

    /// The value of a name, if it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| str::from_utf8(value).ok())
    }

    /// All of them by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes that are stored: nothing for no attributes.
    ///
    /// # Errors
    /// [`Error::AttributesSize`] when they exceed [`ATTRIBUTES_MAX_BYTES`].
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        let bytes = postcard::to_allocvec(self).unwrap_or_default();
        if bytes.is_empty() || bytes.len() > ATTRIBUTES_MAX_BYTES {
            return Err(Error::AttributesSize { size_bytes: bytes.len() });
        }
        Ok(bytes)
    }

    /// Reads what [`encode`](Self::encode) wrote; anything else gives none.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::new());
        }
        if bytes.len() > ATTRIBUTES_MAX_BYTES {
            return None;
        }
        postcard::from_bytes(bytes).ok()
    }
}

impl<N: Into<String>, V: Into<Vec<u8>>> FromIterator<(N, V)> for Attributes {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_back_and_have_a_limit() {
        let some = Attributes::new().with("content-type", "image/png").with("x", vec![0, 255]);
        assert_eq!(Attributes::decode(&some.encode().unwrap()), Some(some.clone()));
        assert_eq!(some.text("content-type"), Some("image/png"));
        assert_eq!(some.text("x"), None);
        assert_eq!(Attributes::decode(&[0xff; 40]), None);
        let large = Attributes::new().with("x", vec![0; ATTRIBUTES_MAX_BYTES]);
        assert_eq!(large.encode().unwrap_err().kind(), crate::ErrorKind::Invalid);
    }
}
