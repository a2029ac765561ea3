//! What objects are put into and read from, each by the same two calls.

use super::node::BUCKET;
use crate::Context;
use anyhow::Context as _;
use geds::{Geds, Put};
use std::{
    fs::{self, File},
    hint::black_box,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Something that keeps objects.
pub(super) trait Store {
    /// Keeps these bytes under a name, instead of those that it had.
    fn put(&mut self, name: &str, bytes: &[u8]) -> anyhow::Result<()>;

    /// Reads all of an object's bytes, of which there are as many as here.
    fn get(&mut self, name: &str, into: &mut [u8]) -> anyhow::Result<()>;
}

/// Ours, as a process that joined it.
pub(super) struct Shared(pub(super) Geds);

impl Store for Shared {
    fn put(&mut self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        self.0.put(BUCKET, name, bytes, Put::overwrite())?;
        Ok(())
    }

    fn get(&mut self, name: &str, into: &mut [u8]) -> anyhow::Result<()> {
        into.copy_from_slice(&self.0.view(BUCKET, name)?);
        Ok(())
    }
}

/// Memory, copied: the least that reading into a buffer can take.
pub(super) struct Memory(pub(super) Vec<Vec<u8>>);

impl Store for Memory {
    fn put(&mut self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        self.slot(name)?.copy_from_slice(bytes);
        Ok(())
    }

    fn get(&mut self, name: &str, into: &mut [u8]) -> anyhow::Result<()> {
        into.copy_from_slice(black_box(self.slot(name)?));
        Ok(())
    }
}

impl Memory {
    fn slot(&mut self, name: &str) -> anyhow::Result<&mut Vec<u8>> {
        let number = name.rsplit('/').next().and_then(|number| number.parse::<usize>().ok());
        number.and_then(|number| self.0.get_mut(number)).context("no such name")
    }
}

/// Files in a folder, as any program writes and reads them.
pub(super) struct Files(pub(super) PathBuf);

impl Store for Files {
    fn put(&mut self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(fs::write(self.0.join(name), bytes)?)
    }

    fn get(&mut self, name: &str, into: &mut [u8]) -> anyhow::Result<()> {
        Ok(File::open(self.0.join(name))?.read_exact(into)?)
    }
}

/// Debian's Redis behind a Unix socket, in memory alone; ended on drop.
pub(super) struct Redis {
    server: Child,
    socket: UnixStream,
    request: Vec<u8>,
}

impl Redis {
    pub(super) fn start(context: &Context) -> anyhow::Result<Self> {
        let folder = context.folder("redis")?;
        let path = folder.join("redis.sock");
        let mut server = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(&path)
            .current_dir(&folder)
            .stdout(Stdio::null())
            .spawn()
            .context("no `redis-server`: install Debian's package of that name")?;
        let deadline = Instant::now() + Duration::from_secs(10);
        let socket = loop {
            match UnixStream::connect(&path) {
                Ok(socket) => break socket,
                Err(error) if Instant::now() > deadline => {
                    let _ = server.kill();
                    return Err(error).context("Redis does not start");
                }
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        };
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self { server, socket, request: Vec::new() })
    }

    /// Reads an answer's line, and what came with it: a small answer comes whole, of a large one
    /// the rest is read to where it belongs.
    fn line(&mut self) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
        let mut answer = vec![0; 4096];
        let size = self.socket.read(&mut answer)?;
        anyhow::ensure!(size > 0, "Redis closed the connection");
        answer.truncate(size);
        let end = answer.windows(2).position(|two| two == b"\r\n").context("no line")?;
        let rest = answer.split_off(end + 2);
        answer.truncate(end);
        Ok((answer, rest))
    }
}

impl Store for Redis {
    fn put(&mut self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let head = format!("*3\r\n$3\r\nSET\r\n${}\r\n{name}\r\n${}\r\n", name.len(), bytes.len());
        self.request.clear();
        self.request.extend_from_slice(head.as_bytes());
        self.request.extend_from_slice(bytes);
        self.request.extend_from_slice(b"\r\n");
        self.socket.write_all(&self.request)?;
        let (line, _) = self.line()?;
        anyhow::ensure!(line == b"+OK", "Redis says {:?}", String::from_utf8_lossy(&line));
        Ok(())
    }

    fn get(&mut self, name: &str, into: &mut [u8]) -> anyhow::Result<()> {
        let request = format!("*2\r\n$3\r\nGET\r\n${}\r\n{name}\r\n", name.len());
        self.socket.write_all(request.as_bytes())?;
        let (line, begun) = self.line()?;
        let size = std::str::from_utf8(&line)?.strip_prefix('$').and_then(|size| size.parse().ok());
        anyhow::ensure!(
            size == Some(into.len()),
            "Redis says {:?}",
            String::from_utf8_lossy(&line)
        );
        let here = begun.len().min(into.len());
        into[..here].copy_from_slice(&begun[..here]);
        self.socket.read_exact(&mut into[here..])?;
        let mut end = [0; 2];
        self.socket.read_exact(&mut end[..2 - (begun.len() - here)])?;
        Ok(())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
