//! What the store refuses, as a caller sees it.

use tonic_types::StatusExt;

use super::*;

/// The status's code, reason and metadata.
fn seen(failure: Failure) -> (Code, String, Vec<(String, String)>) {
    let status = failure.into_status();
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.domain, "pykv");
    let mut metadata: Vec<_> = info.metadata.into_iter().collect();
    metadata.sort();
    (status.code(), info.reason, metadata)
}

fn check(error: Error, code: Code, reason: &str, metadata: &[(&str, &str)]) {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let expected = (code, reason.to_owned(), metadata.iter().map(owned).collect());
    assert_eq!(seen(of_error(&error, "acme")), expected, "{error:?}");
}

#[test]
fn every_error_of_the_store_has_the_code_and_the_reason_of_the_schema() {
    let second = Duration::from_secs(1);
    let acme = || "acme".to_owned();
    let named = [("namespace", "acme")];
    check(Error::NamespaceNotFound(acme()), Code::NotFound, "NAMESPACE_NOT_FOUND", &named);
    check(Error::NamespaceExists(acme()), Code::AlreadyExists, "NAMESPACE_ALREADY_EXISTS", &named);
    check(
        Error::NamespaceNotEmpty(acme()),
        Code::FailedPrecondition,
        "NAMESPACE_NOT_EMPTY",
        &named,
    );
    check(Error::NamespaceProtected, Code::FailedPrecondition, "NAMESPACE_PROTECTED", &[]);
    check(Error::EtagMismatch, Code::Aborted, "ETAG_MISMATCH", &[]);
    let limit = [("limit", "7")];
    let many = Error::TooManyNamespaces { limit: 7 };
    check(many, Code::ResourceExhausted, "TOO_MANY_NAMESPACES", &limit);
    let rate = Error::RateLimited { retry_after: second };
    check(rate, Code::ResourceExhausted, "RATE_LIMITED", &named);
    check(Error::Overloaded { retry_after: second }, Code::Unavailable, "OVERLOADED", &[]);
    check(Error::ReadOnly, Code::FailedPrecondition, "READ_ONLY", &[]);
    check(Error::DiskFull, Code::ResourceExhausted, "DISK_FULL", &[]);
    check(Error::LogFailed, Code::Unavailable, "STORAGE_FAILURE", &[]);
    check(Error::OutcomeUnknown, Code::Unknown, "OUTCOME_UNKNOWN", &[]);
    let progress = [("progress", "0.25")];
    check(Error::StartingUp { progress: 0.25 }, Code::Unavailable, "STARTING_UP", &progress);
    check(Error::Stopped, Code::Unavailable, "SHUTTING_DOWN", &[]);
}

#[test]
fn every_refusal_has_the_code_and_the_reason_of_the_schema() {
    let check = |refusal, code, reason: &str, metadata: &[(&str, &str)]| {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let expected: Vec<_> = metadata.iter().map(owned).collect();
        let single = seen(of_refusal(refusal, "acme"));
        assert_eq!(single, (code, reason.to_owned(), expected.clone()), "{refusal:?}");

        let atomic = Error::Refused { index: 3, refusal };
        let mut expected = expected;
        expected.push(("index".to_owned(), "3".to_owned()));
        expected.sort();
        assert_eq!(seen(of_error(&atomic, "acme")), (code, reason.to_owned(), expected));
    };
    let large = Refusal::ValueTooLarge { limit_bytes: 5, size_bytes: 6 };
    let sizes = [("limit_bytes", "5"), ("size_bytes", "6")];
    check(large, Code::InvalidArgument, "VALUE_TOO_LARGE", &sizes);
    check(Refusal::ExpirationRequired, Code::InvalidArgument, "EXPIRATION_INVALID", &[]);
    check(Refusal::DeadlineTooFar, Code::InvalidArgument, "EXPIRATION_INVALID", &[]);
    for (quota, field) in [(Quota::Keys, "max_keys"), (Quota::Bytes, "max_bytes")] {
        let full = Refusal::QuotaExceeded { quota, limit: 9 };
        let limit = [("limit", field), ("value", "9")];
        check(full, Code::ResourceExhausted, "NAMESPACE_QUOTA_EXCEEDED", &limit);
    }
    check(Refusal::MemoryExhausted, Code::ResourceExhausted, "MEMORY_EXHAUSTED", &[]);
    check(Refusal::ValueNotInteger, Code::FailedPrecondition, "VALUE_NOT_INTEGER", &[]);
    check(Refusal::CounterOverflow, Code::OutOfRange, "COUNTER_OVERFLOW", &[]);
}

#[test]
fn only_what_may_be_repeated_says_when() {
    let delay = |error: Error| {
        let status = of_error(&error, "acme").into_status();
        status.get_details_retry_info().and_then(|info| info.retry_delay)
    };
    let soon = Duration::from_millis(150);
    assert_eq!(delay(Error::RateLimited { retry_after: soon }), Some(soon));
    assert_eq!(delay(Error::Overloaded { retry_after: soon }), Some(soon));
    for unavailable in [Error::StartingUp { progress: 0.0 }, Error::Stopped, Error::LogFailed] {
        assert!(delay(unavailable).is_some());
    }
    // Repeating an outcome that is unknown could count twice; the others stay refused.
    for refused in [Error::OutcomeUnknown, Error::DiskFull, Error::ReadOnly, Error::EtagMismatch] {
        assert_eq!(delay(refused.clone()), None, "{refused:?}");
    }
}

#[test]
fn limits_and_preconditions_say_whose_they_are() {
    let quota = |failure: Failure| {
        let violations = failure.into_status().get_details_quota_failure().unwrap().violations;
        violations.into_iter().map(|violation| violation.subject).collect::<Vec<_>>()
    };
    let full = Refusal::QuotaExceeded { quota: Quota::Keys, limit: 9 };
    assert_eq!(quota(of_refusal(full, "acme")), ["namespace:acme"]);
    assert_eq!(quota(of_refusal(Refusal::MemoryExhausted, "acme")), ["server"]);

    let not_empty = of_error(&Error::NamespaceNotEmpty("acme".into()), "acme").into_status();
    let violations = not_empty.get_details_precondition_failure().unwrap().violations;
    assert_eq!(violations[0].r#type, "NAMESPACE_NOT_EMPTY");
    assert_eq!(violations[0].subject, "namespace:acme");

    let missing = of_error(&Error::NamespaceNotFound("acme".into()), "acme").into_status();
    assert_eq!(missing.get_details_resource_info().unwrap().resource_name, "acme");
}

#[test]
fn a_refused_value_names_its_field() {
    let field = |failure: Failure| {
        let violations = failure.into_status().get_details_bad_request().unwrap().field_violations;
        violations.into_iter().map(|violation| violation.field).collect::<Vec<_>>()
    };
    let large = Refusal::ValueTooLarge { limit_bytes: 5, size_bytes: 6 };
    assert_eq!(field(of_refusal(large, "acme")), ["value"]);
    assert_eq!(field(of_refusal(Refusal::ExpirationRequired, "acme")), ["expiration.never"]);
    assert_eq!(field(of_refused_operation(7, large, "acme")), ["operations[7]"]);
}

#[test]
fn the_status_inside_a_batch_is_the_status_of_the_single_call() {
    let full = Refusal::QuotaExceeded { quota: Quota::Bytes, limit: 9 };
    let status = of_refusal(full, "acme").into_status();
    let inside = of_refusal(full, "acme").into_wire();
    assert_eq!(inside.code, status.code() as i32);
    assert_eq!(inside.message, status.message());
    assert_eq!(inside.details.len(), 2, "ErrorInfo and QuotaFailure");
    assert!(inside.details.iter().any(|any| any.type_url.ends_with("google.rpc.ErrorInfo")));
}

#[test]
fn a_response_that_is_too_large_says_the_limit() {
    let status = response_too_large(4096);
    assert_eq!(status.code(), Code::ResourceExhausted);
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.reason, "RESPONSE_TOO_LARGE");
    assert_eq!(info.metadata["limit"], "4096");
}

#[test]
fn a_stream_that_cannot_be_read_ends_in_our_words() {
    let reason = |said| {
        let status = of_broken_stream(said);
        let info = status.get_details_error_info().map(|info| info.reason);
        (status.code(), info.unwrap_or_default())
    };
    let long = Status::out_of_range(format!("{TOO_LONG}: found 9 bytes, the limit is: 8 bytes"));
    assert_eq!(reason(long), (Code::ResourceExhausted, "REQUEST_TOO_LARGE".to_owned()));
    let garbage = Status::internal("failed to decode Protobuf message: invalid varint");
    assert_eq!(reason(garbage), (Code::InvalidArgument, "REQUEST_MALFORMED".to_owned()));
    assert_eq!(reason(Status::cancelled("gone")), (Code::Cancelled, String::new()));
}

#[test]
fn a_call_without_its_message_is_no_failure_of_ours() {
    let said = Status::internal("Missing request message.");
    let ours = Status::from_header_map(in_our_words(said.into_http()).headers()).unwrap();
    assert_eq!(ours.code(), Code::InvalidArgument);
    assert_eq!(ours.get_details_error_info().unwrap().reason, "REQUEST_MALFORMED");
    let other = in_our_words(Status::internal("something else").into_http());
    assert_eq!(Status::from_header_map(other.headers()).unwrap().code(), Code::Internal);
}
