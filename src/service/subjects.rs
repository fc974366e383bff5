//! What each request is about, for the log of slow and failed operations.

use std::time::Duration;

use super::status;
use crate::model::NamespaceName;
use crate::store::{Answer, Error, Operation, Step};
use crate::telemetry::{self, Method, Particulars, Subject};
use crate::wire::v1 as wire;
use crate::wire::v1::pipeline_response::Response;

/// A request that says what it is about.
pub(super) trait About {
    fn subject(&self) -> Subject<'_>;
}

/// How the requests of one run of a pipeline are logged.
pub(super) struct RunLog {
    method: Option<&'static Method>,
    elapsed: Duration,
    is_slow: bool,
}

impl RunLog {
    /// The log of a run that took `elapsed`, on the pipeline that `method` counts.
    pub(super) fn of(method: Option<&'static Method>, elapsed: Duration) -> RunLog {
        RunLog { method, elapsed, is_slow: telemetry::is_slow(elapsed) }
    }

    /// The response to a request with `bytes` of keys and values that is no step.
    pub(super) fn of_refused(&self, bytes: usize, response: Response) -> Response {
        self.log(Subject::default(), bytes, &response);
        response
    }

    /// The response that `respond` makes of a step with `bytes` of keys and values, and its answer.
    pub(super) fn of_answered(
        &self,
        bytes: usize,
        step: Step,
        answer: Result<Answer, Error>,
        respond: impl FnOnce(Step, Result<Answer, Error>) -> Response,
    ) -> Response {
        // The response takes the key, so it is copied where it may be wanted.
        let wanted = self.is_slow || answer.is_err();
        let named = wanted.then(|| {
            let Subject { namespace, key, keys } = of_step(&step);
            (namespace.to_owned(), key.to_owned(), keys)
        });
        let response = respond(step, answer);
        let (namespace, key, keys) = named.unwrap_or_default();
        self.log(Subject { namespace: &namespace, key: &key, keys }, bytes, &response);
        response
    }

    fn log(&self, subject: Subject<'_>, bytes: usize, response: &Response) {
        let Some(method) = self.method else { return };
        let failed = if let Response::Error(status) = response { Some(status) } else { None };
        let failure = || failed.map(status::to_logged);
        let code = failed.map_or(0, |status| u16::try_from(status.code).unwrap_or(2));
        method.log_message(code, self.elapsed, || Particulars {
            subject: Some(subject),
            transferred_bytes: bytes + response.encoded_len(),
            failure: failure(),
        });
    }
}

/// What a step of a pipeline is about.
fn of_step(step: &Step) -> Subject<'_> {
    let namespace = step.namespace.as_str();
    let one = |key| Subject { namespace, key, keys: 1 };
    match &step.operation {
        Operation::Get { key, .. } => one(key.as_str()),
        Operation::Write(command) => one(command.key().as_str()),
        Operation::GetMany { .. } | Operation::Batch(_) => {
            Subject { namespace, key: "", keys: step.operations() }
        }
    }
}

/// Namespaces by their names on the wire, where an empty one means the default.
fn named(namespace: &str) -> &str {
    if namespace.is_empty() { NamespaceName::DEFAULT } else { namespace }
}

fn namespace(name: &str) -> Subject<'_> {
    Subject { namespace: name, ..Subject::default() }
}

/// `About` by an expression over the request.
macro_rules! about {
    ($($request:ident: $subject:expr;)+) => {
        $(impl About for wire::$request {
            fn subject(&self) -> Subject<'_> {
                let subject: fn(&Self) -> Subject<'_> = $subject;
                subject(self)
            }
        })+
    };
}

about! {
    GetRequest: |r| Subject { namespace: named(&r.namespace), key: &r.key, keys: 1 };
    SetRequest: |r| Subject { namespace: named(&r.namespace), key: &r.key, keys: 1 };
    DeleteRequest: |r| Subject { namespace: named(&r.namespace), key: &r.key, keys: 1 };
    TouchRequest: |r| Subject { namespace: named(&r.namespace), key: &r.key, keys: 1 };
    IncrementRequest: |r| Subject { namespace: named(&r.namespace), key: &r.key, keys: 1 };
    BatchGetRequest: |r| Subject { namespace: named(&r.namespace), key: "", keys: r.keys.len() };
    BatchWriteRequest: |r| {
        Subject { namespace: named(&r.namespace), key: "", keys: r.operations.len() }
    };
    // How many keys there are under a prefix is noted when it is known.
    ListEntriesRequest: |r| Subject { namespace: named(&r.namespace), key: &r.prefix, keys: 0 };
    ScanEntriesRequest: |r| Subject { namespace: named(&r.namespace), key: &r.prefix, keys: 0 };
    DeletePrefixRequest: |r| Subject { namespace: named(&r.namespace), key: &r.prefix, keys: 0 };
    WatchRequest: |r| {
        let key = match (r.keys.as_slice(), r.prefixes.as_slice()) {
            ([one], []) | ([], [one]) => one.as_str(),
            _ => "",
        };
        Subject { namespace: named(&r.namespace), key, keys: 0 }
    };
    CreateNamespaceRequest: |r| namespace(r.namespace.as_ref().map_or("", |n| n.name.as_str()));
    GetNamespaceRequest: |r| namespace(named(&r.namespace));
    // Of several; its prefix is one of names, not of keys.
    ListNamespacesRequest: |_| Subject::default();
    UpdateNamespaceRequest: |r| namespace(r.namespace.as_ref().map_or("", |n| n.name.as_str()));
    DeleteNamespaceRequest: |r| namespace(&r.namespace);
    ClearNamespaceRequest: |r| namespace(&r.namespace);
    GetNamespaceStatsRequest: |r| namespace(named(&r.namespace));
    ListHotKeysRequest: |r| namespace(named(&r.namespace));
    GetServerInfoRequest: |_| Subject::default();
    GetStatsRequest: |_| Subject::default();
    GetPerformanceRequest: |_| Subject::default();
    ListLoggedOperationsRequest: |_| Subject::default();
    CompactRequest: |_| Subject::default();
    GetConfigRequest: |_| Subject::default();
    UpdateConfigRequest: |_| Subject::default();
    ExportSnapshotRequest: |r| match r.namespaces.as_slice() {
        [one] => namespace(one),
        _ => Subject::default(),
    };
}

#[cfg(test)]
#[path = "subjects_tests.rs"]
mod tests;
