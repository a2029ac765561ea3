//! What one cell may take of its host through WASI.

/// Ceilings that a guest meets as an error number, never as a failure of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Descriptors open at once, standard streams and granted folders among them; each may
    /// hold a file of the host open. Past it: `MFILE`.
    pub open_files: u32,
    /// Bytes of standard output and standard error together, for programs that print without
    /// end. Past it: `NOSPC`.
    pub output_bytes: u64,
    /// Bytes of one path, as on Linux. Past it: `NAMETOOLONG`.
    pub path_bytes: u32,
    /// Buffers of one read or write: each costs the host a check. Past it: `INVAL`.
    pub buffers: u32,
    /// Subscriptions of one `poll_oneoff`: each costs the host a scan. Past it: `INVAL`.
    pub poll_subscriptions: u32,
    /// Entries of one directory listing, which the host keeps while the guest reads it. Past
    /// it: `NOMEM`.
    pub directory_entries: u32,
    /// Bytes that one image may carry of files that are open for writing or have no name any
    /// more. Past it the image is refused, naming the file.
    pub carried_bytes: u64,
    /// Bytes of the models that it is given and loads, of what it sets and of what they compute,
    /// beside its memory. Past it wasi-nn's `too_large`.
    pub model_bytes: u64,
    /// Arguments and variables, with their terminators: they are copied into the guest. Past
    /// it the cell is refused.
    pub argument_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            open_files: 1024,
            output_bytes: u64::MAX,
            path_bytes: 4096,
            buffers: 1 << 16,
            poll_subscriptions: 4096,
            directory_entries: 1 << 20,
            carried_bytes: 64 << 20,
            model_bytes: 256 << 20,
            argument_bytes: 2 << 20,
        }
    }
}
