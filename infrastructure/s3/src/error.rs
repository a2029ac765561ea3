//! What can be wrong with an endpoint's settings.

use crate::config::Config;

/// Why an endpoint cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody could ask for anything.
    #[error("no access key is configured: add one to `keys`")]
    NoKeys,
    /// A key would be ambiguous.
    #[error("access key `{access_key}` is configured twice")]
    SameKey {
        /// Which one.
        access_key: String,
    },
    /// A key that no request could be signed with.
    #[error("access key `{access_key}` is no key: {why}")]
    BadKey {
        /// Which one.
        access_key: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A key for a tenant that has no store.
    #[error("access key `{access_key}` belongs to tenant `{tenant}`, which has no store")]
    NoStore {
        /// Which key.
        access_key: String,
        /// Whose.
        tenant: String,
    },
    /// A limit at which nothing could be served.
    #[error("`{name}` must not be 0")]
    Zero {
        /// The setting.
        name: &'static str,
    },
}

impl Config {
    /// Whether an endpoint could serve so.
    pub(crate) fn check(&self, has_store: impl Fn(&str) -> bool) -> Result<(), Error> {
        if self.keys.is_empty() {
            return Err(Error::NoKeys);
        }
        for (index, key) in self.keys.iter().enumerate() {
            let access_key = || key.access_key.clone();
            if key.access_key.is_empty()
                || !key.access_key.bytes().all(|b| b.is_ascii_graphic() && b != b',')
            {
                let why = "it needs printable characters, without commas";
                return Err(Error::BadKey { access_key: access_key(), why });
            }
            if key.secret.is_empty() {
                return Err(Error::BadKey { access_key: access_key(), why: "its secret is empty" });
            }
            if self.keys[..index].iter().any(|other| other.access_key == key.access_key) {
                return Err(Error::SameKey { access_key: access_key() });
            }
            if !has_store(&key.tenant) {
                return Err(Error::NoStore {
                    access_key: access_key(),
                    tenant: key.tenant.clone(),
                });
            }
        }
        let limits = [
            ("connections_max", self.connections_max as u64),
            ("head_timeout_ms", self.head_timeout_ms),
            ("stall_timeout_ms", self.stall_timeout_ms),
            ("put_max_bytes", self.put_max_bytes),
        ];
        match limits.into_iter().find(|(_, limit)| *limit == 0) {
            Some((name, _)) => Err(Error::Zero { name }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Key;

    fn key(access_key: &str, secret: &str, tenant: &str) -> Key {
        Key { access_key: access_key.into(), secret: secret.into(), tenant: tenant.into() }
    }

    fn check(keys: Vec<Key>) -> Result<(), Error> {
        Config { keys, ..Config::default() }.check(|tenant| tenant == "lab")
    }

    #[test]
    fn settings_that_cannot_serve_are_refused() {
        assert_eq!(check(vec![key("a", "s", "lab"), key("b", "s", "lab")]), Ok(()));
        assert_eq!(check(vec![]), Err(Error::NoKeys));
        assert!(matches!(check(vec![key("", "s", "lab")]), Err(Error::BadKey { .. })));
        assert!(matches!(check(vec![key("a b", "s", "lab")]), Err(Error::BadKey { .. })));
        assert!(matches!(check(vec![key("a", "", "lab")]), Err(Error::BadKey { .. })));
        assert!(matches!(check(vec![key("a", "s", "other")]), Err(Error::NoStore { .. })));
        let twice = vec![key("a", "s", "lab"), key("a", "t", "lab")];
        assert_eq!(check(twice), Err(Error::SameKey { access_key: "a".into() }));
        let unlimited =
            Config { connections_max: 0, keys: vec![key("a", "s", "lab")], ..Config::default() };
        assert_eq!(unlimited.check(|_| true), Err(Error::Zero { name: "connections_max" }));
    }
}
