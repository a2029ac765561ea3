//! Which control plane, and with which token: from options, the environment or a file of contexts.

use super::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};
use types::Token;

/// One control plane as a user knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Context {
    /// Where its REST interface is: `http://127.0.0.1:8470`, or `https://…` on another machine.
    pub url: String,
    /// The certificate of the control plane's authority, `ca.pem`; needed for `https://`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The file that holds the token, readable by its owner alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Whose resources commands mean; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

/// The file `contexts.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    /// The one in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// All, by name.
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

/// What options and the environment say; each part outranks the file.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// `--context`.
    pub context: Option<String>,
    /// `--url` or `CLOUDSKIN_URL`.
    pub url: Option<String>,
    /// `--token` or `CLOUDSKIN_TOKEN`.
    pub token: Option<String>,
    /// `--ca` or `CLOUDSKIN_CA`.
    pub ca: Option<PathBuf>,
    /// `--tenant` or `CLOUDSKIN_TENANT`.
    pub tenant: Option<String>,
}

/// Where and as whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) url: String,
    pub(crate) token: Option<Token>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) tenant: String,
}

impl Contexts {
    /// Where the file is: `$XDG_CONFIG_HOME/cloudskin/contexts.toml`, else beneath `~/.config`.
    pub fn default_path() -> Option<PathBuf> {
        let folder = xdg(
            std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from),
            std::env::var_os("HOME").map(PathBuf::from),
            ".config",
        )?;
        Some(folder.join("cloudskin/contexts.toml"))
    }

    /// The contexts in `path`; none if the file is absent.
    ///
    /// # Errors
    /// If the file cannot be read or is malformed.
    pub fn load(path: &Path) -> Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => {
                return Err(Error::File { action: "read", path: path.into(), source });
            }
        };
        toml::from_str(&text)
            .map_err(|source| Error::Contexts { path: path.into(), source: source.into() })
    }

    /// Writes the file whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let failed = |source| Error::File { action: "write", path: path.into(), source };
        let text = toml::to_string_pretty(self).expect("contexts are plain tables");
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let draft = path.with_extension(format!("draft-{}", types::random_id()));
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| fs::rename(&draft, path));
        written.map_err(|source| {
            // The draft is of no use to anyone; if it stays, it is only a stray file.
            let _ = fs::remove_file(&draft);
            failed(source)
        })
    }

    /// Adds or replaces a context; it becomes the current one if there is none.
    pub fn set(&mut self, name: &str, context: Context) {
        self.contexts.insert(name.to_owned(), context);
        self.current.get_or_insert_with(|| name.to_owned());
    }

    /// Makes an existing context the current one.
    ///
    /// # Errors
    /// [`Error::UnknownContext`] names those that exist.
    pub fn use_context(&mut self, name: &str) -> Result<()> {
        self.named(name)?;
        self.current = Some(name.to_owned());
        Ok(())
    }

    /// Forgets a context.
    ///
    /// # Errors
    /// [`Error::UnknownContext`] names those that exist.
    pub fn delete(&mut self, name: &str) -> Result<()> {
        self.named(name)?;
        self.contexts.remove(name);
        if self.current.as_deref() == Some(name) {
            self.current = None;
        }
        Ok(())
    }

    fn named(&self, name: &str) -> Result<&Context> {
        self.contexts.get(name).ok_or_else(|| {
            let names: Vec<_> = self.contexts.keys().map(|name| format!("`{name}`")).collect();
            let known = match names.is_empty() {
                true => "none is defined, `cloudskin up` makes `local`".to_owned(),
                false => format!("there are {}", names.join(", ")),
            };
            Error::UnknownContext { name: name.to_owned(), known }
        })
    }

    /// The control plane that the user means: what is given outranks the chosen context.
    ///
    /// A token of a context is sent to that context's URL alone, never to another one given.
    ///
    /// # Errors
    /// If nothing says where, or the token cannot be read.
    pub(crate) fn find(&self, given: &Given) -> Result<Found> {
        let chosen = match (&given.context, &given.url, &self.current) {
            (Some(name), ..) => Some(self.named(name)?),
            (None, Some(_), _) => None,
            (None, None, Some(name)) => Some(self.named(name)?),
            (None, None, None) => None,
        };
        let context_url = chosen.map(|context| context.url.clone());
        let url = given.url.clone().or_else(|| context_url.clone()).ok_or(Error::NoContext)?;
        let own = chosen.filter(|_| context_url.as_ref() == Some(&url));
        let token_file = own.and_then(|context| context.token_file.as_deref());
        let ca = given.ca.clone().or_else(|| own.and_then(|context| context.ca.clone()));
        let token = match (&given.token, token_file) {
            (Some(text), _) => Some(Token::from_text(text)),
            (None, Some(path)) => Some(Token::load(path)?),
            (None, None) => None,
        };
        let tenant = given
            .tenant
            .clone()
            .or_else(|| chosen.and_then(|context| context.tenant.clone()))
            .unwrap_or_else(|| api::DEFAULT_TENANT.to_owned());
        Ok(Found { url, token, ca, tenant })
    }

    /// A client for the control plane that the user means.
    ///
    /// # Errors
    /// If nothing says where it is, the token or certificate cannot be read, or the address is
    /// malformed.
    pub fn resolve(&self, given: &Given) -> Result<super::Client> {
        let found = self.find(given)?;
        super::Client::secured(&found.url, found.token, &found.tenant, found.ca.as_deref())
    }
}

/// An XDG base folder: the variable if it is absolute, else `fallback` beneath the home folder.
pub(crate) fn xdg(
    variable: Option<PathBuf>,
    home: Option<PathBuf>,
    fallback: &str,
) -> Option<PathBuf> {
    variable.filter(|path| path.is_absolute()).or_else(|| Some(home?.join(fallback)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Contexts {
        let context =
            |port: u16| Context { url: format!("http://127.0.0.1:{port}"), ..Context::default() };
        let mut contexts = Contexts::default();
        contexts.set("local", context(1));
        contexts.set("lab", Context { tenant: Some("blue".into()), ..context(2) });
        contexts
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deeper/contexts.toml");

        two().save(&path).unwrap();

        assert_eq!(Contexts::load(&path).unwrap(), two());
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&path).unwrap());
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert_eq!(Contexts::load(&folder.path().join("absent")).unwrap(), Contexts::default());
    }

    #[test]
    fn malformed_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("contexts.toml");
        for wrong in ["[", "current = 1", "surprise = true", "[contexts.a]\nurl = 1"] {
            fs::write(&path, wrong).unwrap();
            assert_eq!(Contexts::load(&path).unwrap_err().kind(), types::ErrorKind::Invalid);
        }
    }

    #[test]
    fn options_outrank_the_context_in_use() {
        let contexts = two();
        let find = |given: Given| contexts.find(&given).map(|found| (found.url, found.tenant));
        let text = |text: &str| Some(text.to_owned());

        assert_eq!(
            find(Given::default()).unwrap(),
            ("http://127.0.0.1:1".into(), "default".into())
        );
        assert_eq!(
            find(Given { context: text("lab"), ..Given::default() }).unwrap(),
            ("http://127.0.0.1:2".into(), "blue".into())
        );
        assert_eq!(
            find(Given { context: text("lab"), tenant: text("red"), ..Given::default() })
                .unwrap()
                .1,
            "red"
        );
        assert_eq!(
            find(Given { url: text("http://[::1]:3"), ..Given::default() }).unwrap(),
            ("http://[::1]:3".into(), "default".into())
        );
        assert!(matches!(Contexts::default().find(&Given::default()), Err(Error::NoContext)));
    }

    #[test]
    fn a_contexts_token_goes_to_its_own_address_alone() {
        let folder = tempfile::tempdir().unwrap();
        let token_file = folder.path().join("token");
        let token = Token::load_or_create(&token_file).unwrap();
        let mut contexts = two();
        contexts.contexts.get_mut("local").unwrap().token_file = Some(token_file);

        let own = contexts.find(&Given::default()).unwrap();
        let other = contexts
            .find(&Given {
                context: Some("local".into()),
                url: Some("http://10.0.0.1:8470".into()),
                ..Given::default()
            })
            .unwrap();

        assert_eq!(own.token, Some(token));
        assert_eq!(other.token, None);
    }

    #[test]
    fn unknown_contexts_are_refused_with_those_that_exist() {
        let mut contexts = two();

        let error = contexts.use_context("nowhere").unwrap_err().to_string();
        contexts.delete("local").unwrap();

        assert!(error.contains("`lab`, `local`"), "{error}");
        assert_eq!(contexts.current, None);
        contexts.use_context("lab").unwrap();
        assert_eq!(contexts.current.as_deref(), Some("lab"));
    }

    #[test]
    fn relative_xdg_folders_are_ignored() {
        let home = Some(PathBuf::from("/home/a"));
        assert_eq!(xdg(Some("/x".into()), home.clone(), ".config"), Some("/x".into()));
        assert_eq!(xdg(Some("x".into()), home.clone(), ".config"), Some("/home/a/.config".into()));
        assert_eq!(xdg(None, None, ".config"), None);
    }
}
