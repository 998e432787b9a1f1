class Node:
    def __init__(self, id: int | str, **kwargs: object) -> None: ...  # noqa: A002  the library.s name
    @property
    def id(self) -> int | str: ...
