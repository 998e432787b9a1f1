"""The two images of the working tree, under a tag that says what is in them: an unchanged tree builds nothing twice."""

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.e2e.kube import Failed, run
from tests.e2e.processes import stream

ROOT: Final = Path(__file__).resolve().parents[2]
CONTEXT: Final = (
    "pyproject.toml", "README.md", "LICENSE", "requirements/*.txt", "broker/src/**/*", "operator/src/**/*",
)  # fmt: skip  # as .dockerignore has it
DOCKERFILES: Final = {"broker": "broker/Dockerfile", "operator": "operator/Dockerfile"}
VERSION: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
BUILD_S: Final = 1_200.0  # the first time; then the layers of the requirements are there


@dataclass(frozen=True, slots=True)
class Images:
    """Names with their tags."""

    broker: str
    operator: str

    @property
    def both(self) -> tuple[str, str]:
        """Return them, the broker's first."""
        return self.broker, self.operator

    @property
    def released(self) -> tuple[str, str]:
        """Return how charts and examples call them, in the same order."""
        return f"sybline:{VERSION}", f"sybline-operator:{VERSION}"


def wanted_images() -> Images:
    """Return what the images of this tree are called."""
    tag = content_tag(ROOT)
    return Images(f"sybline:{tag}", f"sybline-operator:{tag}")


def content_tag(root: Path) -> str:
    """Return a tag that is another one when anything changes that gets into an image."""
    digest = hashlib.sha256()
    for path in sorted(_context(root)):
        digest.update(f"{path.relative_to(root)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return f"e2e-{digest.hexdigest()[:12]}"


def build(images: Images, *, network: str = "default") -> None:
    """Build those that the Docker engine does not have, and give both the names of the release as well.

    Raises:
        Failed: a build ended with an error or not in time.
    """
    for part, image, released in zip(DOCKERFILES, images.both, images.released, strict=True):
        if not _is_built(image):
            _build(part, image, network)
        run(["docker", "tag", image, released])


def _build(part: str, image: str, network: str) -> None:
    options = ["--quiet", "--network", network, "-f", DOCKERFILES[part], "-t", image]
    stream(["docker", "build", *options, "."], cwd=ROOT, deadline_s=BUILD_S)


def _is_built(image: str) -> bool:
    try:
        run(["docker", "image", "inspect", "--format", "{{.Id}}", image])
    except Failed:
        return False
    return True


def _context(root: Path) -> list[Path]:
    found = [path for pattern in (*CONTEXT, *DOCKERFILES.values()) for path in root.glob(pattern)]
    return [path for path in found if path.is_file() and "__pycache__" not in path.parts]
