//! Durations in log-linear buckets: eight to an octave, so that a reported quantile is at most an
//! eighth above the true one.

use std::time::Duration;

/// Buckets to an octave, as a power of two.
const STEPS_BITS: u32 = 3;
/// Durations below this many nanoseconds share the first bucket. A power of two.
const FLOOR_BITS: u32 = 10;
/// Durations from this many nanoseconds on (69 s) share the last bucket.
const CEILING_BITS: u32 = 36;

/// How many buckets there are.
pub(super) const BUCKETS: usize = ((CEILING_BITS - FLOOR_BITS) << STEPS_BITS) as usize + 2;

/// The bucket of a duration.
pub(super) fn bucket(elapsed: Duration) -> usize {
    let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
    if nanos < 1 << FLOOR_BITS {
        return 0;
    }
    if nanos >= 1 << CEILING_BITS {
        return BUCKETS - 1;
    }
    let octave = nanos.ilog2();
    let step = (nanos >> (octave - STEPS_BITS)) & ((1 << STEPS_BITS) - 1);
    1 + usize::try_from(u64::from((octave - FLOOR_BITS) << STEPS_BITS) + step).unwrap_or(0)
}

/// The end of a bucket: every duration in it is shorter. The last bucket has none.
pub(super) fn end(bucket: usize) -> Option<Duration> {
    if bucket + 1 >= BUCKETS {
        return None;
    }
    // The end of bucket n is the start of bucket n + 1; bucket 1 starts at the floor.
    let index = u64::try_from(bucket).unwrap_or(0);
    let octave = index >> STEPS_BITS;
    let step = index & ((1 << STEPS_BITS) - 1);
    let scale = (1 << FLOOR_BITS) << octave;
    Some(Duration::from_nanos(scale + (scale >> STEPS_BITS) * step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_lies_below_the_end_of_its_bucket_and_not_below_the_end_of_the_one_before() {
        for bits in 0..40 {
            for offset in [0, 1, 7, 100, 999] {
                let elapsed = Duration::from_nanos((1_u64 << bits) + offset);
                let index = bucket(elapsed);
                if let Some(end) = end(index) {
                    assert!(
                        elapsed < end,
                        "{elapsed:?} is in bucket {index}, which ends at {end:?}"
                    );
                }
                if let Some(before) = index.checked_sub(1).and_then(end) {
                    assert!(elapsed >= before, "{elapsed:?} belongs below {before:?}");
                }
            }
        }
    }

    #[test]
    fn a_bucket_is_at_most_an_eighth_wider_than_where_it_starts() {
        for index in 1..BUCKETS - 1 {
            let (start, end) = (end(index - 1).unwrap(), end(index).unwrap());
            assert!(end > start && end - start <= start / 8, "{index}: {start:?} to {end:?}");
        }
    }
}
