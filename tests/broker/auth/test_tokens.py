"""What a login hands out."""

import hashlib
import uuid

from sybline.auth.tokens import hash_token, new_consumer, new_token


def test_a_token_is_the_text_of_a_version_4_uuid() -> None:
    token = new_token()
    assert str(uuid.UUID(token)) == token
    assert uuid.UUID(token).version == 4


def test_no_two_tokens_and_no_two_consumers_are_alike() -> None:
    assert len({new_token() for _ in range(1000)}) == 1000
    assert len({new_consumer() for _ in range(1000)}) == 1000


def test_a_token_is_known_by_its_sha_256() -> None:
    assert hash_token("abc") == hashlib.sha256(b"abc").digest()


def test_a_consumer_has_sixteen_bytes() -> None:
    assert len(new_consumer()) == 16
