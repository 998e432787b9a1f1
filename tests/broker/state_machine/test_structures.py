"""Tables, pieces, records and pairs beside plain lists and dicts: random changes, and their pages."""

import random
from collections import OrderedDict

import pytest
from msgspec import msgpack

from sybline.state_machine import origins, pieces, sorted_pairs
from sybline.state_machine.origins import Facts, Origins
from sybline.state_machine.pages import Capture, Chunk, Reader
from sybline.state_machine.pieces import Piece, Pieces
from sybline.state_machine.sorted_pairs import SortedPairs
from sybline.state_machine.tables import Table

SEEDS = range(8)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few elements fill many chunks."""
    monkeypatch.setattr(pieces, "CHUNK_PIECES", 4)
    monkeypatch.setattr(origins, "CHUNK_RECORDS", 4)
    monkeypatch.setattr(sorted_pairs, "CHUNK_PAIRS", 4)


class Pages:
    """What captures have written."""

    def __init__(self) -> None:
        self.data: dict[int, bytes] = {}
        self.next_page = 1

    def begin(self) -> Capture:
        return Capture(self.next_page)

    def finish(self, capture: Capture) -> Reader:
        while not capture.is_whole:
            self.data.update(capture.collect(1))
        capture.end(saved=True)
        self.next_page = capture.next_page
        return Reader(self.data.__getitem__, is_kept=True)


def encode_rows(rows: dict[int, int]) -> bytes:
    return msgpack.encode(list(rows.items()))


def decode_rows(page: bytes) -> list[tuple[int, int]]:
    return msgpack.decode(page, type=list[tuple[int, int]])


def new_table() -> "Table[int, int]":
    return Table(3, encode_rows)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_table_is_an_ordered_dict_also_out_of_its_pages(seed: int) -> None:
    rng, pages = random.Random(seed), Pages()
    table, model = new_table(), OrderedDict[int, int]()
    for step in range(300):
        key = rng.randrange(20)
        if key not in model or rng.random() < 0.3:
            table.put(key, step, alone=rng.random() < 0.2)
            model[key] = step
        elif rng.random() < 0.5:
            table.move_to_end(key, alone=rng.random() < 0.3)
            model.move_to_end(key)
        else:
            assert table.remove(key) == model.pop(key)
        assert list(table.items()) == list(model.items())
        assert table.first() == next(iter(model.items()), None)
        assert (len(table), table.get(key), key in table) == (
            len(model),
            model.get(key),
            key in model,
        )
        if step % 10 == 0:
            capture = pages.begin()
            root = table.capture(capture)
            expected = list(model.items())
            for other in list(model)[:3]:  # before its page is encoded
                table.put(other, -step)
                model[other] = -step
            reader = pages.finish(capture)
            loaded = new_table()
            loaded.load(root, reader, decode_rows)
            assert list(loaded.items()) == expected
            if rng.random() < 0.3:
                table, model = loaded, OrderedDict(expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_pieces_are_a_sorted_list_also_out_of_their_pages(seed: int) -> None:
    rng, pages = random.Random(seed), Pages()
    held, model = Pieces(Chunk()), dict[int, Piece]()

    def same(found: Pieces) -> None:
        assert [encoded(piece) for piece in found] == [encoded(model[key]) for key in sorted(model)]
        assert found.messages == sum(piece.count for piece in model.values())
        assert len(found) == len(model)

    for step in range(300):
        taken = {key // 10 for key in model}
        free = [key for key in range(0, 400, 10) if key // 10 not in taken]
        if free and rng.random() < 0.5:
            piece = Piece(rng.choice(free), 4, rng.randrange(5), 7, rng.randrange(3), 1, b"h" * 16)
            piece.last_failed_ms = rng.randrange(1 << 50)
            held.add(piece)
            model[piece.key] = piece
        elif model:
            key = rng.choice(sorted(model))
            found = held.at(key + model[key].count - 1)
            assert found is not None
            assert encoded(found) == encoded(model[key])
            change_piece(rng, held, model, found)
        same(held)
        start, end = sorted((rng.randrange(450), rng.randrange(450)))
        assert [piece.key for piece in held.overlapping(start, end)] == [
            key for key in sorted(model) if key < end and model[key].end > start
        ]
        if step % 20 == 0:
            capture = pages.begin()
            root = held.capture(capture)
            loaded = Pieces(Chunk())
            loaded.load_pages(root, pages.finish(capture))
            same(loaded)
            held = rng.choice([held, loaded])


def change_piece(rng: random.Random, held: Pieces, model: dict[int, Piece], piece: Piece) -> None:
    choice = rng.random()
    if choice < 0.3 and piece.count > 1:
        rest = held.split(piece, piece.count // 2)
        model[piece.key], model[rest.key] = piece, rest
    elif choice < 0.6:
        piece.deadline_ms = rng.randrange(1 << 50)
        held.replace(piece)
        model[piece.key] = piece
    else:
        held.remove(piece)
        del model[piece.key]


def encoded(piece: Piece) -> bytes:
    return msgpack.encode(piece)


@pytest.mark.parametrize("seed", SEEDS)
def test_records_of_moved_messages_lead_both_ways_also_out_of_their_pages(seed: int) -> None:
    rng, pages = random.Random(seed), Pages()
    records, model = Origins(Chunk()), dict[int, tuple[int, Facts | None]]()
    free = rng.sample(range(10_000), 500)
    for key in range(20_000, 20_300):
        facts = rng.choice([None, Facts("q", "r", rng.randrange(3), 0, 0)])
        model[key] = (free.pop(), facts)
        records.add(key, *model[key])
        if rng.random() < 0.6:
            gone = rng.choice(list(model))
            records.forget(gone, 2)
            model.pop(gone)
            model.pop(gone + 1, None)
        if key % 20 == 0:
            capture = pages.begin()
            root = records.capture(capture)
            loaded = Origins(Chunk())
            loaded.load_pages(root, pages.finish(capture))
            records = rng.choice([records, loaded])
        assert list(records) == list(model)
        assert len(records) == len(model)
        for known, (position, facts) in model.items():
            origin = records.get(known)
            assert origin is not None
            assert (origin.position, origin.facts) == (position, facts)
            assert records.key_of(position) == known
    kept = list(model)[::2]
    records.keep_only((key, 1) for key in kept)
    assert list(records) == kept


@pytest.mark.parametrize("seed", SEEDS)
def test_pairs_are_found_by_number_and_by_range(seed: int) -> None:
    rng = random.Random(seed)
    model = {rng.randrange(1000): n for n in range(30)}
    pairs = SortedPairs(model.items())
    for step in range(300):
        number = rng.randrange(1000)
        if number in model:
            pairs.remove(number)
            del model[number]
        else:
            pairs.add(number, step)
            model[number] = step
        assert pairs.get(number) == model.get(number)
        assert pairs.first() == min(model, default=None)
        start, end = sorted((rng.randrange(1000), rng.randrange(1000)))
        assert list(pairs.between(start, end)) == sorted(n for n in model if start <= n < end)


def test_a_slice_ends_after_so_many_bytes_or_small_pages() -> None:
    table: Table[int, int] = Table(1, encode_rows)
    for key in range(100):
        table.put(key, key)
    capture = Capture(1)
    table.capture(capture)
    assert len(capture.collect(40_960)) == 10
    large: Table[int, bytes] = Table(1, lambda rows: b"".join(rows.values()))
    for key in range(10):
        large.put(key, bytes(20_000))
    capture = Capture(1)
    large.capture(capture)
    assert len(capture.collect(40_960)) == 3
