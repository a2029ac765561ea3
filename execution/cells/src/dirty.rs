//! Which pages of a linear memory were written.
//!
//! With asynchronous userfaultfd write-protection the kernel itself notes the first write to each
//! protected page, and `PAGEMAP_SCAN` reads and renews the notes in one call
//! (Documentation/admin-guide/mm/pagemap.rst). A kernel without it leaves the [`compare`] fallback,
//! which the environment can also choose: `CLOUDSKIN_DIRTY_TRACKING=compare`.

use rustix::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::{fs::File, io, ops::Range, sync::OnceLock};

/// Granularity of tracking.
pub(crate) const PAGE_BYTES: usize = 4096;

/// Pages of one linear memory: indices, in units of [`PAGE_BYTES`], in order and not touching.
pub(crate) type Runs = Vec<Range<u32>>;

/// The kernel's notes on writes, for this process.
#[derive(Debug)]
pub(crate) struct Tracker {
    userfault: OwnedFd,
    pagemap: File,
}

const UFFD_USER_MODE_ONLY: libc::c_int = 1;
const UFFD_API: u64 = 0xAA;
const UFFD_FEATURE_WP_UNPOPULATED: u64 = 1 << 13;
const UFFD_FEATURE_WP_ASYNC: u64 = 1 << 15;
const UFFDIO_API: libc::c_ulong = 0xC018_AA3F;
const UFFDIO_REGISTER: libc::c_ulong = 0xC020_AA00;
const UFFDIO_UNREGISTER: libc::c_ulong = 0x8010_AA01;
const UFFDIO_REGISTER_MODE_WP: u64 = 1 << 1;
const PAGEMAP_SCAN: libc::c_ulong = 0xC060_6610;
const PM_SCAN_WP_MATCHING: u64 = 1 << 0;
const PM_SCAN_CHECK_WPASYNC: u64 = 1 << 1;
const PAGE_IS_WRITTEN: u64 = 1 << 1;
const PAGE_IS_FILE: u64 = 1 << 2;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;
const PAGE_IS_PFNZERO: u64 = 1 << 5;

#[repr(C)]
#[derive(Default)]
struct ScanArgument {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    regions: u64,
    regions_length: u64,
    pages_max: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

/// How many regions one scan reports; a longer answer takes several.
const REGIONS_MAX: usize = 1024;

#[expect(unsafe_code, reason = "userfaultfd and PAGEMAP_SCAN have no safe wrapper")]
impl Tracker {
    /// The process' tracker, unless the kernel has none or forbids it.
    pub(crate) fn get() -> Option<&'static Self> {
        static TRACKER: OnceLock<Option<Tracker>> = OnceLock::new();
        TRACKER
            .get_or_init(|| {
                let tracker = Self::open();
                if let Err(error) = &tracker {
                    tracing::info!(%error, "the kernel does not track writes; pages are compared");
                }
                tracker.ok()
            })
            .as_ref()
    }

    fn open() -> io::Result<Self> {
        if std::env::var_os("CLOUDSKIN_DIRTY_TRACKING").is_some_and(|how| how == "compare") {
            return Err(io::Error::other("the environment says so"));
        }
        let flags = libc::O_CLOEXEC | libc::O_NONBLOCK | UFFD_USER_MODE_ONLY;
        // SAFETY: the call takes no pointers and returns a new descriptor or -1.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, flags) };
        let fd =
            i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
        // SAFETY: the descriptor is new and nobody else's.
        let userfault = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut api = [UFFD_API, UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED, 0];
        control(&userfault, UFFDIO_API, &mut api)?;
        Ok(Self { userfault, pagemap: File::open("/proc/self/pagemap")? })
    }

    /// Begins to track writes to these pages.
    ///
    /// # Errors
    /// If the kernel cannot track this kind of memory.
    pub(crate) fn register(&self, memory: &Range<usize>) -> io::Result<()> {
        let mut argument = [memory.start as u64, memory.len() as u64, UFFDIO_REGISTER_MODE_WP, 0];
        control(&self.userfault, UFFDIO_REGISTER, &mut argument)
    }

    /// Ends tracking; the memory may be given to another cell.
    pub(crate) fn unregister(&self, memory: &Range<usize>) {
        let mut argument = [memory.start as u64, memory.len() as u64];
        // Memory that is not registered any more needs nothing.
        let _ = control(&self.userfault, UFFDIO_UNREGISTER, &mut argument);
    }

    /// The pages written since the last call, and renews the notes. The memory must be registered;
    /// pages that were written before registration count as written.
    pub(crate) fn take_written(&self, memory: &Range<usize>) -> io::Result<Runs> {
        self.scan(
            memory,
            &ScanArgument {
                flags: PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
                category_mask: PAGE_IS_WRITTEN,
                category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
                return_mask: PAGE_IS_WRITTEN,
                ..ScanArgument::default()
            },
        )
    }

    /// The pages that are no longer as the module's image has them: written ones, for a page that
    /// was only read is the image's own or the zero page. Needs no registration.
    pub(crate) fn own_pages(&self, memory: &Range<usize>) -> io::Result<Runs> {
        self.scan(
            memory,
            &ScanArgument {
                category_inverted: PAGE_IS_FILE | PAGE_IS_PFNZERO,
                category_mask: PAGE_IS_FILE | PAGE_IS_PFNZERO,
                category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
                return_mask: PAGE_IS_PRESENT,
                ..ScanArgument::default()
            },
        )
    }

    fn scan(&self, memory: &Range<usize>, wanted: &ScanArgument) -> io::Result<Runs> {
        let mut regions = [Region::default(); REGIONS_MAX];
        let mut runs = Runs::new();
        let mut start = memory.start as u64;
        while start < memory.end as u64 {
            let mut argument = ScanArgument {
                size: size_of::<ScanArgument>() as u64,
                start,
                end: memory.end as u64,
                regions: regions.as_mut_ptr() as u64,
                regions_length: REGIONS_MAX as u64,
                ..*wanted
            };
            let found = control(&self.pagemap, PAGEMAP_SCAN, &mut argument)
                .map(|()| regions.iter().take_while(|region| region.end > 0));
            for region in found? {
                let page =
                    |address: u64| ((address - memory.start as u64) / PAGE_BYTES as u64) as u32;
                push(&mut runs, page(region.start)..page(region.end));
            }
            regions.fill(Region::default());
            start = argument.walk_end;
        }
        Ok(runs)
    }
}

/// An ioctl whose argument is read and written by the kernel.
#[expect(unsafe_code, reason = "ioctl has no safe wrapper for these requests")]
fn control<T>(fd: &impl AsRawFd, request: libc::c_ulong, argument: &mut T) -> io::Result<()> {
    // SAFETY: the argument is a live structure of the size that the request number encodes; what
    // it points to are arrays of the length it states, or addresses that the kernel itself checks.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request as _, std::ptr::from_mut(argument)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Appends a run, joined to the last one if they touch.
pub(crate) fn push(runs: &mut Runs, run: Range<u32>) {
    match runs.last_mut() {
        Some(last) if last.end == run.start => last.end = run.end,
        _ if run.is_empty() => {}
        _ => runs.push(run),
    }
}

/// How many pages the runs hold.
pub(crate) fn count(runs: &[Range<u32>]) -> u64 {
    runs.iter().map(|run| u64::from(run.end - run.start)).sum()
}

/// The pages in which `now` differs from `before`; what is beyond `before`'s end differs unless
/// it is zero.
pub(crate) fn compare(before: &[u8], now: &[u8]) -> Runs {
    const ZERO: [u8; PAGE_BYTES] = [0; PAGE_BYTES];
    let mut runs = Runs::new();
    for (index, page) in (0_u32..).zip(now.chunks(PAGE_BYTES)) {
        let at = index as usize * PAGE_BYTES;
        let old = before.get(at..at + page.len()).unwrap_or(&ZERO[..page.len()]);
        if old != page {
            push(&mut runs, index..index + 1);
        }
    }
    runs
}

/// The union of two sets of pages.
pub(crate) fn union(a: &[Range<u32>], b: &[Range<u32>]) -> Runs {
    let mut all: Vec<_> = a.iter().chain(b).cloned().collect();
    all.sort_by_key(|run| run.start);
    let mut runs: Runs = Vec::with_capacity(all.len());
    for run in all {
        match runs.last_mut() {
            Some(last) if last.end >= run.start => last.end = last.end.max(run.end),
            _ => runs.push(run),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Anonymous memory of so many pages, unmapped on drop.
    struct Map(*mut libc::c_void, usize);

    #[expect(unsafe_code, reason = "tests map memory as the engine does")]
    impl Map {
        fn new(pages: usize) -> Self {
            let size = pages * PAGE_BYTES;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            // SAFETY: a new anonymous mapping at an address of the kernel's choice.
            let at = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    size,
                    libc::PROT_READ | libc::PROT_WRITE,
                    flags,
                    -1,
                    0,
                )
            };
            assert_ne!(at, libc::MAP_FAILED);
            // SAFETY: the mapping is ours; huge pages would blur which page was written.
            unsafe { libc::madvise(at, size, libc::MADV_NOHUGEPAGE) };
            Self(at, size)
        }

        fn range(&self) -> Range<usize> {
            self.0 as usize..self.0 as usize + self.1
        }

        fn write(&self, page: usize) {
            // SAFETY: the page lies in the mapping, which only this test uses.
            unsafe { self.0.cast::<u8>().add(page * PAGE_BYTES).write_volatile(1) };
        }

        fn read(&self, page: usize) {
            // SAFETY: as for `write`.
            unsafe { self.0.cast::<u8>().add(page * PAGE_BYTES).read_volatile() };
        }
    }

    #[expect(unsafe_code, reason = "tests map memory as the engine does")]
    impl Drop for Map {
        fn drop(&mut self) {
            // SAFETY: the mapping is ours and nothing refers to it any more.
            unsafe { libc::munmap(self.0, self.1) };
        }
    }

    #[test]
    fn the_kernel_notes_each_written_page_once() {
        let Some(tracker) = Tracker::get() else {
            println!("skipped: this kernel does not track writes");
            return;
        };
        let map = Map::new(5000);
        for page in [1, 2, 4000] {
            map.write(page);
        }
        map.read(7);

        assert_eq!(tracker.own_pages(&map.range()).unwrap(), [1..3, 4000..4001]);
        tracker.register(&map.range()).unwrap();
        let first = tracker.take_written(&map.range()).unwrap();
        assert!([1..3, 4000..4001].iter().all(|run| first.contains(run)), "{first:?}");
        assert_eq!(tracker.take_written(&map.range()).unwrap(), []);
        map.write(2);
        map.write(9);
        map.write(4999);
        assert_eq!(tracker.take_written(&map.range()).unwrap(), [2..3, 9..10, 4999..5000]);
        // More runs than one call reports.
        (0..5000).step_by(2).for_each(|page| map.write(page));
        assert_eq!(count(&tracker.take_written(&map.range()).unwrap()), 2500);
        tracker.unregister(&map.range());
    }

    #[test]
    fn comparing_finds_the_same_pages() {
        let before = vec![0; 3 * PAGE_BYTES];
        let mut now = vec![0; 5 * PAGE_BYTES];
        now[PAGE_BYTES] = 1;
        now[4 * PAGE_BYTES + 7] = 1;

        assert_eq!(compare(&before, &now), [1..2, 4..5]);
        assert_eq!(union(&[1..2, 4..5], &[2..3, 4..8]), [1..3, 4..8]);
    }
}
