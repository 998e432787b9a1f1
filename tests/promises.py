"""What is promised, and the tests that fail when it is broken. `test_promises.py` checks this both ways.

`PROMISES`: each promise of the README's table, by its words, with its tests. `REGRESSIONS`: the known defects of the
earlier implementation that can occur in what exists so far; each is part of the name of at least one test
(`test_reg_q1_…`). `LATER`: those that need something that does not exist yet, with what that is.
"""

from typing import Final

PROMISES: Final[dict[str, tuple[str, ...]]] = {
    "OK is durable": (
        "integration/test_durability.py::test_reg_r1_everything_acknowledged_is_there_after_all_were_killed",
        "integration/test_durability.py::test_reg_r2_nothing_is_confirmed_while_both_followers_are_stopped",
        "broker/replication/test_journal_crashes.py::test_a_crash_at_any_file_operation_loses_nothing_promised",
    ),
    "one member may fail in any way": (
        "integration/test_durability.py::test_each_member_killed_in_turn_under_load_loses_nothing",
        "integration/test_durability.py::test_reg_r4_a_stopped_leader_is_replaced_and_never_confirms_again",
        "integration/test_membership.py::test_all_three_members_are_replaced_by_new_disks_under_load",
        "integration/test_chaos_quick.py::test_a_short_chaos_run_is_clean",
    ),
    "all members may be killed at once": (
        "integration/test_durability.py::test_reg_r1_everything_acknowledged_is_there_after_all_were_killed",
    ),
    "one holder": (
        "broker/state_machine/test_queue_model.py::TestQueuesAgainstModel",
        "broker/state_machine/test_queue_regressions.py::test_reg_q10_a_message_whose_consumers_die_is_dead_lettered_after_the_limit",
        "integration/test_chaos_quick.py::test_a_short_chaos_run_is_clean",
    ),
    "retry is safe": (
        "integration/test_queue_rules.py::test_an_idempotency_key_stores_once",
        "integration/test_queue_rules.py::test_reg_q19_a_repeated_creation_is_ok",
        "integration/test_queue_rules.py::test_reg_q20_a_repeated_ack_is_ok",
    ),
    "order": (
        "integration/test_queue_rules.py::test_reg_q15_a_batch_over_several_keys_keeps_the_request_order",
        "broker/state_machine/test_queue_model.py::TestQueuesAgainstModel",
    ),
    "bounded": (
        "integration/test_queue_rules.py::test_reg_q7a_a_full_queue_refuses",
        "broker/replication/test_proposals.py::test_the_bound_on_pending_bytes_refuses_at_once_and_frees_again",
        "broker/replication/test_reads.py::test_too_many_waiting_reads_are_refused_at_once",
        "broker/replication/test_transport.py::test_a_peer_that_reads_nothing_is_cut_off_at_the_bound",
    ),
    "no silent damage": (
        "broker/replication/test_journal_damage.py::test_a_flipped_byte_anywhere_in_the_log_is_refused_or_cut_as_unfinished_but_never_served",
        "broker/replication/test_journal_damage.py::test_a_missing_file_refuses_the_start_instead_of_beginning_anew",
    ),
}

_REGRESSION_NUMBERS: Final[dict[str, str]] = {
    "q": "1 2 3a 3b 4 5 6a 6b 7a 7b 8a 8b 8c 9 10 11 12 13 14 15 16 17 18 19 20 21 22",
    "b": "1",
    "r": "1 2 3 4 5a 5b 6 7a 7b 8 9 10 11",
    "a": "1a 1b 2 4 5 6 7 8 9 11",
    "s": "1 2 3a 3b 3c 4 5a 5b 5d 5e 6a 6b 8a 8b",
    "w": "1 2 3 4 5 6 7 8 9 10 11",
    "k": "1 2 3 7 8 9",
}
REGRESSIONS: Final = frozenset(
    letter + number for letter, row in _REGRESSION_NUMBERS.items() for number in row.split()
)

LATER: Final[dict[str, str]] = {
    "a3": "REST",
    "a10": "REST",
    "s5c": "REST",
    "s7": "REST",
    "k4": "the operator",
    "k5": "the operator",
    "k6": "the charts",
}
