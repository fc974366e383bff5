//! The memory of the process, shared out over its namespaces.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::namespace::Namespace;
use super::shared::Shared;

/// Freed at a time when somebody else has to pay: enough that not every write asks.
const RELIEF_BYTES: u64 = 256 << 10;

/// Most entries that one turn of relief removes; well below a millisecond.
pub(super) const RELIEF_ENTRIES_MAX: usize = 256;

/// How much is held, and how much may be.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicU64,
    limit: AtomicU64,
}

impl Budget {
    pub(super) fn new(limit: u64) -> Budget {
        Budget { used: AtomicU64::new(0), limit: AtomicU64::new(limit) }
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    pub(super) fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// By how much the store may grow.
    pub(super) fn room(&self) -> u64 {
        self.limit().saturating_sub(self.used())
    }

    /// What must go before the store may grow by `need`. That is more than `need` where what is
    /// remembered has brought it above its limit.
    fn lack(&self, need: u64) -> u64 {
        (self.used() + need).saturating_sub(self.limit())
    }

    /// Notes that a namespace now holds `bytes`; `charged` is what it was charged so far.
    pub(super) fn settle(&self, charged: &AtomicU64, bytes: u64) {
        let before = charged.swap(bytes, Ordering::Relaxed);
        if bytes >= before {
            self.used.fetch_add(bytes - before, Ordering::Relaxed);
        } else {
            self.used.fetch_sub(before - bytes, Ordering::Relaxed);
        }
    }
}

impl Shared {
    /// Makes room for `need` bytes in `own`, as long as somebody else is further above the fair
    /// share: then they pay, the largest first. What is still missing `own` pays itself, in its
    /// turn. Called without any lock.
    pub(super) fn make_room(&self, own: &Arc<Namespace>, need: u64) {
        while self.budget.room() < need {
            let others = self.payer(own.bytes()).filter(|payer| !Arc::ptr_eq(payer, own));
            if !others.is_some_and(|payer| self.relieve(&payer, need)) {
                break;
            }
        }
        let lack = self.budget.lack(need);
        if lack > 0
            && let Some(mut turn) = own.enter()
        {
            // Before its entries go, what it remembers goes.
            turn.forget(self, lack);
        }
    }

    /// Brings what is held below a limit that was lowered; returns whether there is more to do.
    pub(super) fn shrink(&self) -> bool {
        self.budget.lack(0) > 0 && self.payer(0).is_some_and(|payer| self.relieve(&payer, 0))
    }

    /// The namespace with the most bytes, above `floor`, among those that can give some away: what they
    /// remember, or entries if the log takes the word of it. All have the same fair share, so it is the
    /// one furthest above its own.
    fn payer(&self, floor: u64) -> Option<Arc<Namespace>> {
        let may_log = self.may_log().is_ok();
        let gives = |namespace: &Arc<Namespace>| {
            let may_evict = may_log || !namespace.is_logged();
            namespace.evicts() && (may_evict || namespace.remembered() > 0)
        };
        let evicting = self.registry.all().into_iter().filter(gives);
        evicting.max_by_key(|namespace| namespace.bytes()).filter(|n| n.bytes() > floor)
    }

    /// Takes a bit from `payer`, for somebody who needs so much; false if it had nothing to give.
    fn relieve(&self, payer: &Arc<Namespace>, need: u64) -> bool {
        let Some(mut turn) = payer.enter() else { return false };
        // Asked again in its turn: others who lacked the same may have taken it meanwhile.
        match self.budget.lack(need) {
            0 => true,
            lack => turn.relieve(self, lack.max(RELIEF_BYTES), RELIEF_ENTRIES_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::store::conformance::{many_in, set, space};
    use crate::store::embedded::tests::{block_on, unstarted};
    use crate::store::{Settings, Store};

    #[test]
    fn nothing_is_taken_for_what_somebody_else_has_given_already() {
        block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let store = unstarted(dir.path());
            store.replay(&|settings: Settings, _| Ok(settings)).unwrap();
            many_in(&store, "n", (0..100).map(|n| set(&format!("k{n}"), "v")).collect()).await;
            let shared = store.0.shared.get().unwrap();
            let payer = shared.payer(0).unwrap();
            payer.enter().unwrap().forget(shared, u64::MAX);
            assert!(shared.relieve(&payer, 0), "there is nothing to ask for");
            assert_eq!(store.count(&space("n"), "").await.unwrap(), 100);
            shared.budget.set_limit(1);
            assert!(shared.relieve(&payer, 0));
            assert!(store.count(&space("n"), "").await.unwrap() < 100);
        });
    }
}
