//! Opening the file: whose it is, which format it has, whether it is whole.

use super::{
    draft::State,
    tables::{
        FORMAT, HISTORY, HISTORY_BYTES, ITEMS, LEASE_KEYS, LEASES, META, OLDEST, REVISION, Stored,
        number,
    },
};
use crate::{Config, Error, LeaseId, Result};
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageBackend, StorageError,
    TableHandle, backends::FileBackend,
};
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
    time::Duration,
};

/// The format of the tables that this program writes, and the newest that it reads.
pub const FORMAT_VERSION: u64 = 1;

/// Opens or makes the file and verifies every page of it.
pub(super) fn open_file(path: &Path, config: &Config) -> Result<Database> {
    let open = |source| Error::Open { path: path.to_owned(), source: Arc::new(source) };
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).mode(0o600);
    let (file, created) = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            (options.create(true).open(path).map_err(open)?, true)
        }
        other => (other.map_err(open)?, false),
    };
    let database = FileBackend::new(file)
        .and_then(|file| verified(file, config))
        .map_err(|error| database_error(path, error))?;
    if created {
        // The file's name must be on disk too before the first commit is answered.
        sync_folder(path).map_err(open)?;
    }
    Ok(database)
}

/// Opens the database in `storage` once every page of it proved to be whole.
pub(super) fn verified(
    storage: impl StorageBackend,
    config: &Config,
) -> Result<Database, DatabaseError> {
    Database::builder()
        .set_cache_size(config.cache_max_bytes)
        .set_check_integrity_on_open(true)
        .create_with_backend(storage)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn database_error(path: &Path, error: DatabaseError) -> Error {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            Error::AlreadyOpen { path }
        }
        DatabaseError::Storage(StorageError::Io(error)) if is_content(&error) => {
            Error::Corrupt { path, detail: error.to_string() }
        }
        DatabaseError::Storage(StorageError::Io(error)) => {
            Error::Open { path, source: Arc::new(error) }
        }
        other => storage_error(&path, other.into()),
    }
}

/// Whether it was not the disk that failed, but what is on it.
fn is_content(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

/// Says of which file it is.
pub(super) fn storage_error(path: &Path, error: redb::Error) -> Error {
    let path = path.to_owned();
    match error {
        redb::Error::Corrupted(detail) => Error::Corrupt { path, detail },
        redb::Error::DatabaseClosed => Error::Closed,
        other => Error::Storage { path, source: Arc::new(other) },
    }
}

/// Checks the format, makes the tables of an empty file, and reads what the engine keeps in
/// memory.
pub(super) fn load(path: &Path, database: &Database) -> Result<(State, Vec<(LeaseId, Duration)>)> {
    let stored = |error| storage_error(path, error);
    match format(database).map_err(stored)? {
        Format::Empty => create(database).map_err(stored)?,
        Format::Ours(FORMAT_VERSION) => {}
        Format::Ours(found) if found > FORMAT_VERSION => {
            let supported = FORMAT_VERSION;
            return Err(Error::FormatNewer { path: path.to_owned(), found, supported });
        }
        Format::Ours(found) => {
            let detail = format!("format {found} never existed");
            return Err(Error::Corrupt { path: path.to_owned(), detail });
        }
        Format::Foreign => return Err(Error::Foreign { path: path.to_owned() }),
    }
    read(database).map_err(stored)
}

enum Format {
    Empty,
    Ours(u64),
    Foreign,
}

fn format(database: &Database) -> Stored<Format> {
    let txn = database.begin_read()?;
    let mut names = txn.list_tables()?.peekable();
    if names.peek().is_none() && txn.list_multimap_tables()?.next().is_none() {
        return Ok(Format::Empty);
    }
    if !names.any(|table| table.name() == META.name()) {
        return Ok(Format::Foreign);
    }
    Ok(Format::Ours(number(&txn.open_table(META)?, FORMAT)?))
}

fn create(database: &Database) -> Stored<()> {
    let txn = database.begin_write()?;
    txn.open_table(META)?.insert(FORMAT, FORMAT_VERSION)?;
    State::EMPTY.save(&txn)?;
    txn.open_table(ITEMS)?;
    txn.open_table(HISTORY)?;
    txn.open_table(LEASES)?;
    txn.open_table(LEASE_KEYS)?;
    Ok(txn.commit()?)
}

fn read(database: &Database) -> Stored<(State, Vec<(LeaseId, Duration)>)> {
    let txn = database.begin_read()?;
    let meta = txn.open_table(META)?;
    let state = State {
        revision: number(&meta, REVISION)?,
        oldest: number(&meta, OLDEST)?,
        history_bytes: number(&meta, HISTORY_BYTES)?,
    };
    if state.oldest > state.revision {
        return Err(redb::Error::Corrupted("its history begins after its end".into()));
    }
    let mut leases = Vec::new();
    for row in txn.open_table(LEASES)?.iter()? {
        let (lease, ttl_ms) = row?;
        leases.push((LeaseId(lease.value()), Duration::from_millis(ttl_ms.value())));
    }
    Ok((state, leases))
}
