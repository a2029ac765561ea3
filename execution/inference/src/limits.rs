//! What a model may take.

/// Limits of one model; each is known to hold before the model is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest file; a larger one is refused before it is read.
    pub file_bytes: u64,
    /// Most memory of its constants, as they are and as they are packed, and of all tensors of
    /// one answer together; and most that reading the file takes.
    pub memory_bytes: u64,
    /// Most multiplications for an answer.
    pub products: u64,
    /// Most multiplications of one operator: time is looked at between two.
    pub products_at_once: u64,
}

impl Limits {
    /// For models of pictures in programs that are granted so much memory: an operator takes up to
    /// about a second, between operators they are interrupted.
    pub fn for_programs(memory_bytes: u64) -> Self {
        Self {
            file_bytes: 256 << 20,
            memory_bytes,
            products: 100_000_000_000,
            products_at_once: 2_000_000_000,
        }
    }

    /// For models that are asked often and answer within some ten milliseconds.
    pub fn for_figures() -> Self {
        Self {
            file_bytes: 32 << 20,
            memory_bytes: 64 << 20,
            products: 50_000_000,
            products_at_once: 50_000_000,
        }
    }
}
