//! Sessions recorded from Meteor 3.0.4, replayed against this server.
//!
//! A file of `tests/transcripts` is a recording of one client, or several, of Meteor's own
//! `ddp-server`. Line by line:
//!
//! | line | is |
//! |---|---|
//! | `# …` | a comment: what the transcript shows |
//! | `@ plain` | which server it was; `world.rs` has its equivalent |
//! | `> …` | a message that the client sent |
//! | `< …` | a message that Meteor sent, or `closed` with code and reason |
//! | `<* …` | one that came together with its neighbours of this kind in no certain order |
//! | `<~ …` | one that may come at any time within the block |
//! | `! …` | something that happened: a gate opened, a document changed, the client closed |
//! | `...` | everything has come; the end of a block. The rest of the line is for the recorder |
//!
//! A letter in front of `>`, `<` or `!` is another connection. `<session>`, `<id>`, `<number>` and
//! `<seconds>` stand for what differs from run to run.
//!
//! Within a block all messages must come, no others, in their order and byte for byte. Where this server deviates on purpose `deviations.rs` says so, and why.

mod compare;
mod deviations;
mod methods;
mod publications;
mod replay;
mod steps;
mod transcript;
mod world;

use std::collections::BTreeSet;

/// A test for each transcript; in the names of files there are hyphens for underscores.
macro_rules! transcripts {
    ($($name:ident)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                replay::replay(&stringify!($name).replace('_', "-")).await;
            }
        )*

        #[test]
        fn no_transcript_is_forgotten_and_no_exception_is_without_one() {
            let known = [$(stringify!($name)),*].map(|name| name.replace('_', "-"));
            let known: BTreeSet<String> = known.into();
            let not_replayed =
                deviations::NOT_REPLAYED.iter().map(|(name, _)| (*name).to_owned()).collect();
            assert!(known.is_disjoint(&not_replayed));
            let files = std::fs::read_dir(transcript::folder()).unwrap();
            let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
            let files = files.map(|file| file.strip_suffix(".txt").unwrap().to_owned());
            assert_eq!(files.collect::<BTreeSet<_>>(), &known | &not_replayed);
            for deviation in deviations::DEVIATIONS {
                assert!(known.contains(deviation.transcript), "{}", deviation.transcript);
            }
        }
    };
}

transcripts! {
    bad_array
    bad_cleared
    bad_ejson
    bad_ejson_type
    bad_json
    bad_keeps_order
    bad_msg
    bad_msg_inherited
    bad_offending
    bad_offending_ejson
    connect_1
    connect_after_failed
    connect_bad_before
    connect_empty_support
    connect_extra
    connect_late
    connect_no_support
    connect_no_version
    connect_not_supported
    connect_nothing
    connect_other_first
    connect_pre1
    connect_pre2
    connect_prefers
    connect_session
    connect_support_numbers
    connect_support_string
    connect_twice
    connect_twice_while_blocked
    connect_unknown
    connect_unknown_first
    connect_version_number
    ejson_echo
    ejson_escape
    ejson_fields
    ejson_key_order
    ejson_numbers
    ejson_params
    ejson_strings
    ejson_values
    hooks_connection
    hooks_messages
    hooks_refuse
    hooks_refuse_universal
    ids
    ids_change
    limit_counts_failures
    limit_duplicate_sub
    limit_methods
    limit_nested
    limit_rerun
    limit_subscriptions
    limit_subscriptions_ended
    limit_while_blocked
    merge_cleared_and_set
    merge_collections
    merge_cursor_and_manual
    merge_equal_values
    merge_fields_of_cursors
    merge_late_document
    merge_late_field
    merge_null_field
    merge_removed_and_added
    merge_resubscribe
    merge_three
    merge_unsub_together
    method_after_close
    method_check
    method_close
    method_echo_deep
    method_empty_id
    method_errors
    method_errors_ejson
    method_fence
    method_fence_several
    method_fence_unblocked
    method_id_reused
    method_internal_errors
    method_malformed
    method_many
    method_nested
    method_nested_connection
    method_nested_error
    method_nested_unblock
    method_nested_writes
    method_order
    method_params
    method_results
    method_unblock
    method_unblock_late
    method_unblock_order
    method_unblock_several
    method_unknown
    method_writes
    method_writes_and_throws
    method_writes_unseen
    order_close
    order_pipelined
    order_sub_method_unsub
    order_two_connections
    ping
    ping_odd_ids
    ping_while_blocked
    pong
    publication_added_twice
    publication_changed_unknown
    publication_check
    publication_collections
    publication_cursor_fields
    publication_empty
    publication_error_internal
    publication_error_later
    publication_fails
    publication_live
    publication_many
    publication_nested_fields
    publication_no_cursors
    publication_stops
    publication_throws
    publication_throws_after_stop
    publication_throws_late
    publication_two_cursors
    publication_underscore_id
    random_seed
    random_seed_nested
    random_seed_odd
    random_without_seed
    strategy_history_changes
    strategy_history_cursor
    strategy_history_equal
    strategy_history_odd
    strategy_history_one
    strategy_history_overlap
    strategy_history_overlap_reversed
    strategy_history_stop
    strategy_history_user
    strategy_merge_changes
    strategy_merge_cursor
    strategy_merge_equal
    strategy_merge_one
    strategy_merge_overlap
    strategy_merge_overlap_reversed
    strategy_merge_stop
    strategy_merge_user
    strategy_mixed
    strategy_multi_changes
    strategy_multi_cursor
    strategy_multi_equal
    strategy_multi_one
    strategy_multi_overlap
    strategy_multi_overlap_reversed
    strategy_multi_stop
    strategy_multi_user
    strategy_nomerge_changes
    strategy_nomerge_cursor
    strategy_nomerge_equal
    strategy_nomerge_odd
    strategy_nomerge_one
    strategy_nomerge_overlap
    strategy_nomerge_overlap_reversed
    strategy_nomerge_stop
    strategy_nomerge_user
    sub_after_slow_method
    sub_duplicate_id
    sub_duplicate_unknown
    sub_empty_id
    sub_id_again
    sub_inherited_name
    sub_malformed
    sub_many
    sub_never_ready
    sub_on_stop
    sub_on_stop_at_close
    sub_order
    sub_ready_does_not_unblock
    sub_ready_twice
    sub_same_twice
    sub_unblock
    sub_unicode
    sub_unknown
    sub_without_params
    universal_and_named
    universal_async
    universal_connect
    universal_errors
    universal_gate
    universal_live
    universal_pipelined
    universal_unsub
    universal_user
    universal_user_and_named
    unsub_after_unblock
    unsub_odd_ids
    unsub_unknown
    unsub_while_pending
    unsub_without_id
    user_after_unblock
    user_changes_while_rerunning
    user_collections
    user_concurrent_method
    user_cursor
    user_difference
    user_empty_id
    user_forbidden
    user_forbidden_after_documents
    user_login_and_sub
    user_nested_call
    user_nested_call_after_unblock
    user_null
    user_old_run_goes_on
    user_on_stop
    user_ping_while_rerunning
    user_precedence
    user_queue_while_rerunning
    user_ready_together
    user_same_documents
    user_same_id
    user_set_and_throw
    user_slow_publication
    user_stopped
    user_sub_in_flight
    user_throws_late
    user_twice
    user_two_connections
    user_unsub_after
    user_without_subscriptions
    user_writes_in_method
}
