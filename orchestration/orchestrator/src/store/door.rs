//! What is said to a site's store, and by it to its agent: one line of JSON each way over a Unix socket in its
//! folder, which only its user can open.

use api::Problem;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt},
    net::UnixStream as AsyncStream,
    time::timeout,
};
use types::ErrorKind;

/// Longest line: the addresses of a thousand sites.
const LINE_MAX_BYTES: u64 = 256 << 10;

/// How long a line may take that was begun.
const PATIENCE: Duration = Duration::from_secs(10);

/// The socket of a store.
pub(crate) fn store(folder: &Path) -> PathBuf {
    folder.join("store.sock")
}

/// The socket at which an agent starts its store, and tells it of homes.
pub(crate) fn agent(folder: &Path) -> PathBuf {
    folder.join("agent.sock")
}

/// The socket through which programs join a tenant's store.
pub(crate) fn tenant(folder: &Path, tenant: &str) -> PathBuf {
    folder.join(format!("{tenant}.geds"))
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "camelCase")]
pub(crate) enum Ask {
    /// Of a store: opens a tenant's part.
    Tenant { tenant: String },
    /// Of a store, by its agent: these are the stores of the other sites. It serves once it knows them.
    Meet { sites: BTreeMap<String, Other> },
    /// Of a store, by its agent, which so shows that it is there.
    Status,
    /// Of an agent: its store shall run.
    Begin,
    /// Of an agent: who is the home of a bucket?
    Home { tenant: String, bucket: String },
    /// Of an agent: this site wants to be.
    Claim { tenant: String, bucket: String },
    /// Of an agent: this site is no longer.
    Disclaim { tenant: String, bucket: String },
}

/// The store of another site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Other {
    pub(crate) address: SocketAddr,
    /// Between machines: whoever shows another key is not this site.
    pub(crate) key: Option<String>,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "camelCase")]
pub(crate) enum Answer {
    Done,
    Socket { path: PathBuf },
    Status(Status),
    Home { site: Option<String> },
    Refused(Problem),
}

/// What a store says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    pub(crate) pid: u32,
    /// It writes what is in memory to disk, and ends.
    pub(crate) ending: bool,
    pub(crate) s3: Option<SocketAddr>,
    pub(crate) sites: Option<SocketAddr>,
    /// What each tenant uses.
    pub(crate) tenants: BTreeMap<String, geds::Usage>,
}

/// Nobody is at a socket, or it does not answer.
pub(crate) fn silent(path: &Path, error: &io::Error) -> Problem {
    let message = format!("nobody answers at `{}`: {error}", path.display());
    Problem::new(ErrorKind::Unavailable, message)
}

/// Asks, and waits for the answer at most so long.
///
/// # Errors
/// The refusal, or that nobody answers.
pub(crate) fn ask(path: &Path, ask: &Ask, patience: Duration) -> Result<Answer, Problem> {
    let asked = || -> io::Result<Answer> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut line = serde_json::to_vec(ask)?;
        line.push(b'\n');
        (&stream).write_all(&line)?;
        let mut line = String::new();
        BufReader::new(&stream).take(LINE_MAX_BYTES).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    };
    match asked().map_err(|error| silent(path, &error))? {
        Answer::Refused(problem) => Err(problem),
        answer => Ok(answer),
    }
}

/// The same where nothing may block.
///
/// # Errors
/// As [`ask`].
pub(crate) async fn ask_async(
    path: &Path,
    ask: Ask,
    patience: Duration,
) -> Result<Answer, Problem> {
    let path = path.to_owned();
    let asking = tokio::task::spawn_blocking(move || self::ask(&path, &ask, patience));
    asking.await.map_err(|error| Problem::new(ErrorKind::Internal, error.to_string()))?
}

/// What somebody asks who has connected.
///
/// # Errors
/// That of the connection, or that it is no question.
pub(crate) async fn hear(stream: &mut AsyncStream) -> io::Result<Ask> {
    let mut line = String::new();
    let mut reader = tokio::io::BufReader::new(stream).take(LINE_MAX_BYTES);
    timeout(PATIENCE, reader.read_line(&mut line)).await??;
    Ok(serde_json::from_str(&line)?)
}

/// Answers.
///
/// # Errors
/// That of the connection.
pub(crate) async fn say(stream: &mut AsyncStream, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    timeout(PATIENCE, stream.write_all(&line)).await?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use testkit::Folder;

    #[test]
    fn whoever_answers_nonsense_is_as_good_as_silent() {
        let folder = Folder::new();
        let path = store(folder.path());
        let patience = Duration::from_millis(50);
        let kind = |asked: Result<Answer, Problem>| asked.unwrap_err().kind;
        assert_eq!(kind(ask(&path, &Ask::Status, patience)), ErrorKind::Unavailable);
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(kind(ask(&path, &Ask::Status, patience)), ErrorKind::Unavailable);
        drop(listener.accept().unwrap());
        for said in ["", "{}\n", "{\"answer\":\"done\"}"] {
            let answering = std::thread::spawn({
                let listener = listener.try_clone().unwrap();
                move || {
                    let (mut stream, _) = listener.accept().unwrap();
                    let mut line = String::new();
                    BufReader::new(&stream).read_line(&mut line).unwrap();
                    stream.write_all(said.as_bytes()).unwrap();
                    line
                }
            });
            let answered = ask(&path, &Ask::Begin, Duration::from_secs(10));
            assert_eq!(answered.is_ok(), said.contains("done"), "{said}");
            assert!(answering.join().unwrap().contains("begin"));
        }
    }
}
