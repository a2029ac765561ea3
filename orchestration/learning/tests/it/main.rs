//! Promises of the learning plane to other crates and to users.

mod testbed;
