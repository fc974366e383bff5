//! What a watch can go on from after a start, where that is not everything.

use crate::model::{Durability, Policy, Version};
use crate::store::conformance::{make, one_in, set, space};
use crate::store::embedded::tests::{Home, block_on};
use crate::store::{Error, Filter, Start, Store, Values, WatchError, WatchOrder};

async fn resumed(home: &Home, version: Version) -> Result<(), Error> {
    let order = WatchOrder {
        filter: Filter::default(),
        start: Start::After(version),
        values: Values::Omitted,
    };
    home.store.watch(&space("n"), order).await.map(drop)
}

async fn version(home: &Home) -> Version {
    home.store.namespace(&space("n")).await.unwrap().usage.version
}

#[test]
fn a_version_that_a_power_failure_took_is_no_place_to_go_on_from() {
    block_on(async {
        let home = Home::new();
        let policy = Policy { durability: Some(Durability::Async), ..Policy::default() };
        make(&home.store, "n", policy).await;
        one_in(&home.store, "n", set("a", "1")).await;
        let kept = version(&home).await;
        // What a power failure leaves: the first change, but the versions that were told.
        let left = home.killed();
        one_in(&home.store, "n", set("a", "2")).await;
        let told = version(&home).await;
        assert!(told > kept);
        let behind = version(&left).await;
        assert!(behind > told);
        assert_eq!(resumed(&left, kept).await, Ok(()));
        assert_eq!(
            resumed(&left, told).await,
            Err(Error::Watch(WatchError::HistoryLost { oldest: behind }))
        );
        assert_eq!(resumed(&left, behind).await, Ok(()));
        one_in(&left.store, "n", set("a", "3")).await;
        // The same after another start.
        let again = left.restarted();
        assert_eq!(resumed(&again, kept).await, Ok(()));
        assert_eq!(
            resumed(&again, told).await,
            Err(Error::Watch(WatchError::HistoryLost { oldest: behind }))
        );
        assert_eq!(resumed(&again, behind).await, Ok(()));
    });
}

#[test]
fn what_is_not_logged_is_not_gone_on_from() {
    block_on(async {
        let home = Home::new();
        let policy = Policy { durability: Some(Durability::Memory), ..Policy::default() };
        make(&home.store, "n", policy).await;
        one_in(&home.store, "n", set("a", "1")).await;
        let told = version(&home).await;
        assert_eq!(resumed(&home, told).await, Ok(()));
        let home = home.restarted();
        let oldest = version(&home).await;
        assert_eq!(
            resumed(&home, told).await,
            Err(Error::Watch(WatchError::HistoryLost { oldest }))
        );
        assert_eq!(resumed(&home, oldest).await, Ok(()));
    });
}
