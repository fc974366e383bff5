//! Requests of a pipeline: each is checked as the unary request it is.

use tonic::Status;

use super::entry::{batch_get, batch_write, delete, get, increment, set, touch};
use super::{At, Problems};
use crate::model::NamespaceName;
use crate::store::{Operation, Step};
use crate::wire::v1 as wire;
use crate::wire::v1::ErrorReason;
use crate::wire::v1::pipeline_request::Request;

/// Checks a request of a pipeline. `last` is the namespace of the one before it: where that is
/// named again it is not made again.
pub(crate) fn pipeline_request(
    request: wire::PipelineRequest,
    default: &NamespaceName,
    last: Option<&NamespaceName>,
) -> Result<Step, Status> {
    let Some(mut request) = request.request else {
        let mut problems = Problems::default();
        let at = At::Field(&At::Top, "request");
        problems.add::<()>(at, ErrorReason::OperationMissing, "must have a request");
        return problems.refuse(None);
    };
    // An empty name is the default's, whichever that is.
    let named = namespace_of(&mut request);
    let default = match last {
        Some(last) if last.as_str() == named => {
            named.clear();
            last
        }
        Some(_) | None => default,
    };
    let written = |(namespace, command)| Step::new(namespace, Operation::Write(command));
    match request {
        Request::Get(request) => get(request, default)
            .map(|(namespace, key, view)| Step::new(namespace, Operation::Get { key, view })),
        Request::Set(request) => set(request, default).map(written),
        Request::Delete(request) => delete(request, default).map(written),
        Request::Touch(request) => touch(request, default).map(written),
        Request::Increment(request) => increment(request, default).map(written),
        Request::BatchGet(request) => batch_get(request, default)
            .map(|(namespace, keys, view)| Step::new(namespace, Operation::GetMany { keys, view })),
        Request::BatchWrite(request) => batch_write(request, default)
            .map(|(namespace, batch)| Step::new(namespace, Operation::Batch(batch))),
    }
}

fn namespace_of(request: &mut Request) -> &mut String {
    match request {
        Request::Get(request) => &mut request.namespace,
        Request::Set(request) => &mut request.namespace,
        Request::Delete(request) => &mut request.namespace,
        Request::Touch(request) => &mut request.namespace,
        Request::Increment(request) => &mut request.namespace,
        Request::BatchGet(request) => &mut request.namespace,
        Request::BatchWrite(request) => &mut request.namespace,
    }
}
