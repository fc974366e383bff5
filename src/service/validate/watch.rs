//! Requests to watch.

use std::time::Duration;

use tonic::Status;

use super::{At, Problems};
use crate::model::{KEY_BYTES_MAX, NamespaceName, Version};
use crate::service::BATCH_ITEMS_MAX;
use crate::store::{Filter, Start, Values, WatchOrder};
use crate::wire::v1 as wire;
use crate::wire::v1::ErrorReason;

/// Most prefixes in one watch.
const PREFIXES_MAX: usize = 100;

/// How often a quiet watch says that it is alive.
const PROGRESS_MIN: Duration = Duration::from_secs(1);
const PROGRESS_MAX: Duration = Duration::from_secs(600);
const PROGRESS_DEFAULT: Duration = Duration::from_secs(15);

/// What is to be watched, and how often to say so when nothing happens.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) namespace: NamespaceName,
    pub(crate) order: WatchOrder,
    pub(crate) progress_interval: Duration,
}

/// Checks a watch.
pub(crate) fn watch(request: wire::WatchRequest, default: &NamespaceName) -> Result<Watch, Status> {
    let mut problems = Problems::default();
    let at = |name| At::Field(&At::Top, name);
    let namespace = problems.namespace(&request.namespace, at("namespace"), default);
    problems.at_most(request.keys.len(), BATCH_ITEMS_MAX, at("keys"));
    problems.at_most(request.prefixes.len(), PREFIXES_MAX, at("prefixes"));
    let keys: Vec<_> = (request.keys.into_iter().enumerate())
        .filter_map(|(index, key)| problems.key(key, At::Item(&At::Top, "keys", index)))
        .collect();
    for (index, prefix) in request.prefixes.iter().enumerate() {
        if prefix.len() > KEY_BYTES_MAX {
            let text = format!("must be at most {KEY_BYTES_MAX} bytes, as long as a key can be");
            let at = At::Item(&At::Top, "prefixes", index);
            problems.add::<()>(at, ErrorReason::KeyInvalid, text);
        }
    }
    let start = problems.start(request.start_version, request.include_initial);
    let progress_interval = match &request.progress_interval {
        None => Some(PROGRESS_DEFAULT),
        Some(length) => {
            let bounds = (PROGRESS_MIN, PROGRESS_MAX);
            let at = at("progress_interval");
            problems.length_within(length, at, bounds, ErrorReason::WatchInvalid)
        }
    };
    let values = if request.include_values { Values::Included } else { Values::Omitted };
    let filter = Filter::new(keys, request.prefixes);
    let parsed = namespace.zip(start).zip(progress_interval);
    problems.refuse(parsed.map(|((namespace, start), progress_interval)| Watch {
        namespace,
        order: WatchOrder { filter, start, values },
        progress_interval,
    }))
}

impl Problems {
    fn at_most(&mut self, count: usize, most: usize, at: At<'_>) {
        if count > most {
            let text = format!("must have at most {most} items, this has {count}");
            let limit = vec![("limit", most.to_string())];
            self.add_with::<()>(at, ErrorReason::BatchTooLarge, text, limit);
        }
    }

    fn start(&mut self, version: Option<i64>, entries: bool) -> Option<Start> {
        let at = At::Field(&At::Top, "start_version");
        let Some(version) = version else {
            return Some(if entries { Start::Entries } else { Start::Now });
        };
        if entries {
            let text = "must not be set together with include_initial";
            self.add_field::<()>(at, ErrorReason::WatchInvalid, text);
        }
        match u64::try_from(version) {
            Ok(version) => Some(Start::After(Version(version))),
            Err(_) => self.add_field(at, ErrorReason::WatchInvalid, "must not be negative"),
        }
    }
}
