//! Bytes that were written become objects.

use crate::{
    Error, Geds, Put, Result, Stat,
    client::{Client, Space, new_header},
    node::names::{stat_of, tier_of},
    put::Record,
    shared::record::Place,
};

impl Geds {
    /// Seals bytes that were written into a space of this session.
    pub(crate) fn seal_space(
        &self,
        client: &Client,
        bucket: &str,
        key: &str,
        (space, len): (Space, u64),
        crc: Option<u32>,
        put: Put,
    ) -> Result<Stat> {
        let place = if len == 0 { Place::Nowhere } else { space.place() };
        let sealed = self.seal_place(client, bucket, key, (place, len), crc, put);
        match sealed {
            Ok(_) if len > 0 => client.written(space),
            _ => client.unused(space),
        }
        sealed
    }

    /// Seals bytes that lie at a place which this session holds.
    pub(crate) fn seal_place(
        &self,
        client: &Client,
        bucket: &str,
        key: &str,
        (place, len): (Place, u64),
        crc: Option<u32>,
        put: Put,
    ) -> Result<Stat> {
        let Some(number) = self.number_of(client, bucket)? else {
            let stat = self.seal_far(client, (bucket, key), (place, len), crc, &put)?;
            return self.sealed(bucket, key, stat, &put);
        };
        let attributes = match &put.attributes {
            Some(attributes) => attributes.encode()?,
            None => Vec::new(),
        };
        let header = new_header(client, number, len, place);
        let header = crc.map_or(header, |crc| header.summed(crc)).classed(put.class);
        let record = Record { header, key, attributes: &attributes, former: "" };
        let header = client.publish_put(bucket, record, &put)?;
        let kept = put.attributes.clone().unwrap_or_default();
        let stat = Stat { attributes: kept, ..stat_of(&header, &[], tier_of(place)) };
        self.sealed(bucket, key, stat, &put)
    }

    /// Waits until an object is on disk, if that was asked for.
    pub(crate) fn sealed(&self, bucket: &str, key: &str, stat: Stat, put: &Put) -> Result<Stat> {
        if put.replicas > 0 {
            self.replicate(bucket, key, stat.version, put.replicas)?;
        }
        if !put.durable {
            return Ok(stat);
        }
        match self.persist(bucket, key) {
            // Replaced or deleted already, which is as it would be had it happened a little later.
            Err(Error::NoObject { .. }) => Ok(stat),
            persisted => persisted,
        }
    }
}
