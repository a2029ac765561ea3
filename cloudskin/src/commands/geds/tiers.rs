//! Storage outside, losses, and limits.

use super::{address::Address, look::size};
use crate::{
    output::{self, FormatArgs, Style},
    table::Table,
};
use clap::{Args, ValueEnum};
use geds::{Backend, BackendConfig, Class, Geds, Listing};
use std::env;
use types::Bytes;

/// How storage outside is reached.
#[derive(Debug, Args)]
struct Outside {
    /// The server, if it is not Amazon's
    #[arg(long, env = "AWS_ENDPOINT_URL", value_name = "URL")]
    endpoint: Option<String>,
    /// Where the bucket is
    #[arg(long, env = "AWS_REGION", default_value = "us-east-1")]
    region: String,
}

/// Keys as other programs take them: from the environment, where no other user sees them.
const SECRETS: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "access_key_id"),
    ("AWS_SECRET_ACCESS_KEY", "secret_access_key"),
    ("AWS_SESSION_TOKEN", "session_token"),
];

impl Outside {
    /// As the store wants them; a folder needs none.
    fn options(&self, url: &str) -> Vec<(&'static str, String)> {
        if !url.starts_with("s3://") {
            return Vec::new();
        }
        let mut options: Vec<(&str, String)> = SECRETS
            .iter()
            .filter_map(|(variable, option)| Some((*option, env::var(variable).ok()?)))
            .collect();
        options.push(("region", self.region.clone()));
        if let Some(endpoint) = &self.endpoint {
            options.push(("endpoint", endpoint.clone()));
            if endpoint.starts_with("http://") {
                options.push(("allow_http", "true".to_owned()));
            }
        }
        options
    }

    fn open(&self, url: &str) -> anyhow::Result<Backend> {
        let options = self.options(url);
        Ok(Backend::open(url, options.iter().map(|(name, value)| (*name, value.as_str())))?)
    }
}

/// Read objects from S3 or a folder into a bucket
///
/// What is there already is left as it is. Keys come from AWS_ACCESS_KEY_ID and
/// AWS_SECRET_ACCESS_KEY.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin geds import s3://archive/lab geds://lab
  cloudskin geds import s3://archive geds://lab/models/ --endpoint http://127.0.0.1:9000
  cloudskin geds import file:///var/frames geds://lab/frames/")]
pub(super) struct Import {
    /// s3://BUCKET[/PREFIX] or file:///FOLDER, in which objects have the bucket's keys
    from: String,
    /// The bucket, or what keys begin with
    to: Address,
    #[command(flatten)]
    outside: Outside,
}

/// Write objects of a bucket to S3 or a folder
///
/// They have the same keys there. Keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin geds export geds://lab s3://archive/lab
  cloudskin geds export geds://lab/models/ s3://archive --no-clobber --endpoint http://127.0.0.1:9000")]
pub(super) struct Export {
    /// The bucket, or what keys begin with
    from: Address,
    /// s3://BUCKET[/PREFIX] or file:///FOLDER
    to: String,
    /// Leave what is there already
    #[arg(long)]
    no_clobber: bool,
    #[command(flatten)]
    outside: Outside,
}

/// Make S3 or a folder the lowest tier of a bucket
///
/// Objects are written there in the background and leave memory when room is needed; what is there
/// and not here is read when it is asked for, block by block. The bucket there is this bucket's own.
/// When the store is started again it is to be attached again, unless it is kept.
/// Keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin geds attach geds://lab s3://archive/lab
  cloudskin geds attach geds://lab s3://archive/lab --class cold --endpoint http://127.0.0.1:9000
  cloudskin geds attach geds://lab s3://archive/lab --keep  also when the store is started again
  cloudskin geds attach                                     what is attached, and how it does
  cloudskin geds attach geds://lab --detach")]
pub(super) struct Attach {
    /// The bucket
    bucket: Option<Address>,
    /// s3://BUCKET[/PREFIX] or file:///FOLDER
    #[arg(requires = "bucket", conflicts_with = "detach")]
    url: Option<String>,
    /// Whether objects stay here as long as there is room
    #[arg(long, value_enum, default_value_t = ClassArg::Hot)]
    class: ClassArg,
    /// Most bytes that are sent in a second [default: as many as it takes]
    #[arg(long, value_name = "SIZE")]
    rate: Option<Bytes>,
    /// Write the keys down in the store's folder, for this user alone, and attach it again when the store is started again
    #[arg(long, requires = "url")]
    keep: bool,
    /// Take the back end from the bucket
    #[arg(long, requires = "bucket")]
    detach: bool,
    #[command(flatten)]
    outside: Outside,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum ClassArg {
    /// Written there when much memory is in use
    Hot,
    /// Written there at once, and first to leave memory
    Cold,
}

impl From<ClassArg> for Class {
    fn from(class: ClassArg) -> Self {
        match class {
            ClassArg::Hot => Self::Hot,
            ClassArg::Cold => Self::Cold,
        }
    }
}

/// The class of objects.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum OwnClass {
    /// Written to the back end when much memory is in use
    Hot,
    /// Written there at once, and first to leave memory
    Cold,
    /// That of the bucket's back end
    Bucket,
}

/// Name the objects that a killed store or a damaged disk lost
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin geds lost
  cloudskin geds lost --forget")]
pub(super) struct LostArgs {
    /// Forget them
    #[arg(long)]
    forget: bool,
    #[command(flatten)]
    format: FormatArgs,
}

/// Change what the store may use, while it runs, or the class of objects
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin geds set --memory 4Gi --high-water 60
  cloudskin geds set --cache 512Mi
  cloudskin geds set geds://lab/run1/ --recursive --class cold
  cloudskin geds set geds://lab/model --class bucket        whatever the bucket's back end is")]
#[command(group = clap::ArgGroup::new("limits").multiple(true).conflicts_with("addresses"))]
#[group(skip)]
pub(super) struct Set {
    /// The objects whose class is set
    #[arg(requires = "class", required_unless_present = "limits")]
    addresses: Vec<Address>,
    /// Their class, in place of that of their bucket's back end
    #[arg(long, value_enum, requires = "addresses")]
    class: Option<OwnClass>,
    /// Everything below the addresses
    #[arg(short, long, requires = "addresses")]
    recursive: bool,
    /// Most memory for objects
    #[arg(long, value_name = "SIZE", group = "limits")]
    memory: Option<Bytes>,
    /// Most disk space
    #[arg(long, value_name = "SIZE", group = "limits")]
    disk: Option<Bytes>,
    /// How full the memory may be before objects move down in the background
    #[arg(long, value_name = "PERCENT", group = "limits", value_parser = clap::value_parser!(u8).range(1..=100))]
    high_water: Option<u8>,
    /// Most of what was read from storage outside that is kept
    #[arg(long, value_name = "SIZE", group = "limits")]
    cache: Option<Bytes>,
}

pub(super) fn import(store: &Geds, args: &Import) -> anyhow::Result<()> {
    store.register(&args.to.bucket, args.outside.open(&args.from)?)?;
    let count = store.import(&args.to.bucket, &args.to.key)?;
    output::complain(&format!("{count} objects were read from `{}`", args.from));
    Ok(())
}

pub(super) fn export(store: &Geds, args: &Export) -> anyhow::Result<()> {
    store.register(&args.from.bucket, args.outside.open(&args.to)?)?;
    let count = store.export(&args.from.bucket, &args.from.key, !args.no_clobber)?;
    output::complain(&format!("{count} objects were written to `{}`", args.to));
    Ok(())
}

pub(super) fn attach(store: &Geds, args: &Attach) -> anyhow::Result<()> {
    match (&args.bucket, &args.url) {
        (Some(bucket), Some(url)) => {
            let options = args.outside.options(url);
            let options = options.iter().map(|(name, value)| (*name, value.as_str()));
            let mut backend = BackendConfig::new(url, options).class(args.class.into());
            backend.keep = args.keep;
            backend.bytes_per_second = args.rate.map_or(0, |rate| rate.0);
            Ok(store.attach(super::bucket(bucket)?, backend)?)
        }
        (Some(bucket), None) if args.detach => Ok(store.detach(super::bucket(bucket)?)?),
        (bucket, _) => {
            let mut all = store.backends()?;
            if let Some(bucket) = bucket {
                all.retain(|one| one.bucket == bucket.bucket);
            }
            let mut table = Table::new(&[
                "BUCKET", "BACK END", "CLASS", "KEPT", "WRITTEN", "SIZE", "FAILURES", "LAST",
            ]);
            for one in &all {
                table.row(vec![
                    one.bucket.clone(),
                    one.url.clone(),
                    format!("{:?}", one.class).to_lowercase(),
                    if one.kept { "yes" } else { "no" }.to_owned(),
                    one.objects.to_string(),
                    size(one.bytes),
                    one.failures.to_string(),
                    output::tame(one.last_failure.as_deref().unwrap_or_default()),
                ]);
            }
            args.format.print(&all, &table.render(Style::for_stdout()))
        }
    }
}

pub(super) fn lost(store: &Geds, args: &LostArgs) -> anyhow::Result<()> {
    let all = store.lost()?;
    let mut table = Table::new(&["ADDRESS", "WHY"]);
    for one in &all {
        let address = format!("geds://{}/{}", one.bucket, output::tame(&one.key));
        table.row(vec![address, one.why.clone()]);
    }
    args.format.print(&all, &table.render(Style::for_stdout()))?;
    if args.forget {
        store.forget_lost()?;
    }
    Ok(())
}

pub(super) fn set(store: &Geds, args: &Set) -> anyhow::Result<()> {
    match args.class {
        Some(class) => set_class(store, args, class.into()),
        None => set_limits(store, args),
    }
}

impl From<OwnClass> for Option<Class> {
    fn from(class: OwnClass) -> Self {
        match class {
            OwnClass::Hot => Some(Class::Hot),
            OwnClass::Cold => Some(Class::Cold),
            OwnClass::Bucket => None,
        }
    }
}

fn set_class(store: &Geds, args: &Set, class: Option<Class>) -> anyhow::Result<()> {
    for address in &args.addresses {
        if !args.recursive {
            let (bucket, key) = address.object()?;
            store.set_class(bucket, key, class, None)?;
            continue;
        }
        let folder = address.folder();
        let mut count = 0_u64;
        super::pages(store, &folder.bucket, Listing::prefix(&folder.key), |page| {
            for entry in page.entries {
                match store.set_class(&folder.bucket, &entry.key, class, None) {
                    Ok(_) => count += 1,
                    // Deleted meanwhile.
                    Err(geds::Error::NoObject { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(())
        })?;
        output::complain(&format!("the class of {count} objects in `{folder}` was set"));
    }
    Ok(())
}

fn set_limits(store: &Geds, args: &Set) -> anyhow::Result<()> {
    let mut limits = store.limits()?;
    limits.memory_bytes = args.memory.map_or(limits.memory_bytes, |size| size.0);
    limits.disk_bytes = args.disk.map_or(limits.disk_bytes, |size| size.0);
    limits.high_water_percent = args.high_water.unwrap_or(limits.high_water_percent);
    limits.cache_bytes = args.cache.map_or(limits.cache_bytes, |size| size.0);
    Ok(store.set_limits(limits)?)
}
