//! What commands share: which control plane is meant, and how resources are named.

use crate::{cli::Connection, exit::Failure};
use api::Kind;
use orchestrator::client::{Client, Contexts, Error, Given};
use std::path::PathBuf;
use types::ErrorKind;

/// One run of the binary.
#[derive(Debug)]
pub(crate) struct Session {
    given: Given,
}

impl Session {
    pub(crate) fn new(connection: Connection) -> Self {
        let Connection { context, url, token, ca, tenant } = connection;
        // An empty variable is as good as none.
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        Self {
            given: Given {
                context: given(context),
                url: given(url),
                token: given(token),
                ca: ca.filter(|path| !path.as_os_str().is_empty()),
                tenant: given(tenant),
            },
        }
    }

    /// One that was told nothing.
    #[cfg(test)]
    pub(crate) fn alone() -> Self {
        let (context, url, token, ca, tenant) = (None, None, None, None, None);
        Self::new(Connection { context, url, token, ca, tenant })
    }

    /// A client for the control plane that the user means.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let contexts = match Contexts::default_path() {
            Some(path) => Contexts::load(&path)?,
            None => Contexts::default(),
        };
        Ok(contexts.resolve(&self.given)?)
    }

    /// Whose objects are meant, where no control plane is asked.
    pub(crate) fn tenant(&self) -> &str {
        self.given.tenant.as_deref().unwrap_or("default")
    }

    /// Whether the user named a control plane, instead of leaving it to the current context.
    pub(crate) fn is_named(&self) -> bool {
        self.given.url.is_some() || self.given.context.is_some()
    }

    /// Where contexts are kept.
    pub(crate) fn contexts_path() -> anyhow::Result<PathBuf> {
        Contexts::default_path().ok_or_else(|| {
            Failure::error(ErrorKind::Invalid, "no folder for contexts is known: set HOME")
        })
    }
}

/// One resource as users name it: `service/street-counter`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) name: String,
}

impl std::str::FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (kind, name) =
            text.split_once('/').ok_or_else(|| Error::Target(text.chars().take(80).collect()))?;
        let kind = kind.parse().map_err(Error::Kind)?;
        types::check_name(name)
            .map_err(|source| Error::Kind(api::ApiError::Name { field: "name", source }))?;
        Ok(Self { kind, name: name.to_owned() })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind.path(), self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_kind_and_name() {
        let target: Target = "services/a".parse().unwrap();

        assert_eq!(target.to_string(), "service/a");
        for wrong in ["a", "service", "service/", "serv/a", "service/a/b", "service/../a", "/"] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }
}
