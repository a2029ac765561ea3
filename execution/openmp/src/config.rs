//! Settings: what the host fixes, and the `OMP_*` variables.

use crate::{Error, Result, alloc::DEFAULT_ALLOCATOR};
use std::collections::BTreeMap;

/// Largest team and largest number of threads at all; identities fit into a lock's word.
pub(crate) const THREADS_MAX: u32 = 1024;

/// Threads a program may have together unless the host or `OMP_THREAD_LIMIT` says otherwise.
const THREAD_LIMIT_DEFAULT: u32 = 64;

/// Rounds of a spin, about half a millisecond: a region's serial gap is often shorter.
const SPINS_DEFAULT: u32 = 10_000;

/// What a waiting thread spins where it does not pay: others need the processor.
pub(crate) const SPINS_FEW: u32 = 50;

/// How a loop's iterations are dealt out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScheduleKind {
    /// Fixed before the loop.
    Static,
    /// Chunk by chunk, to whoever asks.
    Dynamic,
    /// The same with chunks that become smaller.
    Guided,
    /// As the runtime likes.
    Auto,
}

/// A schedule with its chunk; 0 is the schedule's own default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// How.
    pub kind: ScheduleKind,
    /// Iterations in a chunk.
    pub chunk: u32,
}

/// Settings of one program's runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What `omp_get_max_threads` returns at the start.
    pub ceiling: u32,
    /// Most threads at one time.
    pub thread_limit: u32,
    /// Processors, as `omp_get_num_procs` reports them.
    pub processors: u32,
    /// Whether regions may get fewer threads than they ask for, even where `OMP_DYNAMIC` is off.
    pub elastic: bool,
    /// `OMP_DYNAMIC`.
    pub dynamic: bool,
    /// `OMP_SCHEDULE`.
    pub schedule: Schedule,
    /// `OMP_MAX_ACTIVE_LEVELS`.
    pub max_active_levels: u32,
    /// `OMP_NUM_THREADS`: one number for each level.
    pub num_threads: Vec<u32>,
    /// `OMP_STACKSIZE`, in bytes.
    pub stack_bytes: u32,
    /// `OMP_NUM_TEAMS`; 0 leaves it open.
    pub teams: u32,
    /// `OMP_CANCELLATION`.
    pub cancellation: bool,
    /// `OMP_MAX_TASK_PRIORITY`.
    pub max_task_priority: u32,
    /// How often a waiting thread looks before it sleeps: `OMP_WAIT_POLICY`.
    pub spins: u32,
}

impl Config {
    /// Settings for a machine with this many processors, all of which the program may use.
    pub fn new(ceiling: u32, processors: u32) -> Self {
        let ceiling = ceiling.clamp(1, THREADS_MAX);
        Self {
            ceiling,
            thread_limit: ceiling.max(THREAD_LIMIT_DEFAULT),
            processors: processors.max(1),
            elastic: false,
            dynamic: false,
            schedule: Schedule { kind: ScheduleKind::Static, chunk: 0 },
            max_active_levels: 1,
            num_threads: Vec::new(),
            stack_bytes: 4 << 20,
            teams: 0,
            cancellation: false,
            max_task_priority: 0,
            spins: SPINS_DEFAULT,
        }
    }

    /// The same with what the program's `OMP_*` variables say; those that change nothing here
    /// (places, affinity, devices) are ignored.
    ///
    /// # Errors
    /// [`Error::Variable`] names a value that means nothing.
    pub fn with_variables(mut self, variables: &BTreeMap<String, String>) -> Result<Self> {
        // A nested list implies nesting, unless the levels are given as such.
        if let Some(value) = variables.get("OMP_NUM_THREADS") {
            self.num_threads = numbers(value).ok_or_else(|| {
                wrong("OMP_NUM_THREADS", value, "give numbers, as in `4` or `4,2`")
            })?;
            self.max_active_levels = self.max_active_levels.max(self.num_threads.len() as u32);
        }
        for (name, value) in variables {
            self.variable(name, value.trim())?;
        }
        self.ceiling = self.ceiling.min(self.thread_limit);
        Ok(self)
    }

    fn variable(&mut self, name: &str, value: &str) -> Result<()> {
        let number = || value.parse::<u32>().map_err(|_| wrong(name, value, "give a number"));
        let truth = || truth(value).ok_or_else(|| wrong(name, value, "give `true` or `false`"));
        match name {
            "OMP_DYNAMIC" => self.dynamic = truth()?,
            "OMP_NESTED" if truth()? => {
                self.max_active_levels = self.max_active_levels.max(LEVELS_MAX)
            }
            "OMP_MAX_ACTIVE_LEVELS" => self.max_active_levels = number()?.min(LEVELS_MAX),
            "OMP_THREAD_LIMIT" => {
                // The host's limit stands.
                self.thread_limit = number()?.clamp(1, self.thread_limit);
            }
            "OMP_NUM_TEAMS" => self.teams = number()?,
            "OMP_CANCELLATION" => self.cancellation = truth()?,
            "OMP_MAX_TASK_PRIORITY" => self.max_task_priority = number()?,
            "OMP_STACKSIZE" => {
                self.stack_bytes = size(value)
                    .ok_or_else(|| wrong(name, value, "give a size, as in `512K`, `4M` or `1G`"))?;
            }
            "OMP_SCHEDULE" => {
                self.schedule = schedule(value).ok_or_else(|| {
                    wrong(
                        name,
                        value,
                        "give `static`, `dynamic`, `guided` or `auto`, with `,CHUNK`",
                    )
                })?;
            }
            "OMP_WAIT_POLICY" => match value.to_ascii_lowercase().as_str() {
                "active" => self.spins = SPINS_DEFAULT * 10,
                "passive" => self.spins = SPINS_FEW,
                _ => return Err(wrong(name, value, "give `active` or `passive`")),
            },
            _ => {}
        }
        Ok(())
    }
}

/// Deepest nesting of active regions.
pub(crate) const LEVELS_MAX: u32 = 64;

fn wrong(name: &str, value: &str, expected: &'static str) -> Error {
    Error::Variable { name: name.to_owned(), value: value.to_owned(), expected }
}

fn truth(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn numbers(list: &str) -> Option<Vec<u32>> {
    let numbers: Option<Vec<u32>> =
        list.split(',').map(|number| number.trim().parse().ok().filter(|n| *n > 0)).collect();
    numbers.filter(|numbers| numbers.len() <= LEVELS_MAX as usize)
}

/// A size in KiB, or with a letter.
fn size(value: &str) -> Option<u32> {
    let value = value.to_ascii_uppercase();
    let (number, unit) = match value.find(|c: char| !c.is_ascii_digit()) {
        None => (value.as_str(), "K"),
        Some(at) => (&value[..at], value[at..].trim()),
    };
    let shift = match unit {
        "B" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return None,
    };
    let bytes = number.trim().parse::<u64>().ok()?.checked_shl(shift)?;
    u32::try_from(bytes.clamp(64 << 10, 1 << 30)).ok()
}

fn schedule(value: &str) -> Option<Schedule> {
    let value = value.to_ascii_lowercase();
    let value = value.rsplit_once(':').map_or(value.as_str(), |(_, kind)| kind);
    let (kind, chunk) = match value.split_once(',') {
        None => (value, 0),
        Some((kind, chunk)) => (kind, chunk.trim().parse().ok().filter(|chunk| *chunk > 0)?),
    };
    let kind = match kind.trim() {
        "static" => ScheduleKind::Static,
        "dynamic" => ScheduleKind::Dynamic,
        "guided" => ScheduleKind::Guided,
        "auto" => ScheduleKind::Auto,
        _ => return None,
    };
    Some(Schedule { kind, chunk })
}

/// The settings that each task has for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Icvs {
    /// Asked for by `omp_set_num_threads`, or by the variable's number for this level.
    pub(crate) threads: u32,
    pub(crate) dynamic: bool,
    pub(crate) schedule: Schedule,
    pub(crate) max_active_levels: u32,
    /// Threads that a region may have: fewer within teams that say so.
    pub(crate) thread_limit: u32,
    /// Teams where no clause says how many; 0 leaves it open.
    pub(crate) teams: u32,
    /// Threads of each such team; 0 leaves it open.
    pub(crate) teams_thread_limit: u32,
    pub(crate) default_device: i32,
    pub(crate) allocator: u32,
}

impl Icvs {
    pub(crate) fn initial(config: &Config) -> Self {
        Self {
            threads: config.num_threads.first().copied().unwrap_or(config.ceiling),
            dynamic: config.dynamic,
            schedule: config.schedule,
            max_active_levels: config.max_active_levels,
            thread_limit: config.thread_limit,
            teams: config.teams,
            teams_thread_limit: 0,
            default_device: 0,
            allocator: DEFAULT_ALLOCATOR,
        }
    }

    /// As the threads of a region at this level begin.
    pub(crate) fn at_level(self, level: u32, config: &Config) -> Self {
        match config.num_threads.get(level as usize) {
            Some(threads) => Self { threads: *threads, ..self },
            None => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: &str) -> Result<Config> {
        let variables = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        Config::new(4, 2).with_variables(&variables)
    }

    #[test]
    fn reads_the_variables() {
        assert_eq!(with("OMP_NUM_THREADS", "4, 2").unwrap().num_threads, [4, 2]);
        assert_eq!(with("OMP_NUM_THREADS", "4,2").unwrap().max_active_levels, 2);
        assert_eq!(with("OMP_STACKSIZE", "2m").unwrap().stack_bytes, 2 << 20);
        assert_eq!(with("OMP_STACKSIZE", "100").unwrap().stack_bytes, 100 << 10);
        assert!(with("OMP_DYNAMIC", "TRUE").unwrap().dynamic);
        assert_eq!(with("OMP_THREAD_LIMIT", "2").unwrap().ceiling, 2);
        assert_eq!(
            with("OMP_SCHEDULE", "nonmonotonic:dynamic,7").unwrap().schedule,
            Schedule { kind: ScheduleKind::Dynamic, chunk: 7 }
        );
        assert_eq!(with("OMP_PLACES", "cores").unwrap(), Config::new(4, 2));
    }

    #[test]
    fn refuses_what_means_nothing_by_name() {
        for (name, value) in [
            ("OMP_NUM_THREADS", "0"),
            ("OMP_NUM_THREADS", "many"),
            ("OMP_DYNAMIC", "maybe"),
            ("OMP_SCHEDULE", "dynamic,0"),
            ("OMP_SCHEDULE", "fair"),
            ("OMP_STACKSIZE", "4T"),
            ("OMP_THREAD_LIMIT", "-1"),
            ("OMP_WAIT_POLICY", "nap"),
        ] {
            let error = with(name, value).unwrap_err();

            assert!(error.to_string().contains(&format!("`{name}={value}`")), "{error}");
        }
    }
}
