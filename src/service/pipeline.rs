//! `KeyValueService.Pipeline`: many requests down one stream.
//!
//! The first request is waited for; what has come with it by then is taken too, and all of it is one
//! run of the store. While that waits for the disk more gathers, and the next run is larger: the
//! busier a stream is, the less each of its requests costs.

use std::collections::VecDeque;
use std::time::Instant;

use async_stream::stream;
use futures_util::{FutureExt, StreamExt};
use prost::Message;
use tokio::task::yield_now;
use tokio_stream::Stream;
use tonic::{Code, Status, Streaming};

use super::access::Pass;
use super::places::Place;
use super::subjects::RunLog;
use super::{BATCH_ITEMS_MAX, Now, RESPONSE_BYTES_MAX, Role, convert, status, validate};
use crate::model::NamespaceName;
use crate::store::{Answer, Error, Operation, Step, Store};
use crate::telemetry::{self, Method};
use crate::wire::v1 as wire;
use crate::wire::v1::pipeline_response::Response;

pub(super) const METHOD: &str = "/pykv.v1.KeyValueService/Pipeline";

/// Most bytes of keys and values that requests taken together have; a single one may have more. Enough
/// for the cost of a run not to matter, and little enough for a thousand streams.
const RUN_BYTES_MAX: usize = 1 << 20;
/// Most bytes that an answer's message has around the response in it: its id, tags and lengths.
const ENVELOPE_BYTES_MAX: usize = 32;

/// What all pipelines of a service share.
pub(super) struct Pipelines<S> {
    pub(super) store: S,
    pub(super) now: Now,
    pub(super) default: NamespaceName,
    /// What each request is held against.
    pub(super) pass: Pass,
}

impl<S: Store> Pipelines<S> {
    /// The answers to `requests`, in their order. Holds `place` until the stream ends.
    pub(super) fn answer(
        self,
        requests: Streaming<wire::PipelineRequest>,
        place: Place,
    ) -> impl Stream<Item = Result<wire::PipelineResponse, Status>> + Send {
        let method = telemetry::find(METHOD);
        stream! {
            let _place = place;
            let mut intake = Intake::new(requests);
            let mut waiting = Waiting::default();
            loop {
                intake.take(&mut waiting, &self.default, &self.pass).await;
                while !waiting.asked.is_empty() {
                    let answers = self.store.run(&mut waiting.steps).await;
                    let responses = waiting.respond(answers, &self.now, method);
                    assert!(!responses.is_empty(), "a store does at least the first step");
                    if let Some(method) = method {
                        count(method, waiting.begun, &responses);
                    }
                    for response in responses {
                        yield Ok(response);
                    }
                    // How long the caller took for these is not our time.
                    waiting.begun = telemetry::message_begins();
                }
                match intake.end.take() {
                    None if intake.held.is_some() => yield_now().await,
                    None => {}
                    Some(Ok(())) => break,
                    Some(Err(status)) => {
                        yield Err(status);
                        break;
                    }
                }
            }
        }
    }
}

/// Where requests come from.
struct Intake {
    requests: Streaming<wire::PipelineRequest>,
    /// One that came when the run before it was full.
    held: Option<wire::PipelineRequest>,
    /// How the stream of requests has ended.
    end: Option<Result<(), Status>>,
}

impl Intake {
    fn new(requests: Streaming<wire::PipelineRequest>) -> Intake {
        Intake { requests, held: None, end: None }
    }

    /// Waits for a request, then takes what is there and fits into one run.
    async fn take(&mut self, waiting: &mut Waiting, default: &NamespaceName, pass: &Pass) {
        let mut next = match self.held.take() {
            Some(held) => Some(held),
            None => self.received().await,
        };
        waiting.begun = telemetry::message_begins();
        let (mut operations, mut bytes) = (0, 0);
        while let Some(request) = next {
            let size = Size::of(&request);
            operations += size.operations;
            bytes += size.bytes;
            let is_full = operations > BATCH_ITEMS_MAX || bytes > RUN_BYTES_MAX;
            if is_full && !waiting.asked.is_empty() {
                self.held = Some(request);
                return;
            }
            waiting.ask(request, size.bytes, default, pass);
            // Polled without a wish to be woken: what comes later is asked for later.
            next = self.received().now_or_never().flatten();
        }
    }

    /// The next request; none at the end.
    async fn received(&mut self) -> Option<wire::PipelineRequest> {
        if self.end.is_some() {
            return None;
        }
        match self.requests.next().await {
            Some(Ok(request)) => Some(request),
            Some(Err(said)) => {
                self.end = Some(Err(status::of_broken_stream(said)));
                None
            }
            None => {
                self.end = Some(Ok(()));
                None
            }
        }
    }
}

/// How much a request asks for.
struct Size {
    operations: usize,
    bytes: usize,
}

impl Size {
    fn of(request: &wire::PipelineRequest) -> Size {
        use wire::pipeline_request::Request;
        let one = |bytes| Size { operations: 1, bytes };
        match &request.request {
            None => one(0),
            Some(Request::Get(request)) => one(request.key.len()),
            Some(Request::Set(request)) => one(request.key.len() + request.value.len()),
            Some(Request::Delete(request)) => one(request.key.len()),
            Some(Request::Touch(request)) => one(request.key.len()),
            Some(Request::Increment(request)) => one(request.key.len()),
            Some(Request::BatchGet(request)) => {
                Size { operations: request.keys.len(), bytes: request.keys.bytes() }
            }
            Some(Request::BatchWrite(request)) => Size {
                operations: request.operations.len(),
                bytes: validate::operations_bytes(&request.operations),
            },
        }
    }
}

/// Requests taken and not yet answered.
struct Waiting {
    /// In their order.
    asked: VecDeque<Asked>,
    /// Of those among them that were not refused.
    steps: Vec<Step>,
    /// When the first of them was taken, or the run before was answered.
    begun: Instant,
}

/// A request by its id; what it asks for is a step, unless it was refused.
struct Asked {
    id: i64,
    /// Bytes of its keys and values.
    bytes: usize,
    refused: Option<Box<Status>>,
}

impl Default for Waiting {
    fn default() -> Self {
        Waiting { asked: VecDeque::new(), steps: Vec::new(), begun: Instant::now() }
    }
}

impl Waiting {
    fn ask(
        &mut self,
        request: wire::PipelineRequest,
        bytes: usize,
        default: &NamespaceName,
        pass: &Pass,
    ) {
        let id = request.id;
        let last = self.steps.last().map(|step| &step.namespace);
        let step = validate::pipeline_request(request, default, last);
        let allowed = step.and_then(|step| {
            pass.check(role_for(&step.operation), step.namespace.as_str())?;
            Ok(step)
        });
        let refused = match allowed {
            Ok(step) => {
                self.steps.push(step);
                None
            }
            Err(status) => Some(Box::new(status)),
        };
        self.asked.push_back(Asked { id, bytes, refused });
    }

    /// The responses for which there is an answer by now. What was slow by now or failed is logged.
    fn respond(
        &mut self,
        answers: Vec<Result<Answer, Error>>,
        now: &Now,
        method: Option<&'static Method>,
    ) -> Vec<wire::PipelineResponse> {
        let log = RunLog::of(method, self.begun.elapsed());
        let mut responses = Vec::with_capacity(self.asked.len());
        let mut done = self.steps.drain(..answers.len()).zip(answers);
        while let Some(Asked { id, bytes, refused }) = self.asked.pop_front() {
            let response = match refused {
                Some(status) => log.of_refused(bytes, Response::Error(status::to_wire(&status))),
                None => match done.next() {
                    Some((step, answer)) => log.of_answered(bytes, step, answer, |step, answer| {
                        response(step, answer, now)
                    }),
                    None => {
                        self.asked.push_front(Asked { id, bytes, refused: None });
                        break;
                    }
                },
            };
            responses.push(wire::PipelineResponse { id, response: Some(response) });
        }
        responses
    }
}

/// What the unary method of an operation needs.
fn role_for(operation: &Operation) -> Role {
    match operation {
        Operation::Get { .. } | Operation::GetMany { .. } => Role::Reader,
        Operation::Write(_) | Operation::Batch(_) => Role::Writer,
    }
}

fn response(step: Step, answer: Result<Answer, Error>, now: &Now) -> Response {
    let namespace = step.namespace.as_str();
    let moment = || now();
    match (step.operation, answer) {
        (_, Err(error)) => Response::Error(status::of_error(&error, namespace).into_wire()),
        (Operation::Get { key, view }, Ok(Answer::Get(found))) => {
            let entry = found.map(|entry| convert::entry(key, entry, view, moment));
            Response::Get(wire::GetResponse { entry })
        }
        (Operation::GetMany { keys, view }, Ok(Answer::GetMany(found))) => {
            let response = convert::found(&keys, &found, view, moment);
            if response.encoded_len() > RESPONSE_BYTES_MAX - ENVELOPE_BYTES_MAX {
                let status = status::response_too_large(RESPONSE_BYTES_MAX);
                return Response::Error(status::to_wire(&status));
            }
            Response::BatchGet(response)
        }
        (Operation::Write(command), Ok(Answer::Write(ruling))) => {
            match convert::write_result(command, ruling, namespace, moment).result {
                Some(result) => of_result(result),
                None => wrong_answer(),
            }
        }
        (Operation::Batch(batch), Ok(Answer::Batch { outcomes, committed })) => {
            let returns_values = batch.commands.iter().any(|command| command.returns_value());
            let results =
                convert::write_results(batch.commands, outcomes, namespace, moment).collect();
            let mut response = wire::BatchWriteResponse { committed, results };
            if returns_values {
                convert::fit(&mut response, RESPONSE_BYTES_MAX - ENVELOPE_BYTES_MAX);
            }
            Response::BatchWrite(response)
        }
        (
            Operation::Get { .. }
            | Operation::GetMany { .. }
            | Operation::Write(_)
            | Operation::Batch(_),
            Ok(_),
        ) => wrong_answer(),
    }
}

fn of_result(result: wire::write_result::Result) -> Response {
    use wire::write_result::Result;
    match result {
        Result::Set(response) => Response::Set(response),
        Result::Delete(response) => Response::Delete(response),
        Result::Touch(response) => Response::Touch(response),
        Result::Increment(response) => Response::Increment(response),
        Result::Error(status) => Response::Error(status),
        // No request of a pipeline asks for a check alone.
        Result::Check(_) => wrong_answer(),
    }
}

/// A store broke its promise of one answer of its kind for each step: a bug, so no reason is given.
fn wrong_answer() -> Response {
    let status = Status::internal("the store gave the answer of another step");
    Response::Error(status::to_wire(&status))
}

/// Counts what was answered, each with the time from when the run began.
fn count(method: &Method, begun: Instant, responses: &[wire::PipelineResponse]) {
    let now = Instant::now();
    let elapsed = now.saturating_duration_since(begun);
    let mut counts = [0_u32; CODES];
    for response in responses {
        let code = match &response.response {
            Some(Response::Error(status)) => status.code,
            Some(_) | None => Code::Ok as i32,
        };
        let code = usize::try_from(code).ok().filter(|code| *code < CODES);
        counts[code.unwrap_or(Code::Unknown as usize)] += 1;
    }
    for (code, count) in (0_u16..).zip(counts).filter(|(_, count)| *count > 0) {
        method.operated(code, elapsed, count, now);
    }
}

/// Status codes of gRPC, 0 to 16.
const CODES: usize = 17;
