//! The functions of `omp.h` that ask and set.

use crate::{Result, Schedule, ScheduleKind, Thread, config::LEVELS_MAX, config::THREADS_MAX};
use std::sync::Arc;

/// The bit of a schedule's number that says `monotonic`.
const MONOTONIC: u32 = 1 << 31;

impl Thread {
    /// `__kmpc_global_thread_num`: the thread's number in the program.
    pub fn global_number(&self) -> u32 {
        self.gtid
    }

    /// `omp_get_thread_num`, `__kmpc_bound_thread_num`.
    pub fn thread_num(&self) -> u32 {
        self.tid()
    }

    /// `omp_get_num_threads`, `__kmpc_bound_num_threads`.
    pub fn num_threads(&self) -> u32 {
        self.frame(|frame| frame.team.size)
    }

    /// `omp_get_max_threads`.
    pub fn max_threads(&self) -> u32 {
        self.icvs().threads
    }

    /// `omp_set_num_threads`; a number below 1 changes nothing.
    pub fn set_num_threads(&self, threads: i32) {
        if let Ok(threads @ 1..) = u32::try_from(threads) {
            self.set_icvs(|icvs| icvs.threads = threads.min(THREADS_MAX));
        }
    }

    /// `omp_get_num_procs`.
    pub fn num_procs(&self) -> u32 {
        self.shared.config.processors
    }

    /// `omp_in_parallel`.
    pub fn in_parallel(&self) -> bool {
        self.active_level() > 0
    }

    /// `omp_get_dynamic`.
    pub fn dynamic(&self) -> bool {
        self.icvs().dynamic
    }

    /// `omp_set_dynamic`.
    pub fn set_dynamic(&self, dynamic: bool) {
        self.set_icvs(|icvs| icvs.dynamic = dynamic);
    }

    /// `omp_get_nested`.
    pub fn nested(&self) -> bool {
        self.icvs().max_active_levels > 1
    }

    /// `omp_set_nested`.
    pub fn set_nested(&self, nested: bool) {
        self.set_max_active_levels(if nested { LEVELS_MAX as i32 } else { 1 });
    }

    /// `omp_get_max_active_levels`.
    pub fn max_active_levels(&self) -> u32 {
        self.icvs().max_active_levels
    }

    /// `omp_set_max_active_levels`; a negative number changes nothing.
    pub fn set_max_active_levels(&self, levels: i32) {
        if let Ok(levels) = u32::try_from(levels) {
            self.set_icvs(|icvs| icvs.max_active_levels = levels.min(LEVELS_MAX));
        }
    }

    /// `omp_get_supported_active_levels`.
    pub fn supported_active_levels(&self) -> u32 {
        LEVELS_MAX
    }

    /// `omp_get_schedule`: kind and chunk.
    pub fn schedule(&self) -> (u32, u32) {
        let schedule = self.icvs().schedule;
        let kind = match schedule.kind {
            ScheduleKind::Static => 1,
            ScheduleKind::Dynamic => 2,
            ScheduleKind::Guided => 3,
            ScheduleKind::Auto => 4,
        };
        (kind, schedule.chunk)
    }

    /// `omp_get_schedule` as the program calls it: kind and chunk go to these addresses.
    ///
    /// # Errors
    /// If one does not exist.
    pub fn store_schedule(&self, kind: u32, chunk: u32) -> Result<()> {
        let schedule = self.schedule();
        self.memory().put_u32(kind, schedule.0)?;
        self.memory().put_u32(chunk, schedule.1)
    }

    /// `omp_set_schedule`; a kind that does not exist changes nothing.
    pub fn set_schedule(&self, kind: u32, chunk: i32) {
        let kind = match kind & !MONOTONIC {
            1 => ScheduleKind::Static,
            2 => ScheduleKind::Dynamic,
            3 => ScheduleKind::Guided,
            4 => ScheduleKind::Auto,
            _ => return,
        };
        let chunk = u32::try_from(chunk).unwrap_or(0);
        self.set_icvs(|icvs| icvs.schedule = Schedule { kind, chunk });
    }

    /// `omp_get_thread_limit`.
    pub fn thread_limit(&self) -> u32 {
        self.icvs().thread_limit
    }

    /// `omp_get_team_num`.
    pub fn team_num(&self) -> u32 {
        self.frame(|frame| frame.team.league.0)
    }

    /// `omp_get_num_teams`.
    pub fn num_teams(&self) -> u32 {
        self.frame(|frame| frame.team.league.1)
    }

    /// `omp_get_max_teams`; 0 where nothing is set.
    pub fn max_teams(&self) -> u32 {
        self.icvs().teams
    }

    /// `omp_set_num_teams`; a number below 1 changes nothing.
    pub fn set_num_teams(&self, teams: i32) {
        if let Ok(teams @ 1..) = u32::try_from(teams) {
            self.set_icvs(|icvs| icvs.teams = teams);
        }
    }

    /// `omp_get_teams_thread_limit`; 0 where nothing is set.
    pub fn teams_thread_limit(&self) -> u32 {
        self.icvs().teams_thread_limit
    }

    /// `omp_set_teams_thread_limit`; a number below 1 changes nothing.
    pub fn set_teams_thread_limit(&self, threads: i32) {
        if let Ok(threads @ 1..) = u32::try_from(threads) {
            self.set_icvs(|icvs| icvs.teams_thread_limit = threads);
        }
    }

    /// `omp_get_default_device`; whatever it is, the host runs all target regions.
    pub fn default_device(&self) -> i32 {
        self.icvs().default_device
    }

    /// `omp_set_default_device`.
    pub fn set_default_device(&self, device: i32) {
        self.set_icvs(|icvs| icvs.default_device = device);
    }

    /// `omp_get_level`.
    pub fn level(&self) -> u32 {
        self.frame(|frame| frame.team.level)
    }

    /// `omp_get_active_level`.
    pub fn active_level(&self) -> u32 {
        self.frame(|frame| frame.team.active_level)
    }

    /// The thread's number and the team's size at a level; `None` if it is not within one.
    fn ancestor(&self, level: i32) -> Option<(u32, u32)> {
        let level = u32::try_from(level).ok()?;
        let (mut team, mut tid) = self.frame(|frame| (Arc::clone(&frame.team), frame.tid));
        if level > team.level {
            return None;
        }
        while team.level > level {
            let (above, number): (Arc<_>, u32) = team.parent.clone()?;
            (team, tid) = (above, number);
        }
        Some((tid, team.size))
    }

    /// `omp_get_ancestor_thread_num`.
    pub fn ancestor_thread_num(&self, level: i32) -> i32 {
        self.ancestor(level).map_or(-1, |(tid, _)| tid as i32)
    }

    /// `omp_get_team_size`.
    pub fn team_size(&self, level: i32) -> i32 {
        self.ancestor(level).map_or(-1, |(_, size)| size as i32)
    }

    /// `omp_in_final`.
    pub fn in_final(&self) -> bool {
        self.frame(|frame| frame.running().task.is_final)
    }

    /// `omp_get_cancellation`.
    pub fn cancellation(&self) -> bool {
        self.shared.config.cancellation
    }

    /// `omp_get_max_task_priority`.
    pub fn max_task_priority(&self) -> u32 {
        self.shared.config.max_task_priority
    }

    /// `omp_get_wtime`: seconds since the program's start.
    pub fn wtime(&self) -> f64 {
        (self.shared.kept.before + self.shared.started.elapsed()).as_secs_f64()
    }

    /// `omp_get_wtick`.
    pub fn wtick(&self) -> f64 {
        1e-9
    }
}
