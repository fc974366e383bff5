//! The series `grpc_server_*`, named and labelled as go-grpc-middleware does, so that dashboards made
//! for any gRPC server fit this one.

use std::time::Duration;

use super::methods::{Kind, Method, methods};
use super::page::{Page, Shape};
use super::seconds::CODES;

/// Upper edges of the exported histogram and how they are written, in seconds. Finer at the fast end
/// than the usual ones, because most calls end there.
pub(super) const EDGES: [(Duration, &str); 16] = [
    (Duration::from_micros(10), "0.00001"),
    (Duration::from_micros(25), "0.000025"),
    (Duration::from_micros(50), "0.00005"),
    (Duration::from_micros(100), "0.0001"),
    (Duration::from_micros(250), "0.00025"),
    (Duration::from_micros(500), "0.0005"),
    (Duration::from_millis(1), "0.001"),
    (Duration::from_micros(2_500), "0.0025"),
    (Duration::from_millis(5), "0.005"),
    (Duration::from_millis(10), "0.01"),
    (Duration::from_millis(25), "0.025"),
    (Duration::from_millis(50), "0.05"),
    (Duration::from_millis(100), "0.1"),
    (Duration::from_millis(500), "0.5"),
    (Duration::from_secs(1), "1"),
    (Duration::from_secs(10), "10"),
];

/// The codes by number, as the label `grpc_code` spells them.
const CODE_LABELS: [&str; CODES] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// A code as that label spells it.
pub(super) fn code_name(code: u16) -> &'static str {
    CODE_LABELS.get(usize::from(code)).copied().unwrap_or("Unknown")
}

/// How the services of this server's own schema are called.
const OWN: &str = "pykv.";

struct Sum {
    method: &'static Method,
    started: u64,
    handled: [u64; CODES],
    edges: [u64; EDGES.len() + 1],
    time: Duration,
    operations: u64,
}

/// Writes the series of every known method. OK shows from the start, other codes once they happen.
pub(super) fn write(page: &mut Page) {
    let mut known = methods();
    known.sort_by(|a, b| a.0.cmp(&b.0));
    let sums: Vec<Sum> = known.into_iter().map(|(_, method)| sum(method)).collect();

    let name = "grpc_server_started_total";
    page.family(name, Shape::Counter, "Calls begun on the server.");
    for sum in &sums {
        page.sample(name, &labels(sum.method), sum.started);
    }

    let name = "grpc_server_handled_total";
    page.family(name, Shape::Counter, "Calls ended on the server, whatever came of them.");
    for sum in &sums {
        for (code, count) in CODE_LABELS.iter().zip(sum.handled) {
            if count > 0 || *code == "OK" {
                let [kind, service, method] = labels(sum.method);
                page.sample(name, &[kind, service, method, ("grpc_code", code)], count);
            }
        }
    }

    let name = "grpc_server_msg_received_total";
    page.family(name, Shape::Counter, "Messages received from callers.");
    for sum in &sums {
        let received = match sum.method.kind() {
            Kind::Unary | Kind::ServerStream => sum.started,
            Kind::ClientStream | Kind::BidiStream => sum.operations,
        };
        page.sample(name, &labels(sum.method), received);
    }

    let name = "grpc_server_msg_sent_total";
    page.family(name, Shape::Counter, "Messages sent to callers.");
    for sum in &sums {
        let sent = match sum.method.kind() {
            Kind::Unary | Kind::ClientStream => sum.handled[0],
            Kind::ServerStream | Kind::BidiStream => sum.operations,
        };
        page.sample(name, &labels(sum.method), sent);
    }

    page.family("grpc_server_handling_seconds", Shape::Histogram, "How long calls took.");
    for sum in &sums {
        histogram(page, sum);
    }
    write_requests(page, &sums);
}

/// The same in fewer labels, for the methods of this service only.
fn write_requests(page: &mut Page, sums: &[Sum]) {
    let own: Vec<_> = sums.iter().filter(|sum| sum.method.service.starts_with(OWN)).collect();
    let name = "pykv_requests_total";
    page.family(name, Shape::Counter, "Calls ended, by method and code.");
    for sum in &own {
        for (code, count) in CODE_LABELS.iter().zip(sum.handled) {
            if count > 0 || *code == "OK" {
                page.sample(name, &[("method", &sum.method.name), ("code", code)], count);
            }
        }
    }
    let name = "pykv_request_duration_seconds";
    page.family(name, Shape::Histogram, "How long calls took, by method.");
    for sum in &own {
        buckets(page, name, &[("method", &sum.method.name)], sum);
    }
}

fn histogram(page: &mut Page, sum: &Sum) {
    buckets(page, "grpc_server_handling_seconds", &labels(sum.method), sum);
}

fn buckets(page: &mut Page, name: &str, labels: &[(&str, &str)], sum: &Sum) {
    let mut seen = 0;
    let edges = EDGES.iter().map(|edge| edge.1).chain(["+Inf"]);
    for (edge, count) in edges.zip(sum.edges) {
        seen += count;
        let labels: Vec<_> = labels.iter().copied().chain([("le", edge)]).collect();
        page.sample(&format!("{name}_bucket"), &labels, seen);
    }
    page.sample(&format!("{name}_sum"), labels, sum.time.as_secs_f64());
    page.sample(&format!("{name}_count"), labels, seen);
}

fn sum(method: &'static Method) -> Sum {
    let mut sum = Sum {
        method,
        started: 0,
        handled: [0; CODES],
        edges: [0; EDGES.len() + 1],
        time: Duration::ZERO,
        operations: 0,
    };
    method.tallies(|tally| {
        sum.started += tally.started;
        sum.operations += tally.operations;
        sum.time += tally.sum;
        for (to, from) in sum.handled.iter_mut().zip(tally.handled) {
            *to += from;
        }
        for (to, from) in sum.edges.iter_mut().zip(tally.edges) {
            *to += from;
        }
    });
    sum
}

fn labels(method: &'static Method) -> [(&'static str, &'static str); 3] {
    [
        ("grpc_type", method.kind().label()),
        ("grpc_service", &method.service),
        ("grpc_method", &method.name),
    ]
}
