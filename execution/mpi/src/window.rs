//! One-sided communication: windows into the memories of others.
//!
//! All memories of a site are in reach, so that a call is over when it returns; what remains to
//! be done is to synchronise. Members at other sites are written to in the order of the calls
//! ([`crate::site::reach`]).
//!
//! Here is how windows are made and what they are; `access` has the calls that reach into others,
//! `synchronise` those that order them, `epoch` which of them are allowed when, `sync` what the
//! members share, `dynamic` the windows to which memory is attached, and `saved` their images.

mod access;
mod dynamic;
mod epoch;
pub(crate) mod saved;
mod sync;
mod synchronise;

pub(crate) use sync::Sync;

use crate::{
    abi,
    attribute::{Attributes, Holder},
    communicator::Shared,
    engine::{Blame, Cb, Engine},
    error::{Result, ensure, fault},
    memory::Space,
    site::reach::Far,
    transfer::Span,
};
use std::sync::Arc;

/// One member's part of a window.
#[derive(Debug, Clone, Copy)]
struct Exposed {
    base: u32,
    size: u32,
    unit: i32,
}

/// A window as one rank sees it.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) handler: i32,
    pub(crate) name: String,
    shared: Arc<Shared>,
    communicator: i32,
    rank: usize,
    parts: Vec<Exposed>,
    flavor: i32,
    /// Integers in the guest that attributes point to.
    words: Option<u32>,
    /// The locks that this rank holds, by target, and whether it has all.
    held: Vec<(usize, i32)>,
    /// Other sites that were written to since they last said that all is there.
    written: Vec<u32>,
    exposed_to: Option<Vec<usize>>,
    access_to: Option<Vec<usize>>,
    /// Whether a fence began an epoch, and calls were made in it.
    fenced: Option<bool>,
    pub(crate) attributes: Attributes,
}

impl Window {
    fn sync(&self) -> &Sync {
        self.shared.sync()
    }
}

/// The other side of a one-sided call.
struct Target {
    rank: usize,
    space: Space,
    span: Span,
    /// Where it is, if at another site.
    far: Option<Far>,
}

impl Engine {
    pub(crate) fn window_mut(&mut self, handle: i32) -> Result<&mut Window> {
        match self.windows.get_mut(handle) {
            Some(window) => {
                self.blame = Blame::Window(handle);
                Ok(window)
            }
            None => Err(fault(abi::ERR_WIN, format!("there is no window {handle}"))),
        }
    }

    fn create_window(
        &mut self,
        cb: Cb<'_>,
        exposed: Exposed,
        comm: i32,
        flavor: i32,
    ) -> Result<i32> {
        let communicator = self.once(|engine| {
            let members = engine.communicator(comm)?.shared.members.clone();
            let shared = engine.make_together(cb, comm, members)?;
            Ok(engine.adopt(comm, shared)? as u32)
        })? as i32;
        let known = self.communicator(communicator)?;
        let (shared, rank) = (Arc::clone(&known.shared), known.rank as usize);
        // From here on those elsewhere may reach into it.
        shared.sync();
        let words = [exposed.base, exposed.size, exposed.unit as u32];
        let bytes = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let round = self.exchange(cb, communicator, bytes)?;
        let part = |bytes: &[u8]| {
            let (words, _) = bytes.as_chunks::<4>();
            let word = |place: usize| words.get(place).map_or(0, |word| u32::from_le_bytes(*word));
            Exposed { base: word(0), size: word(1), unit: word(2) as i32 }
        };
        let parts = round.entries().map(|entry| part(entry.data())).collect();
        self.blame = Blame::Communicator(comm);
        Ok(self.windows.add(Window {
            handler: abi::ERRORS_ARE_FATAL,
            name: String::new(),
            shared,
            communicator,
            rank,
            parts,
            flavor,
            words: None,
            held: Vec::new(),
            written: Vec::new(),
            exposed_to: None,
            access_to: None,
            fenced: None,
            attributes: Attributes::new(),
        }))
    }

    fn exposed(&self, base: u32, size: i32, unit: i32) -> Result<Exposed> {
        ensure(unit > 0, abi::ERR_DISP, || {
            format!("the displacement unit {unit} is not positive")
        })?;
        let size = u32::try_from(size)
            .map_err(|_| fault(abi::ERR_SIZE, "the window's size is negative"))?;
        if size > 0 {
            self.space.check(i64::from(base), size as usize)?;
        }
        Ok(Exposed { base, size, unit })
    }

    pub(crate) fn win_create(
        &mut self,
        cb: Cb<'_>,
        base: u32,
        size: i32,
        disp_unit: i32,
        info: i32,
        comm: i32,
        win: u32,
    ) -> Result {
        self.info(info)?;
        self.space.check_place(win)?;
        let exposed = self.exposed(base, size, disp_unit)?;
        let handle = self.create_window(cb, exposed, comm, abi::WIN_FLAVOR_CREATE)?;
        self.space.write_i32(win, handle)
    }

    pub(crate) fn win_allocate(
        &mut self,
        cb: Cb<'_>,
        size: i32,
        disp_unit: i32,
        info: i32,
        comm: i32,
        baseptr: u32,
        win: u32,
    ) -> Result {
        self.info(info)?;
        self.space.check_place(win)?;
        let base = self.once(|engine| engine.allocate(cb, size))?;
        let exposed = self.exposed(base, size, disp_unit)?;
        let handle = self.create_window(cb, exposed, comm, abi::WIN_FLAVOR_ALLOCATE)?;
        self.space.write_i32(baseptr, base as i32)?;
        self.space.write_i32(win, handle)
    }

    pub(crate) fn win_free(&mut self, cb: Cb<'_>, win: u32) -> Result {
        let handle = self.space.read_i32(win)?;
        let window = self.window_mut(handle)?;
        let (communicator, flavor, words) = (window.communicator, window.flavor, window.words);
        let base = window.parts[window.rank].base;
        window.check_closed(true)?;
        ensure(window.exposed_to.is_none(), abi::ERR_RMA_SYNC, || {
            "the window is exposed still".to_owned()
        })?;
        self.delete_attributes(cb, Holder::Window, handle)?;
        self.settle(cb, handle)?;
        self.exchange(cb, communicator, Vec::new())?;
        if flavor == abi::WIN_FLAVOR_ALLOCATE {
            cb.free(base)?;
        }
        if let Some(words) = words {
            cb.free(words)?;
        }
        self.windows.remove(handle);
        self.communicators.remove(communicator);
        self.blame = Blame::Communicator(abi::COMM_WORLD);
        self.space.write_i32(win, abi::WIN_NULL)
    }

    pub(crate) fn win_get_group(&mut self, _: Cb<'_>, win: i32, group: u32) -> Result {
        let members: Arc<[u32]> = self.window_mut(win)?.shared.members.as_slice().into();
        self.add_group(members, group)
    }

    pub(crate) fn win_set_name(&mut self, _: Cb<'_>, win: i32, name: u32) -> Result {
        let name = self.space.string(name, abi::MAX_OBJECT_NAME as usize - 1)?;
        self.window_mut(win)?.name = name;
        Ok(())
    }

    pub(crate) fn win_get_name(
        &mut self,
        _: Cb<'_>,
        win: i32,
        name: u32,
        resultlen: u32,
    ) -> Result {
        let text = self.window_mut(win)?.name.clone();
        let len = self.space.write_string(name, &text, abi::MAX_OBJECT_NAME as usize)?;
        self.space.write_i32(resultlen, len)
    }

    pub(crate) fn win_get_attr(
        &mut self,
        cb: Cb<'_>,
        win: i32,
        keyval: i32,
        value: u32,
        flag: u32,
    ) -> Result {
        let window = self.window_mut(win)?;
        let (own, flavor, words) = (window.parts[window.rank], window.flavor, window.words);
        let words = match words {
            Some(words) => words,
            None => self.allocate(cb, 16)?,
        };
        self.window_mut(win)?.words = Some(words);
        let size = if flavor == abi::WIN_FLAVOR_DYNAMIC { 0 } else { own.size as i32 };
        self.space.write_ints(words, &[size, own.unit, flavor, abi::WIN_UNIFIED])?;
        let found = match keyval {
            abi::WIN_BASE => Some(own.base),
            abi::WIN_SIZE..=abi::WIN_MODEL => {
                Some(words.wrapping_add(4 * (keyval - abi::WIN_SIZE) as u32))
            }
            _ => self.attribute(Holder::Window, win, keyval)?,
        };
        self.write_attribute(found, value, flag)
    }

    /// Where a member of a window is, if at another site.
    fn far(&mut self, win: i32, rank: usize) -> Result<Option<Far>> {
        let world = Arc::clone(&self.world);
        let shared = &self.window_mut(win)?.shared;
        let member = shared.members[rank];
        let (context, target) = (shared.context, rank as u32);
        Ok(world.beyond(member).map(|sites| Far { site: sites.of(member), context, target }))
    }
}
