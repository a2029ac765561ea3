//! Other sites' buckets as a process sees them: what its own node has not, it asks its node for.

use super::{Ask, kept};
use crate::{
    Bucket, Error, Geds, Listing, Object, Page, Part, Put, Result, Stat, View,
    client::{Client, unexpected},
    put::Record,
    shared::record::{CHECKED, Header, Place},
    wire::Reply,
};

/// How often an object is looked for that is replaced each time before it can be opened.
const TRIES: usize = 16;
/// What is read at once when an object is written anew of others.
const COPY_BYTES: usize = 1 << 20;

/// What came of looking for an object.
pub(crate) enum Looked<R> {
    /// It is in this node.
    Found(R),
    /// It lies at another site and is not kept here.
    Apart(Stat),
}

impl Geds {
    /// Asks this process's node about other sites; none where it knows no other sites.
    pub(crate) fn far(&self, ask: Ask) -> Result<Option<Reply>> {
        match self.client().link.far(ask)? {
            Some(Reply::Failed(refusal)) => Err(refusal.into()),
            reply => Ok(reply),
        }
    }

    /// The same, where `failed` is what came of looking here.
    fn far_or(&self, failed: Error, ask: impl FnOnce() -> Ask) -> Result<Reply> {
        if !matches!(failed, Error::NoBucket { .. }) {
            return Err(failed);
        }
        self.far(ask())?.ok_or(failed)
    }

    /// Looks for an object here, then among the copies of other sites' objects, then there.
    pub(crate) fn look<R>(
        &self,
        bucket: &str,
        key: &str,
        look: impl Fn(&str) -> Result<R>,
    ) -> Result<Looked<R>> {
        if self.is_far(bucket)
            && let Ok(found) = look(&kept(bucket))
        {
            return Ok(Looked::Found(found));
        }
        let failed = match look(bucket) {
            Err(failed @ (Error::NoBucket { .. } | Error::Elsewhere { .. })) => failed,
            looked => return looked.map(Looked::Found),
        };
        for _ in 0..TRIES {
            let (bucket, key) = (bucket.to_owned(), key.to_owned());
            match self.far(Ask::Fetch { bucket, key })? {
                Some(Reply::Apart(stat)) => return Ok(Looked::Apart(stat)),
                Some(Reply::Done) => {}
                Some(_) => return Err(unexpected()),
                None => return Err(failed),
            }
            if let Some(found) = self.look_again(failed_bucket(&failed), &look)? {
                return Ok(Looked::Found(found));
            }
        }
        Err(Error::Unavailable(format!("object `{key}` changes all the time: try again later")))
    }

    /// Looks where the node has put an object; none if it is there no longer.
    fn look_again<R>(
        &self,
        (bucket, away): (&str, bool),
        look: impl Fn(&str) -> Result<R>,
    ) -> Result<Option<R>> {
        let found = if away {
            look(bucket)
        } else {
            self.set_far(bucket);
            look(&kept(bucket))
        };
        match found {
            Ok(found) => Ok(Some(found)),
            Err(Error::NoObject { .. } | Error::NoBucket { .. } | Error::Elsewhere { .. }) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// An object that is read by ranges from the site that has it.
    pub(crate) fn object_apart(&self, bucket: &str, key: &str, stat: Stat) -> Object {
        Object::apart(self.clone(), bucket, key, stat)
    }

    pub(crate) fn view_apart(&self, bucket: &str, key: &str, stat: Stat) -> Result<View> {
        self.object_apart(bucket, key, stat).bytes()
    }

    /// Opens a sealed object without keeping a copy of one that lies at another site: each read goes there, and fails
    /// with [`Error::Changed`] once it was replaced. Objects of this node, and copies that are here already, are opened as by
    /// [`object`](Self::object).
    ///
    /// # Errors
    /// As [`object`](Self::object).
    pub fn object_uncached(&self, bucket: &str, key: &str) -> Result<Object> {
        if self.is_far(bucket)
            && let Ok(copy) = self.object_here(&kept(bucket), key)
        {
            return Ok(copy);
        }
        match self.object_here(bucket, key) {
            Err(Error::NoBucket { .. } | Error::Elsewhere { .. }) => {
                let stat = self.stat(bucket, key)?;
                Ok(self.object_apart(bucket, key, stat))
            }
            opened => opened,
        }
    }

    /// Reads a range of an object at another site.
    pub(crate) fn read_far(
        &self,
        bucket: &str,
        key: &str,
        version: u64,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize> {
        let client = self.client();
        if let Some(far) = client.link.far_within() {
            return far.read_into(bucket, key, version, offset, buffer);
        }
        let mut done = 0;
        while done < buffer.len() {
            let (bucket, key) = (bucket.to_owned(), key.to_owned());
            let (offset, len) = (offset + done as u64, (buffer.len() - done) as u64);
            let read = Ask::Read { bucket, key, version, offset, len };
            let Some(Reply::Bytes(bytes)) = self.far(read)? else { return Err(unexpected()) };
            let room = buffer.get_mut(done..done + bytes.len()).ok_or_else(unexpected)?;
            room.copy_from_slice(&bytes);
            done += bytes.len();
            if bytes.is_empty() {
                break;
            }
        }
        Ok(done)
    }

    /// The number of a bucket; none if its home is another site.
    pub(crate) fn number_of(&self, client: &Client, bucket: &str) -> Result<Option<u32>> {
        match client.bucket(bucket) {
            Err(failed @ Error::NoBucket { .. }) => {
                self.bucket_far(bucket, failed)?;
                Ok(None)
            }
            number => number.map(Some),
        }
    }

    /// The buckets of other sites; none where there are none.
    pub(crate) fn buckets_far(&self) -> Result<Vec<Bucket>> {
        match self.far(Ask::Buckets)? {
            Some(Reply::Buckets(buckets)) => Ok(buckets),
            Some(_) => Err(unexpected()),
            None => Ok(Vec::new()),
        }
    }

    pub(crate) fn bucket_far(&self, bucket: &str, failed: Error) -> Result<Bucket> {
        match self.far_or(failed, || Ask::Bucket { bucket: bucket.to_owned() })? {
            Reply::Bucket { bucket, .. } => Ok(bucket),
            _ => Err(unexpected()),
        }
    }

    /// Does something to a bucket of another site.
    pub(crate) fn bucket_order_far(&self, failed: Error, ask: impl FnOnce() -> Ask) -> Result<()> {
        self.far_or(failed, ask).map(|_| ())
    }

    pub(crate) fn stat_far(&self, bucket: &str, key: &str, failed: Error) -> Result<Stat> {
        let ask = || Ask::Stat { bucket: bucket.to_owned(), key: key.to_owned() };
        match self.far_or(failed, ask) {
            Ok(Reply::Stat(stat)) => Ok(stat),
            Ok(_) => Err(unexpected()),
            // The home cannot be asked; perhaps somebody has a copy.
            Err(Error::Unavailable(why)) => {
                match self.look(bucket, key, |at| self.stat_here(at, key)) {
                    Ok(Looked::Found(stat) | Looked::Apart(stat)) => Ok(stat),
                    Err(_) => Err(Error::Unavailable(why)),
                }
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) fn list_far(&self, bucket: &str, listing: &Listing, failed: Error) -> Result<Page> {
        let ask = || Ask::List { bucket: bucket.to_owned(), listing: listing.clone() };
        match self.far_or(failed, ask)? {
            Reply::Page(page) => Ok(page),
            _ => Err(unexpected()),
        }
    }

    pub(crate) fn delete_far(
        &self,
        bucket: &str,
        key: &str,
        if_version: Option<u64>,
        failed: Error,
    ) -> Result<bool> {
        let ask = || Ask::Delete { bucket: bucket.to_owned(), key: key.to_owned(), if_version };
        match self.far_or(failed, ask)? {
            Reply::Was(was) => Ok(was),
            _ => Err(unexpected()),
        }
    }

    /// Orders what is answered by what is known then.
    pub(crate) fn order_far(&self, failed: Error, ask: impl FnOnce() -> Ask) -> Result<Stat> {
        match self.far_or(failed, ask)? {
            Reply::Stat(stat) => Ok(stat),
            _ => Err(unexpected()),
        }
    }

    /// Seals bytes that lie here under a name of another site's bucket: its home says whether, and as which version.
    pub(crate) fn seal_far(
        &self,
        client: &Client,
        (bucket, key): (&str, &str),
        (place, len): (Place, u64),
        crc32c: Option<u32>,
        put: &Put,
    ) -> Result<Stat> {
        let (to, name) = (bucket.to_owned(), key.to_owned());
        let seal = Ask::Seal { bucket: to, key: name, put: put.clone(), size: len, crc32c };
        let Some(Reply::Stat(sealed)) = self.far(seal)? else { return Err(unexpected()) };
        let stat = Stat { site: None, ..sealed };
        if len == 0 {
            return Ok(stat);
        }
        let kept = kept(bucket);
        let published = client.bucket(&kept).and_then(|number| {
            let header = Header {
                flags: if crc32c.is_some() { CHECKED } else { 0 },
                bucket: number,
                version: stat.version,
                size: len,
                modified: stat.modified,
                place,
                crc: crc32c.unwrap_or_default(),
                key_len: 0,
                attributes_len: 0,
                former_len: 0,
            };
            let header = header.classed(stat.class);
            let attributes = stat.attributes.encode()?;
            let record = Record { header, key, attributes: &attributes, former: "" };
            let published = client.publish(&kept, &record, |newest| match newest {
                // Replaced already.
                Some(newest) if !newest.deleted() && newest.version > stat.version => {
                    Err(Error::no_object(bucket, key))
                }
                _ => Ok(()),
            });
            published.map(|_| ())
        });
        match published {
            Ok(()) => {
                self.set_far(bucket);
                Ok(stat)
            }
            Err(Error::NoObject { .. }) => Ok(stat),
            Err(error) => {
                // A name without bytes is of no use to anybody.
                let (bucket, key) = (bucket.to_owned(), key.to_owned());
                let if_version = Some(stat.version);
                let _ = self.far(Ask::Delete { bucket, key, if_version });
                Err(error)
            }
        }
    }

    /// Sees that other sites have copies of an object of this node.
    pub(crate) fn replicate(&self, bucket: &str, key: &str, version: u64, sites: u8) -> Result<()> {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        match self.far(Ask::Replicate { bucket, key, version, sites })? {
            Some(_) => Ok(()),
            None => Err(Error::Invalid("this node knows no other sites for copies".to_owned())),
        }
    }

    /// Copies within a bucket of another site are its home's to make; others are written anew.
    pub(crate) fn copy_far(
        &self,
        from: (&str, &str),
        to: (&str, &str),
        put: &Put,
        rename: bool,
        failed: Error,
    ) -> Result<Stat> {
        let elsewhere = matches!(failed, Error::Elsewhere { .. });
        if !elsewhere && from.0 == to.0 {
            let (bucket, put) = (from.0.to_owned(), put.clone());
            let (from, to) = (from.1.to_owned(), to.1.to_owned());
            return self.order_far(failed, || Ask::Copy { bucket, from, to, put, rename });
        }
        if !elsewhere && !matches!(failed, Error::NoBucket { .. }) {
            return Err(failed);
        }
        let mut put = put.clone();
        if put.attributes.is_none() {
            put.attributes = Some(self.stat(from.0, from.1)?.attributes);
        }
        self.assemble(to.0, to.1, &[Part::all(from.0, from.1)], put)
    }

    /// Writes an object anew of parts of others.
    pub(crate) fn assemble(
        &self,
        bucket: &str,
        key: &str,
        parts: &[Part],
        put: Put,
    ) -> Result<Stat> {
        let mut writer = self.create(bucket, key, put)?;
        let mut buffer = vec![0; COPY_BYTES];
        for part in parts {
            let object = self.object(&part.bucket, &part.key)?;
            let version = object.stat().version;
            if let Some(expected) = part.if_version.filter(|expected| *expected != version) {
                let (bucket, key, found) = (part.bucket.clone(), part.key.clone(), Some(version));
                return Err(Error::Changed { bucket, key, expected, found });
            }
            let range = part.range.clone().unwrap_or(0..object.len());
            if range.start > range.end || range.end > object.len() {
                let (offset, end, size) = (range.start, range.end, object.len());
                return Err(Error::Range { offset, end, size });
            }
            let mut at = range.start;
            while at < range.end {
                let room = buffer.len().min((range.end - at) as usize);
                let count = object.read_at(at, &mut buffer[..room])?;
                if count == 0 {
                    return Err(unexpected());
                }
                writer.write_at(writer.len(), &buffer[..count])?;
                at += count as u64;
            }
        }
        writer.seal()
    }
}

/// The bucket that was looked in, and whether it is this node's.
fn failed_bucket(failed: &Error) -> (&str, bool) {
    match failed {
        Error::Elsewhere { bucket, .. } => (bucket, true),
        Error::NoBucket { bucket } => (bucket, false),
        _ => ("", false),
    }
}
