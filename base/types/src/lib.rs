//! Names, quantities, durations, error kinds and the clock that every other crate uses.
//!
//! Start at [`ErrorKind`] for how failures are classed, at [`Cpu`] and [`Bytes`] for the
//! quantities of a resource, and at [`Clock`] for where time comes from.

mod clock;
mod digest;
mod epoch;
mod error;
mod hex;
mod name;
mod period;
mod quantity;
mod token;

pub use clock::{Clock, ManualClock, SystemClock};
pub use digest::{Digest, DigestError};
pub use epoch::Epoch;
pub use error::{ErrorKind, chain};
pub use name::{NAME_MAX_BYTES, NameError, check_name, random_id};
pub use period::{Period, PeriodError};
pub use quantity::{Bytes, Cpu, QuantityError};
pub use token::{Token, TokenError};
