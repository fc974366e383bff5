//! Lengths and moments of time as they come over the wire.

use std::time::Duration;

use prost_types::{Duration as WireDuration, Timestamp};

use super::{At, Problems};
use crate::model::{Ttl, UnixMillis};
use crate::wire::v1::ErrorReason;

const NANOS_PER_SECOND: i32 = 1_000_000_000;
const NANOS_PER_MILLI: u64 = 1_000_000;

/// How far back a look at the performance may go.
const WINDOW_MIN: Duration = Duration::from_secs(1);
const WINDOW_MAX: Duration = Duration::from_secs(3600);
const WINDOW_DEFAULT: Duration = Duration::from_secs(60);

/// The window asked for, in whole seconds, a started one counted whole, and brought into its
/// bounds; a minute where none was.
pub(crate) fn window(asked: Option<WireDuration>) -> Duration {
    let asked = asked.map_or(Some(WINDOW_DEFAULT), |window| length(&window).ok());
    let asked = asked.unwrap_or(WINDOW_MIN).clamp(WINDOW_MIN, WINDOW_MAX);
    Duration::from_secs(asked.as_secs() + u64::from(asked.subsec_nanos() > 0))
}

impl Problems {
    /// A time to live, rounded up to the millisecond.
    pub(super) fn ttl(
        &mut self,
        wire: &WireDuration,
        at: At<'_>,
        reason: ErrorReason,
    ) -> Option<Ttl> {
        let length = self.length(wire, at, reason)?;
        match Ttl::from_millis(millis_rounded_up(length)) {
            Ok(ttl) => Some(ttl),
            Err(error) => self.add_field(at, reason, &error.to_string()),
        }
    }

    /// A length within bounds.
    pub(super) fn length_within(
        &mut self,
        wire: &WireDuration,
        at: At<'_>,
        bounds: (Duration, Duration),
        reason: ErrorReason,
    ) -> Option<Duration> {
        let length = self.length(wire, at, reason)?;
        if length < bounds.0 || length > bounds.1 {
            let text = format!("must be {:?} to {:?}", bounds.0, bounds.1);
            return self.add_field(at, reason, &text);
        }
        Some(length)
    }

    fn length(&mut self, wire: &WireDuration, at: At<'_>, reason: ErrorReason) -> Option<Duration> {
        match length(wire) {
            Ok(length) => Some(length),
            Err(text) => self.add_field(at, reason, text),
        }
    }

    /// A moment, rounded up to the millisecond; one before 1970 is as good as 1970.
    pub(super) fn moment(
        &mut self,
        wire: &Timestamp,
        at: At<'_>,
        reason: ErrorReason,
    ) -> Option<UnixMillis> {
        let Ok(nanos) = u32::try_from(wire.nanos) else {
            return self.add_field(at, reason, NANOS_TEXT);
        };
        if wire.nanos >= NANOS_PER_SECOND {
            return self.add_field(at, reason, NANOS_TEXT);
        }
        let Ok(seconds) = u64::try_from(wire.seconds) else { return Some(UnixMillis::ZERO) };
        let millis = millis_rounded_up(Duration::new(seconds, nanos));
        if millis > UnixMillis::MAX.as_millis() {
            return self.add_field(at, reason, "must be before the year 10000");
        }
        Some(UnixMillis::from_millis(millis))
    }
}

const NANOS_TEXT: &str = "nanos must be 0 to 999999999";

/// A length of zero or more.
fn length(wire: &WireDuration) -> Result<Duration, &'static str> {
    let (Ok(seconds), Ok(nanos)) = (u64::try_from(wire.seconds), u32::try_from(wire.nanos)) else {
        return Err("must not be negative");
    };
    if wire.nanos >= NANOS_PER_SECOND {
        return Err(NANOS_TEXT);
    }
    Ok(Duration::new(seconds, nanos))
}

/// Milliseconds in `length`, a started one counted whole; saturates.
fn millis_rounded_up(length: Duration) -> u64 {
    let rest = u64::from(length.subsec_nanos()).div_ceil(NANOS_PER_MILLI);
    length.as_secs().saturating_mul(1000).saturating_add(rest)
}
