//! Revisioned metadata.
