//! Objects that come back to memory.

use crate::{
    Error, Geds, Object, Result,
    client::Space,
    put::{Record, changed},
    shared::record::{CHECKED, CLASS, Header, MOVED, NOTED, Place},
};

/// What is copied from disk at once.
const COPY_BYTES: usize = 256 << 10;

impl Geds {
    /// Copies an object from disk into memory that nobody waits for, where the next ones view it.
    /// It stays on disk as well. Says whether it is in memory now.
    pub(crate) fn bring_to_memory(&self, bucket: &str, key: &str, size_max: u64) -> Result<bool> {
        let client = self.client();
        let found = client.find(bucket, key)?;
        let (old, attributes) = (found.header, found.attributes.clone());
        let below = matches!(old.place, Place::File { .. } | Place::Outside { .. });
        if !below || old.size > size_max.min(client.memory_object_max()) {
            return Ok(matches!(old.place, Place::Nowhere | Place::Slab { .. }));
        }
        let Some(object) = Object::open(&client, found)? else { return Ok(false) };
        let Some(space) = client.allocate_spare(old.size)? else { return Ok(false) };
        // It stays in the journal: who replaces it tells the node.
        let flags = old.flags & (CHECKED | CLASS) | MOVED | NOTED;
        let header = Header { flags, place: space.place(), ..old };
        let record = Record { header, key, attributes: &attributes, former: "" };
        let same = |newest: Option<&Header>| match newest {
            Some(newest) if newest.same_as(&old) => Ok(()),
            newest => Err(changed(bucket, key, old.version, newest.map(|new| new.version))),
        };
        let copied = copy_into(&object, &space);
        match copied.and_then(|()| client.publish(bucket, &record, same)) {
            Ok(_) => {
                client.written(space);
                Ok(true)
            }
            // Written, moved or brought by somebody else meanwhile.
            Err(Error::Changed { .. }) => {
                client.unused(space);
                Ok(false)
            }
            Err(error) => {
                client.unused(space);
                Err(error)
            }
        }
    }
}

fn copy_into(object: &Object, space: &Space) -> Result<()> {
    let mut buffer = vec![0; COPY_BYTES.min(object.len() as usize)];
    let mut at = 0;
    while at < object.len() {
        let count = object.read_at(at, &mut buffer)?;
        space.write(at, &buffer[..count])?;
        at += count as u64;
    }
    Ok(())
}
