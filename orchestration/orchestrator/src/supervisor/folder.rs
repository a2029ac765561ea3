//! The data folder: what lies where, who may use it, and how it is removed.

use super::{Error, Result, State, process::Identity};
use crate::client;
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};
use types::Token;

/// Marks a folder as ours, so that `--purge` removes nothing else; holds the format's number.
const MARKER: &str = "CLOUDSKIN-DATA";

/// The format of the folder itself; parts have their own.
const FORMAT: u32 = 1;

/// Where a continuum of this machine keeps everything.
///
/// ```text
/// CLOUDSKIN-DATA        the format's number
/// lock                  held while a supervisor lives
/// state.json            what the supervisor last said
/// run/<child>.json      each child's process
/// logs/<child>.log      what each child says, and supervisor.log
/// control/              the control plane's own; token lets users in, site-token agents
/// sites/<site>/         each agent's own; workers/*.pid name its workers
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFolder {
    root: PathBuf,
}

/// The right to supervise a folder; ends with this value or the process.
#[derive(Debug)]
pub struct Lock {
    // The lock lives as long as the open file; children do not inherit it.
    _file: File,
}

impl DataFolder {
    /// The folder at `root`; nothing is made or checked yet.
    ///
    /// # Errors
    /// If `root` is relative and the present folder is unknown.
    pub fn at(root: &Path) -> Result<Self> {
        let root = std::path::absolute(root).map_err(Error::file("find", root))?;
        Ok(Self { root })
    }

    /// `$XDG_STATE_HOME/cloudskin`, else beneath `~/.local/state`.
    ///
    /// # Errors
    /// If neither variable says where.
    pub fn default_root() -> Result<PathBuf> {
        let variable = |name| std::env::var_os(name).map(PathBuf::from);
        client::xdg(variable("XDG_STATE_HOME"), variable("HOME"), ".local/state")
            .map(|folder| folder.join("cloudskin"))
            .ok_or(Error::NoFolder)
    }

    /// Makes the folder where it is absent, private to its owner, and checks its format.
    ///
    /// # Errors
    /// If it cannot be made, belongs to something else, or has another format.
    pub fn prepare(&self) -> Result<()> {
        private_folder(&self.root)?;
        let marker = self.root.join(MARKER);
        if !self.is_ours()? {
            let mut entries = fs::read_dir(&self.root).map_err(Error::file("read", &self.root))?;
            if entries.next().is_some() {
                return Err(Error::ForeignFolder(self.root.clone()));
            }
            replace(&marker, format!("{FORMAT}\n").as_bytes())?;
        }
        for folder in [self.logs(), self.run(), self.control()] {
            private_folder(&folder)?;
        }
        Ok(())
    }

    /// Whether the folder exists and is a data folder of this format.
    ///
    /// # Errors
    /// If it cannot be read or has another format.
    pub fn is_ours(&self) -> Result<bool> {
        let marker = self.root.join(MARKER);
        let found = match fs::read_to_string(&marker) {
            Ok(text) => text.trim().chars().take(20).collect::<String>(),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(false);
            }
            Err(source) => return Err(Error::File { action: "read", path: marker, source }),
        };
        match found == FORMAT.to_string() {
            true => Ok(true),
            false => Err(Error::Format { path: self.root.clone(), found, known: FORMAT }),
        }
    }

    /// Takes the folder for this process.
    ///
    /// # Errors
    /// [`Error::Locked`] says who has it.
    pub fn lock(&self) -> Result<Lock> {
        match self.try_lock()? {
            Some(lock) => Ok(lock),
            None => Err(Error::Locked { path: self.root.clone(), holder: self.holder() }),
        }
    }

    /// Takes the folder for this process, unless another has it.
    ///
    /// # Errors
    /// If the lock file cannot be used.
    pub fn try_lock(&self) -> Result<Option<Lock>> {
        let path = self.root.join("lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(Error::file("open", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(error) if error == rustix::io::Errno::WOULDBLOCK => Ok(None),
            Err(error) => Err(Error::file("lock", &path)(error.into())),
        }
    }

    fn holder(&self) -> String {
        match self.state() {
            Ok(Some(state)) => {
                format!(
                    "the supervisor with pid {}, which serves {}",
                    state.supervisor.pid, state.url
                )
            }
            _ => "a supervisor that is starting".into(),
        }
    }

    /// What the supervisor last said, whether or not it still lives.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn state(&self) -> Result<Option<State>> {
        read_json(&self.root.join("state.json"))
    }

    pub(super) fn save_state(&self, state: &State) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(state).expect("a state is plain data");
        replace(&self.root.join("state.json"), &bytes)
    }

    pub(super) fn remove_state(&self) -> Result<()> {
        remove(&self.root.join("state.json"))
    }

    /// Every child that was started and not ended.
    pub(super) fn children(&self) -> Result<Vec<(String, Identity)>> {
        let mut children = Vec::new();
        for path in files(&self.run(), "json")? {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            children.extend(read_json(&path)?.map(|identity| (name, identity)));
        }
        Ok(children)
    }

    pub(super) fn save_child(&self, name: &str, identity: &Identity) -> Result<()> {
        let bytes = serde_json::to_vec(identity).expect("an identity is plain data");
        replace(&self.run().join(format!("{name}.json")), &bytes)
    }

    pub(super) fn remove_child(&self, name: &str) -> Result<()> {
        remove(&self.run().join(format!("{name}.json")))
    }

    /// The files that name workers: `sites/*/workers/*.pid`.
    pub(super) fn worker_files(&self) -> Result<Vec<PathBuf>> {
        let sites = self.root.join("sites");
        let mut found = Vec::new();
        for entry in read_folder(&sites)? {
            found.extend(files(&entry.join("workers"), "pid")?);
            found.extend(files(&entry.join("store"), "pid")?);
        }
        Ok(found)
    }

    /// The token that lets users in. It and the agents' are made when they are absent, so that
    /// agents need not wait for the control plane's first start.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn token(&self) -> Result<Token> {
        Token::load_or_create(&self.site_token_file())?;
        Ok(Token::load_or_create(&self.token_file())?)
    }

    /// Removes the folder and everything in it.
    ///
    /// # Errors
    /// If it is not ours, is in use, or cannot be removed.
    pub fn purge(&self) -> Result<()> {
        if !self.is_ours()? {
            return match self.root.exists() {
                true => Err(Error::ForeignFolder(self.root.clone())),
                false => Ok(()),
            };
        }
        let _lock = self.lock()?;
        // The marker goes last, so that an interrupted removal can be taken up again.
        for path in read_folder(&self.root)? {
            let removed = match path.is_dir() && !path.is_symlink() {
                true => fs::remove_dir_all(&path),
                false if path.ends_with(MARKER) => continue,
                false => fs::remove_file(&path),
            };
            removed.map_err(Error::file("remove", &path))?;
        }
        remove(&self.root.join(MARKER))?;
        fs::remove_dir(&self.root).map_err(Error::file("remove", &self.root))
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file of the users' token.
    pub fn token_file(&self) -> PathBuf {
        self.control().join("token")
    }

    /// The file of the agents' token.
    pub fn site_token_file(&self) -> PathBuf {
        self.control().join("site-token")
    }

    /// The key and certificate of a site.
    pub fn identity(&self, site: &str) -> PathBuf {
        self.site(site).join("identity.json")
    }

    /// Where logs are.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The log of a child, or of the `supervisor`.
    pub fn log(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.log"))
    }

    /// The control plane's own folder.
    pub fn control(&self) -> PathBuf {
        self.root.join("control")
    }

    /// An agent's own folder.
    pub fn site(&self, name: &str) -> PathBuf {
        self.root.join("sites").join(name)
    }

    fn run(&self) -> PathBuf {
        self.root.join("run")
    }
}

fn private_folder(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Error::file("make", path))
}

/// Writes a file whole or not at all.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let draft = path.with_extension(format!("draft-{}", types::random_id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&draft, path));
    written.map_err(|source| {
        // The draft is of no use to anyone; if it stays, it is only a stray file.
        let _ = fs::remove_file(&draft);
        Error::File { action: "write", path: path.to_owned(), source }
    })
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// What the file says; nothing if it is absent, or not as this version writes it.
fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::file("read", path)(source)),
    }
}

fn read_folder(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::file("read", path)(source)),
    };
    let paths: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.path())).collect();
    paths.map_err(Error::file("read", path))
}

fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut paths = read_folder(folder)?;
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::ErrorKind;

    #[test]
    fn a_new_folder_is_made_private_and_a_foreign_one_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let ours = DataFolder::at(&parent.path().join("deep/ours")).unwrap();
        fs::write(parent.path().join("letter"), "dear").unwrap();
        let foreign = DataFolder::at(parent.path()).unwrap();

        ours.prepare().unwrap();
        ours.prepare().unwrap();

        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(ours.root()).unwrap());
        assert_eq!(mode & 0o777, 0o700);
        assert!(matches!(foreign.prepare(), Err(Error::ForeignFolder(_))));
        assert!(matches!(foreign.purge(), Err(Error::ForeignFolder(_))));
        assert!(parent.path().join("letter").exists());
    }

    #[test]
    fn one_supervisor_has_the_folder_and_another_is_told() {
        let parent = tempfile::tempdir().unwrap();
        let folder = DataFolder::at(parent.path()).unwrap();
        folder.prepare().unwrap();

        let lock = folder.lock().unwrap();
        let second = folder.lock().unwrap_err();
        let purge = folder.purge().unwrap_err();
        drop(lock);

        assert_eq!(second.kind(), ErrorKind::AlreadyExists);
        assert!(matches!(purge, Error::Locked { .. }));
        folder.lock().unwrap();
    }

    #[test]
    fn a_purge_leaves_nothing_and_may_be_repeated() {
        let parent = tempfile::tempdir().unwrap();
        let folder = DataFolder::at(&parent.path().join("data")).unwrap();
        folder.prepare().unwrap();
        folder.token().unwrap();
        fs::create_dir_all(folder.site("edge").join("workers")).unwrap();
        std::os::unix::fs::symlink("/", folder.root().join("way-out")).unwrap();

        folder.purge().unwrap();
        folder.purge().unwrap();

        assert!(!folder.root().exists());
        assert!(Path::new("/").exists());
    }

    #[test]
    fn a_folder_of_another_format_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let folder = DataFolder::at(parent.path()).unwrap();
        fs::write(parent.path().join(MARKER), "99\n").unwrap();

        assert_eq!(folder.prepare().unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(folder.purge().unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
