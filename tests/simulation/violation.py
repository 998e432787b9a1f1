"""What a run ends with when an invariant is broken."""


class Violation(BaseException):
    """An invariant is broken. A BaseException, so that no handler of the product takes it."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind
