//! Bytes from files to objects, from objects to files, and from objects to objects.

use super::{address::Address, pages, store::make_bucket, tiers::ClassArg};
use crate::{exit::Failure, output};
use anyhow::Context;
use clap::Args;
use geds::{Geds, Listing, Put};
use std::{
    fs::{self, File},
    io::{self, IsTerminal, Read, Write},
    path::{Component, Path, PathBuf},
    time::{Duration, Instant},
};
use types::ErrorKind;

/// Bytes that are moved at once.
const CHUNK_BYTES: usize = 4 << 20;

/// How often a long copy says how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// Copy files to objects, objects to files, or objects to objects
///
/// `-` stands for standard input or output. A bucket that is not there is made. Between objects no
/// byte is copied.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin geds cp ./frames geds://lab/frames --recursive
  cloudskin geds cp geds://lab/model.onnx .
  cloudskin geds cp geds://lab/run1 geds://archive/run1 --recursive
  generate | cloudskin geds cp - geds://lab/points")]
pub(super) struct Cp {
    /// A file, a folder, or an address
    from: String,
    /// Where to; a folder, or an address that ends with `/`, keeps the name
    to: String,
    /// Everything below it
    #[arg(short, long)]
    recursive: bool,
    /// Leave what is there already, and end with an error
    #[arg(long)]
    no_clobber: bool,
    /// Wait until objects are on disk, and outlive the store's process
    #[arg(long)]
    durable: bool,
    /// Their class, in place of that of their bucket's back end
    #[arg(long, value_enum)]
    class: Option<ClassArg>,
}

/// Print objects
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin geds cat geds://lab/notes.txt
  cloudskin geds cat geds://lab/part1 geds://lab/part2 > whole")]
pub(super) struct Cat {
    /// Their addresses
    #[arg(required = true)]
    addresses: Vec<Address>,
}

pub(super) fn cat(store: &Geds, args: &Cat) -> anyhow::Result<()> {
    let mut told = Told::new();
    for address in &args.addresses {
        write_object(store, address, &mut io::stdout().lock(), &mut told)?;
    }
    Ok(io::stdout().flush()?)
}

pub(super) fn copy(store: &Geds, args: &Cp) -> anyhow::Result<()> {
    let address = |text: &str| -> anyhow::Result<Option<Address>> {
        let meant = Address::is_meant(text).then(|| text.parse());
        meant.transpose().map_err(|error| Failure::error(ErrorKind::Invalid, error))
    };
    let copying = Copying { store, args, put: args.put() };
    match (address(&args.from)?, address(&args.to)?) {
        (None, Some(to)) => copying.upload(&args.from, &to),
        (Some(from), None) => copying.download(&from, &args.to),
        (Some(from), Some(to)) => copying.within(&from, &to),
        (None, None) => Err(Failure::error(
            ErrorKind::Invalid,
            "neither is an object: write objects as geds://bucket/key",
        )),
    }
}

impl Cp {
    fn put(&self) -> Put {
        let put = if self.no_clobber { Put::default() } else { Put::overwrite() };
        let put = Put { class: self.class.map(Into::into), ..put };
        if self.durable { put.durable() } else { put }
    }
}

struct Copying<'a> {
    store: &'a Geds,
    args: &'a Cp,
    put: Put,
}

impl Copying<'_> {
    fn upload(&self, from: &str, to: &Address) -> anyhow::Result<()> {
        make_bucket(self.store, &to.bucket)?;
        let mut told = Told::new();
        if from == "-" {
            return self.write(&mut io::stdin().lock(), &at(to, "stdin"), None, &mut told);
        }
        let path = Path::new(from);
        let is_folder =
            fs::metadata(path).with_context(|| format!("cannot read `{from}`"))?.is_dir();
        if !is_folder {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            return self.upload_file(path, &at(to, &name), &mut told);
        }
        if !self.args.recursive {
            let message = format!("`{from}` is a folder: copy it with --recursive");
            return Err(Failure::error(ErrorKind::Invalid, message));
        }
        let mut files = Vec::new();
        walk(path, &mut files)?;
        let folder = to.folder();
        for file in files {
            let below = file.strip_prefix(path).unwrap_or(&file);
            let Some(below) = below.to_str() else {
                anyhow::bail!("`{}`: keys are UTF-8, and this name is not", file.display());
            };
            let key = format!("{}{below}", folder.key);
            self.upload_file(&file, &folder.with(key), &mut told)?;
        }
        Ok(())
    }

    fn upload_file(&self, path: &Path, to: &Address, told: &mut Told) -> anyhow::Result<()> {
        let mut file =
            File::open(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let size = file.metadata().ok().map(|meta| meta.len());
        self.write(&mut file, to, size, told)
            .with_context(|| format!("`{}` was not copied", path.display()))
    }

    /// Makes an object of all that comes.
    fn write(
        &self,
        from: &mut dyn Read,
        to: &Address,
        size: Option<u64>,
        told: &mut Told,
    ) -> anyhow::Result<()> {
        let (bucket, key) = to.object()?;
        let mut put = self.put.clone();
        put.size_hint = size;
        let mut writer = self.store.create(bucket, key, put)?;
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    writer.write_all(&buffer[..count])?;
                    told.moved(count as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        writer.seal()?;
        told.finished();
        Ok(())
    }

    fn download(&self, from: &Address, to: &str) -> anyhow::Result<()> {
        let mut told = Told::new();
        if to == "-" {
            write_object(self.store, from, &mut io::stdout().lock(), &mut told)?;
            return Ok(io::stdout().flush()?);
        }
        let path = Path::new(to);
        if !self.args.recursive {
            let path = if path.is_dir() || to.ends_with('/') {
                path.join(file_name(from)?)
            } else {
                path.to_owned()
            };
            return self.download_object(from, &path, &mut told);
        }
        let folder = from.folder();
        let mut found = false;
        pages(self.store, &folder.bucket, Listing::prefix(&folder.key), |page| {
            for entry in page.entries {
                found = true;
                let below = entry.key.strip_prefix(&folder.key).unwrap_or(&entry.key);
                let object = folder.with(entry.key.clone());
                if below.is_empty() || below.ends_with('/') {
                    fs::create_dir_all(path.join(inside(&object, below)?))?;
                    continue;
                }
                self.download_object(&object, &path.join(inside(&object, below)?), &mut told)?;
            }
            Ok(())
        })?;
        if !found {
            return Err(nothing_below(&folder));
        }
        Ok(())
    }

    /// Writes an object into a file that appears whole or not at all.
    fn download_object(&self, from: &Address, path: &Path, told: &mut Told) -> anyhow::Result<()> {
        if self.args.no_clobber && path.exists() {
            let message = format!("`{}` exists already", path.display());
            return Err(Failure::error(ErrorKind::AlreadyExists, message));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make `{}`", folder.display()))?;
        let draft = folder.join(format!(".cloudskin-{}", types::random_id()));
        let written = File::create(&draft)
            .with_context(|| format!("cannot write into `{}`", folder.display()))
            .and_then(|mut file| write_object(self.store, from, &mut file, told))
            .and_then(|()| Ok(fs::rename(&draft, path)?));
        if written.is_err() {
            // What counts is the first error.
            let _ = fs::remove_file(&draft);
        }
        written.with_context(|| format!("`{from}` was not copied to `{}`", path.display()))
    }

    fn within(&self, from: &Address, to: &Address) -> anyhow::Result<()> {
        make_bucket(self.store, &to.bucket)?;
        if !self.args.recursive {
            let to = at(to, from.name());
            self.store.copy(from.object()?, to.object()?, self.put.clone())?;
            return Ok(());
        }
        let (from, to) = (from.folder(), to.folder());
        let pair =
            ((from.bucket.as_str(), from.key.as_str()), (to.bucket.as_str(), to.key.as_str()));
        match self.store.copy_prefix(pair.0, pair.1, &self.put)? {
            0 => Err(nothing_below(&from)),
            copied => {
                output::complain(&format!("{copied} objects were copied"));
                Ok(())
            }
        }
    }
}

fn nothing_below(folder: &Address) -> anyhow::Error {
    Failure::error(ErrorKind::NotFound, format!("there is no object below `{folder}`"))
}

/// An address, with this name behind it if it is that of a folder.
fn at(address: &Address, name: &str) -> Address {
    match address.key.is_empty() || address.key.ends_with('/') {
        true => address.with(format!("{}{name}", address.key)),
        false => address.clone(),
    }
}

fn file_name(address: &Address) -> anyhow::Result<PathBuf> {
    inside(address, address.name())
}

/// A key as a path that stays within the folder it is put in.
fn inside(address: &Address, key: &str) -> anyhow::Result<PathBuf> {
    let path = Path::new(key.trim_end_matches('/'));
    let stays = path.components().all(|part| matches!(part, Component::Normal(_)));
    if !stays || key.contains('\0') {
        let message = format!("`{address}` cannot be the name of a file here");
        return Err(Failure::error(ErrorKind::Invalid, message));
    }
    Ok(path.to_owned())
}

/// All files below a folder, in order.
fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let failed = || format!("cannot read `{}`", folder.display());
    let mut entries = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>())
        .with_context(failed)?;
    entries.sort();
    for path in entries {
        // A link to a folder may lead back here.
        let meta = fs::symlink_metadata(&path).with_context(failed)?;
        if meta.is_dir() {
            walk(&path, files)?;
        } else if path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

/// Writes all of an object.
fn write_object(
    store: &Geds,
    from: &Address,
    to: &mut dyn Write,
    told: &mut Told,
) -> anyhow::Result<()> {
    let (bucket, key) = from.object()?;
    let object = store.object(bucket, key)?;
    let mut buffer = vec![0; CHUNK_BYTES.min(usize::try_from(object.len()).unwrap_or(CHUNK_BYTES))];
    let mut offset = 0;
    while offset < object.len() {
        let count = object.read_at(offset, &mut buffer)?;
        anyhow::ensure!(count > 0, "`{from}` ended early");
        to.write_all(&buffer[..count])?;
        offset += count as u64;
        told.moved(count as u64);
    }
    told.finished();
    Ok(())
}

/// Says on a terminal how far a long copy is.
struct Told {
    on_terminal: bool,
    last: Instant,
    shown: bool,
    bytes: u64,
    objects: u64,
}

impl Told {
    fn new() -> Self {
        let on_terminal = io::stderr().is_terminal();
        Self { on_terminal, last: Instant::now(), shown: false, bytes: 0, objects: 0 }
    }

    fn moved(&mut self, bytes: u64) {
        self.bytes += bytes;
        if self.on_terminal && self.last.elapsed() >= TOLD_EVERY {
            let mebibytes = self.bytes >> 20;
            // Nobody need read it.
            let _ = write!(io::stderr(), "\r\x1b[K{} objects, {mebibytes} MiB", self.objects);
            (self.last, self.shown) = (Instant::now(), true);
        }
    }

    fn finished(&mut self) {
        self.objects += 1;
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
