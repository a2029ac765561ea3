//! What a path means below a directory.

use crate::wasi::Errno;

/// A path, resolved. There are no links in a bucket, so what a path means can be read off it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The name from the mount's root on; empty for the root.
    pub(super) name: String,
    /// Whether the path says that it is a directory.
    pub(super) directory: bool,
    /// What the path leaves by `..`, which has to be a directory too.
    pub(super) passed: Vec<String>,
}

impl Target {
    /// Resolves a path below a directory, named from the mount's root on.
    pub(super) fn of(directory: &str, path: &str) -> Result<Self, Errno> {
        match path.as_bytes().first() {
            None => return Err(Errno::Noent),
            Some(b'/') => return Err(Errno::ESCAPE),
            Some(_) => {}
        }
        let join = |names: &[&str]| match (directory, names) {
            (directory, []) => directory.to_owned(),
            ("", names) => names.join("/"),
            (directory, names) => format!("{directory}/{}", names.join("/")),
        };
        let (mut names, mut passed) = (Vec::new(), Vec::new());
        for name in path.split('/') {
            match name {
                "" | "." => {}
                ".." => {
                    let left = join(&names);
                    names.pop().ok_or(Errno::ESCAPE)?;
                    if !passed.contains(&left) {
                        passed.push(left);
                    }
                }
                name => names.push(name),
            }
        }
        let directory = matches!(path.rsplit('/').next(), Some("" | "." | ".."));
        Ok(Self { name: join(&names), directory, passed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(directory: &str, path: &str) -> Result<(String, bool), Errno> {
        Target::of(directory, path).map(|target| (target.name, target.directory))
    }

    #[test]
    fn a_path_is_read_below_its_directory() {
        let is = |name: &str, directory| Ok((name.to_owned(), directory));
        assert_eq!(of("", "a"), is("a", false));
        assert_eq!(of("", "./a//b/."), is("a/b", true));
        assert_eq!(of("x/y", "a/"), is("x/y/a", true));
        assert_eq!(of("x", "."), is("x", true));
        assert_eq!(of("x", "a/../b"), is("x/b", false));
        assert_eq!(Target::of("x", "a/../b").unwrap().passed, ["x/a"]);
        assert_eq!(of("x", ""), Err(Errno::Noent));
        for out in ["/", "/a", "..", "a/../..", "a/../../x"] {
            assert_eq!(of("x", out), Err(Errno::ESCAPE), "{out}");
        }
    }
}
