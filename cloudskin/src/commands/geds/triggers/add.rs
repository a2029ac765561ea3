//! `cloudskin geds trigger add`.

use crate::{
    commands::{
        cells::{cache, folders::Granted},
        geds::{address::Address, store::make_bucket},
    },
    exit::Failure,
    output,
};
use anyhow::Context;
use cells::{Compiler, Runtime, Use};
use clap::{Args, ValueEnum};
use geds::trigger::{Definition, Events, MODULE_MAX_BYTES, Triggers};
use std::path::{Path, PathBuf};
use types::{Bytes, ErrorKind, Period};

/// Where a module sees the bucket if nothing else is said.
const DATA: &str = "/data";

/// Have a module run for each object that is created, sealed or deleted below a prefix
///
/// The module is kept with the trigger. It sees CLOUDSKIN_EVENT, CLOUDSKIN_BUCKET, CLOUDSKIN_KEY,
/// CLOUDSKIN_VERSION, CLOUDSKIN_TRIGGER and CLOUDSKIN_ATTEMPT, and objects where --dir says. An
/// object is done when the module ends with exit code 0.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin geds trigger add lab/frames/ --run index.wasm          the bucket is at /data, for reading
  cloudskin geds trigger add lab/frames/ --on sealed --run resize.wasm \\
      --dir geds://lab/frames::/in:ro --dir geds://lab/small::/out -- --width 640
  cloudskin geds trigger add lab/inbox/ --on deleted --run tidy.wasm --dir geds://lab/index::/index")]
pub(super) struct Add {
    /// A bucket, or what keys begin with
    #[arg(value_parser = Address::lenient)]
    address: Address,
    /// For what it is run; several with commas between them
    #[arg(long, value_enum, value_delimiter = ',', default_value = "sealed", value_name = "EVENT")]
    on: Vec<On>,
    /// The module: a WASI program
    #[arg(long, value_name = "MODULE")]
    run: PathBuf,
    /// The trigger's name [default: the module's]
    #[arg(long)]
    name: Option<String>,
    /// Grant objects: geds://BUCKET[/PREFIX]::GUEST, `:ro` at the end forbids changes
    /// [default: the bucket at /data, for reading]
    #[arg(long = "dir", value_name = "OBJECTS::GUEST")]
    dirs: Vec<String>,
    /// Set an environment variable
    #[arg(long = "env", value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Most memory
    #[arg(long, default_value = "1Gi", value_name = "SIZE")]
    memory: Bytes,
    /// How often a failed object is tried again
    #[arg(long, default_value_t = 3, value_name = "N")]
    retries: u32,
    /// The pause before the first retry; it doubles each time, up to 5 minutes
    #[arg(long, default_value = "1s", value_name = "PERIOD")]
    pause: Period,
    /// How long the module may run for an object
    #[arg(long, default_value = "60s", value_name = "PERIOD")]
    timeout: Period,
    /// How many objects each runner works on at once
    #[arg(long, default_value_t = 2, value_name = "N")]
    at_once: u32,
    /// For the objects that are there already, too
    #[arg(long)]
    existing: bool,
    /// The module's own arguments
    #[arg(last = true)]
    args: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum On {
    /// Names that come to be
    Created,
    /// Each version of an object
    Sealed,
    /// Names that are gone
    Deleted,
}

pub(super) fn add(triggers: &Triggers, args: &Add) -> anyhow::Result<()> {
    let watched = args.address.folder();
    let module_name = args.run.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (module, digest) = read_module(&args.run)?;
    let name = args.name.clone().unwrap_or_else(|| default_name(&module_name));
    let dirs = match args.dirs.is_empty() {
        true => vec![format!("geds://{}::{DATA}:ro", watched.bucket)],
        false => args.dirs.clone(),
    };
    check_dirs(&watched, &dirs)?;
    let on = |on| args.on.contains(&on);
    let definition = Definition {
        name,
        bucket: watched.bucket.clone(),
        prefix: watched.key.clone(),
        on: Events { created: on(On::Created), sealed: on(On::Sealed), deleted: on(On::Deleted) },
        existing: args.existing,
        module_name,
        module: digest,
        args: args.args.clone(),
        env: variables(&args.env)?,
        dirs,
        memory_bytes: args.memory.0,
        timeout_ms: millis(args.timeout),
        attempts: args.retries.saturating_add(1),
        pause_ms: millis(args.pause),
        at_once: args.at_once,
    };
    make_bucket(triggers.store(), &watched.bucket)?;
    let added = triggers.add(definition, &module)?;
    output::print(&format!("{}\n", added.definition.name))
}

fn millis(period: Period) -> u64 {
    u64::try_from(period.0.as_millis()).unwrap_or(u64::MAX)
}

/// The module's bytes, once they are known to be a program that can run.
fn read_module(path: &Path) -> anyhow::Result<(Vec<u8>, types::Digest)> {
    let runtime = Runtime::new(cache()?, Compiler::Process(std::env::current_exe()?));
    let program = runtime.load(path, None, Use::Program, api::service::Engine::Cranelift)?;
    if program.has_threads() {
        return Err(cells::Error::Threads { module: program.name().to_owned() }.into());
    }
    let what = || format!("cannot read `{}`", path.display());
    let size = std::fs::metadata(path).with_context(what)?.len();
    if size > MODULE_MAX_BYTES {
        let message = format!("`{}` has {size} bytes: at most {MODULE_MAX_BYTES}", path.display());
        return Err(Failure::error(ErrorKind::Invalid, message));
    }
    Ok((std::fs::read(path).with_context(what)?, program.digest()))
}

/// The module's name without its end, in the letters of names.
fn default_name(module: &str) -> String {
    let stem = module.rsplit_once('.').map_or(module, |(stem, _)| stem).to_ascii_lowercase();
    let plain = |byte: char| if byte.is_ascii_alphanumeric() { byte } else { '-' };
    let name: String = stem.chars().map(plain).take(60).collect();
    name.trim_matches('-').to_owned()
}

fn variables(env: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    let split = |variable: &String| {
        let (name, value) = match variable.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (variable.clone(), std::env::var(variable).unwrap_or_default()),
        };
        if name.starts_with("CLOUDSKIN_") {
            let message = format!("`{name}` is set for each object: use another name");
            return Err(Failure::error(ErrorKind::Invalid, message));
        }
        Ok((name, value))
    };
    env.iter().map(split).collect()
}

/// What a module sees is objects alone, for the runner may be another user's; and it does not write only where it
/// would be run for what it wrote.
fn check_dirs(watched: &Address, dirs: &[String]) -> anyhow::Result<()> {
    let invalid = |message: String| Err(Failure::error(ErrorKind::Invalid, message));
    let (mut written, mut elsewhere) = (None, false);
    for dir in dirs {
        let granted = Granted::parse(dir)?;
        let Some(address) = granted.objects() else {
            return invalid(format!(
                "`{dir}` is a folder of this machine: a trigger's module sees objects, as in `--dir geds://{}::{DATA}`",
                watched.bucket
            ));
        };
        if geds::is_internal(&address.bucket) {
            return invalid(format!("bucket `{}` is the platform's own", address.bucket));
        }
        if !granted.is_found_anywhere() {
            return invalid(format!(
                "`{dir}`: name the key by its whole path, for runners are started anywhere"
            ));
        }
        if granted.is_read_only() {
            continue;
        }
        let inside =
            address.bucket == watched.bucket && address.folder().key.starts_with(&watched.key);
        match inside {
            true => written = Some(dir),
            false => elsewhere = true,
        }
    }
    match written.filter(|_| !elsewhere) {
        Some(dir) => invalid(format!(
            "all that the module could write lies below `{watched}`, for which it is run: it would be run for its own \
             objects. Add `:ro` to `{dir}`, and a --dir elsewhere for what it writes"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(watched: &str, dirs: &[&str]) -> Result<(), String> {
        let watched = Address::lenient(watched).unwrap().folder();
        let dirs: Vec<String> = dirs.iter().map(|dir| (*dir).to_owned()).collect();
        check_dirs(&watched, &dirs).map_err(|error| error.to_string())
    }

    #[test]
    fn a_module_that_could_only_feed_itself_is_refused() {
        for good in [
            &["geds://lab::/data:ro"][..],
            &["geds://lab/frames::/in:ro", "geds://lab/small::/out"],
            &["geds://lab/frames::/in", "geds://lab/small::/out"],
            &["geds://lab::/data"],
            &["geds://lab/frames2::/data"],
            &["geds://other::/data,transform=compress"],
        ] {
            assert_eq!(checked("lab/frames/", good), Ok(()), "{good:?}");
        }
        for (watched, bad) in [
            ("lab/frames", &["geds://lab/frames::/data"][..]),
            ("lab/frames/", &["geds://lab/frames/small::/data", "geds://lab::/in:ro"]),
            ("lab", &["geds://lab::/data"]),
            ("lab", &["geds://lab/anywhere::/data"]),
        ] {
            let refused = checked(watched, bad).unwrap_err();
            assert!(refused.contains("its own"), "{refused}");
        }
        for bad in [
            "data::/data",
            "geds://checkpoints.cloudskin.internal::/data:ro",
            "geds://safe::/data,transform=encrypt,key-file=key",
        ] {
            assert!(checked("lab/frames", &[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_trigger_is_named_after_its_module() {
        assert_eq!(default_name("Re_size.v2.wasm"), "re-size-v2");
        assert_eq!(default_name("count"), "count");
    }
}
