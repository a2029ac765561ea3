//! What nodes of different sites say to each other, in postcard's encoding.

use super::frame::malformed;
use crate::{
    Attributes, Bucket, Error, Event, Listing, Page, Put, Result, Stat, check_bucket, check_key,
    wire::Refusal,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// An object of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Name {
    pub(crate) tenant: String,
    pub(crate) bucket: String,
    pub(crate) key: String,
}

/// What a node asks another one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Request {
    /// The first of a connection: who asks.
    Hello { site: String },
    /// Which site is the home of a bucket, of the node that keeps the directory.
    Whose { tenant: String, bucket: String },
    /// Makes whoever asks the home of a bucket that has none.
    Claim { tenant: String, bucket: String },
    /// Whoever asks is the home of a bucket no more.
    Disclaim { tenant: String, bucket: String },
    /// A bucket whose home the asked node is.
    Bucket { tenant: String, bucket: String },
    /// A page of its objects.
    List { tenant: String, bucket: String, listing: Listing },
    /// What is known about an object.
    Stat { name: Name },
    /// Bytes of an object: of this version, if one is named; at most so many.
    Read {
        name: Name,
        version: Option<u64>,
        offset: u64,
        len: u64,
        /// Whether a copy serves as well: the home cannot be reached.
        copy: bool,
    },
    /// All bytes of an object, if there are at most `max`; else what is known about it.
    Fetch { name: Name, version: Option<u64>, max: u64, copy: bool },
    /// Orders the seal of an object whose bytes lie at the site that asks.
    Seal { name: Name, put: Put, size: u64, crc32c: Option<u32> },
    /// Removes an object.
    Delete { name: Name, if_version: Option<u64> },
    /// Replaces an object's attributes.
    Attributes { name: Name, attributes: Attributes, if_version: Option<u64> },
    /// Copies an object within its bucket, or renames it.
    Copy { name: Name, to: String, put: Put, rename: bool },
    /// Keeps a copy of an object of whoever asks.
    Keep { name: Name, version: u64 },
    /// What happens in a bucket is to be told on this connection, from now on.
    Follow { tenant: String, bucket: String },
    /// Replaces what is kept with a bucket.
    BucketAttributes { tenant: String, bucket: String, attributes: Attributes },
    /// Removes a bucket that has no objects.
    DeleteBucket { tenant: String, bucket: String },
    /// The first of a connection without TLS, where a token is asked for: a number that is used once.
    Challenge { site: String, nonce: String },
    /// The second of such a connection: that who asks has the token.
    Prove { proof: Vec<u8> },
    /// The buckets whose home the asked node is.
    Buckets { tenant: String },
}

impl Request {
    /// Checks names: what the other side sends is not believed.
    ///
    /// # Errors
    /// As [`check_bucket`] and [`check_key`].
    pub(super) fn check(&self) -> Result<()> {
        match self {
            Self::Hello { .. } | Self::Challenge { .. } | Self::Prove { .. } => Ok(()),
            Self::Buckets { tenant } => check_tenant(tenant),
            Self::Whose { tenant, bucket }
            | Self::Claim { tenant, bucket }
            | Self::Disclaim { tenant, bucket }
            | Self::Bucket { tenant, bucket }
            | Self::List { tenant, bucket, .. }
            | Self::BucketAttributes { tenant, bucket, .. }
            | Self::DeleteBucket { tenant, bucket }
            | Self::Follow { tenant, bucket } => check_names(tenant, bucket),
            Self::Fetch { name, .. }
            | Self::Stat { name }
            | Self::Read { name, .. }
            | Self::Seal { name, .. }
            | Self::Delete { name, .. }
            | Self::Attributes { name, .. }
            | Self::Keep { name, .. } => name.check(),
            Self::Copy { name, to, .. } => {
                name.check()?;
                Ok(check_key(to)?)
            }
        }
    }
}

impl Name {
    fn check(&self) -> Result<()> {
        check_names(&self.tenant, &self.bucket)?;
        Ok(check_key(&self.key)?)
    }
}

fn check_names(tenant: &str, bucket: &str) -> Result<()> {
    check_tenant(tenant)?;
    Ok(check_bucket(bucket)?)
}

fn check_tenant(tenant: &str) -> Result<()> {
    types::check_name(tenant).map_err(|error| Error::Invalid(error.to_string()))
}

/// What a node answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// To `Hello` and `Prove`: who answers, and which run of its node: what lay in the memory of another one is gone.
    Welcome {
        site: String,
        run: u64,
    },
    Done,
    Home(Option<String>),
    Bucket(Bucket),
    Page(Page),
    Stat(Stat),
    /// So many bytes follow, from the offset that was asked for on; `stat` is that of the whole object.
    Bytes {
        stat: Stat,
        len: u64,
    },
    /// The object is known, but its bytes lie at the site that `stat` names.
    Elsewhere(Stat),
    /// Whether there was one.
    Was(bool),
    Refused(Refusal),
    /// To `Challenge`: who answers, its own number, and that it has the token.
    Challenge {
        site: String,
        nonce: String,
        proof: Vec<u8>,
    },
    Buckets(Vec<Bucket>),
}

/// What a node tells whoever follows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Notice {
    /// From here on what happens in this bucket is told.
    Following(String),
    /// A bucket cannot be followed.
    Refused(String, Refusal),
    Event(Event),
    /// Something was left out: look at everything again.
    Missed,
    /// Nothing happened.
    Alive,
}

/// The bytes of a message.
pub(super) fn encode(message: &impl Serialize) -> Result<Vec<u8>> {
    postcard::to_allocvec(message).map_err(|_| malformed("it cannot be written"))
}

/// The message of these bytes, all of them.
pub(super) fn decode<M: DeserializeOwned>(bytes: &[u8]) -> Result<M> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        Ok(_) => Err(malformed("a message has bytes left over")),
        Err(_) => Err(malformed("a message cannot be read")),
    }
}
