//! What the log promises, tested through its door.

mod archive;
mod damage;
mod faults;
mod golden;
pub(super) mod kit;
mod power;
mod promises;
mod repairs;
mod space;
mod spool;
mod story;
mod threads;
