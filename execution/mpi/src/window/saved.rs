//! Windows in images: what a rank sees of them, and what is kept at its site.

use super::{Exposed, Sync, Window};
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
        // Those elsewhere may reach into it once it is here.
        window.shared.sync();
        let named = window.exposed_to.iter().chain(&window.access_to).flatten();
        let mut named = named.chain(window.held.iter().map(|(target, _)| target));
        sound(named.all(|member| *member < size), "a window of it has other members")?;
        Ok(window)
    }
}

/// What is kept where a member of a window is: who let it in, how many are through with it, and
/// who holds its lock.
#[derive(Debug)]
pub(crate) struct ToldSync {
    pub(crate) member: usize,
    posts: Vec<(usize, u32)>,
    completions: u32,
    shared: u32,
    exclusive: bool,
}

wire_struct!(ToldSync { member, posts, completions, shared, exclusive });

impl Sync {
    pub(crate) fn tell(&self, member: usize) -> ToldSync {
        let posts = self.known_posts(member).unwrap_or_default().iter().enumerate();
        let posts = posts.map(|(target, posts)| (target, posts.load(Ordering::SeqCst)));
        let posts = posts.filter(|(_, posts)| *posts > 0).collect();
        let completions = self.completions[member].load(Ordering::SeqCst);
        // Those who wait for it ask again.
        let holders = lock(&self.locks[member]);
        let (shared, exclusive) = (holders.shared, holders.exclusive);
        ToldSync { member, posts, completions, shared, exclusive }
    }

    pub(crate) fn hear(&self, told: &ToldSync) -> Decoded {
        let ToldSync { member, posts, completions, shared, exclusive } = told;
        let size = self.locks.len();
        for (target, posts) in posts {
            sound(*target < size, "a window of it has other members")?;
            self.posts(*member)[*target].store(*posts, Ordering::SeqCst);
        }
        self.completions[*member].store(*completions, Ordering::SeqCst);
        // Each member holds it once.
        sound(*shared as usize <= size, "a lock of a window is held by others")?;
        sound(!exclusive || *shared == 0, "a lock of a window is shared and is not")?;
        let mut holders = lock(&self.locks[*member]);
        (holders.shared, holders.exclusive) = (*shared, *exclusive);
        Ok(())
    }
}
