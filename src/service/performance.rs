//! What telemetry measured, as messages.

use std::time::Duration;

use super::convert;
use crate::telemetry::{MethodPerformance, Performance};
use crate::wire::v1 as wire;

/// The answer of GetPerformance.
pub(super) fn response(performance: Performance) -> wire::GetPerformanceResponse {
    let total = message(&performance.total);
    wire::GetPerformanceResponse {
        total: Some(wire::MethodPerformance { method: String::new(), ..total }),
        total_operations: convert::int64(performance.operations_total),
        window: Some(convert::duration(performance.window)),
        methods: performance.methods.iter().map(message).collect(),
    }
}

fn message(method: &MethodPerformance) -> wire::MethodPerformance {
    let length = |length: Duration| Some(convert::duration(length));
    wire::MethodPerformance {
        method: format!("{}/{}", method.service, method.method),
        operations: convert::int64(method.count),
        operations_per_second: method.rate_per_second,
        error_ratio: ratio(method.errors, method.count),
        mean_latency: length(method.mean),
        p50_latency: length(method.p50),
        p95_latency: length(method.p95),
        p99_latency: length(method.p99),
        p999_latency: length(method.p999),
        max_latency: length(method.max),
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { to_f64(part) / to_f64(whole) }
}

/// Exact below 2^53, and close enough above.
fn to_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(name: &str, count: u64, errors: u64, mean_ms: u64) -> MethodPerformance {
        let length = Duration::from_millis(mean_ms);
        MethodPerformance {
            service: "pykv.v1.KeyValueService".into(),
            method: name.into(),
            count,
            errors,
            rate_per_second: 0.5,
            mean: length,
            p50: length,
            p90: length,
            p95: length,
            p99: length,
            p999: length,
            max: length * 2,
        }
    }

    #[test]
    fn each_method_and_their_total_are_told() {
        let window = Duration::from_secs(60);
        let methods = vec![method("Get", 3, 0, 1), method("Set", 1, 1, 5)];
        let total = MethodPerformance { service: String::new(), ..method("", 4, 1, 2) };
        let answer = response(Performance { window, methods, total, operations_total: 7 });
        let total = answer.total.unwrap();
        assert_eq!((total.method.as_str(), total.operations, answer.total_operations), ("", 4, 7));
        assert_eq!(total.error_ratio, 0.25);
        let length = |ms| Some(convert::duration(Duration::from_millis(ms)));
        assert_eq!((total.p99_latency, total.max_latency), (length(2), length(4)));
        assert_eq!(answer.methods[1].method, "pykv.v1.KeyValueService/Set");
        assert_eq!(answer.methods[1].error_ratio, 1.0);
    }

    #[test]
    fn a_server_that_did_nothing_has_zeros() {
        let (window, total) = (Duration::from_secs(60), MethodPerformance::default());
        let nothing = Performance { window, methods: Vec::new(), total, operations_total: 0 };
        let total = response(nothing).total.unwrap();
        assert_eq!((total.operations, total.error_ratio), (0, 0.0));
        assert_eq!(total.mean_latency, Some(prost_types::Duration::default()));
    }
}
