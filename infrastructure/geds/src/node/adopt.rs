//! Buckets get back ends, and objects that lie there alone become those of the bucket.

use super::{remotes::Remote, settle::Expected, state::State, tenant::Tenant};
use crate::{
    Attributes, BackendConfig, Error, Put, Result,
    backend::is_name,
    check_key,
    outside::ETAG,
    put::Record,
    shared::record::{Header, Place},
    wire::Reply,
};

impl Tenant {
    pub(super) fn attach(&self, bucket: &str, backend: BackendConfig) -> Result<Reply> {
        self.attach_now(bucket, backend.clone())?;
        self.keys.set(bucket, Some(&backend).filter(|backend| backend.keep))?;
        Ok(Reply::Done)
    }

    fn attach_now(&self, bucket: &str, backend: BackendConfig) -> Result<()> {
        let number = self.state().names.number(bucket)?;
        self.outlets.attach(bucket, backend)?;
        let mut state = self.state();
        state.look_again();
        state.index.set_tiered(number, true);
        Ok(())
    }

    /// Attaches what was kept when a former node ended.
    pub(super) fn attach_kept(&self) {
        for (bucket, backend) in self.keys.all() {
            if let Err(error) = self.attach_now(&bucket, backend) {
                let error = types::chain(&error);
                tracing::warn!(bucket, error, "a back end is not attached again");
            }
        }
    }

    pub(super) fn detach(&self, bucket: &str) -> Result<Reply> {
        let number = self.state().names.number(bucket)?;
        self.keys.set(bucket, None)?;
        self.state().index.set_tiered(number, false);
        self.outlets.detach(bucket);
        Ok(Reply::Done)
    }

    /// Makes an object that lies outside alone one of the bucket's. Its bytes stay there.
    pub(super) fn adopt(&self, bucket: &str, key: &str) -> Result<Reply> {
        check_key(key)?;
        let nothing = || Error::no_object(bucket, key);
        if !self.state().may_adopt(bucket, key)? || !is_name(key) {
            return Err(nothing());
        }
        let found = self.outlets.reader(bucket)?.look(bucket, key)?;
        let mut state = self.state();
        // It may have come here, and gone, meanwhile.
        if state.current(bucket, key).is_ok() {
            return Ok(Reply::Done);
        }
        if !state.may_adopt(bucket, key)? {
            return Err(nothing());
        }
        let etag = found.etag.clone().map(|etag| (ETAG, etag));
        let attributes = etag.into_iter().collect::<Attributes>().encode()?;
        let (bucket_, key_) = (bucket.to_owned(), key.to_owned());
        let (etag, size, sums) = (found.etag, found.size, Vec::new());
        let place = match size {
            0 => Place::Nowhere,
            _ => {
                let remote = Remote { bucket: bucket_, key: key_, etag, size, sums };
                Place::Outside { number: state.remotes.add(remote) }
            }
        };
        let (version, number) = (state.index.next_version(), state.names.number(bucket)?);
        let new = Header::new(version, number, size, place);
        let header = Header { modified: found.modified, ..new };
        let record = Record { header, key, attributes: &attributes, former: "" };
        let put = Put::default();
        let published = state.publish(&record, Expected::Asked { bucket, put: &put });
        state.reconsider(place);
        state.flush_journal();
        published.map(|_| Reply::Done)
    }
}

impl State {
    /// Whether a name that is not here may be looked for outside: what lies there under it is not known to be former.
    fn may_adopt(&self, bucket: &str, key: &str) -> Result<bool> {
        self.names.number(bucket)?;
        if let Some(why) = self.lost.why(bucket, key) {
            let (bucket, key, why) = (bucket.to_owned(), key.to_owned(), why.to_owned());
            return Err(Error::Lost { bucket, key, why });
        }
        Ok(!self.remotes.is_known(bucket, key))
    }
}
