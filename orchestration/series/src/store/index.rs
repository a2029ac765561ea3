//! Which series there are, and which of them matchers admit.

use crate::{
    Labels, Matcher,
    matcher::{Test, admit},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// The series of a store by number and by label.
#[derive(Debug, Default)]
pub(crate) struct Index {
    ids: HashMap<Labels, u32>,
    labels: BTreeMap<u32, Labels>,
    /// Name, value, who has it; ascending.
    holders: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Vec<u32>>>,
    next: u32,
}

impl Index {
    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    pub(crate) fn id(&self, labels: &Labels) -> Option<u32> {
        self.ids.get(labels).copied()
    }

    pub(crate) fn labels(&self, id: u32) -> Option<&Labels> {
        self.labels.get(&id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Labels)> {
        self.labels.iter().map(|(id, labels)| (*id, labels))
    }

    /// The number that the next new series gets; those behind it are free, too.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// The number of a series, a new one if there is none.
    pub(crate) fn number(&mut self, labels: &Labels) -> u32 {
        self.number_as(labels, self.next)
    }

    /// The number of a series: if there is none yet, this one, which nobody else may have.
    pub(crate) fn number_as(&mut self, labels: &Labels, id: u32) -> u32 {
        self.next = self.next.max(id.saturating_add(1));
        if let Some(id) = self.id(labels) {
            return id;
        }
        self.ids.insert(labels.clone(), id);
        self.labels.insert(id, labels.clone());
        for (name, value) in labels.iter() {
            let values = match self.holders.get_mut(name) {
                Some(values) => values,
                None => self.holders.entry(name.into()).or_default(),
            };
            match values.get_mut(value) {
                Some(ids) => ids.push(id),
                None => drop(values.insert(value.into(), vec![id])),
            }
        }
        id
    }

    pub(crate) fn remove(&mut self, id: u32) {
        let Some(labels) = self.labels.remove(&id) else { return };
        self.ids.remove(&labels);
        for (name, value) in labels.iter() {
            let Some(values) = self.holders.get_mut(name) else { continue };
            if let Some(ids) = values.get_mut(value) {
                ids.retain(|own| *own != id);
                if ids.is_empty() {
                    values.remove(value);
                }
            }
            if values.is_empty() {
                self.holders.remove(name);
            }
        }
    }

    /// The series that all matchers admit.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Vec<(u32, Labels)> {
        let admitted = |id: &u32| {
            let labels = self.labels.get(id)?;
            admit(matchers, labels).then(|| (*id, labels.clone()))
        };
        match self.narrowest(matchers) {
            Some(ids) => ids.iter().filter_map(admitted).collect(),
            None => self.labels.keys().filter_map(admitted).collect(),
        }
    }

    /// The fewest series among which those must be that have a wanted value.
    fn narrowest(&self, matchers: &[Matcher]) -> Option<Vec<u32>> {
        let holders = |matcher: &Matcher| {
            // Who admits an empty value admits series without the label.
            if matcher.admits("") {
                return None;
            }
            let Some(values) = self.holders.get(matcher.name.as_str()) else {
                return Some(Vec::new());
            };
            match &matcher.test {
                Test::Is(value) => Some(values.get(value.as_str()).cloned().unwrap_or_default()),
                _ => {
                    let wanted = values.iter().filter(|(value, _)| matcher.admits(value));
                    let mut ids: Vec<u32> = wanted.flat_map(|(_, ids)| ids).copied().collect();
                    ids.sort_unstable();
                    Some(ids)
                }
            }
        };
        matchers.iter().filter_map(holders).min_by_key(Vec::len)
    }

    /// How many series have this value of a label.
    pub(crate) fn count(&self, name: &str, value: &str) -> usize {
        self.holders.get(name).and_then(|values| values.get(value)).map_or(0, Vec::len)
    }

    /// The names of all labels.
    pub(crate) fn names(&self) -> Vec<String> {
        self.holders.keys().map(ToString::to_string).collect()
    }

    /// All values of a label.
    pub(crate) fn values(&self, name: &str) -> Vec<String> {
        let values = self.holders.get(name).into_iter().flat_map(BTreeMap::keys);
        values.map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NAME;

    #[test]
    fn matchers_find_who_has_a_label_and_who_has_not() {
        let mut index = Index::default();
        let mut add =
            |pairs: &[(&str, &str)]| index.number(&Labels::new(pairs.iter().copied()).unwrap());
        let (a, b) = (add(&[(NAME, "up"), ("site", "edge")]), add(&[(NAME, "up")]));
        let c = add(&[(NAME, "down"), ("site", "cloud")]);
        let found = |index: &Index, matchers: &[Matcher]| -> Vec<u32> {
            index.select(matchers).into_iter().map(|(id, _)| id).collect()
        };

        assert_eq!(found(&index, &[Matcher::is(NAME, "up")]), [a, b]);
        assert_eq!(found(&index, &[Matcher::is(NAME, "up"), Matcher::is("site", "")]), [b]);
        assert_eq!(found(&index, &[Matcher::like("site", "e.*|cloud").unwrap()]), [a, c]);
        assert_eq!(found(&index, &[Matcher::like("site", "|edge").unwrap()]), [a, b]);
        assert_eq!(found(&index, &[Matcher::is("nowhere", "x")]), [] as [u32; 0]);
        assert_eq!(index.values("site"), ["cloud", "edge"]);
        assert_eq!((index.count("site", "edge"), index.count("site", "sea")), (1, 0));

        index.remove(c);
        assert_eq!(index.values("site"), ["edge"]);
        assert_eq!(index.len(), 2);
    }
}
