//! What names a series.

use crate::{Error, Result};
use std::{fmt, sync::Arc};

/// The label that holds the metric's name.
pub const NAME: &str = "__name__";

/// Most labels of one series.
pub const LABELS_MAX: usize = 64;

/// Most bytes of one label's name and value together.
pub const LABEL_MAX_BYTES: usize = 4096;

/// The labels of a series, in the order of their names; none is empty. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Labels(Arc<[(Arc<str>, Arc<str>)]>);

impl Labels {
    /// Labels of pairs in any order. Empty values are left out: they say the same as no label.
    ///
    /// # Errors
    /// [`Error::Labels`] for a name that stands there twice or is none, for too many and too long ones.
    pub fn new<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Self>
    where
        N: Into<Arc<str>>,
        V: Into<Arc<str>>,
    {
        let pairs = pairs.into_iter().map(|(name, value)| (name.into(), value.into()));
        let mut pairs: Vec<(Arc<str>, Arc<str>)> =
            pairs.filter(|(_, value)| !value.is_empty()).collect();
        pairs.sort();
        if pairs.len() > LABELS_MAX {
            let count = pairs.len();
            return Err(Error::Labels(format!(
                "a series has {count} labels: at most {LABELS_MAX}"
            )));
        }
        if let Some(twice) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Error::Labels(format!("label `{}` stands there twice", twice[0].0)));
        }
        for (name, value) in &pairs {
            check(name, value)?;
        }
        Ok(Self(pairs.into()))
    }

    /// From pairs that are sorted, not empty, and were labels before.
    pub(crate) fn trusted(pairs: Vec<(Arc<str>, Arc<str>)>) -> Self {
        Self(pairs.into())
    }

    /// The value of a label; empty if there is none.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(own, _)| &**own == name).map_or("", |(_, value)| value)
    }

    /// The metric's name; empty if there is none.
    pub fn name(&self) -> &str {
        self.get(NAME)
    }

    /// Names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that `keep` wants.
    pub(crate) fn filtered(&self, keep: impl Fn(&str) -> bool) -> Self {
        if self.0.iter().all(|(name, _)| keep(name)) {
            return self.clone();
        }
        Self(self.0.iter().filter(|(name, _)| keep(name)).cloned().collect())
    }

    /// Without the metric's name.
    pub(crate) fn nameless(&self) -> Self {
        self.filtered(|name| name != NAME)
    }

    /// With `name` set to `value`, or without it if that is empty.
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let mut pairs: Vec<_> = self.0.iter().filter(|(own, _)| &**own != name).cloned().collect();
        if !value.is_empty() {
            let at = pairs.partition_point(|(own, _)| &**own < name);
            pairs.insert(at, (name.into(), value.into()));
        }
        Self(pairs.into())
    }
}

fn check(name: &str, value: &str) -> Result<()> {
    if !is_label_name(name) {
        let shown: String = name.chars().take(100).collect();
        return Err(Error::Labels(format!(
            "`{shown}` is no label's name: use letters, digits and `_`, and begin with no digit"
        )));
    }
    let bytes = name.len() + value.len();
    if bytes > LABEL_MAX_BYTES {
        let message = format!("label `{name}` has {bytes} bytes: at most {LABEL_MAX_BYTES}");
        return Err(Error::Labels(message));
    }
    if name == NAME && !is_metric_name(value) {
        return Err(Error::Labels(format!(
            "`{value}` is no metric's name: use letters, digits, `_` and `:`, and begin with no digit"
        )));
    }
    Ok(())
}

/// Whether `text` may name a label.
pub fn is_label_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    first && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether `text` may name a metric.
pub fn is_metric_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte == b':';
    let mut bytes = text.bytes();
    bytes.next().is_some_and(plain) && bytes.all(|byte| plain(byte) || byte.is_ascii_digit())
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        let rest: Vec<String> = self
            .iter()
            .filter(|(name, _)| *name != NAME)
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect();
        match rest.is_empty() && !self.name().is_empty() {
            true => Ok(()),
            false => write!(f, "{{{}}}", rest.join(", ")),
        }
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_and_empty_ones_say_nothing() {
        let labels = Labels::new([("site", "edge"), (NAME, "up"), ("job", "")]).unwrap();

        assert_eq!(labels.to_string(), r#"up{site="edge"}"#);
        assert_eq!(labels, Labels::new([(NAME, "up"), ("site", "edge")]).unwrap());
        assert_eq!(labels.with("site", "").to_string(), "up");
        assert_eq!(labels.with("a", "1").to_string(), r#"up{a="1", site="edge"}"#);
    }

    #[test]
    fn what_names_nothing_is_refused() {
        let refused = |pairs: &[(&str, &str)]| Labels::new(pairs.iter().copied()).unwrap_err();

        assert!(refused(&[("a", "1"), ("a", "2")]).to_string().contains("twice"));
        assert!(refused(&[("1a", "1")]).to_string().contains("`1a`"));
        assert!(refused(&[(NAME, "a-b")]).to_string().contains("`a-b`"));
        assert!(refused(&[("a", &"x".repeat(5000))]).to_string().contains("5001 bytes"));
        let many: Vec<_> = (0..65).map(|n| (format!("l{n}"), "x")).collect();
        assert!(Labels::new(many).unwrap_err().to_string().contains("65 labels"));
    }
}
