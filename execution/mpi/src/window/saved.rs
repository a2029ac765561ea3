//! Windows in images: what a rank sees of them, and what it holds of what their members share.

use super::{Exposed, Window};
use crate::{
    image::{Decoded, Reader, Wire, Writer, sound, wire_struct},
    world::lock,
};
use std::sync::atomic::Ordering;

wire_struct!(Exposed { base, size, unit });

impl Wire for Window {
    fn put(&self, to: &mut Writer<'_>) {
        self.handler.put(to);
        self.name.put(to);
        self.shared.put(to);
        self.communicator.put(to);
        self.rank.put(to);
        self.parts.put(to);
        self.flavor.put(to);
        self.words.put(to);
        self.held.put(to);
        self.exposed_to.put(to);
        self.access_to.put(to);
        self.fenced.put(to);
        self.attributes.put(to);
        self.put_shared(to);
    }

    fn get(from: &mut Reader<'_>) -> Decoded<Self> {
        let window = Self {
            handler: Wire::get(from)?,
            name: Wire::get(from)?,
            shared: Wire::get(from)?,
            communicator: Wire::get(from)?,
            rank: Wire::get(from)?,
            parts: Wire::get(from)?,
            flavor: Wire::get(from)?,
            words: Wire::get(from)?,
            held: Wire::get(from)?,
            written: Vec::new(),
            exposed_to: Wire::get(from)?,
            access_to: Wire::get(from)?,
            fenced: Wire::get(from)?,
            attributes: Wire::get(from)?,
        };
        let size = window.shared.members.len();
        let own = window.shared.rank_of(from.me).map(|rank| rank as usize) == Some(window.rank);
        sound(own && window.parts.len() == size, "a window of it belongs to others")?;
        let named = window.exposed_to.iter().chain(&window.access_to).flatten();
        let mut named = named.chain(window.held.iter().map(|(target, _)| target));
        sound(named.all(|member| *member < size), "a window of it has other members")?;
        window.get_shared(from)?;
        Ok(window)
    }
}

impl Window {
    /// What is kept where this rank is: who let it in, how many are through with it, and who holds
    /// its lock.
    fn put_shared(&self, to: &mut Writer<'_>) {
        let (size, sync) = (self.parts.len(), self.sync());
        let posts = (0..size).map(|target| {
            let posts = &sync.posts[target * size + self.rank];
            (target, posts.load(Ordering::SeqCst))
        });
        posts.filter(|(_, posts)| *posts > 0).collect::<Vec<_>>().put(to);
        sync.completions[self.rank].load(Ordering::SeqCst).put(to);
        let holders = lock(&sync.locks[self.rank]);
        (holders.shared, holders.exclusive).put(to);
    }

    fn get_shared(&self, from: &mut Reader<'_>) -> Decoded {
        let (size, sync) = (self.parts.len(), self.sync());
        for (target, posts) in Vec::<(usize, u32)>::get(from)? {
            sound(target < size, "a window of it has other members")?;
            sync.posts[target * size + self.rank].store(posts, Ordering::SeqCst);
        }
        sync.completions[self.rank].store(Wire::get(from)?, Ordering::SeqCst);
        let (shared, exclusive): (u32, bool) = Wire::get(from)?;
        // Each member holds it once.
        sound(shared as usize <= size, "a lock of a window is held by others")?;
        sound(!exclusive || shared == 0, "a lock of a window is shared and is not")?;
        let mut holders = lock(&sync.locks[self.rank]);
        (holders.shared, holders.exclusive) = (shared, exclusive);
        Ok(())
    }
}
