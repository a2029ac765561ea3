//! What one cell may use.

use serde::{Deserialize, Serialize};

/// Limits of one cell; each is enforced by the host, whatever the guest does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Most linear memory; growing beyond fails inside the guest, as `malloc` does.
    pub memory_bytes: u64,
    /// Most open files and folders; a further open fails inside the guest.
    pub open_files: u32,
    /// Most bytes to standard output and error together, over the cell's life for a program and
    /// kept as a ring for a service.
    pub output_bytes: u64,
    /// Largest request body and answer of a service.
    pub body_bytes: u64,
    /// Most requests that wait for a service's cell; further ones are refused.
    pub queued_requests: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 4 << 30,
            open_files: 256,
            output_bytes: u64::MAX,
            body_bytes: 16 << 20,
            queued_requests: 1024,
        }
    }
}
