//! Services that move.
