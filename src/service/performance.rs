//! What telemetry measured, as messages.

use std::time::Duration;

use super::convert;
use crate::telemetry::{MethodPerformance, Performance};
use crate::wire::v1 as wire;

/// The answer of GetPerformance.
pub(super) fn response(performance: Performance) -> wire::GetPerformanceResponse {
    let methods = &performance.methods;
    wire::GetPerformanceResponse {
        total: Some(total(methods)),
        // Telemetry does not count over the whole life of the server.
        total_operations: 0,
        window: Some(convert::duration(performance.window)),
        methods: methods.iter().map(message).collect(),
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

/// All methods together. Percentiles of several methods cannot be had from theirs; they are left
/// unset unless there is only one.
fn total(methods: &[MethodPerformance]) -> wire::MethodPerformance {
    if let [only] = methods {
        return wire::MethodPerformance { method: String::new(), ..message(only) };
    }
    let count: u64 = methods.iter().map(|method| method.count).sum();
    let errors: u64 = methods.iter().map(|method| method.errors).sum();
    let spent: f64 = methods.iter().map(|m| m.mean.as_secs_f64() * to_f64(m.count)).sum();
    let mean = if count == 0 { 0.0 } else { spent / to_f64(count) };
    let max = methods.iter().map(|method| method.max).max().unwrap_or_default();
    wire::MethodPerformance {
        operations: convert::int64(count),
        operations_per_second: methods.iter().map(|method| method.rate_per_second).sum(),
        error_ratio: ratio(errors, count),
        mean_latency: Some(convert::duration(Duration::from_secs_f64(mean))),
        max_latency: Some(convert::duration(max)),
        ..wire::MethodPerformance::default()
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
    fn the_total_weighs_each_method_by_its_calls() {
        let window = Duration::from_secs(60);
        let methods = vec![method("Get", 3, 0, 1), method("Set", 1, 1, 5)];
        let answer = response(Performance { window, methods });
        let total = answer.total.unwrap();
        assert_eq!((total.operations, total.operations_per_second), (4, 1.0));
        assert_eq!(total.error_ratio, 0.25);
        let length = |ms| Some(convert::duration(Duration::from_millis(ms)));
        assert_eq!((total.mean_latency, total.max_latency), (length(2), length(10)));
        assert_eq!(total.p99_latency, None, "it cannot be had from those of the methods");
        assert_eq!(answer.methods[1].method, "pykv.v1.KeyValueService/Set");
        assert_eq!(answer.methods[1].error_ratio, 1.0);
    }

    #[test]
    fn a_server_that_did_nothing_has_zeros() {
        let window = Duration::from_secs(60);
        let total = response(Performance { window, methods: Vec::new() }).total.unwrap();
        assert_eq!((total.operations, total.error_ratio), (0, 0.0));
        assert_eq!(total.mean_latency, Some(prost_types::Duration::default()));
    }

    #[test]
    fn one_method_alone_is_the_total() {
        let window = Duration::from_secs(1);
        let answer = response(Performance { window, methods: vec![method("Get", 3, 0, 1)] });
        let total = answer.total.unwrap();
        assert_eq!((total.method.as_str(), total.p99_latency), ("", answer.methods[0].p99_latency));
    }
}
