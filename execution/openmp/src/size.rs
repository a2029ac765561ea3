//! How many threads a region gets.

/// A region that is about to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Threads the program asks for.
    pub wanted: u32,
    /// What `omp_get_max_threads` said at the start.
    pub ceiling: u32,
    /// Threads of this program that work now, the asking one among them.
    pub busy: u32,
    /// Active regions around it.
    pub active_level: u32,
}

/// Who says how many processors a program may use now.
pub trait Advice: Send + Sync {
    /// Most threads for this region; what is above the ceiling or 0 is brought between.
    fn threads(&self, region: &Region) -> u32;
}

/// Advice that never withholds anything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Whole;

impl Advice for Whole {
    fn threads(&self, region: &Region) -> u32 {
        region.ceiling
    }
}

/// What limits a region besides the advice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) thread_limit: u32,
    pub(crate) max_active_levels: u32,
    /// Whether fewer threads than asked for may be given.
    pub(crate) adjustable: bool,
}

/// How many threads the region gets, the asking one among them.
pub(crate) fn decide(region: &Region, bounds: &Bounds, advice: &dyn Advice) -> u32 {
    if region.active_level >= bounds.max_active_levels {
        return 1;
    }
    let free = bounds.thread_limit.saturating_sub(region.busy) + 1;
    let most = region.wanted.clamp(1, free);
    if !bounds.adjustable {
        return most;
    }
    let granted = advice.threads(region).min(region.ceiling);
    granted.clamp(1, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Says(u32);

    impl Advice for Says {
        fn threads(&self, _: &Region) -> u32 {
            self.0
        }
    }

    const BOUNDS: Bounds = Bounds { thread_limit: 8, max_active_levels: 1, adjustable: true };
    const REGION: Region = Region { wanted: 4, ceiling: 4, busy: 1, active_level: 0 };

    #[test]
    fn grants_lie_between_one_and_what_was_asked() {
        for (advised, granted) in [(0, 1), (1, 1), (3, 3), (4, 4), (u32::MAX, 4)] {
            assert_eq!(decide(&REGION, &BOUNDS, &Says(advised)), granted);
        }
        let greedy = Region { wanted: 100, ..REGION };
        assert_eq!(decide(&greedy, &BOUNDS, &Says(100)), 4);
    }

    #[test]
    fn a_fixed_number_is_fixed_up_to_the_limit() {
        let bounds = Bounds { adjustable: false, ..BOUNDS };
        assert_eq!(decide(&REGION, &bounds, &Says(1)), 4);
        assert_eq!(decide(&Region { wanted: 0, ..REGION }, &bounds, &Says(1)), 1);
        assert_eq!(decide(&Region { wanted: 100, ..REGION }, &bounds, &Says(1)), 8);
        assert_eq!(decide(&Region { wanted: 8, busy: 6, ..REGION }, &bounds, &Says(1)), 3);
    }

    #[test]
    fn regions_within_the_deepest_level_are_serial() {
        assert_eq!(decide(&Region { active_level: 1, ..REGION }, &BOUNDS, &Whole), 1);
    }
}
