//! Where traces go.

use super::settings::Setting;
use super::value::shown;

/// The collector and how much it gets.
pub(super) const TRACES: &[Setting] = &[
    Setting {
        key: "traces.endpoint",
        help: "Send a span for each call to this collector, by OTLP over gRPC, such as \
               \"http://127.0.0.1:4317\"; \"\" for none.",
        read: |config, raw| {
            let text = raw.text()?.trim();
            let is_address = text.starts_with("http://") || text.starts_with("https://");
            if !text.is_empty() && !is_address {
                return Err("must begin with http:// or https://".to_owned());
            }
            config.traces_endpoint = (!text.is_empty()).then(|| text.to_owned());
            Ok(())
        },
        show: |config| shown::text(config.traces_endpoint.as_deref().unwrap_or_default()),
    },
    Setting {
        key: "traces.ratio",
        help: "For how many of the traces that begin here that is done, 0 to 1; those that a caller \
               has begun go by the caller's word.",
        read: |config, raw| raw.ratio().map(|ratio| config.traces_ratio = ratio),
        show: |config| shown::text(config.traces_ratio),
    },
];
