//! Stopping ranks, and what images may claim.
