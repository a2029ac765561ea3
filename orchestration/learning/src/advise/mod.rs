//! How a service will behave at a place, and which of several places is best.
//!
//! What is known of a place without having been there is what queues say ([`expected_ms`]): a request
//! takes its own work, longer where others use the processors, and waits for those before it. What
//! was measured corrects that ([`Learned`]): how much slower a site is, how much more a neighbour
//! costs than a queue alone explains, and what is particular to a service and to one service at one
//! site. Where nothing was measured, the queues are all there is, and the answer says so.
//!
//! Start at [`Adviser::outlook`] and at [`rank`]. All is pure: measurements go in, figures with their
//! reasons come out.

mod learned;
mod observed;
mod outlook;
mod queueing;
mod rank;
#[cfg(test)]
mod tests;

pub use learned::Learned;
pub use observed::{Moment, Observed};
pub use outlook::{Adviser, Basis, Conditions, Forecast, Outlook, Place, Question};
pub use queueing::{Work, expected_ms};
pub use rank::{AS_GOOD_MS, AS_GOOD_SHARE, Candidate, Ranking, rank};
