//! The linear memories of the ranks: the one place where raw pointers are followed.

use crate::{
    abi,
    error::{Fault, Result, ensure, fault},
};
use std::sync::Arc;

/// The linear memory of one rank.
///
/// # Safety
///
/// For as long as the value lives, `base()` is always the same pointer, and `len()` bytes from
/// there may be read and written from any thread; `len()` never shrinks. All of these bytes belong
/// to guests: no Rust reference to them is alive while the engine is at work.
#[expect(unsafe_code, reason = "whoever lends the memory answers for its pointer")]
pub unsafe trait Memory: Send + Sync {
    /// Where the memory begins.
    fn base(&self) -> *mut u8;
    /// How many bytes it has now.
    fn len(&self) -> usize;
    /// Whether it has none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Checked access to one rank's memory.
#[derive(Clone, Default)]
pub(crate) struct Space(Option<Arc<dyn Memory>>);

impl std::fmt::Debug for Space {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Space({} bytes)", self.len())
    }
}

fn outside(addr: i64, len: usize, limit: usize) -> Fault {
    let text = format!("{len} bytes at address {addr:#x} lie outside of memory ({limit} bytes)");
    fault(abi::ERR_BUFFER, text)
}

/// Fails where an argument that points to something is NULL: C has nothing there, though a
/// Wasm memory does.
#[inline]
fn present(addr: u32) -> Result {
    ensure(addr != abi::NULL, abi::ERR_ARG, || "a pointer to an argument is NULL".to_owned())
}

impl Space {
    pub(crate) fn new(memory: Arc<dyn Memory>) -> Self {
        Self(Some(memory))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |memory| memory.len())
    }

    /// The pointer to a range that lies within the memory.
    #[inline]
    #[expect(unsafe_code, reason = "an offset into the memory that was checked just before")]
    fn range(&self, addr: i64, len: usize) -> Result<*mut u8> {
        let Some(memory) = &self.0 else { return Err(outside(addr, len, 0)) };
        let limit = memory.len();
        match usize::try_from(addr) {
            Ok(start) if start <= limit && len <= limit - start => {
                // SAFETY: `start` is at most `limit`, and `Memory` promises that many bytes.
                Ok(unsafe { memory.base().add(start) })
            }
            _ => Err(outside(addr, len, limit)),
        }
    }

    /// Fails unless a range lies within the memory.
    pub(crate) fn check(&self, addr: i64, len: usize) -> Result {
        self.range(addr, len).map(|_| ())
    }

    /// Fails unless there is a place for an `int` or a handle.
    pub(crate) fn check_place(&self, addr: u32) -> Result {
        present(addr)?;
        self.check(i64::from(addr), 4)
    }

    /// Copies out of the memory.
    #[inline]
    #[expect(unsafe_code, reason = "copies between a checked range of guest memory and a slice")]
    pub(crate) fn read(&self, addr: i64, into: &mut [u8]) -> Result {
        let from = self.range(addr, into.len())?;
        // SAFETY: the range was checked, and no slice of ours lies in guest memory. A guest that
        // writes there meanwhile (which MPI forbids) garbles its own message and no more.
        unsafe { std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    /// Copies into the memory.
    #[inline]
    #[expect(unsafe_code, reason = "copies between a slice and a checked range of guest memory")]
    pub(crate) fn write(&self, addr: i64, from: &[u8]) -> Result {
        let into = self.range(addr, from.len())?;
        // SAFETY: as in `read`.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), into, from.len()) };
        Ok(())
    }

    /// Copies from one memory to another, or within one, where the ranges may overlap.
    #[inline]
    #[expect(unsafe_code, reason = "copies between two checked ranges of guest memory")]
    pub(crate) fn copy(from: &Self, source: i64, into: &Self, target: i64, len: usize) -> Result {
        let source = from.range(source, len)?;
        let target = into.range(target, len)?;
        // SAFETY: both ranges were checked, and `copy` allows them to overlap. Guests that write
        // there meanwhile (which MPI forbids) garble their own messages and no more.
        unsafe { std::ptr::copy(source, target, len) };
        Ok(())
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&self, addr: i64) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read(addr, &mut bytes)?;
        Ok(bytes)
    }

    #[inline]
    pub(crate) fn read_i32(&self, addr: u32) -> Result<i32> {
        Ok(i32::from_le_bytes(self.array(i64::from(addr))?))
    }

    #[inline]
    pub(crate) fn write_i32(&self, addr: u32, value: i32) -> Result {
        present(addr)?;
        self.write(i64::from(addr), &value.to_le_bytes())
    }

    pub(crate) fn write_i64(&self, addr: u32, value: i64) -> Result {
        present(addr)?;
        self.write(i64::from(addr), &value.to_le_bytes())
    }

    /// Copies a range out of the memory.
    pub(crate) fn bytes(&self, addr: u32, len: usize) -> Result<Vec<u8>> {
        self.check(i64::from(addr), len)?;
        let mut bytes = vec![0; len];
        self.read(i64::from(addr), &mut bytes)?;
        Ok(bytes)
    }

    /// Reads an array of `int`.
    pub(crate) fn ints(&self, addr: u32, count: usize) -> Result<Vec<i32>> {
        if count > 0 {
            present(addr)?;
        }
        let bytes = self.bytes(addr, count.saturating_mul(4))?;
        let words = bytes.chunks_exact(4);
        Ok(words.map(|word| i32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect())
    }

    /// Writes an array of `int`.
    pub(crate) fn write_ints(&self, addr: u32, values: &[i32]) -> Result {
        if !values.is_empty() {
            present(addr)?;
        }
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.write(i64::from(addr), &bytes)
    }

    /// Reads a string that ends with a zero, of at most `max` bytes.
    pub(crate) fn string(&self, addr: u32, max: usize) -> Result<String> {
        let mut text = Vec::new();
        while text.len() < max {
            let [byte] = self.array(i64::from(addr) + text.len() as i64)?;
            if byte == 0 {
                break;
            }
            text.push(byte);
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Writes a string with its zero, of at most `max` bytes in all; gives its length.
    pub(crate) fn write_string(&self, addr: u32, text: &str, max: usize) -> Result<i32> {
        let bytes = &text.as_bytes()[..text.len().min(max.saturating_sub(1))];
        self.write(i64::from(addr), bytes)?;
        self.write(i64::from(addr) + bytes.len() as i64, &[0])?;
        Ok(bytes.len() as i32)
    }
}
