//! What a transaction is, on every backend: one list of named cases, run on each by a macro.
//!
//! A case gets a store and a part of the key space of its own, see [`case::Case`]: on a cluster all cases share one
//! store, so none may use a bare key, expect an empty store, or move a clock. It asserts only what the contract
//! promises; what the embedded backend alone promises is in `embedded.rs` and `embedded_limits.rs`.
//!
//! `FDB_CLUSTER_FILE=<path> cargo test -p coditect-store --features foundationdb` runs the list on a cluster
//! too, below keys that begin with `conformance/`; one run at a time.

mod age;
mod atomics;
mod case;
mod conflicts;
mod histories;
mod lifecycle;
mod limits;
mod ranges;
mod reads;
mod retries;
mod scans;
mod versionstamps;
mod watches;
mod writes;

/// Hands the list of all cases to a macro, after `$arguments`.
macro_rules! with_every_case {
    ($macro:ident! { $($arguments:tt)* }) => {
        $macro! {
            $($arguments)*
            reads: [
                a_transaction_reads_one_snapshot,
                a_read_that_needs_no_database_takes_the_snapshot_too,
                a_transaction_keeps_its_read_version,
                a_read_version_is_not_below_a_commit_before_it,
                own_writes_are_read_back,
                snapshot_reads_see_own_writes,
                an_empty_value_is_a_value,
                keys_and_values_hold_any_bytes,
                reads_of_one_transaction_may_run_at_once,
                a_dropped_transaction_leaves_nothing,
                a_transaction_that_only_read_commits_to_nothing,
                a_committed_transaction_is_used_up,
                a_refused_transaction_is_used_up,
            ]
            ranges: [
                own_writes_lie_over_stored_rows_in_both_directions,
                a_range_begins_with_its_begin_and_ends_before_its_end,
                keys_are_ordered_as_bytes,
                an_empty_range_has_no_rows,
                limits_count_own_and_stored_rows,
                pages_of_any_limit_can_be_continued,
                a_large_range_comes_in_pages,
                a_long_cleared_stretch_is_passed_over,
                a_range_may_end_where_the_reserved_keys_begin,
            ]
            writes: [
                the_last_write_to_a_key_wins,
                a_clear_of_nothing_is_a_write,
                a_cleared_range_keeps_its_end,
                a_cleared_range_takes_own_writes_and_leaves_later_ones,
                an_empty_range_clears_nothing,
                a_transaction_is_seen_whole_or_not_at_all,
                commit_versions_grow,
            ]
            atomics: [
                every_operation_on_stored_values,
                every_operation_on_values_of_the_same_transaction,
                every_operation_is_read_back_before_the_commit,
                operations_on_one_key_apply_in_order,
                an_operation_after_a_clear_finds_nothing,
                a_set_after_an_operation_wins,
                ranges_show_pending_operations_in_both_directions,
                a_pending_compare_and_clear_takes_its_row_out_of_a_limited_range,
                operations_never_conflict_with_each_other,
                an_operation_conflicts_with_a_reader,
                a_read_after_an_operation_counts_as_a_read,
                a_range_read_over_an_operation_counts_as_a_read,
                an_operation_on_an_own_value_does_not_count_as_a_read,
                concurrent_additions_all_count,
                numbers_of_eight_bytes_add_and_subtract,
            ]
            versionstamps: [
                the_stamp_of_key_value_and_commit_is_one,
                a_stamp_begins_with_the_commit_version,
                stamps_order_as_commits_did,
                stamps_of_concurrent_commits_order_as_their_effects,
                stamped_keys_of_one_transaction_order_by_their_ends,
                a_stamp_goes_where_its_offset_says,
                a_stamped_value_is_unreadable_until_cleared,
                a_stamped_value_stays_unreadable_after_a_set,
                an_unreadable_read_spoils_the_commit,
                a_range_across_a_stamped_value_is_unreadable,
                a_range_across_a_stamped_key_is_unreadable_until_cleared,
                a_range_that_stops_before_a_stamped_key_is_readable,
                a_stamped_key_that_is_cleared_is_not_written,
                a_stamped_key_survives_a_trim_of_older_stamps,
                an_operation_on_a_stamped_value_applies_at_the_commit,
                a_stamped_key_conflicts_with_a_reader_of_its_range,
                a_stamped_value_conflicts_with_a_reader,
                stamped_keys_never_conflict_with_each_other,
            ]
            conflicts: [
                a_lost_update_is_refused,
                write_skew_is_refused,
                a_phantom_is_refused,
                the_read_only_anomaly_is_refused,
                a_fractured_read_is_impossible,
                a_long_fork_is_impossible,
                a_write_past_the_limit_of_a_range_read_is_no_conflict,
                a_range_read_to_its_end_is_read_to_its_end,
                a_cleared_key_conflicts_with_its_reader,
                a_cleared_range_conflicts_with_its_readers,
                a_cleared_range_conflicts_where_nothing_was_stored,
                the_ends_of_a_cleared_range_are_exact,
                a_write_of_the_same_value_conflicts,
                snapshot_reads_do_not_conflict,
                a_snapshot_read_does_not_hide_a_serializable_one,
                an_explicit_read_conflict_range_counts_as_read,
                an_explicit_read_conflict_range_leaves_out_own_writes,
                blind_writes_never_conflict,
                what_was_written_first_is_not_read,
                what_was_read_first_stays_read,
                a_transaction_that_only_read_never_conflicts,
                a_refused_transaction_writes_nothing,
                of_many_that_read_and_write_one_key_one_commits,
            ]
            limits: [
                the_longest_key_and_one_byte_more,
                the_longest_stamped_key_and_one_byte_more,
                the_largest_value_and_one_byte_more,
                the_largest_stamped_value_and_one_byte_more,
                the_largest_operand_and_one_byte_more,
                the_largest_transaction_and_one_byte_more,
                reads_count_towards_the_size,
                range_bounds_may_follow_the_longest_key,
                reserved_keys_are_refused,
                inverted_ranges_are_refused,
                a_stamp_ends_with_its_key_or_value_and_not_past_it,
                a_broken_limit_spoils_the_transaction,
                no_broken_limit_is_worth_a_retry,
            ]
            watches: [
                a_change_resolves_a_watch,
                a_clear_resolves_a_watch,
                an_operation_resolves_a_watch,
                the_making_of_a_key_resolves_a_watch,
                a_watch_begins_without_writes_too,
                a_watch_sees_the_writes_of_its_transaction,
                a_later_write_of_its_own_transaction_resolves_a_watch,
                a_change_before_the_commit_resolves_a_watch,
                a_watch_of_a_dropped_transaction_is_cancelled,
                a_watch_of_a_refused_transaction_is_cancelled,
                a_watch_counts_as_a_read,
                many_watches_of_one_key_all_resolve,
                a_watch_outlives_its_transaction,
                a_watch_set_again_misses_no_change,
            ]
            age: [
                a_read_past_the_age_limit_is_refused,
                a_commit_past_the_age_limit_is_refused,
                a_commit_past_the_age_limit_is_refused_whatever_was_read,
            ]
            retries: [
                a_conflict_is_retried_until_it_commits,
                attempts_are_bounded_and_the_last_reason_is_kept,
                an_error_of_the_closure_stops_and_commits_nothing,
                sixteen_tasks_count_without_losing_one,
            ]
            scans: [
                a_scan_returns_every_row_once_in_both_directions,
                a_scan_of_nothing_ends_at_once,
                a_scan_goes_on_past_the_age_of_a_transaction,
            ]
            histories: [
                racing_transactions_leave_a_serializable_history,
            ]
            lifecycle: [
                an_open_store_answers_a_ping,
                a_closed_store_refuses_work,
            ]
        }
    };
}

/// One test for each case on one backend, named `conformance::<backend>::<file>::<case>`.
macro_rules! conformance {
    ($backend:ident $($file:ident: [$($case:ident,)*])*) => {
        mod $backend {
            $(mod $file {
                $(#[test]
                fn $case() {
                    use crate::conformance::{case, $file};
                    let name = concat!(stringify!($file), "/", stringify!($case));
                    case::run(case::$backend, name, |case| Box::pin($file::$case(case)));
                })*
            })*
        }
    };
}

with_every_case!(conformance! { embedded });

#[cfg(feature = "foundationdb")]
with_every_case!(conformance! { foundationdb });

macro_rules! count {
    ($($file:ident: [$($case:ident,)*])*) => { [$($(stringify!($case),)*)*].len() };
}

/// How many cases there are.
const CASES: usize = with_every_case!(count! {});

/// Says in one line, past the test runner's capture, whether the suite ran on FoundationDB.
#[test]
fn foundationdb_half() {
    use std::io::Write;
    let reason = match std::env::var_os("FDB_CLUSTER_FILE") {
        None => Some("FDB_CLUSTER_FILE is not set"),
        Some(_) if cfg!(not(feature = "foundationdb")) => Some("built without --features foundationdb"),
        Some(_) => None,
    };
    if let Some(reason) = reason {
        let line = format!("conformance: {CASES} cases NOT run on FoundationDB: {reason}\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
}
