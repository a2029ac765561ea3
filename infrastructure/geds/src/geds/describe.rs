//! What is known about an object, and its class: they change, and its bytes stay.

use super::TRIES;
use crate::{
    Attributes, Class, Error, Geds, Result, Stat,
    client::Found,
    node::names::{stat_of, tier_of},
    put::{Record, changed},
    remote::{Ask, still_away},
    shared::record::{ATTRIBUTES, AWAY, CHECKED, CLASS, Header, NOTED},
};

impl Geds {
    /// Replaces an object's attributes, if it is still the version named, and keeps its bytes,
    /// version and time.
    ///
    /// # Errors
    /// As [`stat`](Self::stat); [`Error::Changed`], [`Error::AttributesSize`].
    pub fn set_attributes(
        &self,
        bucket: &str,
        key: &str,
        attributes: Attributes,
        if_version: Option<u64>,
    ) -> Result<Stat> {
        attributes.encode()?;
        let client = self.client();
        if let Err(failed @ Error::NoBucket { .. }) = client.bucket(bucket) {
            let (bucket, key) = (bucket.to_owned(), key.to_owned());
            return self.order_far(failed, || Ask::Attributes {
                bucket,
                key,
                attributes,
                if_version,
            });
        }
        self.redescribe(bucket, key, if_version, |stat, old| {
            Ok((*old, still_away(stat, attributes.clone()).encode()?))
        })
    }

    /// Gives an object of this site's bucket a class of its own, or that of its bucket's back end again, and keeps all else.
    ///
    /// # Errors
    /// As [`stat`](Self::stat); [`Error::Changed`].
    pub fn set_class(
        &self,
        bucket: &str,
        key: &str,
        class: Option<Class>,
        if_version: Option<u64>,
    ) -> Result<Stat> {
        self.redescribe(bucket, key, if_version, |stat, old| {
            Ok((old.classed(class), still_away(stat, stat.attributes.clone()).encode()?))
        })
    }

    /// Replaces what is known about an object, by what `describe` makes of it, and keeps its bytes.
    fn redescribe(
        &self,
        bucket: &str,
        key: &str,
        if_version: Option<u64>,
        describe: impl Fn(&Stat, &Header) -> Result<(Header, Vec<u8>)>,
    ) -> Result<Stat> {
        let client = self.client();
        for _ in 0..TRIES {
            let Found { header: old, pin, attributes: former } = client.find(bucket, key)?;
            let stat = stat_of(&old, &former, tier_of(old.place));
            let found = Some(old.version);
            if let Some(expected) = if_version.filter(|expected| Some(*expected) != found) {
                return Err(changed(bucket, key, expected, found));
            }
            let (new, encoded) = describe(&stat, &old)?;
            let flags = new.flags & (CHECKED | AWAY | NOTED | CLASS) | ATTRIBUTES;
            let header = Header { flags, ..old };
            let record = Record { header, key, attributes: &encoded, former: "" };
            let same = |newest: Option<&Header>| match newest {
                Some(newest) if newest.same_as(&old) => Ok(()),
                newest => Err(changed(bucket, key, old.version, newest.map(|new| new.version))),
            };
            match client.publish_change(bucket, &record, same) {
                Ok(()) => return Ok(stat_of(&header, &encoded, tier_of(header.place))),
                // Written or moved meanwhile.
                Err(Error::Changed { .. }) => drop(pin),
                Err(error) => return Err(error),
            }
        }
        Err(Error::Unavailable(format!("object `{key}` changes all the time: try again later")))
    }
}
