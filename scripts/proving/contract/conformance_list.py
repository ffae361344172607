"""Names of the conformance tests, in the contract's order, with parts of the names of the tests that hold them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pending:
    """Belongs to what is not built yet."""

    reason: str


CLUSTER = Pending("one node: a cluster is not built yet")
PROVIDERS = Pending("provider batches and sql sources are not built yet")
SCHEDULES = Pending("schedules, triggers and notices are not built yet")
UPSTREAMS = Pending("credentials of upstreams are not built yet")

CONFORMANCE: list[tuple[str, tuple[str, ...] | Pending]] = [
    ("every cell of 2.2", ("batch::tests::every_cell", "every_command_in_every_state", "every_event_with_a_lease",
                           "what_refuses_a_command_is_found_in_order", "a_batch_that_is_stopped_takes_nothing")),
    ("every cell of 3.2", ("each_outcome_is_recorded_as_what_it_is", "attempts_are_spent_and_numbered",
                           "what_returns_to_a_stopping_batch_is_canceled", "a_stale_epoch_changes_nothing",
                           "what_is_cut_off_goes_back_uncharged", "what_is_cut_off_on_the_way_to_an_end_is_canceled",
                           "an_item_has_its_time_in_which_the_batch_ran", "a_slice_that_loses_its_workers_is_halved",
                           "a_system_failure_comes_back_uncharged", "items_that_cannot_be_fetched_fail_from_the_start")),
    ("every pair of 2.4", ("of_two_things_found_together_the_first_in_order_counts", "exhausted_beats_drained",
                           "a_budget_is_spent_however_its_items_were_grouped", "a_command_settles_what_has_drained",
                           "a_command_that_comes_too_late_finds_the_end")),
    ("invariants after random histories", ("every_step_keeps_every_promise", "whatever_comes_keys_and_priorities_are_kept")),
    ("replay: same and other payload, while the first is in flight",
     ("replay::the_same_request_is_answered_again", "replay::a_hundred_of_the_same_request_at_once_make_one_batch",
      "of_two_at_once_one_is_started_and_one_replayed", "a_request_id_with_other_content_is_refused",
      "an_id_is_good_for_one_content_of_one_call")),
    ("replay on two nodes", CLUSTER),
    ("etag unmoved by progress", ("an_etag_is_moved_by_control_and_not_by_progress",
                                  "replay::a_command_for_a_state_that_is_no_more_is_refused")),
    ("each overlap policy × {none, live, buffered, paused}", ("every_policy_meets_whatever_is_live", "overlap::of_many_at_once_one_starts",
                                                              "overlap::of_a_hundred_of_one_key_at_once_one_starts")),
    ("overlap from two nodes at once", CLUSTER),
    ("as_of: same date twice gives equal upstream logs",
     ("start::a_date_is_the_first_instant_of_that_day", "retry::a_chain_of_retries_fetches_everything_once_by_the_same_requests")),
    ("plan fails where the call fails, stores nothing",
     ("plan::a_plan_is_refused_where_the_start_would_be", "plan::a_plan_of_the_whole_list", "a_check_refuses_what_a_start_would")),
    ("outage: declared, probed, ended, with a user's Pause in between",
     ("outage::a_refused_batch_goes_on_by_itself", "outage::a_pause_or_a_policy_keeps_an_outage",
      "an_outage_ends_by_itself_unless_somebody_has_paused_meanwhile")),
    ("start probe: each cause", ("outage::a_batch_that_is_refused_at_once", "outage::an_upstream_that_is_not_there_pauses_the_batch")),
    ("one bad item's 403 against a revoked credential", UPSTREAMS),
    ("two batches at one upstream: sum and shares",
     ("rate::two_batches_at_one_upstream_keep_one_limit", "batches_share_one_limit_by_turns",
      "upstreams::batches_of_priority_0_and_20", "over_any_window_in_which_two_wait")),
    ("gate and breaker cells of 7", ("a_push_back_turns_everybody_away", "a_tripped_breaker_lets_one_request_through",
                                     "ten_failures_in_a_row_trip_it_and_nine_do_not", "probes_wait_twice_as_long_each_time",
                                     "five_push_backs_in_a_row_trip_it")),
    ("gate held and released by hand", ("upstreams::a_hold_by_hand", "a_hold_by_an_operator_turns_everybody_away",
                                        "a_release_ends_every_cause")),
    ("cause only rises", ("a_cause_only_rises", "a_mode_is_durable_and_only_rises")),
    *((f"watch: W{n}", (f"w{n:02}_",)) for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13)),
    ("watch: a reader of 1 message/s against 1,000 updates/s", ("transport::a_reader_that_is_stuck", "w05_figures_keep_to_the_interval")),
    ("watch: a change of node", CLUSTER),
    ("watch: a finished batch, drain", ("w07_a_batch_that_is_over_is_terminal_at_once", "w11_a_server_that_is_asked_to_end")),
    ("watch: the six guarantees over random histories",
     ("guarantee::watchers_are_told_what_is_promised", "history::each_check_finds_what_it_is_for")),
    ("upload: cut at every chunk, repeat, gap, takeover, sealed twice",
     ("upload::a_cut_at_any_place", "what_is_known_is_skipped", "a_gap_says_where_to_go_on", "upload::a_newer_stream_takes_over",
      "the_repeat_of_a_seal_is_answered_in_every_later_state", "a_known_chunk_with_other_keys_is_refused")),
    ("results: resumable by cursor, each once, in one order",
     ("results::every_reader_gets_each_item_once_in_one_order", "results::what_is_no_cursor_of_the_batch_is_refused")),
    ("tokens tampered with", ("page::tests", "query::a_page_token_outlives_its_server")),
    ("export cut, every format read by another program", Pending("export is not built yet")),
    ("every row of 11 (code, reason, detail type)", ("refusal::each_is_as_its_page_shows_it", "status::tests")),
    ("precedence of 11", ("refusal::of_several_that_are_true_the_first_by_rank",
                          "refusal::everything_that_is_wrong_with_a_request_is_said_at_once")),
    ("every RPC × {none, viewer, operator, admin, expired, revoked}", Pending("roles are not built yet")),
    ("provider batch: killed between every two steps", PROVIDERS),
    ("write-back: killed before and after each, zero rows, database away, Stop", PROVIDERS),
    ("groups: empty, failed, mixed", PROVIDERS),
    ("watermark: failed row, late id", PROVIDERS),
    ("children: Redecode with the upstream away", ("redecode::datasets_that_a_decoder_spoilt",)),
    ("children: RetryFailed", ("retry::what_failed_for_good_is_retried", "what_succeeded_is_never_taken")),
    ("skip policy: other settings, other days, expiry, success and clearing, a crash between",
     ("what_succeeded_before_is_skipped_and_nothing_else", "a_missing_key_is_skipped_from_its_day_to_its_expiry",
      "a_success_forgets_that_a_key_was_missing", "skip::missing_keys_are_asked_for_once", "skip::what_was_decided_outlives_a_crash")),
    ("children: FillHoles' requests equal the holes", Pending("reports of holes are not built yet")),
    ("schedules: DST both ways, closed days, `after`, parameters, catch-up, two tickers, backfill", SCHEDULES),
    ("trigger: wrong token, wrong HMAC, replay, stale", SCHEDULES),
    ("the contract's own documents: RPCs, errors, pages, every element of the proto",
     ("the_table_of_rpcs", "the_table_of_failure_classes", "listing")),
]
