//! Unix sockets at paths of any length.
//!
//! A socket's address holds 107 bytes of path, fewer than a folder in somebody's home needs. A
//! descriptor of the folder gives every socket in it a short path.

use rustix::{
    fd::{AsRawFd, OwnedFd},
    fs::{Mode, OFlags},
};
use std::{
    io,
    path::{Path, PathBuf},
};

/// A short path to a socket; valid in this process while this lives.
pub(super) struct ShortPath {
    path: PathBuf,
    _folder: OwnedFd,
}

impl ShortPath {
    pub(super) fn of(socket: &Path) -> io::Result<Self> {
        let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a path of a socket"));
        };
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(folder, flags, Mode::empty())?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
        Ok(Self { path, _folder: folder })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn a_deep_folder_has_sockets_too() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("x".repeat(200));
        std::fs::create_dir(&deep).unwrap();
        let socket = deep.join("socket");

        let listener = UnixListener::bind(ShortPath::of(&socket).unwrap().path()).unwrap();
        UnixStream::connect(ShortPath::of(&socket).unwrap().path()).unwrap();

        listener.accept().unwrap();
        assert!(socket.exists());
    }
}
