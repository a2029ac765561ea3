//! Where the catalogs of several places meet: what keeps named bytes, and says so when somebody else was faster.

use crate::Result;
use std::{collections::BTreeMap, fmt::Debug};

/// Keeps bytes by key. A key appears whole, and whoever replaces one says what it replaces.
pub trait Shelf: Debug + Send + Sync {
    /// Where it is, for people: `geds://lab/models`.
    fn address(&self) -> &str;

    /// The keys that begin with a prefix, each with the number of its state, which is another one whenever its bytes
    /// are.
    ///
    /// # Errors
    /// It cannot be reached.
    fn list(&self, prefix: &str) -> Result<BTreeMap<String, u64>>;

    /// The bytes of a key and the number of their state; nothing if there are none.
    ///
    /// # Errors
    /// It cannot be reached; there are more bytes than the limit.
    fn get(&self, key: &str, limit: u64) -> Result<Option<(Vec<u8>, u64)>>;

    /// Writes a key, over one state or as a new one, so that it lasts. Answers the number of the new state; nothing
    /// if there is something else than was said, and then nothing is changed.
    ///
    /// # Errors
    /// It cannot be reached, or has no room.
    fn put(&self, key: &str, bytes: &[u8], over: Option<u64>) -> Result<Option<u64>>;

    /// Removes a key, if it is there.
    ///
    /// # Errors
    /// It cannot be reached.
    fn delete(&self, key: &str) -> Result<()>;
}

/// What every shelf keeps to.
#[doc(hidden)]
pub mod conformance {
    use super::Shelf;

    /// Runs all of it on an empty shelf.
    ///
    /// # Panics
    /// If the shelf does not keep to it.
    pub fn all(shelf: &dyn Shelf) {
        let says = "a shelf answers";
        let keys =
            |prefix: &str| -> Vec<String> { shelf.list(prefix).expect(says).into_keys().collect() };
        assert!(keys("").is_empty());
        assert!(shelf.get("a/v1", 10).expect(says).is_none());
        let first = shelf.put("a/v1", b"one", None).expect(says).expect("there was none");
        assert!(shelf.put("a/v1", b"two", None).expect(says).is_none(), "the first one stays");
        assert!(shelf.put("ab/stages", b"x", None).expect(says).is_some());
        assert_eq!(
            (keys(""), keys("a/")),
            (vec!["a/v1".into(), "ab/stages".into()], vec!["a/v1".into()])
        );
        assert_eq!(shelf.get("a/v1", 3).expect(says), Some((b"one".to_vec(), first)));
        assert_eq!(shelf.list("a/").expect(says)["a/v1"], first);
        assert!(shelf.get("a/v1", 2).is_err(), "it is larger");
        let second = shelf.put("a/v1", b"three", Some(first)).expect(says).expect("it was that");
        assert!(
            shelf.put("a/v1", b"four", Some(first)).expect(says).is_none(),
            "it is another one"
        );
        assert_eq!(shelf.get("a/v1", 10).expect(says), Some((b"three".to_vec(), second)));
        assert_ne!(first, second);
        assert!(
            shelf.put("c", b"five", Some(second)).expect(says).is_none(),
            "there is none to replace"
        );
        shelf.delete("a/v1").expect(says);
        shelf.delete("a/v1").expect(says);
        assert_eq!(keys(""), ["ab/stages"]);
        shelf.delete("ab/stages").expect(says);
    }
}
