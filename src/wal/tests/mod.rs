//! What the log promises, tested through its door.

mod faults;
pub(super) mod kit;
mod power;
mod promises;
mod story;
