//! The order that tasks declare among themselves.

use crate::{
    Error, Guest, Result, Thread,
    shared::lock,
    task::{Kind, Task},
};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

/// Length of a dependence: address, length, and a byte of flags.
const DEPENDENCE_BYTES: u32 = 12;
const FLAGS_AT: u32 = 8;
/// The flags of `in`; all others exclude one another.
const IN: u8 = 1;
/// The flag of `omp_all_memory`.
const ALL_MEMORY: u8 = 0x80;

/// Most dependences of one task.
const DEPENDENCES_MAX: u32 = 1 << 16;

/// Which children of a task used an address last.
#[derive(Default)]
pub(crate) struct Depend {
    addresses: HashMap<u32, Users>,
    /// The last that used all of them.
    all: Option<Arc<Task>>,
}

#[derive(Default)]
struct Users {
    writer: Option<Arc<Task>>,
    readers: Vec<Arc<Task>>,
}

#[derive(Debug, Clone, Copy)]
struct Dependence {
    address: u32,
    reads: bool,
    all: bool,
}

impl Depend {
    /// The tasks that one with this dependence comes after.
    fn before(&self, dependence: &Dependence) -> Vec<Arc<Task>> {
        let mut before: Vec<_> = self.all.iter().cloned().collect();
        let of = |users: &Users| {
            let readers = if dependence.reads { &[][..] } else { &users.readers };
            users.writer.iter().chain(readers).cloned().collect::<Vec<_>>()
        };
        if dependence.all {
            before.extend(self.addresses.values().flat_map(of));
        } else if let Some(users) = self.addresses.get(&dependence.address) {
            before.extend(of(users));
        }
        before
    }

    fn note(&mut self, dependence: &Dependence, task: &Arc<Task>) {
        if dependence.all {
            self.addresses.clear();
            self.all = Some(task.clone());
            return;
        }
        let users = self.addresses.entry(dependence.address).or_default();
        if dependence.reads {
            // Done ones need not be remembered.
            users.readers.retain(|reader| lock(&reader.successors).is_some());
            users.readers.push(task.clone());
        } else {
            *users = Users { writer: Some(task.clone()), readers: Vec::new() };
        }
    }
}

/// Makes `task` wait for `earlier`, unless that is done.
fn follow(earlier: &Arc<Task>, task: &Arc<Task>) {
    if Arc::ptr_eq(earlier, task) {
        return;
    }
    if let Some(successors) = &mut *lock(&earlier.successors) {
        task.unmet.fetch_add(1, Ordering::AcqRel);
        successors.push(task.clone());
    }
}

/// Where a call has its dependences: two lists, each a count and an address.
pub(crate) type Lists = [(u32, u32); 2];

impl Thread {
    fn dependences(&self, lists: Lists) -> Result<Vec<Dependence>> {
        let mut dependences = Vec::new();
        for (count, list) in lists {
            if count > DEPENDENCES_MAX {
                let limit = u64::from(DEPENDENCES_MAX);
                return Err(Error::Limit { what: "dependences of one task", limit });
            }
            for index in 0..count {
                let at = list.saturating_add(index * DEPENDENCE_BYTES);
                let address = self.memory().u32(at)?;
                let flags = self.memory().u8(at.saturating_add(FLAGS_AT))?;
                let all = flags & ALL_MEMORY != 0;
                dependences.push(Dependence { address, reads: flags & !ALL_MEMORY == IN, all });
            }
        }
        Ok(dependences)
    }

    /// `__kmpc_omp_task_with_deps`: the task may run when those before it are done.
    ///
    /// # Errors
    /// As for a task, and if a dependence does not exist.
    pub fn task_with_deps(
        &self,
        guest: &mut dyn Guest,
        task: u32,
        lists: [(u32, u32); 2],
    ) -> Result<()> {
        let dependences = self.dependences(lists)?;
        let task = self.child(task, self.claim(task)?, Kind::Ordered)?;
        let in_order = self.frame(|frame| {
            let parent = &frame.running().task;
            // A thread alone runs them in their order, unless one of them waits for its event.
            let alone = frame.team.size == 1 && !task.is_detached() && !parent.has_children();
            alone || parent.is_final
        });
        if in_order {
            return self.submit(guest, task);
        }
        self.frame(|frame| {
            let depend = frame.running_mut().depend.get_or_insert_default();
            for dependence in &dependences {
                for earlier in depend.before(dependence) {
                    follow(&earlier, &task);
                }
            }
            for dependence in &dependences {
                depend.note(dependence, &task);
            }
        });
        self.submit(guest, task)
    }

    /// `__kmpc_omp_taskwait_deps_51` and `__kmpc_omp_wait_deps`: waits for those tasks that one
    /// with these dependences would come after.
    ///
    /// # Errors
    /// As for [`Self::taskwait`], and if a dependence does not exist.
    pub fn wait_deps(&self, guest: &mut dyn Guest, lists: [(u32, u32); 2]) -> Result<()> {
        let dependences = self.dependences(lists)?;
        let node = self.node();
        let earlier: Vec<_> = self.frame(|frame| match &frame.running().depend {
            Some(depend) => dependences.iter().flat_map(|one| depend.before(one)).collect(),
            None => Vec::new(),
        });
        let done = |task: &Arc<Task>| lock(&task.successors).is_none();
        let next = AtomicU32::new(0);
        self.help(guest, Some(&node), || {
            let mut at = next.load(Ordering::Relaxed) as usize;
            while earlier.get(at).is_some_and(done) {
                at += 1;
            }
            next.store(at as u32, Ordering::Relaxed);
            at == earlier.len()
        })
    }
}
