//! What the home of a bucket does for other sites: it orders what happens to its names.

use super::{
    far::Far,
    lane::unexpected,
    message::{Answer, Request},
};
use crate::{
    Attributes, Error, Put, Result, Stat, Subscription, Tier,
    client::new_header,
    node::names::stat_of,
    put::Record,
    shared::record::{AWAY, CHECKED, Header, Place},
    wire::Reply,
};
use std::sync::Arc;

impl Far {
    /// Answers a site; `own` is this one.
    pub(super) fn answer(
        self: &Arc<Self>,
        site: &str,
        own: &str,
        request: Request,
    ) -> Result<Answer> {
        let located = |stat: Stat| {
            let site = stat.site.or_else(|| Some(own.to_owned()));
            Answer::Stat(Stat { site, ..stat })
        };
        match request {
            Request::Stat { name } => self.geds.stat(&name.bucket, &name.key).map(located),
            Request::Seal { name, put, size, crc32c } => {
                self.seal(site, &name.bucket, &name.key, &put, size, crc32c).map(Answer::Stat)
            }
            Request::Delete { name, if_version } => {
                self.geds.delete(&name.bucket, &name.key, if_version).map(Answer::Was)
            }
            Request::Attributes { name, attributes, if_version } => {
                let (bucket, key) = (&name.bucket, &name.key);
                self.geds.set_attributes(bucket, key, attributes, if_version).map(located)
            }
            Request::Copy { name, to, put, rename } => {
                // Copies share bytes: they have to be here.
                if let Reply::Apart(_) = self.fetch(&name.bucket, &name.key)? {
                    let key = &name.key;
                    return Err(Error::Invalid(format!(
                        "object `{key}` lies at another site and is too large to be brought here: copy it there"
                    )));
                }
                let (bucket, from) = (&name.bucket, &name.key);
                let copied = match rename {
                    true => self.geds.rename(bucket, from, &to, put),
                    false => self.geds.copy((bucket, from), (bucket, &to), put),
                };
                copied.map(located)
            }
            Request::Keep { name, .. } => match self.fetch_as(&name.bucket, &name.key, true)? {
                Reply::Done => Ok(Answer::Done),
                _ => Err(Error::Unavailable(format!("site `{own}` has no room for a copy"))),
            },
            _ => Err(unexpected()),
        }
    }

    /// Seals an object whose bytes lie at another site: this decides which seal of a name is the first.
    fn seal(
        &self,
        site: &str,
        bucket: &str,
        key: &str,
        put: &Put,
        size: u64,
        crc: Option<u32>,
    ) -> Result<Stat> {
        if size > i64::MAX as u64 {
            return Err(Error::Invalid(format!("no object has {size} bytes")));
        }
        let client = self.geds.client();
        let number = client.bucket(bucket)?;
        let attributes = put.attributes.clone().unwrap_or_default();
        // An object of no bytes has them everywhere.
        let (away, attributes) = match size {
            0 => (0, attributes),
            _ => (AWAY, attributes.with_site(site)),
        };
        let checked = if crc.is_some() { CHECKED } else { 0 };
        let header = new_header(&client, number, size, Place::Nowhere);
        let header = Header { flags: away | checked, crc: crc.unwrap_or_default(), ..header };
        let header = header.classed(put.class);
        let attributes = attributes.encode()?;
        let record = Record { header, key, attributes: &attributes, former: "" };
        let header = client.publish_put(bucket, record, put)?;
        Ok(stat_of(&header, &attributes, Tier::Memory))
    }

    /// All that happens in this tenant's buckets, from now on.
    pub(super) fn everything(&self) -> Result<Subscription> {
        let tenant = self.tenant.upgrade();
        tenant.ok_or_else(|| Error::Unavailable("it ends".to_owned()))?.everything()
    }
}

/// The attributes of an object whose bytes another site has, after a change.
pub(crate) fn still_away(stat: &Stat, attributes: Attributes) -> Attributes {
    match &stat.site {
        Some(site) => attributes.with_site(site),
        None => attributes,
    }
}
