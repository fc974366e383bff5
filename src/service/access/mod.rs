//! Who may call what.
//!
//! # How it works
//! A caller shows a token or a certificate; the [`Directory`] knows whose it is and what that
//! [`Principal`] was granted. The [`Gate`] stands before every call, whatever surface it came by: it
//! finds the principal, looks the method up in the one table of [`methods`](super::methods), and lets
//! the call in with a [`Pass`] if the principal has the role somewhere. Once the request is read, the
//! pass is checked against the namespace in it. A [`Lease`] ends a stream whose right to go on has
//! ended.
//!
//! # Why
//! What is refused before a body is read costs a stranger's server nothing. What is checked where the
//! request is taken out holds on every surface at once, because there is only one such place.
//!
//! # Invariants
//! Where the gate is closed, a request without a pass is refused, whoever forgot to ask for one. Whether
//! a namespace exists is not told to who may not see it. A secret is kept as its SHA-256 and compared in
//! constant time; nothing tells an unknown token from a wrong one.
//!
//! # Not here
//! Where tokens are read from: `config`. Connections and certificates: `server`.

mod directory;
mod gate;
mod lease;
mod pass;
mod principal;
mod slowing;
mod token;

#[cfg(test)]
mod tests;

pub use directory::{Credential, Directory, Listed};
pub use gate::{Admission, Callers, Doors, Gate, Line, Openness, Side, Turned};
pub use lease::Lease;
pub use pass::Pass;
pub use principal::{Grant, Pattern, PatternError, Principal};
pub use token::{Digest, Token, TokenId};

pub(super) use pass::{admitted, admitted_with};
