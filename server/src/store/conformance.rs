//! The suite that every engine passes unchanged. It sees the [`Store`](super::Store) trait, and the tables as somebody
//! at the database does.
//!
//! A case is a function that takes a [`Harness`](harness::Harness) with a fresh store and asserts what a user or the
//! node's own engine would notice. The time is the harness's: it stands still unless the case moves it, so no case
//! waits. Every read of a batch is [`audit`]ed: its figures are counted again from its items.
//!
//! A second engine implements [`Engine`](harness::Engine) and adds one line at the end of this file.

mod attempt;
mod audit;
pub(crate) mod fixture;
mod harness;
#[cfg(feature = "sqlite")]
mod sqlite;

mod admission;
mod budget;
mod claim;
mod clock;
mod commit;
mod create;
mod deadline;
mod delete;
mod drain;
mod duration;
mod guard;
mod history;
mod item;
mod listing;
mod live;
mod lost;
mod overlap;
mod purge;
mod query;
mod recover;
mod redecode;
mod refused;
mod response;
mod result;
mod retry;
mod row;
mod skip;
mod source;
mod stall;
mod transition;
mod upload;
mod upstream;
mod view;

/// Makes a test of every case, with a fresh store of an engine each.
macro_rules! conformance {
    ($engine:expr) => {
        cases! { $engine;
            admission {
                a_batch_waits_for_its_time,
                the_one_of_highest_priority_goes_first,
                a_key_is_passed_on_in_the_order_of_coming,
                a_priority_counts_between_keys_and_not_within_one,
                a_paused_batch_keeps_its_place_and_holds_those_behind_it,
                a_batch_that_waits_for_its_time_holds_those_behind_it,
                an_open_batch_holds_its_key_from_creation,
                a_batch_that_has_run_gets_its_key_back,
                those_that_run_beside_others_hold_the_key_too,
                whatever_comes_keys_and_priorities_are_kept,
            }
            attempt {
                every_attempt_is_told_by_index_then_number,
                a_running_attempt_follows_the_recorded_ones,
                keys_have_their_index,
            }
            budget {
                a_spent_budget_ends_the_batch_when_its_leases_have_drained,
                a_budget_is_spent_however_its_items_were_grouped,
                a_share_counts_once_enough_is_processed,
                what_the_source_could_not_take_counts,
                of_two_things_found_together_the_first_in_order_counts,
            }
            clock {
                who_waits_does_not_wait_for_a_clock_that_was_set_back,
            }
            claim {
                a_lease_carries_the_open_items_in_order,
                an_expired_lease_goes_before_a_due_one_and_that_before_a_fresh_one,
                the_earliest_parked_slice_is_told,
                nobody_gets_what_another_holds,
                those_who_ask_at_once_get_different_slices,
                a_claim_says_when_the_next_one_can_be,
                only_open_items_come_again,
                a_batch_that_does_not_run_gives_nothing,
                a_claim_moves_no_revision,
            }
            commit {
                each_outcome_is_recorded_as_what_it_is,
                attempts_are_spent_and_numbered_without_gaps,
                a_release_forgets_neither_the_latest_failure_nor_its_time,
                what_was_never_sent_leaves_no_trace,
                a_renewal_moves_no_revision_and_prolongs_the_lease,
                a_stale_epoch_changes_nothing,
                a_fenced_slice_does_not_hold_up_its_group,
                a_slice_without_open_items_is_given_back_whatever_is_asked,
                the_last_item_completes_the_batch,
                exhausted_beats_drained,
                what_returns_to_a_stopping_batch_is_canceled,
                leases_given_back_to_a_stopping_batch_end_it,
                a_system_failure_comes_back_uncharged_and_pauses_the_batch,
                a_system_failure_does_not_hold_up_an_end,
            }
            create {
                the_spec_comes_back_as_it_was_given,
                a_repeat_of_the_request_is_answered_with_the_batch_as_it_is,
                of_two_at_once_one_is_started_and_one_replayed,
                a_request_id_with_other_content_is_refused,
                a_request_id_is_remembered_as_long_as_its_batch_lives,
                a_request_id_may_be_used_again_once_forgotten,
                a_failed_start_keeps_its_request_id_usable,
                a_name_is_taken_once,
                live_batches_have_a_limit,
                the_first_of_a_key_wins,
                many_items_are_cut_into_slices,
                nothing_to_do_is_done_at_once,
                nothing_to_do_makes_room_at_once,
                the_oldest_is_admitted_first,
                a_pause_gives_up_the_slot_and_a_resume_asks_again,
                a_check_refuses_what_a_start_would_and_makes_nothing,
                a_start_given_up_midway_leaves_nothing_behind,
                nothing_is_known_of_another_name,
            }
            deadline {
                a_batch_has_its_time_from_its_first_run_on,
                a_batch_that_never_ran_waits_as_long_as_it_takes,
                an_open_batch_is_given_up_in_time,
                a_deadline_that_passed_while_nobody_was_there_is_kept,
                a_command_that_comes_too_late_finds_the_end,
                an_item_has_its_time_in_which_the_batch_ran,
                what_is_not_the_items_fault_does_not_end_it_late,
            }
            delete {
                a_deleted_batch_is_gone_at_once_and_its_records_stay,
                what_it_had_goes_in_bites,
                a_batch_goes_when_its_retention_ends,
                a_parent_outlives_its_children,
                no_child_is_made_of_a_batch_that_is_gone,
                a_retry_finds_its_parents_items_until_it_has_ended,
                a_clock_that_is_set_back_ends_no_retention_early,
                only_what_has_ended_and_is_as_it_was_read_is_deleted,
                a_name_is_free_again_and_its_request_ids_too,
                what_is_gone_is_known_for_a_month,
            }
            drain {
                a_mode_is_durable_and_only_rises,
                a_stop_keeps_the_mode_of_the_pause_that_it_meets,
                what_is_cut_off_goes_back_uncharged,
                what_is_cut_off_on_the_way_to_an_end_is_canceled,
            }
            duration {
                time_is_counted_where_it_was_spent,
                a_clock_that_goes_back_takes_nothing_away,
            }
            guard {
                a_repeated_command_is_answered_with_the_batch_as_it_is,
                a_command_that_changed_nothing_is_remembered_too,
                an_id_is_good_for_one_content_of_one_call,
                a_refused_command_leaves_its_id_usable,
                ids_of_commands_are_forgotten_in_time,
                an_etag_is_moved_by_control_and_not_by_progress,
                a_stale_etag_is_refused_with_the_present_one,
                a_refused_command_leaves_what_had_come_about_before_it,
                what_refuses_a_command_is_found_in_order,
            }
            history {
                every_step_keeps_every_promise,
            }
            item {
                items_are_listed_by_index_from_anywhere,
                running_and_canceled_are_worked_out,
                a_success_carries_its_reply,
                failures_are_grouped_most_frequent_first,
                a_group_names_a_few_of_its_keys,
                lost_leases_are_counted,
            }
            listing {
                a_version_comes_back_in_the_files_order,
                the_newest_version_not_after_the_date_is_taken,
                the_later_file_of_a_day_is_the_correction,
                a_version_is_stored_once,
                another_address_is_another_list,
                all_versions_are_told_with_whether_one_was_new,
                changes_from_a_version_to_any_later_one_of_its_address_are_seen,
            }
            live {
                only_what_is_not_over_is_listed_oldest_first,
            }
            overlap {
                every_policy_meets_whatever_is_live,
                the_buffer_of_a_key_has_a_limit,
                of_many_at_once_one_starts,
                what_is_replaced_makes_room_in_the_same_transaction,
                what_ended_before_it_was_replaced_says_so,
                a_skipped_start_leaves_nothing_behind,
                what_refuses_a_start_is_found_in_order,
                a_child_has_its_parents_key,
            }
            lost {
                a_slice_that_loses_its_workers_is_halved_down_to_the_item_that_does_it,
                whoever_gets_somewhere_is_not_suspected,
                a_slice_that_was_lost_too_often_is_not_handed_out,
                the_budget_counts_what_was_lost,
            }
            purge {
                bodies_go_when_their_time_is_over_and_not_before,
                bodies_of_a_live_batch_stay,
                one_bite_is_bounded,
                request_ids_go_when_they_are_forgotten,
            }
            query {
                batches_are_listed_in_each_order_page_by_page,
                a_batch_that_ends_between_two_pages_by_end_is_told_once_at_most_and_moves_no_other,
                a_filter_means_the_same_in_the_store_and_in_memory,
                what_a_filter_holds_is_no_part_of_the_statement,
                a_canceled_item_tells_when,
            }
            recover {
                leases_are_void_and_counted,
                an_old_process_cannot_write,
                a_draining_batch_is_settled,
                what_waits_is_admitted,
                a_source_is_read_on,
                everything_answered_is_still_there,
            }
            redecode {
                a_child_says_what_it_was_made_from,
                a_parent_must_have_ended,
                there_must_be_bodies_that_have_not_expired,
                a_child_has_no_bodies_and_says_who_has,
                what_refuses_a_child_is_found_in_order,
                items_tell_whether_their_bodies_are_there,
                a_filter_narrows_what_is_decoded_and_what_there_must_be,
                a_body_comes_back_as_it_was_kept,
                an_item_without_a_body_is_skipped_and_says_why,
                a_batch_of_skipped_items_completes,
                bodies_stay_while_a_child_is_live,
                rows_come_back_as_they_were_fetched,
                what_the_family_wrote_and_the_body_does_not_hold_goes,
                what_a_child_wrote_that_is_gone_goes_too,
                what_others_wrote_stays,
                what_was_fetched_later_stays,
                a_bar_that_was_settled_later_does_not_come_back,
                a_provisional_bar_goes_only_if_it_is_older,
                a_bar_speaks_for_its_whole_week,
                events_follow_the_same_rules,
                a_body_that_is_no_answer_takes_its_rows_along,
                a_refused_row_leaves_none,
            }
            refused {
                a_refused_item_goes_back_uncharged_and_is_known_to_be_held_back,
                it_is_known_through_a_crash_and_forgotten_with_a_pause,
                an_attempt_after_the_refusal_holds_it_back_no_more,
                what_is_its_own_fault_fails_it_by_the_attempt_that_it_had,
                the_last_refused_item_completes_the_batch,
                refused_items_spend_the_budget,
                a_late_judge_changes_nothing,
                a_deadline_does_not_end_what_is_held_back,
            }
            result {
                results_come_in_the_order_in_which_they_became_final,
                what_is_canceled_comes_slice_by_slice,
                results_of_many_slices_are_read_from_anywhere,
            }
            retry {
                a_retry_says_what_it_was_made_from,
                there_must_be_something_to_fetch_again,
                what_succeeded_is_never_taken,
                a_retry_of_a_retry_is_one,
                a_retry_has_bodies_of_its_own,
            }
            response {
                a_reply_is_a_row_per_key_day_method_and_url,
                a_reply_may_be_told_of_without_its_body,
                each_reply_of_a_large_group_is_compared_with_its_own_row,
                a_reply_that_is_refused_fails_its_item_and_no_other,
                what_is_decoded_anew_takes_its_parents_place_and_leaves_later_rows_alone,
            }
            row {
                a_row_is_written_once_per_key,
                a_change_is_counted_and_kept,
                a_change_of_what_stands_beside_the_values_is_counted,
                a_bar_takes_the_place_of_what_was_provisional_in_its_period,
                events_are_rows_too,
                what_was_left_out_is_told_of_the_latest_outcome,
                a_refused_row_fails_its_item_and_no_other,
                a_refused_row_keeps_fences_and_counts,
                what_is_fenced_writes_no_rows,
            }
            skip {
                what_succeeded_before_is_skipped_and_nothing_else,
                items_are_decided_however_they_come,
                what_was_decided_stays,
                what_was_fetched_is_known_as_long_as_a_batch_of_it_is_there,
                what_a_decoder_took_away_is_fetched_again,
                a_long_list_is_decided_page_by_page,
                a_missing_key_is_skipped_from_its_day_to_its_expiry,
                what_is_found_later_prolongs_and_what_was_known_later_stays,
                only_what_does_not_exist_is_remembered,
                a_success_forgets_that_a_key_was_missing,
                a_key_may_be_missing_at_one_address_and_not_at_another,
                what_is_cleared_is_asked_for_again,
                missing_keys_are_listed_by_key_from_anywhere,
                what_has_expired_goes_and_what_was_found_for_a_past_day_has_its_time,
                items_that_a_retry_names_are_asked_for_though_known_to_be_missing,
                what_is_decoded_anew_skips_remembers_and_forgets_nothing,
            }
            source {
                pages_are_appended_and_the_last_one_ends_the_reading,
                one_reader_at_a_time,
                a_stale_reader_changes_nothing,
                a_reader_given_up_resumes_at_its_position,
                keys_are_unique_across_pages,
                items_that_cannot_be_fetched_fail_from_the_start,
                a_source_of_failures_alone_completes,
                an_empty_source_completes,
                the_list_is_remembered,
                a_page_after_stop_is_dropped,
                a_late_page_adds_nothing_to_a_batch_that_is_over,
                a_late_page_adds_nothing_to_a_paused_batch,
                an_unreadable_source_fails_the_batch,
                an_unreadable_source_lets_leases_drain_first,
                a_page_of_a_pausing_batch_is_kept,
                only_a_running_batch_is_read,
            }
            transition {
                every_command_in_every_state,
                every_event_with_a_lease,
                draining_with_a_stop_behind_it,
                a_repeat_changes_nothing,
                a_cause_only_rises,
                an_outage_ends_by_itself_unless_somebody_has_paused_meanwhile,
                an_outage_survives_a_restart_and_knows_what_to_ask_with,
                reason_and_message_are_shown_while_they_hold,
                an_expired_lease_counts_as_drained,
                a_command_settles_what_has_drained,
                a_late_commit_cannot_wake_a_paused_batch,
                a_refusal_says_why,
                nobody_commands_what_is_not_there,
            }
            stall {
                it_is_durable_and_a_change_that_watchers_see,
                a_batch_that_does_not_run_does_not_stand_still,
            }
            upload {
                chunks_are_appended_and_the_last_one_lets_the_batch_run,
                an_empty_chunk_seals,
                what_is_known_is_skipped,
                a_gap_says_where_to_go_on,
                a_known_chunk_with_other_keys_is_refused,
                the_newest_stream_has_the_upload,
                uploads_feed_a_batch_by_turns,
                a_seal_is_the_end_for_all,
                the_repeat_of_a_seal_is_answered_in_every_later_state,
                a_sealed_batch_waits_for_its_turn,
                a_batch_that_is_stopped_takes_nothing,
                a_batch_that_is_gone_says_so,
                an_upload_goes_on_after_a_restart,
                chunks_are_kept_as_long_as_they_can_come_again,
                the_seal_of_many_chunks_does_not_wait_for_them_to_go,
                a_large_chunk_is_cut_into_slices,
                chunks_of_one_item_fill_slices_and_a_stop_cancels_slice_by_slice,
                uploads_by_turns_fill_the_same_slices_until_one_seals,
                what_is_not_there_is_said,
            }
            upstream {
                a_record_comes_back,
                the_last_write_wins,
                a_hold_by_an_operator_may_be_without_end,
                each_limit_is_set_and_unset_by_itself,
            }
            view {
                progress_is_what_the_store_answers,
                items_are_what_the_store_answers,
            }
        }
    };
}

macro_rules! cases {
    ($engine:expr; $($operation:ident { $($case:ident,)* })*) => {$(
        mod $operation {
            use crate::store::conformance::{harness::Harness, $operation as cases};
            $(
                #[tokio::test]
                async fn $case() {
                    cases::$case(Harness::open($engine).await).await;
                }
            )*
        }
    )*};
}

#[cfg(feature = "sqlite")]
mod on_sqlite {
    conformance!(crate::store::conformance::sqlite::File::new());
}
