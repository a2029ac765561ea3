//! What outlives the node, what did not, what happens, and what may be used.

use crate::{
    Error, Geds, Limits, Lost, Result, Scope, Stat, Subscription, Usage,
    client::unexpected,
    remote::kept,
    wire::{Reply, Request},
};

impl Geds {
    /// Puts an object on disk, synced, where it outlives the node.
    ///
    /// # Errors
    /// As [`stat`](Self::stat); [`Error::Exhausted`], [`Error::Io`].
    pub fn persist(&self, bucket: &str, key: &str) -> Result<Stat> {
        let persist =
            |bucket: &str| Request::Persist { bucket: bucket.to_owned(), key: key.to_owned() };
        let reply = match self.ask_apart(&persist(bucket)) {
            // What another site has is made durable where it is read: here.
            Err(Error::NoBucket { .. }) => {
                self.object(bucket, key)?;
                self.ask_apart(&persist(&kept(bucket)))
            }
            reply => reply,
        };
        match reply? {
            Reply::Stat(stat) => Ok(stat),
            _ => Err(unexpected()),
        }
    }

    /// Puts all objects on disk, synced.
    ///
    /// # Errors
    /// [`Error::Exhausted`], [`Error::Io`].
    pub fn persist_all(&self) -> Result<()> {
        self.ask_apart(&Request::PersistAll).map(|_| ())
    }

    /// The objects that were in memory alone when a former node ended or was killed, or whose files were damaged at its
    /// start, by name; without those whose names were written again since. A node writes names down within 250 ms
    /// of their seal, and at once for those that replace a durable object.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn lost(&self) -> Result<Vec<Lost>> {
        let mut all: Vec<Lost> = Vec::new();
        loop {
            let after = all.last().map(|last| (last.bucket.clone(), last.key.clone()));
            match self.ask(&Request::Lost { after })? {
                Reply::Lost(some) if some.is_empty() => return Ok(all),
                Reply::Lost(some) => all.extend(some),
                _ => return Err(unexpected()),
            }
        }
    }

    /// Forgets which objects were lost.
    ///
    /// # Errors
    /// [`Error::Io`] when that cannot be written down.
    pub fn forget_lost(&self) -> Result<()> {
        self.ask(&Request::ForgetLost).map(|_| ())
    }

    /// Tells what happens in a scope from now on.
    ///
    /// # Errors
    /// [`Error::NoBucket`].
    pub fn subscribe(&self, scope: Scope) -> Result<Subscription> {
        self.client().link.subscribe(scope)
    }

    /// What the tenant uses now.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn usage(&self) -> Result<Usage> {
        match self.ask(&Request::Usage)? {
            Reply::Usage(usage) => Ok(usage),
            _ => Err(unexpected()),
        }
    }

    /// The limits in force.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn limits(&self) -> Result<Limits> {
        match self.ask(&Request::Limits)? {
            Reply::Limits(limits) => Ok(limits),
            _ => Err(unexpected()),
        }
    }

    /// Sets the limits; lower ones take effect as memory is freed.
    ///
    /// # Errors
    /// [`Error::Invalid`] for limits that cannot be.
    pub fn set_limits(&self, limits: Limits) -> Result<()> {
        self.ask(&Request::SetLimits { limits }).map(|_| ())
    }
}
