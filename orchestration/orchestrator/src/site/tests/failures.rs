//! What dies, and what is cut off.
