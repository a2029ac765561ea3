//! Why a build failed.

use super::{InspectError, NotMigratable};
use std::path::PathBuf;
use types::ErrorKind;

/// What [`super::build`] can say.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing to build.
    #[error(
        "nothing to build: name a C, C++ or Rust source, a Cargo package's folder or a `.wasm`"
    )]
    NoInput,
    /// The kind of file is unknown.
    #[error(
        "`{}` is not something to build: give .c, .cc, .cpp, .cxx, .o, .a, .rs, .wasm or a folder \
         with a Cargo.toml",
        path.display()
    )]
    UnknownInput {
        /// Which file.
        path: PathBuf,
    },
    /// Two languages that are not built together.
    #[error(
        "`{}` cannot be built together with other files: C and C++ sources and objects go \
         together, a Rust program or a module stands alone",
        path.display()
    )]
    Mixed {
        /// The file that stands alone.
        path: PathBuf,
    },
    /// A module given as input has nothing to be done to it.
    #[error("`{}` is a module already: add `--migratable` to instrument it", path.display())]
    NothingToDo {
        /// The module.
        path: PathBuf,
    },
    /// A Cargo package with no or several programs.
    #[error("`{}` builds {count} programs: it must build exactly one", path.display())]
    Programs {
        /// The package's folder.
        path: PathBuf,
        /// How many.
        count: usize,
    },
    /// A flag that cannot be honoured.
    #[error("`{flag}` cannot be used: {reason}")]
    Flag {
        /// The flag as given.
        flag: String,
        /// Why, and what to do.
        reason: &'static str,
    },
    /// Parts of the toolchain are not installed.
    #[error(
        "cannot build {goal}: {} missing; install with: {}",
        listed(missing),
        install_line(packages)
    )]
    MissingTools {
        /// What was to be built.
        goal: &'static str,
        /// What is not there, in words.
        missing: Vec<String>,
        /// The Debian packages that hold it.
        packages: Vec<String>,
    },
    /// No Rust compiler has the library for programs on threads.
    #[error(
        "cannot build a Rust program on threads: no `rustc` in the search path has the target \
         `{target}`; install with: rustup target add {target}"
    )]
    MissingTarget {
        /// Which one.
        target: &'static str,
    },
    /// The program calls what no cell on threads has.
    #[error("`{}` calls `{function}`: {hint}", path.display())]
    Unavailable {
        /// The program.
        path: PathBuf,
        /// What it calls.
        function: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// A compiler, linker or optimiser refused its input.
    #[error("{tool} failed on {what}{}\n{output}", hint.map(|hint| format!(": {hint}")).unwrap_or_default())]
    Failed {
        /// Which program.
        tool: String,
        /// What it worked on.
        what: String,
        /// What it said.
        output: String,
        /// What to do about it, where that is known.
        hint: Option<&'static str>,
    },
    /// A program could not be started.
    #[error("cannot start `{}`", program.display())]
    Start {
        /// Which one.
        program: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file could not be read or written.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// `read`, `write`, …
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A module given as input, or made by a tool, cannot be read.
    #[error("`{}` cannot be used", path.display())]
    Module {
        /// Which module.
        path: PathBuf,
        /// Why.
        #[source]
        source: InspectError,
    },
    /// The module cannot be suspended, so `--migratable` cannot be kept.
    #[error("`{}` cannot be made migratable", path.display())]
    NotMigratable {
        /// Which module.
        path: PathBuf,
        /// Why.
        #[source]
        source: NotMigratable,
    },
}

impl Error {
    /// What a caller may do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoInput
            | Self::UnknownInput { .. }
            | Self::Mixed { .. }
            | Self::NothingToDo { .. }
            | Self::Programs { .. }
            | Self::Flag { .. }
            | Self::Failed { .. }
            | Self::Unavailable { .. }
            | Self::NotMigratable { .. } => ErrorKind::Invalid,
            Self::MissingTools { .. } | Self::MissingTarget { .. } => ErrorKind::Unsupported,
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                ErrorKind::NotFound
            }
            Self::Module { source, .. } => source.kind(),
            Self::Start { .. } | Self::File { .. } => ErrorKind::Internal,
        }
    }
}

/// What a file operation failed on.
pub(super) fn file(
    action: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.into();
    move |source| Error::File { action, path, source }
}

/// The command that installs these packages.
pub fn install_line(packages: &[String]) -> String {
    format!("apt-get install {}", packages.join(" "))
}

fn listed(missing: &[String]) -> String {
    match missing {
        [] => "nothing is".to_owned(),
        [one] => format!("{one} is"),
        [first @ .., last] => format!("{} and {last} are", first.join(", ")),
    }
}
