//! Where a page of a list starts, and how long it is.

use super::{At, Problems};
use crate::service::pages::{self, PageOf};
use crate::wire::v1::ErrorReason;

impl Problems {
    /// The number of items on a page.
    pub(super) fn page_size(
        &mut self,
        asked: Option<i32>,
        default: usize,
        most: usize,
    ) -> Option<usize> {
        let at = At::Field(&At::Top, "page_size");
        match asked.map(usize::try_from) {
            None => Some(default),
            Some(Ok(size)) if size >= 1 => Some(size.min(most)),
            Some(Ok(_) | Err(_)) => self.add(at, ErrorReason::PageSizeInvalid, "must be 1 or more"),
        }
    }

    /// Most entries of a stream; without a limit all there can be.
    pub(super) fn limit(&mut self, asked: Option<i64>) -> Option<u64> {
        let at = At::Field(&At::Top, "limit");
        match asked.map(u64::try_from) {
            None => Some(u64::MAX),
            Some(Ok(limit)) if limit >= 1 => Some(limit),
            Some(Ok(_) | Err(_)) => self.add(at, ErrorReason::PageSizeInvalid, "must be 1 or more"),
        }
    }

    /// Where a page starts. The outer `None`: a problem; the inner one: at the beginning.
    #[expect(clippy::option_option, reason = "a problem and a first page are different things")]
    pub(super) fn page_token(&mut self, token: &str, page: PageOf<'_>) -> Option<Option<String>> {
        if token.is_empty() {
            return Some(None);
        }
        match pages::open(token, page) {
            Some(last) => Some(Some(last)),
            None => {
                let at = At::Field(&At::Top, "page_token");
                self.add(at, ErrorReason::PageTokenInvalid, "is not a token of this list")
            }
        }
    }
}
