//! Moments and lengths of time, kept apart by type.

/// A moment: milliseconds since the Unix epoch, at most the end of the year 9999 (48 bits).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(u64);

impl UnixMillis {
    /// 9999-12-31T23:59:59.999Z, the last moment a protobuf timestamp can name.
    pub const MAX: UnixMillis = UnixMillis(253_402_300_799_999);
    /// The epoch itself.
    pub const ZERO: UnixMillis = UnixMillis(0);

    /// The moment `millis` after the epoch; later than [`UnixMillis::MAX`] becomes that.
    #[must_use]
    pub const fn from_millis(millis: u64) -> UnixMillis {
        if millis > Self::MAX.0 { Self::MAX } else { UnixMillis(millis) }
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The moment `ttl` later; `None` beyond [`UnixMillis::MAX`].
    #[must_use]
    pub fn checked_add(self, ttl: Ttl) -> Option<UnixMillis> {
        let millis = self.0.checked_add(ttl.0)?;
        (millis <= Self::MAX.0).then_some(UnixMillis(millis))
    }

    /// Milliseconds from `earlier` to `self`; zero if `earlier` is the later one.
    #[must_use]
    pub const fn millis_since(self, earlier: UnixMillis) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A time to live: a length, above zero, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl(u64);

/// Why a length is not a time to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TtlError {
    /// Zero or negative.
    #[error("must be above zero")]
    NotPositive,
    /// No entry written now could reach its end before the year 10000.
    #[error("must end before the year 10000")]
    TooLong,
}

impl Ttl {
    /// A length of `millis` milliseconds.
    ///
    /// # Errors
    /// [`TtlError::NotPositive`] for zero, [`TtlError::TooLong`] above 10,000 years.
    pub const fn from_millis(millis: u64) -> Result<Ttl, TtlError> {
        if millis == 0 {
            Err(TtlError::NotPositive)
        } else if millis > UnixMillis::MAX.0 {
            Err(TtlError::TooLong)
        } else {
            Ok(Ttl(millis))
        }
    }

    /// The length in milliseconds, above zero.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_never_passes_the_year_9999() {
        let day = Ttl::from_millis(86_400_000).unwrap();
        assert_eq!(UnixMillis::MAX.checked_add(day), None);
        assert_eq!(
            UnixMillis::ZERO.checked_add(day).map(UnixMillis::as_millis),
            Some(day.as_millis())
        );
        assert_eq!(UnixMillis::from_millis(u64::MAX), UnixMillis::MAX);
        assert!(UnixMillis::MAX.as_millis() < 1 << 48);
    }

    #[test]
    fn a_ttl_is_above_zero() {
        assert_eq!(Ttl::from_millis(0), Err(TtlError::NotPositive));
        assert_eq!(Ttl::from_millis(u64::MAX), Err(TtlError::TooLong));
    }
}
