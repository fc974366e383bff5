//! What every store must do, as tests against the door: a second store is held to the same list.
//!
//! # How it works
//! A store offers a [`World`]: itself, empty, with time that is moved by hand. [`suite!`] makes one
//! test of each case, named after what it promises.
//!
//! # Why
//! Promises written against one implementation describe that implementation.
//!
//! # Invariants
//! No case sleeps, knows what stands behind the door, or depends on another.
//!
//! # Not here
//! What only one store promises, such as its log: beside that store.

pub(crate) mod conditions;
pub(crate) mod data;
pub(crate) mod expiry;
pub(crate) mod limits;
pub(crate) mod namespaces;
pub(crate) mod runs;
pub(crate) mod scans;
pub(crate) mod snapshots;
pub(crate) mod watches;

use bytes::Bytes;

use super::{Batch, Command, Condition, Entry, Expiration, NamespaceSpec, Outcome, Store, View};
use crate::model::{Key, NamespaceName, Policy, Ttl};

/// A store to be held to its promises.
pub(crate) trait World {
    /// What kind.
    type Store: Store;

    /// It: empty, creating namespaces on first use.
    fn store(&self) -> &Self::Store;

    /// Moves its time on.
    fn advance(&self, millis: u64);

    /// Has it do now what it does in the background.
    fn keep(&self);
}

/// Makes the tests of a store; `$run` runs a future for a fresh world of its own.
macro_rules! suite {
    ($run:ident) => {
        crate::store::conformance::suite! { $run:
            data: what_was_written_is_read,
                an_overwrite_takes_another_version,
                keys_and_values_of_any_content_come_back,
                many_keys_are_answered_in_their_order,
                values_beyond_one_answer_are_not_gathered,
                a_batch_is_ruled_upon_in_order,
                a_bad_command_does_not_spoil_the_others,
                an_atomic_batch_is_all_or_nothing,
                an_empty_batch_changes_nothing,
                previous_entries_come_back_when_asked_for;
            conditions: conditions_rule_over_sets_and_deletes,
                fifty_tasks_that_compare_and_set_lose_no_update,
                a_version_never_comes_back,
                a_counter_begins_and_goes_on,
                a_counter_keeps_its_bounds,
                a_counter_refuses_what_is_no_number_or_does_not_fit,
                many_tasks_count_exactly;
            expiry: an_expired_entry_is_gone_for_everyone,
                an_overwrite_keeps_drops_or_sets_a_deadline,
                a_touch_moves_a_deadline_and_nothing_else,
                a_counter_takes_its_deadline_at_birth,
                default_and_longest_lifetimes_are_the_namespaces_word,
                what_has_expired_is_removed_in_the_background;
            scans: a_scan_returns_everything_once_and_in_order,
                a_scan_takes_a_prefix_literally,
                a_scan_keeps_what_is_there_all_along,
                a_count_is_exact,
                a_deletion_by_prefix_takes_all_of_it_and_nothing_else;
            runs: steps_are_done_in_order_and_see_each_other,
                a_failed_step_does_not_touch_the_others,
                steps_of_several_namespaces_keep_their_order,
                a_namespace_that_is_not_there_is_empty_until_it_is_written_to,
                a_read_only_store_does_the_reads_of_a_run,
                a_rate_refuses_steps_and_not_their_neighbours,
                values_beyond_one_answer_come_with_the_next_run,
                a_run_makes_room_as_single_writes_do,
                a_run_comes_to_what_its_steps_come_to_one_by_one;
            namespaces: namespaces_do_not_see_each_other,
                a_namespace_is_made_once,
                a_first_write_makes_its_namespace_if_it_may,
                namespaces_are_listed_by_name,
                an_update_needs_the_current_etag,
                a_dropped_namespace_is_gone_and_its_versions_with_it,
                a_full_namespace_is_dropped_only_by_force,
                the_default_namespace_stays,
                clearing_empties_one_namespace_only,
                counters_tell_what_was_done,
                the_keys_used_most_are_told_most_used_first,
                settings_are_kept_and_in_force_at_once;
            snapshots: a_copy_comes_back_as_it_was,
                a_restore_treats_what_is_there_as_it_was_told,
                what_has_expired_meanwhile_is_left_out,
                names_that_do_not_fit_the_file_change_nothing,
                a_namespace_that_would_refuse_refuses_before_anything_changes,
                a_namespace_that_evicts_keeps_what_was_written_last,
                a_longest_time_to_live_holds_for_what_is_restored,
                a_damaged_file_changes_nothing,
                a_read_only_store_gives_copies_and_takes_none;
            limits: a_namespace_stays_within_its_keys,
                a_namespace_stays_within_its_bytes,
                one_that_does_not_evict_refuses,
                a_value_too_large_is_refused,
                a_rate_is_kept,
                a_lowered_limit_holds_at_once,
                tenants_pay_for_themselves,
                a_full_store_refuses_and_reads_go_on,
                a_read_only_store_reads;
            watches: a_watch_tells_what_happens_in_order,
                a_watch_tells_why_an_entry_went,
                a_watch_goes_on_after_any_version,
                a_watch_begins_with_what_is_there,
                what_is_written_meanwhile_is_told_once,
                a_watch_tells_of_its_keys_and_prefixes_only,
                what_a_batch_did_is_told_together,
                a_watch_from_a_version_still_to_come_is_refused,
                a_watch_waits_for_its_namespace_and_ends_with_it,
                a_watch_that_ended_is_not_counted;
        }
    };
    ($run:ident: $($room:ident: $($case:ident),+;)+) => {
        $($(
            #[test]
            fn $case() {
                $run(async |world| crate::store::conformance::$room::$case(&world).await);
            }
        )+)+
    };
}
pub(crate) use suite;

/// The namespace most cases use.
pub(crate) fn space(name: &str) -> NamespaceName {
    NamespaceName::parse(name).unwrap()
}

pub(crate) fn key(text: &str) -> Key {
    Key::parse(text.to_owned()).unwrap()
}

pub(crate) fn ttl(millis: u64) -> Ttl {
    Ttl::from_millis(millis).unwrap()
}

pub(crate) fn set(name: &str, value: &str) -> Command {
    set_if(name, value, None)
}

pub(crate) fn set_if(name: &str, value: &str, condition: Option<Condition>) -> Command {
    Command::Set {
        key: key(name),
        value: Bytes::copy_from_slice(value.as_bytes()),
        expiration: Expiration::Default,
        condition,
        return_previous: false,
    }
}

pub(crate) fn set_for(name: &str, value: &str, expiration: Expiration) -> Command {
    let (key, value) = (key(name), Bytes::copy_from_slice(value.as_bytes()));
    Command::Set { key, value, expiration, condition: None, return_previous: false }
}

pub(crate) fn delete(name: &str) -> Command {
    Command::Delete { key: key(name), condition: None, return_previous: false }
}

pub(crate) fn add(name: &str, delta: i64) -> Command {
    Command::Increment {
        key: key(name),
        delta,
        initial: 0,
        lower_bound: None,
        upper_bound: None,
        expiration: Expiration::Default,
        refresh_expiration: false,
    }
}

/// Runs one command in `default`, which must not be refused.
pub(crate) async fn one(store: &impl Store, command: Command) -> Outcome {
    one_in(store, "default", command).await
}

pub(crate) async fn one_in(store: &impl Store, namespace: &str, command: Command) -> Outcome {
    many_in(store, namespace, vec![command]).await.pop().unwrap()
}

/// Runs commands, none of which may be refused.
pub(crate) async fn many_in(
    store: &impl Store,
    namespace: &str,
    commands: Vec<Command>,
) -> Vec<Outcome> {
    let batch = Batch { commands, atomic: false };
    let written = store.write(&space(namespace), batch).await.unwrap();
    written.outcomes.into_iter().map(Result::unwrap).collect()
}

/// The value of a key, as text.
pub(crate) async fn value(store: &impl Store, name: &str) -> Option<String> {
    value_in(store, "default", name).await
}

pub(crate) async fn value_in(store: &impl Store, namespace: &str, name: &str) -> Option<String> {
    let entry = store.get(&space(namespace), &key(name), View::Value).await.unwrap()?;
    Some(String::from_utf8(entry.value.to_vec()).unwrap())
}

/// Everything about a key but its value; no use of it.
pub(crate) async fn peek(store: &impl Store, name: &str) -> Option<Entry> {
    store.get(&space("default"), &key(name), View::Metadata).await.unwrap()
}

/// Makes a namespace with `policy`.
pub(crate) async fn make(store: &impl Store, name: &str, policy: Policy) {
    let spec = NamespaceSpec { policy, ..NamespaceSpec::default() };
    store.create_namespace(&space(name), spec).await.unwrap();
}
