//! Arguments, variables, clocks, randomness and the end of the program.

use super::{Errno, Outcome, Sources, Wait, Wasi, memory::Guest};
use std::{io, time::Duration};

/// Where the guest's own clocks stand against the sources', which may change under them.
#[derive(Debug)]
pub(crate) struct Clocks {
    monotonic: Rebased,
    cpu: Rebased,
}

/// A clock that goes on from where it was, whatever its source starts from.
#[derive(Debug)]
struct Rebased {
    /// What the source showed when the guest's clock showed `shown_ns`.
    source_ns: u64,
    shown_ns: u64,
}

impl Rebased {
    /// The guest's time now; a source that goes back stops it.
    fn now(&mut self, source_ns: u64) -> u64 {
        let passed = source_ns.saturating_sub(self.source_ns);
        self.shown_ns = self.shown_ns.saturating_add(passed);
        self.source_ns = self.source_ns.max(source_ns);
        self.shown_ns
    }
}

impl Clocks {
    /// Clocks of a new program: they show what the sources show.
    pub(crate) fn starting_with(sources: &mut dyn Sources) -> Self {
        let (monotonic, cpu) = (sources.monotonic_ns(), sources.cpu_ns());
        Self::continuing(sources, monotonic, cpu)
    }

    /// Clocks that go on from what they showed.
    pub(crate) fn continuing(sources: &mut dyn Sources, monotonic_ns: u64, cpu_ns: u64) -> Self {
        Self {
            monotonic: Rebased { source_ns: sources.monotonic_ns(), shown_ns: monotonic_ns },
            cpu: Rebased { source_ns: sources.cpu_ns(), shown_ns: cpu_ns },
        }
    }
}

/// The clocks of preview 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClockId {
    Realtime,
    Monotonic,
    Cpu,
}

impl ClockId {
    pub(crate) fn check(raw: u32) -> Result<Self, Errno> {
        match raw {
            0 => Ok(Self::Realtime),
            1 => Ok(Self::Monotonic),
            // A cell is one thread, so its own and its process's time are the same.
            2 | 3 => Ok(Self::Cpu),
            _ => Err(Errno::Inval),
        }
    }
}

impl Wasi {
    /// The guest's clock now.
    pub(crate) fn now(&mut self, clock: ClockId) -> u64 {
        match clock {
            ClockId::Realtime => self.sources.realtime_ns(),
            ClockId::Monotonic => self.clock.monotonic.now(self.sources.monotonic_ns()),
            ClockId::Cpu => self.clock.cpu.now(self.sources.cpu_ns()),
        }
    }

    /// How long it is until the moment that a [`Wait`] names; `None` if it names none.
    pub fn until(&mut self, wait: Wait) -> Option<Duration> {
        match wait {
            Wait::Input => None,
            Wait::Until(moment) | Wait::InputOrUntil(moment) => {
                let now = self.now(ClockId::Monotonic);
                Some(Duration::from_nanos(moment.saturating_sub(now)))
            }
        }
    }

    /// Blocks this thread until what a call waits for may have happened: for a host that does
    /// not suspend its cells.
    pub fn block(&mut self, wait: Wait) -> io::Result<()> {
        let timeout = self.until(wait);
        match (wait, timeout) {
            (Wait::Until(_), Some(timeout)) => {
                std::thread::sleep(timeout);
                Ok(())
            }
            _ => self.streams.stdin.block(timeout),
        }
    }

    /// `args_get`.
    pub fn args_get(&self, memory: &mut [u8], argv: u32, buffer: u32) -> Result<(), Errno> {
        put_texts(&mut Guest(memory), &self.arguments, argv, buffer)
    }

    /// `args_sizes_get`.
    pub fn args_sizes_get(&self, memory: &mut [u8], count: u32, size: u32) -> Result<(), Errno> {
        put_sizes(&mut Guest(memory), &self.arguments, count, size)
    }

    /// `environ_get`.
    pub fn environ_get(&self, memory: &mut [u8], environ: u32, buffer: u32) -> Result<(), Errno> {
        put_texts(&mut Guest(memory), &self.variables, environ, buffer)
    }

    /// `environ_sizes_get`.
    pub fn environ_sizes_get(&self, memory: &mut [u8], count: u32, size: u32) -> Result<(), Errno> {
        put_sizes(&mut Guest(memory), &self.variables, count, size)
    }

    /// `clock_res_get`.
    pub fn clock_res_get(&self, memory: &mut [u8], id: u32, result: u32) -> Result<(), Errno> {
        ClockId::check(id)?;
        Guest(memory).put_u64(result, 1)
    }

    /// `clock_time_get`.
    pub fn clock_time_get(
        &mut self,
        memory: &mut [u8],
        id: u32,
        _precision: u64,
        result: u32,
    ) -> Result<(), Errno> {
        let clock = ClockId::check(id)?;
        let mut memory = Guest(memory);
        memory.range(result, 8)?;
        let now = self.now(clock);
        memory.put_u64(result, now)
    }

    /// `random_get`.
    pub fn random_get(&mut self, memory: &mut [u8], at: u32, length: u32) -> Result<(), Errno> {
        self.sources.random(Guest(memory).slice_mut(at, length)?)
    }

    /// `sched_yield`: a cell is one thread, which always may go on.
    pub fn sched_yield(&self, _memory: &mut [u8]) -> Result<(), Errno> {
        Ok(())
    }

    /// `proc_raise`: what the signal does to a program that handles none.
    pub fn proc_raise(&self, signal: u32) -> Outcome {
        const CHILD: u32 = 16;
        const CONTINUE: u32 = 17;
        const URGENT: u32 = 22;
        const WINDOW: u32 = 27;
        match signal {
            0 | CHILD | CONTINUE | URGENT | WINDOW => Outcome::Return(Errno::Success),
            // Stopping is the platform's to decide.
            18..=21 => Outcome::Return(Errno::Notsup),
            1..=30 => Outcome::Exit(128 + signal),
            _ => Outcome::Return(Errno::Inval),
        }
    }
}

fn put_texts(
    memory: &mut Guest<'_>,
    texts: &[String],
    pointers: u32,
    buffer: u32,
) -> Result<(), Errno> {
    // The sum was checked against a limit that fits when the texts were taken.
    let size: usize = texts.iter().map(|text| text.len() + 1).sum();
    memory.range(buffer, size as u32)?;
    memory.range(pointers, texts.len() as u32 * 4)?;
    let (mut pointer, mut place) = (pointers, buffer);
    for text in texts {
        memory.put_u32(pointer, place)?;
        memory.write(place, text.as_bytes())?;
        memory.write(place + text.len() as u32, &[0])?;
        pointer += 4;
        place += text.len() as u32 + 1;
    }
    Ok(())
}

fn put_sizes(memory: &mut Guest<'_>, texts: &[String], count: u32, size: u32) -> Result<(), Errno> {
    memory.range(size, 4)?;
    memory.put_u32(count, texts.len() as u32)?;
    let bytes: usize = texts.iter().map(|text| text.len() + 1).sum();
    memory.put_u32(size, bytes as u32)
}
