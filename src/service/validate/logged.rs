//! Requests for logged operations.

use tonic::Status;

use super::{At, Problems};
use crate::model::NamespaceName;
use crate::telemetry::{LOGGED_OPERATIONS_MAX, OperationLog};
use crate::wire::v1 as wire;

const PAGE_OPERATIONS_DEFAULT: usize = 100;

/// Logged operations asked for.
#[derive(Debug)]
pub(crate) struct LoggedListing {
    pub(crate) log: OperationLog,
    /// None: of all namespaces.
    pub(crate) namespace: Option<NamespaceName>,
    pub(crate) operations_max: usize,
}

/// Checks what is asked for. A log that this server does not know is the default one.
pub(crate) fn logged_operations(
    request: wire::ListLoggedOperationsRequest,
) -> Result<LoggedListing, Status> {
    let mut problems = Problems::default();
    let log = match wire::OperationLog::try_from(request.log) {
        Ok(wire::OperationLog::Failed) => OperationLog::Failed,
        Ok(wire::OperationLog::Slow | wire::OperationLog::Unspecified) | Err(_) => {
            OperationLog::Slow
        }
    };
    let operations_max =
        problems.page_size(request.page_size, PAGE_OPERATIONS_DEFAULT, LOGGED_OPERATIONS_MAX);
    let at = At::Field(&At::Top, "namespace");
    let default = NamespaceName::default();
    let namespace = request.namespace.map(|name| problems.namespace(&name, at, &default));
    let namespace = namespace.map_or(Some(None), |name| name.map(Some));
    problems.refuse(
        operations_max.zip(namespace).map(|(operations_max, namespace)| LoggedListing {
            log,
            namespace,
            operations_max,
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::validate::tests::refused;

    fn asked(
        page_size: Option<i32>,
        namespace: Option<&str>,
        log: i32,
    ) -> wire::ListLoggedOperationsRequest {
        let namespace = namespace.map(str::to_owned);
        wire::ListLoggedOperationsRequest { log, page_size, namespace }
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let listing = logged_operations(asked(None, None, 0)).unwrap();
        assert_eq!((listing.log, listing.operations_max), (OperationLog::Slow, 100));
        assert_eq!(listing.namespace, None);
        let listing = logged_operations(asked(Some(5000), Some(""), 2)).unwrap();
        assert_eq!((listing.log, listing.operations_max), (OperationLog::Failed, 1000));
        assert_eq!(listing.namespace, Some(NamespaceName::default()));
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let bad = logged_operations(asked(Some(0), Some("no name"), 1));
        refused(bad, &[("page_size", "PAGE_SIZE_INVALID"), ("namespace", "NAMESPACE_INVALID")]);
        refused(logged_operations(asked(Some(-1), None, 1)), &[("page_size", "PAGE_SIZE_INVALID")]);
    }
}
