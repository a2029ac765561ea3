//! What a trigger is.

use super::{TRIGGERS, Triggers};
use crate::{Error, Listing, Put, Result, put::now};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use types::{Digest, check_name};

/// The largest module of a trigger.
pub const MODULE_MAX_BYTES: u64 = 256 << 20;

/// Arguments, variables and folders together.
const TEXTS_MAX_BYTES: usize = 64 << 10;

/// Most attempts, and most runs at once.
const COUNT_MAX: u32 = 1000;

/// Most triggers of a tenant: each has threads of its own in every runner.
pub const TRIGGERS_MAX: usize = 1000;

/// Of what is written about a trigger.
const VERSION: u16 = 1;

/// A module that no trigger names is removed when it is older than this, in milliseconds: one that is being added is not.
const UNNAMED_MS: u64 = 10 * 60 * 1000;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// A name came to be.
    Created,
    /// A version was sealed.
    Sealed,
    /// A name that was there has gone.
    Deleted,
}

/// Which events a module is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Events {
    /// Names that come to be.
    pub created: bool,
    /// Each version; of a new name, only where `created` is not asked for.
    pub sealed: bool,
    /// Names that go.
    pub deleted: bool,
}

/// When a module is run, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// For what.
    pub on: Events,
    /// Objects with smaller versions were there before the trigger, and are left alone.
    pub since: u64,
    /// How often a module is begun for an object until it stands among the dead letters; at least once.
    pub attempts: u32,
    /// The pause behind the first failure in milliseconds; it doubles with each, up to five minutes.
    pub pause_ms: u64,
}

/// What is to be run, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// Its name: lower-case letters, digits and dashes.
    pub name: String,
    /// Whose objects.
    pub bucket: String,
    /// What their keys begin with.
    pub prefix: String,
    /// For what.
    pub on: Events,
    /// Whether objects that are there already are run too.
    pub existing: bool,
    /// The file name of the module, which it sees as its own.
    pub module_name: String,
    /// Its digest.
    pub module: Digest,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its variables, beside those that tell the event.
    pub env: Vec<(String, String)>,
    /// What it sees, as whoever runs it reads that.
    pub dirs: Vec<String>,
    /// Its most memory.
    pub memory_bytes: u64,
    /// How long it may run, in milliseconds.
    pub timeout_ms: u64,
    /// How often it is begun for an object at most.
    pub attempts: u32,
    /// The pause behind the first failure, in milliseconds.
    pub pause_ms: u64,
    /// How many a runner runs at once.
    pub at_once: u32,
}

/// A trigger that was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// Tells it from a former one of the name.
    pub id: String,
    /// When it was added, in milliseconds since the Unix epoch.
    pub created: u64,
    /// What is run, and how.
    pub definition: Definition,
    /// When.
    pub rules: Rules,
}

impl Event {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Sealed => "sealed",
            Self::Deleted => "deleted",
        }
    }
}

impl Events {
    /// Their names, with commas between them.
    pub fn names(self) -> String {
        let all = [
            (self.created, Event::Created),
            (self.sealed, Event::Sealed),
            (self.deleted, Event::Deleted),
        ];
        let names: Vec<&str> =
            all.iter().filter(|(on, _)| *on).map(|(_, one)| one.name()).collect();
        names.join(",")
    }
}

impl Definition {
    /// # Errors
    /// [`Error::Invalid`] says what is wrong.
    fn check(&self) -> Result<()> {
        let invalid = |what: String| Err(Error::Invalid(what));
        check_name(&self.name).map_err(|error| Error::Invalid(error.to_string()))?;
        crate::check_bucket(&self.bucket)?;
        if crate::is_internal(&self.bucket) {
            return invalid(format!("bucket `{}` is the platform's own", self.bucket));
        }
        if self.on == Events::default() {
            return invalid("a trigger is for created, sealed or deleted objects".to_owned());
        }
        let counts = [("attempts", self.attempts), ("runs at once", self.at_once)];
        for (what, count) in counts {
            if !(1..=COUNT_MAX).contains(&count) {
                return invalid(format!("a trigger has 1 to {COUNT_MAX} {what}, not {count}"));
            }
        }
        if self.timeout_ms == 0 {
            return invalid("a module needs time to run: its timeout is 0".to_owned());
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte);
        let name = &self.module_name;
        if name.is_empty() || name.len() > 200 || name.starts_with('.') || !name.bytes().all(plain)
        {
            return invalid(format!(
                "`{name}` is no module's file name: use letters, digits, `.`, `_`, `-` and `+`"
            ));
        }
        let variables = self.env.iter().flat_map(|(name, value)| [name, value]);
        let texts = self.args.iter().chain(&self.dirs).chain(variables);
        let bytes: usize = texts.map(|text| text.len() + 1).sum::<usize>() + self.prefix.len();
        if bytes > TEXTS_MAX_BYTES {
            return invalid(format!(
                "arguments, variables and folders have {bytes} bytes: at most {TEXTS_MAX_BYTES}"
            ));
        }
        Ok(())
    }
}

impl Triggers {
    /// Adds a trigger with its module. Objects that are sealed from now on are run for.
    ///
    /// # Errors
    /// [`Error::TriggerExists`]; [`Error::Invalid`] for what cannot be; [`Error::NoBucket`], also for a bucket whose home
    /// is another site: there its versions are given out; [`Error::TooMany`] beyond [`TRIGGERS_MAX`].
    pub fn add(&self, definition: Definition, module: &[u8]) -> Result<Trigger> {
        definition.check()?;
        if module.len() as u64 > MODULE_MAX_BYTES {
            let bytes = module.len();
            return Err(Error::Invalid(format!(
                "the module has {bytes} bytes: at most {MODULE_MAX_BYTES}"
            )));
        }
        self.check_home(&definition.bucket)?;
        if self.list()?.len() >= TRIGGERS_MAX {
            let (what, limit) = ("triggers".to_owned(), TRIGGERS_MAX as u64);
            return Err(Error::TooMany { what, limit });
        }
        match self.store.create_bucket(TRIGGERS) {
            Ok(_) | Err(Error::BucketExists { .. }) => {}
            Err(error) => return Err(error),
        }
        // Also if it is there: so nobody takes it for one that was left behind.
        let at = module_key(&definition.module);
        self.store.put(TRIGGERS, &at, module, Put::overwrite().durable())?;
        let rules = Rules {
            on: definition.on,
            since: if definition.existing { 0 } else { self.store.client().index.next_version() },
            attempts: definition.attempts,
            pause_ms: definition.pause_ms,
        };
        let id = types::random_id()[..8].to_owned();
        let trigger = Trigger { id, created: now(), definition, rules };
        let bytes = postcard::to_stdvec(&(VERSION, &trigger))
            .map_err(|error| Error::Invalid(error.to_string()))?;
        let name = &trigger.definition.name;
        match self.store.put(TRIGGERS, &define_key(name), &bytes, Put::default().durable()) {
            Ok(_) => {}
            Err(Error::Exists { .. }) => {
                return Err(Error::TriggerExists { name: name.clone() });
            }
            Err(error) => return Err(error),
        }
        if trigger.rules.on.deleted {
            // Else nobody would know tomorrow what was there today.
            self.note_all(&trigger)?;
        }
        Ok(trigger)
    }

    /// # Errors
    /// If it is not there, or not this node's.
    fn check_home(&self, bucket: &str) -> Result<()> {
        let missing = match self.store.client().bucket(bucket) {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if self.store.bucket(bucket).is_ok() {
            return Err(Error::Invalid(format!(
                "bucket `{bucket}` has its home at another site: add the trigger there"
            )));
        }
        Err(missing)
    }

    /// All triggers by name. One whose description is damaged is left out, and logged.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn list(&self) -> Result<Vec<Trigger>> {
        let (all, damaged) = self.read_all()?;
        for error in damaged {
            tracing::warn!(error = types::chain(&error), "a trigger is left out");
        }
        Ok(all)
    }

    /// All triggers, and what is wrong with others.
    fn read_all(&self) -> Result<(Vec<Trigger>, Vec<Error>)> {
        let (mut all, mut damaged) = (Vec::new(), Vec::new());
        let found = self.store.each_entry(TRIGGERS, Listing::prefix("def/"), |key, _| {
            match self.named(&key["def/".len()..]) {
                Ok(trigger) => all.push(trigger),
                // Removed meanwhile, or nobody's name.
                Err(Error::NoTrigger { .. }) => {}
                Err(error @ Error::Corrupt { .. }) => damaged.push(error),
                Err(error) => return Err(error),
            }
            Ok(())
        });
        match found {
            Ok(()) | Err(Error::NoBucket { .. }) => Ok((all, damaged)),
            Err(error) => Err(error),
        }
    }

    /// One by its name.
    ///
    /// # Errors
    /// [`Error::NoTrigger`], [`Error::Corrupt`].
    pub fn named(&self, name: &str) -> Result<Trigger> {
        let none = || Error::NoTrigger { name: name.to_owned() };
        if check_name(name).is_err() {
            return Err(none());
        }
        let bytes = match self.store.object(TRIGGERS, &define_key(name)) {
            Err(Error::NoBucket { .. } | Error::NoObject { .. }) => return Err(none()),
            object => object?.bytes()?,
        };
        let damaged = |why: String| Error::Corrupt { what: format!("trigger `{name}`"), why };
        let (version, trigger): (u16, Trigger) =
            postcard::from_bytes(&bytes).map_err(|error| damaged(error.to_string()))?;
        if version != VERSION {
            return Err(damaged(format!("it has version {version}")));
        }
        trigger.definition.check().map_err(|error| damaged(error.to_string()))?;
        let id = &trigger.id;
        if trigger.definition.name != name
            || id.len() != 8
            || !id.bytes().all(|byte| byte.is_ascii_hexdigit())
        {
            return Err(damaged("it names another one".to_owned()));
        }
        Ok(trigger)
    }

    /// The module of a trigger.
    ///
    /// # Errors
    /// As [`Geds::object`](crate::Geds::object).
    pub fn module(&self, trigger: &Trigger) -> Result<Vec<u8>> {
        let key = module_key(&trigger.definition.module);
        let object = self.store.object(TRIGGERS, &key)?;
        if object.len() > MODULE_MAX_BYTES {
            return Err(Error::Corrupt {
                what: key,
                why: format!("it has {} bytes", object.len()),
            });
        }
        Ok(object.bytes()?.to_vec())
    }

    /// Removes a trigger and what is known for it. What runs is not stopped, but cannot finish.
    ///
    /// # Errors
    /// [`Error::NoTrigger`].
    pub fn remove(&self, name: &str) -> Result<()> {
        check_name(name).map_err(|_| Error::NoTrigger { name: name.to_owned() })?;
        match self.store.delete(TRIGGERS, &define_key(name), None) {
            Ok(true) => self.sweep(),
            Ok(false) | Err(Error::NoBucket { .. }) => {
                Err(Error::NoTrigger { name: name.to_owned() })
            }
            Err(error) => Err(error),
        }
    }

    /// Removes what belongs to no trigger: of those that were removed, also by somebody who was killed meanwhile.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn sweep(&self) -> Result<()> {
        let groups = |prefix: &str| -> Result<Vec<String>> {
            let mut all = Vec::new();
            let mut listing = Listing::prefix(prefix).delimiter("/");
            loop {
                let page = match self.store.list(TRIGGERS, &listing) {
                    Err(Error::NoBucket { .. }) => return Ok(all),
                    page => page?,
                };
                all.extend(page.prefixes);
                match page.next {
                    Some(next) => listing.after = Some(next),
                    None => return Ok(all),
                }
            }
        };
        // Looked for before the triggers: one that is added meanwhile is in the second list.
        let ledgers = groups("job/")?;
        let mut modules = Vec::new();
        let listed = self.store.list(TRIGGERS, &Listing::prefix("module/"));
        modules.extend(listed.map(|page| page.entries).unwrap_or_default());
        let (known, damaged) = self.read_all()?;
        if !damaged.is_empty() {
            // What is known for it may be of use once it can be read again.
            return Ok(());
        }
        let ids: BTreeSet<String> = known.iter().map(|one| format!("job/{}/", one.id)).collect();
        for ledger in ledgers.iter().filter(|ledger| !ids.contains(*ledger)) {
            self.store.delete_prefix(TRIGGERS, ledger)?;
        }
        let named: BTreeSet<String> =
            known.iter().map(|one| module_key(&one.definition.module)).collect();
        for module in modules {
            let old = now().saturating_sub(module.stat.modified) > UNNAMED_MS;
            if old && !named.contains(&module.key) {
                // Who has written it again meanwhile needs it.
                let _ = self.store.delete(TRIGGERS, &module.key, Some(module.stat.version));
            }
        }
        Ok(())
    }
}

fn define_key(name: &str) -> String {
    format!("def/{name}")
}

fn module_key(digest: &Digest) -> String {
    format!("module/{}", digest.to_hex())
}
