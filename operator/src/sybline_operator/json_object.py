"""A JSON object, as Kubernetes speaks it: the one name for it. Nothing else belongs here."""

from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]
