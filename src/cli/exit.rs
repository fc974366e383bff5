//! How a command ends: the exit codes, and what each means.
//!
//! Codes from 64 are those of `sysexits.h`, so that service managers and scripts can tell what may
//! be tried again from what needs a person.

use tonic::Code;

use crate::wal;
use crate::wire::v1::ErrorReason;

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// A negative answer: no such entry, a condition that does not hold, a quota that is reached.
    No,
    /// The command or what it names makes no sense.
    Usage,
    /// Data are damaged, or newer than this program.
    Damaged,
    /// The server is not there, or cannot do that.
    Unavailable,
    /// A bug of ours.
    Software,
    /// Something cannot be made.
    CannotCreate,
    /// Reading or writing failed.
    Io,
    /// Try again later.
    Temporary,
    /// Not allowed.
    Permission,
    /// The configuration is not valid.
    Configuration,
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::No => 1,
            Exit::Usage => 2,
            Exit::Damaged => 65,
            Exit::Unavailable => 69,
            Exit::Software => 70,
            Exit::CannotCreate => 73,
            Exit::Io => 74,
            Exit::Temporary => 75,
            Exit::Permission => 77,
            Exit::Configuration => 78,
        }
    }
}

/// The exit code for a failure of the log.
pub const fn of_wal(kind: wal::Kind) -> u8 {
    let exit = match kind {
        wal::Kind::Locked | wal::Kind::Full | wal::Kind::Busy => Exit::Temporary,
        wal::Kind::Damaged | wal::Kind::NewerFormat => Exit::Damaged,
        wal::Kind::NotWritable => Exit::CannotCreate,
        wal::Kind::Failed | wal::Kind::Io => Exit::Io,
    };
    exit.code()
}

/// The exit for a status of the server.
pub(super) fn of_status(code: Code, reason: Option<ErrorReason>) -> Exit {
    match code {
        Code::Ok => Exit::Done,
        Code::InvalidArgument => match reason {
            Some(ErrorReason::SnapshotCorrupt | ErrorReason::SnapshotUnsupported) => Exit::Damaged,
            Some(_) | None => Exit::Usage,
        },
        Code::NotFound
        | Code::AlreadyExists
        | Code::Aborted
        | Code::FailedPrecondition
        | Code::OutOfRange => Exit::No,
        Code::ResourceExhausted => of_exhaustion(reason),
        // The client's own clock ends a call with CANCELLED.
        Code::DeadlineExceeded | Code::Cancelled => Exit::Temporary,
        Code::Unavailable => match reason {
            Some(ErrorReason::StorageFailure) => Exit::Io,
            Some(ErrorReason::Overloaded) => Exit::Temporary,
            Some(_) | None => Exit::Unavailable,
        },
        Code::Unauthenticated | Code::PermissionDenied => Exit::Permission,
        Code::DataLoss => Exit::Damaged,
        Code::Unknown if reason == Some(ErrorReason::OutcomeUnknown) => Exit::Io,
        Code::Unknown | Code::Unimplemented => Exit::Unavailable,
        Code::Internal => Exit::Software,
    }
}

/// Limits of a tenant and of a message stay as they are; shortages pass.
fn of_exhaustion(reason: Option<ErrorReason>) -> Exit {
    match reason {
        Some(
            ErrorReason::NamespaceQuotaExceeded
            | ErrorReason::TooManyNamespaces
            | ErrorReason::ResponseTooLarge,
        ) => Exit::No,
        Some(ErrorReason::RequestTooLarge) => Exit::Usage,
        Some(_) | None => Exit::Temporary,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_exit_has_the_number_that_is_documented() {
        let exits = [
            (Exit::Done, 0),
            (Exit::No, 1),
            (Exit::Usage, 2),
            (Exit::Damaged, 65),
            (Exit::Unavailable, 69),
            (Exit::Software, 70),
            (Exit::CannotCreate, 73),
            (Exit::Io, 74),
            (Exit::Temporary, 75),
            (Exit::Permission, 77),
            (Exit::Configuration, 78),
        ];
        for (exit, code) in exits {
            assert_eq!(exit.code(), code, "{exit:?}");
        }
    }

    #[test]
    fn each_failure_of_the_log_has_its_exit() {
        let kinds = [
            (wal::Kind::Locked, 75),
            (wal::Kind::Damaged, 65),
            (wal::Kind::NewerFormat, 65),
            (wal::Kind::NotWritable, 73),
            (wal::Kind::Full, 75),
            (wal::Kind::Busy, 75),
            (wal::Kind::Failed, 74),
            (wal::Kind::Io, 74),
        ];
        for (kind, code) in kinds {
            assert_eq!(of_wal(kind), code, "{kind:?}");
        }
    }

    #[test]
    fn each_status_has_its_exit() {
        let check = |code: Code, reason: Option<ErrorReason>, expected: Exit| {
            assert_eq!(of_status(code, reason), expected, "{code:?} {reason:?}");
        };
        check(Code::Ok, None, Exit::Done);
        check(Code::InvalidArgument, Some(ErrorReason::KeyInvalid), Exit::Usage);
        check(Code::InvalidArgument, Some(ErrorReason::SnapshotCorrupt), Exit::Damaged);
        check(Code::InvalidArgument, Some(ErrorReason::SnapshotUnsupported), Exit::Damaged);
        check(Code::NotFound, Some(ErrorReason::NamespaceNotFound), Exit::No);
        check(Code::AlreadyExists, None, Exit::No);
        check(Code::Aborted, None, Exit::No);
        check(Code::FailedPrecondition, Some(ErrorReason::NamespaceNotEmpty), Exit::No);
        check(Code::OutOfRange, None, Exit::No);
        check(Code::ResourceExhausted, Some(ErrorReason::NamespaceQuotaExceeded), Exit::No);
        check(Code::ResourceExhausted, Some(ErrorReason::TooManyNamespaces), Exit::No);
        check(Code::ResourceExhausted, Some(ErrorReason::ResponseTooLarge), Exit::No);
        check(Code::ResourceExhausted, Some(ErrorReason::RequestTooLarge), Exit::Usage);
        check(Code::ResourceExhausted, Some(ErrorReason::DiskFull), Exit::Temporary);
        check(Code::ResourceExhausted, Some(ErrorReason::RateLimited), Exit::Temporary);
        check(Code::ResourceExhausted, None, Exit::Temporary);
        check(Code::DeadlineExceeded, None, Exit::Temporary);
        check(Code::Cancelled, None, Exit::Temporary);
        check(Code::Unavailable, None, Exit::Unavailable);
        check(Code::Unavailable, Some(ErrorReason::StartingUp), Exit::Unavailable);
        check(Code::Unavailable, Some(ErrorReason::Overloaded), Exit::Temporary);
        check(Code::Unavailable, Some(ErrorReason::StorageFailure), Exit::Io);
        check(Code::Unauthenticated, None, Exit::Permission);
        check(Code::PermissionDenied, None, Exit::Permission);
        check(Code::DataLoss, None, Exit::Damaged);
        check(Code::Unknown, Some(ErrorReason::OutcomeUnknown), Exit::Io);
        check(Code::Unknown, None, Exit::Unavailable);
        check(Code::Unimplemented, None, Exit::Unavailable);
        check(Code::Internal, None, Exit::Software);
    }
}
