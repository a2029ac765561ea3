//! Reading a cell's memory while the cell may be running.

use crate::dirty::PAGE_BYTES;
use std::{io, ops::Range};

/// Asks for large pages in the memory of a program that begins at `start` and may grow to so many
/// bytes: programs that go through much of it spend less on finding where it lies. What grows less
/// than a large page gets none. Not for memories of which the written pages are counted.
pub(crate) fn use_large_pages(start: usize, bytes_max: u64) {
    let length = usize::try_from(bytes_max).unwrap_or(usize::MAX).min(1 << 32);
    // SAFETY: advice about how addresses are mapped changes nothing that is there.
    #[expect(unsafe_code, reason = "advice is about addresses, which rustix takes as a pointer")]
    let advised =
        unsafe { rustix::mm::madvise(start as *mut _, length, rustix::mm::Advice::LinuxHugepage) };
    if let Err(error) = advised {
        // Kernels without them, or a program whose addresses end before.
        tracing::debug!(%error, "no large pages");
    }
}

/// Copies pages of this process' own memory into `into`; a page that is being written meanwhile is
/// copied as it is at some moment. The kernel copies, so that a race is not undefined behaviour
/// and an address that is gone is an error, not a fault.
pub(crate) fn read_pages(
    memory: &Range<usize>,
    pages: &Range<u32>,
    into: &mut Vec<u8>,
) -> io::Result<()> {
    let start = memory.start + pages.start as usize * PAGE_BYTES;
    let size = (pages.end - pages.start) as usize * PAGE_BYTES;
    if start + size > memory.end {
        return Err(io::Error::other("the pages lie outside the memory"));
    }
    into.resize(size, 0);
    let mut done = 0;
    while done < size {
        done += read_some(start + done, &mut into[done..])?;
    }
    Ok(())
}

#[expect(unsafe_code, reason = "process_vm_readv has no safe wrapper")]
fn read_some(address: usize, into: &mut [u8]) -> io::Result<usize> {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: address as *mut _, iov_len: into.len() };
    // SAFETY: `local` is a live buffer that is ours alone; the kernel checks the remote side.
    let read = unsafe {
        libc::process_vm_readv(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0)
    };
    match read {
        0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        read => usize::try_from(read).map_err(|_| io::Error::last_os_error()),
    }
}
