"""Replacing certificates under way: any two members, and every client that follows, always accept each other."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sybline_operator.steps import Act
from sybline_operator.tls.material import Material
from sybline_operator.tls.replacement import AUTHORITIES_MAX, Composed, MemberTls
from tests.operator.tls_world import CLIENTS_FOLLOW_S, Look, TlsWorld, material

NAMES = ("orders-0", "orders-1", "orders-2")
LOOKS_MAX = 40


def serving(source: Material) -> TlsWorld:
    """Return a world of three members that serve what the source gives."""
    world = TlsWorld(source)
    world.act(world.look())
    for name in NAMES:
        world.start(name)
    return world


def settle(world: TlsWorld) -> list[Act]:
    """Look until nothing is left to do, with everything in order, and return what was done."""
    acts: list[Act] = []
    for _ in range(LOOKS_MAX):
        world.heal()
        plan = world.act(world.look())
        if plan.act is not None:
            acts.append(plan.act)
        elif plan.is_done:
            assert world.composed is not None
            assert world.composed.material.is_same(world.source)
            assert all(
                m.loaded is not None and m.loaded.is_same(world.source)
                for m in world.members.values()
            )
            return acts
        world.now_s += CLIENTS_FOLLOW_S / 4
    raise AssertionError(f"still at it: {world.decide(world.look())}")


def test_the_first_certificate_is_simply_issued() -> None:
    assert settle(TlsWorld(material(1))) == [Act.ISSUE]


def test_a_certificate_of_the_same_ca_is_replaced_at_once() -> None:
    world = serving(material(1))
    world.source = material(1, leaf=2)
    assert settle(world) == [Act.REPLACE]


def test_a_renewal_waits_for_nobody_for_who_is_away_trusts_its_ca_already() -> None:
    world = serving(material(1))
    world.members[NAMES[1]].answers = False
    world.source = material(1, leaf=2)
    assert world.decide(world.look()).act == Act.REPLACE


def test_another_ca_is_trusted_first_used_then_and_the_old_one_goes_last() -> None:
    world = serving(material(1))
    world.source = material(2)
    assert settle(world) == [Act.EXTEND, Act.REPLACE, Act.REDUCE]


def test_no_certificate_of_a_ca_is_used_while_one_member_does_not_trust_it() -> None:
    world = serving(material(1))
    world.source = material(2)
    world.act(world.look())
    for name in NAMES[:2]:
        world.mount(name)
        world.load(name)
    world.now_s += 10 * CLIENTS_FOLLOW_S
    plan = world.decide(world.look())
    assert plan.act is None
    assert plan.behind == {NAMES[2]: "does not trust the new CA yet"}


def test_a_member_that_does_not_answer_blocks_the_next_phase_and_is_named() -> None:
    world = serving(material(1))
    world.source = material(2)
    world.act(world.look())
    world.heal()
    world.members[NAMES[1]].answers = False
    world.now_s += 10 * CLIENTS_FOLLOW_S
    plan = world.decide(world.look())
    assert plan.act is None
    assert f"{NAMES[1]} (does not answer)" in plan.waiting


def test_clients_get_time_to_follow_before_a_certificate_of_another_ca_is_shown() -> None:
    world = serving(material(1))
    world.source = material(2)
    world.act(world.look())
    world.heal()
    assert "clients" in world.decide(world.look()).waiting
    world.now_s += CLIENTS_FOLLOW_S
    assert world.decide(world.look()).act == Act.REPLACE


def test_the_old_ca_stays_while_one_member_shows_a_certificate_of_it() -> None:
    world = serving(material(1))
    world.source = material(2)
    world.act(world.look())
    world.heal()
    world.now_s += CLIENTS_FOLLOW_S
    assert world.act(world.look()).act == Act.REPLACE
    for name in NAMES[:2]:
        world.mount(name)
        world.load(name)
    assert world.decide(world.look()).behind == {NAMES[2]: "shows another certificate"}


def test_a_source_that_names_one_more_ca_has_it_trusted_and_one_less_has_it_dropped() -> None:
    world = serving(material(1))
    first = world.source
    world.source = first.trusting(material(1, others=(2,)).authorities)
    assert settle(world) == [Act.EXTEND]
    world.source = first
    assert settle(world) == [Act.REDUCE]


def test_a_source_that_changes_its_mind_is_followed_from_wherever_things_are() -> None:
    world = serving(material(1))
    for ca in (2, 3, 1):
        world.source = material(ca, leaf=ca)
        world.act(world.look())
        world.heal()
    assert settle(world)[-1] == Act.REDUCE


@pytest.mark.parametrize("is_expired", [True, False])
def test_only_a_certificate_that_nobody_accepts_any_more_is_replaced_without_waiting(
    is_expired: bool,
) -> None:
    world = serving(material(1))
    assert world.composed is not None
    world.source = material(2)
    world.now_s = world.composed.material.leaf.not_after_s + (1.0 if is_expired else -1.0)
    assert world.decide(world.look()).act == (Act.REPLACE if is_expired else Act.EXTEND)


def test_the_cas_that_are_trusted_at_once_are_bounded() -> None:
    world = serving(material(1))
    assert world.composed is not None
    many = material(1, others=tuple(range(2, AUTHORITIES_MAX + 1)))
    current = world.composed.material.trusting(many.authorities)
    world.composed = Composed(current, 0.0)
    world.source = material(AUTHORITIES_MAX + 1)
    plan = world.decide(world.look())
    assert plan.act is None
    assert f"{AUTHORITIES_MAX + 1} CAs" in plan.waiting


def test_two_certificates_with_one_serial_number_are_told_apart_by_their_end() -> None:
    world = serving(material(1))
    shown = world.source.leaf
    other = type(shown)(shown.serial, shown.not_after_s + 1)
    trusted = frozenset(ca.mark for ca in world.source.authorities)
    look = Look(
        world.version,
        world.source,
        world.composed,
        {NAMES[0]: MemberTls(frozenset((other,)), trusted)},
    )
    assert not world.decide(look).is_done


@dataclass(frozen=True)
class Happening:
    """One thing, to one member where it is about one."""

    what: str
    name: str
    number: int


HAPPENINGS = st.lists(
    st.builds(
        Happening,
        what=st.sampled_from(
            # Mostly what makes it go on, or hardly anything would get as far as the last phase.
            ["reconcile"] * 6 + ["heal"] * 2 + ["later"] * 2 + ["sync"] * 3 + ["source"] * 2
            + ["look", "act", "act", "mount", "load", "start", "stop", "hide", "show"]
        ),
        name=st.sampled_from(NAMES),
        number=st.integers(0, 5),
    ),
    max_size=120,
)  # fmt: skip
SOURCES = (
    material(1), material(1, leaf=2), material(2), material(3, others=(2,)), material(2, leaf=4),
    material(1, others=(3,)),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(happenings=HAPPENINGS)
def test_whatever_happens_meanwhile_all_accept_each_other_and_it_converges(
    happenings: list[Happening],
) -> None:
    world = serving(SOURCES[0])
    looks: list[Look] = [world.look()]
    for each in happenings:
        _happen(world, looks, each)
        world.check()
    settle(world)


def _happen(world: TlsWorld, looks: list[Look], each: Happening) -> None:
    """Let it happen. Looks that have begun are acted upon later, in any order, also those of another operator."""
    match each.what:
        case "reconcile":
            world.act(world.look())
        case "sync":
            world.mount(each.name)
            world.load(each.name)
        case "look":
            looks.append(world.look())
        case "act":
            world.act(looks[-1 - each.number % len(looks)])
        case "mount":
            world.mount(each.name)
        case "load":
            world.load(each.name)
        case "start":
            world.start(each.name)
        case "stop":
            world.members[each.name].loaded = None
        case "hide" | "show":
            world.members[each.name].answers = each.what == "show"
        case "later":
            world.now_s += CLIENTS_FOLLOW_S / (1 + each.number)
        case "source":
            world.source = SOURCES[each.number]
        case "heal":
            world.heal()
