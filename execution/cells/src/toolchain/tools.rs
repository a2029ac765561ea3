//! Which parts of the toolchain are on this machine.

use super::{Environment, Error};
use std::path::{Path, PathBuf};

/// The version that our measurements were made with; preferred when several are there.
const CLANG_PREFERRED: u32 = 19;
/// The oldest one whose WebAssembly back end does what we ask.
const CLANG_MIN: u32 = 16;
const CLANG_MAX: u32 = 60;

/// What is to be built; each needs other tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// C programs.
    C,
    /// C++ programs.
    Cxx,
    /// Programs that can be moved while they run.
    Migratable,
    /// Rust programs.
    Rust,
}

impl Goal {
    fn name(self) -> &'static str {
        match self {
            Self::C => "a C program",
            Self::Cxx => "a C++ program",
            Self::Migratable => "a migratable program",
            Self::Rust => "a Rust program",
        }
    }
}

/// One part of the toolchain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolStatus {
    /// What it is called: `clang-19`.
    pub name: String,
    /// What it is for.
    pub goals: Vec<Goal>,
    /// The Debian package that holds it; several are separated by spaces.
    pub package: String,
    /// Where it is, if it is there.
    pub found: Option<PathBuf>,
}

/// The parts as looked up, in the order of use.
#[derive(Debug, Clone)]
pub(super) struct Survey {
    pub(super) tools: Vec<ToolStatus>,
}

/// Names of the parts that other code asks for.
pub(super) const CLANG: &str = "clang";
pub(super) const CLANGXX: &str = "clang++";
pub(super) const LINKER: &str = "wasm-ld";
pub(super) const OPTIMISER: &str = "wasm-opt";
pub(super) const RUSTC: &str = "rustc";
pub(super) const CARGO: &str = "cargo";

/// The programs and paths of a complete toolchain for C or C++.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clang {
    pub(super) c: PathBuf,
    pub(super) cxx: Option<PathBuf>,
    pub(super) linker: PathBuf,
    pub(super) prefix: PathBuf,
}

impl Survey {
    /// Looks for what C and C++ need.
    pub(super) fn new(environment: &Environment) -> Self {
        let search = Search { environment };
        let version = search.clang_version();
        let mut tools = search.clang_parts(version);
        tools.push(search.part(OPTIMISER, OPTIMISER, "binaryen", &[Goal::Migratable]));
        Self { tools }
    }

    /// Looks for every part; asking Rust compilers where their libraries are takes a while.
    pub(super) fn with_rust(environment: &Environment) -> Self {
        let mut survey = Self::new(environment);
        survey.tools.extend(super::rust::parts(&Search { environment }));
        survey
    }

    /// Refuses, naming everything that is missing, unless all parts for these goals are there.
    pub(super) fn require(&self, goals: &[Goal]) -> Result<(), Error> {
        let needed = |tool: &&ToolStatus| tool.goals.iter().any(|goal| goals.contains(goal));
        let missing: Vec<&ToolStatus> =
            self.tools.iter().filter(needed).filter(|tool| tool.found.is_none()).collect();
        let Some(goal) =
            goals.iter().find(|goal| missing.iter().any(|tool| tool.goals.contains(goal)))
        else {
            return Ok(());
        };
        let mut packages: Vec<String> = Vec::new();
        for package in missing.iter().flat_map(|tool| tool.package.split(' ')) {
            if !packages.iter().any(|listed| listed == package) {
                packages.push(package.to_owned());
            }
        }
        let missing = missing.iter().map(|tool| format!("`{}`", tool.name)).collect();
        Err(Error::MissingTools { goal: goal.name(), missing, packages })
    }

    /// Where a part is whose name is this, with or without a version behind it.
    pub(super) fn program(&self, name: &str) -> Result<PathBuf, Error> {
        let tool = self.tools.iter().find(|tool| is_named(tool, name));
        let missing = || Error::MissingTools {
            goal: "the program",
            missing: vec![format!("`{name}`")],
            packages: tool.iter().map(|tool| tool.package.clone()).collect(),
        };
        tool.and_then(|tool| tool.found.clone()).ok_or_else(missing)
    }

    /// The C and C++ toolchain.
    pub(super) fn clang(&self, prefix: &Path) -> Result<Clang, Error> {
        Ok(Clang {
            c: self.program(CLANG)?,
            cxx: self.program(CLANGXX).ok(),
            linker: self.program(LINKER)?,
            prefix: prefix.to_owned(),
        })
    }
}

fn is_named(tool: &ToolStatus, name: &str) -> bool {
    let rest = tool.name.strip_prefix(name).map(|rest| rest.trim_start_matches('-'));
    rest.is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit()))
}

/// Which clang was chosen, and how its programs are spelled.
#[derive(Debug, Clone, Copy)]
struct ClangVersion {
    number: u32,
    /// Whether programs are called `clang-19` rather than `clang`.
    suffixed: bool,
}

/// Looks for files of this environment.
pub(super) struct Search<'a> {
    pub(super) environment: &'a Environment,
}

impl Search<'_> {
    /// The first program of this name in the search path.
    pub(super) fn program(&self, name: &str) -> Option<PathBuf> {
        std::env::split_paths(&self.environment.search_path)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(name))
            .find(|path| is_program(path))
    }

    /// Every program of this name, in the order of the search path.
    pub(super) fn programs(&self, name: &str) -> Vec<PathBuf> {
        std::env::split_paths(&self.environment.search_path)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(name))
            .filter(|path| is_program(path))
            .collect()
    }

    pub(super) fn part(
        &self,
        name: &str,
        program: &str,
        package: &str,
        goals: &[Goal],
    ) -> ToolStatus {
        status(name, package, goals, self.program(program))
    }

    fn clang_version(&self) -> ClangVersion {
        let others = (CLANG_MIN..=CLANG_MAX).rev();
        let suffixed = std::iter::once(CLANG_PREFERRED)
            .chain(others)
            .find(|number| self.program(&format!("{CLANG}-{number}")).is_some());
        if let Some(number) = suffixed {
            return ClangVersion { number, suffixed: true };
        }
        let plain = self.program(CLANG).and_then(|clang| plain_version(&clang));
        match plain.filter(|number| *number >= CLANG_MIN) {
            Some(number) => ClangVersion { number, suffixed: false },
            None => ClangVersion { number: CLANG_PREFERRED, suffixed: true },
        }
    }

    fn clang_parts(&self, version: ClangVersion) -> Vec<ToolStatus> {
        let number = version.number;
        let spelled = |name: &str| {
            if version.suffixed { format!("{name}-{number}") } else { name.to_owned() }
        };
        let both = [Goal::C, Goal::Cxx];
        let clang = format!("clang-{number}");
        let lib = self.environment.prefix.join("lib/wasm32-wasi");
        let library = |file: &str, package: &str, goals: &[Goal]| {
            let path = lib.join(file);
            status(file, package, goals, path.is_file().then_some(path))
        };
        let mut parts = vec![
            self.part(&spelled(CLANG), &spelled(CLANG), &clang, &both),
            self.part(&spelled(CLANGXX), &spelled(CLANGXX), &clang, &[Goal::Cxx]),
            self.linker(&spelled(LINKER), number),
            library("libc.a", "wasi-libc", &[Goal::C, Goal::Cxx, Goal::Rust]),
        ];
        let builtins = self.builtins(parts[0].found.as_deref(), number);
        let package = format!("libclang-rt-{number}-dev-wasm32");
        parts.push(status("libclang_rt.builtins-wasm32.a", &package, &both, builtins));
        for name in ["libc++", "libc++abi"] {
            let package = format!("{name}-{number}-dev-wasm32");
            parts.push(library(&format!("{name}.a"), &package, &[Goal::Cxx]));
        }
        parts
    }

    /// The linker, by its versioned name or in the folder of its version.
    fn linker(&self, name: &str, number: u32) -> ToolStatus {
        let own = self.environment.prefix.join(format!("lib/llvm-{number}/bin/{LINKER}"));
        let found = self
            .program(name)
            .or_else(|| is_program(&own).then_some(own))
            .or_else(|| self.program(LINKER));
        status(name, &format!("lld-{number}"), &[Goal::C, Goal::Cxx, Goal::Rust], found)
    }

    /// The compiler's support library for WebAssembly lies beside the compiler's own files.
    fn builtins(&self, clang: Option<&Path>, number: u32) -> Option<PathBuf> {
        let beside = clang.and_then(|clang| clang.canonicalize().ok());
        let beside = beside.as_deref().and_then(Path::parent).and_then(Path::parent);
        let usual = self.environment.prefix.join(format!("lib/llvm-{number}"));
        let folders = beside.into_iter().chain([usual.as_path()]);
        folders
            .map(|folder| folder.join(format!("lib/clang/{number}/lib")))
            .flat_map(|lib| {
                ["wasi/libclang_rt.builtins-wasm32.a", "wasm32-unknown-wasi/libclang_rt.builtins.a"]
                    .map(|file| lib.join(file))
            })
            .find(|path| path.is_file())
    }
}

pub(super) fn status(
    name: &str,
    package: &str,
    goals: &[Goal],
    found: Option<PathBuf>,
) -> ToolStatus {
    ToolStatus { name: name.to_owned(), goals: goals.to_vec(), package: package.to_owned(), found }
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The major number in `Debian clang version 19.1.7 (3~deb12u1)`.
fn plain_version(clang: &Path) -> Option<u32> {
    let output = std::process::Command::new(clang).arg("--version").output().ok()?;
    major_version(&String::from_utf8_lossy(&output.stdout))
}

fn major_version(text: &str) -> Option<u32> {
    let (_, version) = text.split_once("clang version ")?;
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(root: &Path) -> Environment {
        Environment {
            search_path: root.join("bin").into(),
            current_dir: root.to_owned(),
            cache_dir: root.join("cache"),
            prefix: root.to_owned(),
        }
    }

    /// Puts an empty program or library where the survey looks for it.
    fn place(root: &Path, name: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn missing(root: &Path, goals: &[Goal]) -> String {
        let survey = Survey::new(&environment(root));
        survey.require(goals).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn names_everything_missing_and_the_command_that_installs_it() {
        let root = tempfile::tempdir().unwrap();

        assert_eq!(
            missing(root.path(), &[Goal::C]),
            "cannot build a C program: `clang-19`, `wasm-ld-19`, `libc.a` and \
             `libclang_rt.builtins-wasm32.a` are missing; install with: apt-get install clang-19 \
             lld-19 wasi-libc libclang-rt-19-dev-wasm32"
        );
        assert_eq!(
            missing(root.path(), &[Goal::Cxx, Goal::Migratable]).split("install with: ").nth(1),
            Some(
                "apt-get install clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32 \
                 libc++-19-dev-wasm32 libc++abi-19-dev-wasm32 binaryen"
            )
        );
    }

    #[test]
    fn takes_another_version_and_names_its_packages() {
        let root = tempfile::tempdir().unwrap();
        for name in ["bin/clang-17", "bin/wasm-ld-17", "lib/wasm32-wasi/libc.a"] {
            place(root.path(), name);
        }

        assert_eq!(
            missing(root.path(), &[Goal::C]),
            "cannot build a C program: `libclang_rt.builtins-wasm32.a` is missing; install with: \
             apt-get install libclang-rt-17-dev-wasm32"
        );

        place(root.path(), "lib/llvm-17/lib/clang/17/lib/wasi/libclang_rt.builtins-wasm32.a");

        assert_eq!(missing(root.path(), &[Goal::C]), "");
    }

    #[test]
    fn reads_the_version_out_of_what_clang_says() {
        assert_eq!(major_version("Debian clang version 19.1.7 (3~deb12u1)\nTarget"), Some(19));
        assert_eq!(major_version("gcc 12"), None);
    }
}
