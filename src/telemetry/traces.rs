//! Traces: a span for each call, sent to a collector by OTLP.
//!
//! A call is part of the trace that its header `traceparent` names (W3C Trace Context), or begins one. What
//! is sent goes by a thread of its own and is dropped where nobody takes it: no call waits for that.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use http::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{
    Span as _, SpanContext, SpanKind, Status, TraceContextExt, Tracer, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, Span as SdkSpan};
use tokio::runtime::{Builder, Runtime};

use super::grpc::code_name;
use super::methods::Method;
use super::seconds::is_server_error;

/// How long the end of the process waits for spans to be taken.
const FAREWELL: Duration = Duration::from_secs(2);

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Where spans go, until this is dropped: then those that are left are sent.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    /// What the connection to the collector lives in.
    runtime: Option<Runtime>,
}

/// Sends a span for each call to the collector at `endpoint` from now on: for `ratio` of the traces that
/// begin here, and for those that a caller has asked to be recorded.
///
/// Errors: words; the address is none, or there is no thread to be had.
pub fn send_traces(endpoint: &str, ratio: f64) -> Result<Traces, String> {
    let failed = |error: &dyn std::error::Error| format!("cannot send traces: {error}");
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("traces")
        .enable_all()
        .build()
        .map_err(|error| failed(&error))?;
    let _inside = runtime.enter();
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build();
    let exporter = exporter.map_err(|error| failed(&error))?;
    let resource = Resource::builder()
        .with_service_name("pykv")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio)));
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .with_sampler(sampler)
        .build();
    // Only one is ever made.
    let _ = TRACER.set(provider.tracer("pykv"));
    Ok(Traces { provider, runtime: Some(runtime) })
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FAREWELL) {
            tracing::warn!(%error, "the last spans were not sent");
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A call in its trace.
#[derive(Debug)]
pub(super) struct Span(Box<SdkSpan>);

impl Span {
    /// A span for a call of `method` with these headers; none where traces go nowhere, or this one is
    /// not recorded.
    pub(super) fn begin(
        method: &Method,
        headers: &HeaderMap,
        peer: Option<SocketAddr>,
    ) -> Option<Span> {
        let tracer = TRACER.get()?;
        let parent =
            TraceContextPropagator::new().extract_with_context(&Context::new(), &Named(headers));
        let mut attributes = vec![
            KeyValue::new("rpc.system", "grpc"),
            KeyValue::new("rpc.service", method.service.clone()),
            KeyValue::new("rpc.method", method.name.clone()),
        ];
        if let Some(peer) = peer {
            attributes.push(KeyValue::new("network.peer.address", peer.ip().to_string()));
            attributes.push(KeyValue::new("network.peer.port", i64::from(peer.port())));
        }
        let span = tracer
            .span_builder(method.full_name())
            .with_kind(SpanKind::Server)
            .with_attributes(attributes)
            .start_with_context(tracer, &parent);
        // A trace that is not recorded is still told by its name, where the caller has given it one.
        let is_known = span.is_recording() || parent.span().span_context().is_valid();
        is_known.then(|| Span(Box::new(span)))
    }

    /// The name of the trace, in 32 hexadecimal digits.
    pub(super) fn trace_id(&self) -> String {
        let context: &SpanContext = self.0.span_context();
        context.trace_id().to_string()
    }

    /// Ends it.
    pub(super) fn end(mut self, code: u16, namespace: &str, storage_wait: Duration) {
        if self.0.is_recording() {
            let number = i64::from(code);
            self.0.set_attribute(KeyValue::new("rpc.grpc.status_code", number));
            if !namespace.is_empty() {
                self.0.set_attribute(KeyValue::new("pykv.namespace", namespace.to_owned()));
            }
            if storage_wait > Duration::ZERO {
                let wait = storage_wait.as_secs_f64() * 1e3;
                self.0.set_attribute(KeyValue::new("pykv.storage_wait_ms", wait));
            }
            if code != 0 && is_server_error(code) {
                self.0.set_status(Status::error(code_name(code)));
            }
        }
        self.0.end();
    }
}

/// Headers as a propagator asks for them.
struct Named<'h>(&'h HeaderMap);

impl Extractor for Named<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}
