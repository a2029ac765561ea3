//! Why a cell's system interface cannot be made, saved or restored.

use types::ErrorKind;

/// A program's arguments, variables or folders cannot be given to it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// C strings end at the first NUL.
    #[error("argument, variable or guest path {text:?} holds a NUL byte: leave it out")]
    Nul {
        /// The text.
        text: String,
    },
    /// A variable's name.
    #[error("variable name {name:?} is empty or holds `=`")]
    VariableName {
        /// The name.
        name: String,
    },
    /// They are copied into the guest's memory.
    #[error("arguments and variables take {size_bytes} bytes: the limit is {limit_bytes}")]
    ArgumentsTooLarge {
        /// What they take.
        size_bytes: u64,
        /// What they may take.
        limit_bytes: u64,
    },
    /// A snapshot refers to folders by their guest path.
    #[error("two folders are granted as `{guest_path}`: give each its own guest path")]
    DuplicateGrant {
        /// The path.
        guest_path: String,
    },
    /// Every grant takes a descriptor.
    #[error("{count} folders and 3 standard streams do not fit {limit} open files")]
    TooManyGrants {
        /// How many folders.
        count: usize,
        /// How many descriptors.
        limit: u32,
    },
    /// The mount does not answer.
    #[error("cannot open the folder granted as `{guest_path}`")]
    Mount {
        /// The path.
        guest_path: String,
        /// Why.
        #[source]
        source: super::Errno,
    },
}

/// A file could not be closed when its program ended; what was written to it is lost.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{path}` in `{mount}`, which was open when the program ended, could not be closed: what was written to it is lost"
)]
pub struct CloseError {
    /// The descriptor.
    pub fd: u32,
    /// The mount's guest path.
    pub mount: String,
    /// The file.
    pub path: String,
    /// Why.
    #[source]
    pub source: super::Errno,
}

/// The state cannot be saved; the cell continues as it was.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// Something open has no name that a restored cell could open it by.
    #[error("descriptor {fd} is a directory of `{mount}` that was removed: close it first")]
    RemovedDirectory {
        /// The descriptor.
        fd: u32,
        /// The mount's guest path.
        mount: String,
    },
    /// Devices are bound to their machine.
    #[error("descriptor {fd} is a device in `{mount}`, which cannot leave this machine")]
    Device {
        /// The descriptor.
        fd: u32,
        /// The mount's guest path.
        mount: String,
    },
    /// The bytes of files open for writing travel in the image.
    #[error(
        "descriptor {fd} (`{path}` in `{mount}`) would bring the carried bytes to {size_bytes}: \
         the limit is {limit_bytes}"
    )]
    TooLarge {
        /// The descriptor.
        fd: u32,
        /// The mount's guest path.
        mount: String,
        /// The file.
        path: String,
        /// All carried bytes with it.
        size_bytes: u64,
        /// What one image may carry.
        limit_bytes: u64,
    },
    /// A file cannot be read.
    #[error("cannot read descriptor {fd} in `{mount}` for the snapshot")]
    Read {
        /// The descriptor.
        fd: u32,
        /// The mount's guest path.
        mount: String,
        /// Why.
        #[source]
        source: super::Errno,
    },
}

/// The state is not what was granted, or its files are not here; nothing was changed unless a
/// variant says so.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// A newer format.
    #[error("the image has format version {found}: this program reads up to {known}")]
    Version {
        /// Its version.
        found: u16,
        /// The newest known.
        known: u16,
    },
    /// The image contradicts itself.
    #[error("the image is malformed: {what}")]
    Malformed {
        /// What is wrong.
        what: String,
    },
    /// Arguments or grants do not fit the limits.
    #[error("the image does not fit what is granted")]
    Config(#[from] ConfigError),
    /// More than granted.
    #[error("descriptor {fd} claims {what}, which this cell is not granted")]
    NotGranted {
        /// The descriptor.
        fd: u32,
        /// What it claims.
        what: String,
    },
    /// Beyond the limits.
    #[error("descriptor {fd} is not below the limit of {limit} open files")]
    TooManyFiles {
        /// The descriptor.
        fd: u32,
        /// The limit.
        limit: u32,
    },
    /// A file or directory that the cell held open cannot be opened.
    #[error("cannot open `{path}` in `{mount}`, which the cell held open")]
    Open {
        /// The mount's guest path.
        mount: String,
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: super::Errno,
    },
    /// It is there, but it is another.
    #[error("`{path}` in `{mount}` is not what the cell held open: {difference}")]
    Differs {
        /// The mount's guest path.
        mount: String,
        /// The file.
        path: String,
        /// How it differs.
        difference: &'static str,
    },
    /// It has been sealed again since the image.
    #[error(
        "`{path}` in `{mount}` is {}: the cell held version {expected} open",
        match found {
            Some(found) => format!("version {found} now"),
            None => "in a folder without versions".to_owned(),
        }
    )]
    OtherVersion {
        /// The mount's guest path.
        mount: String,
        /// The file.
        path: String,
        /// The version that the cell held open.
        expected: u64,
        /// The one that is there, if it has any.
        found: Option<u64>,
    },
    /// A graph was loaded by a name that nothing is given under.
    #[error("the cell had loaded the model `{name}`: give it one of this name")]
    NoModel {
        /// The model's name.
        name: String,
    },
    /// Writing back carried bytes failed; files named before it are written.
    #[error("cannot write back `{path}` in `{mount}`")]
    WriteBack {
        /// The mount's guest path.
        mount: String,
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: super::Errno,
    },
}

impl ConfigError {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Mount { .. } => ErrorKind::NotFound,
            _ => ErrorKind::Invalid,
        }
    }
}

impl CloseError {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self.source {
            super::Errno::Nospc | super::Errno::Dquot => ErrorKind::Exhausted,
            super::Errno::Exist => ErrorKind::AlreadyExists,
            _ => ErrorKind::Internal,
        }
    }
}

impl SaveError {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::RemovedDirectory { .. } | Self::Device { .. } => ErrorKind::Unsupported,
            Self::TooLarge { .. } => ErrorKind::Exhausted,
            Self::Read { .. } => ErrorKind::Internal,
        }
    }
}

impl RestoreError {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Version { .. } => ErrorKind::Unsupported,
            Self::Malformed { .. } => ErrorKind::Corrupt,
            Self::Config(error) => error.kind(),
            Self::NotGranted { .. } => ErrorKind::Forbidden,
            Self::TooManyFiles { .. } => ErrorKind::Exhausted,
            Self::Open { .. } | Self::NoModel { .. } => ErrorKind::NotFound,
            Self::Differs { .. } | Self::OtherVersion { .. } => ErrorKind::Conflict,
            Self::WriteBack { .. } => ErrorKind::Internal,
        }
    }
}
