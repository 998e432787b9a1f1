"""A directory like the one that the kubelet mounts for a ConfigMap or Secret: an update swaps one symlink, `..data`."""

from collections.abc import Mapping
from pathlib import Path


class MountedVolume:
    """See the module."""

    def __init__(self, directory: Path, files: Mapping[str, bytes]) -> None:
        self.directory = directory
        directory.mkdir(parents=True)
        self._updates = 0
        self.update(files)
        for name in files:
            (directory / name).symlink_to(Path("..data") / name)

    def update(self, files: Mapping[str, bytes]) -> None:
        """Put new content in place, all files at one moment."""
        self._updates += 1
        fresh = self.directory / f"..update-{self._updates}"
        fresh.mkdir()
        for name, content in files.items():
            (fresh / name).write_bytes(content)
        link = self.directory / "..data_tmp"
        link.symlink_to(fresh.name)
        link.replace(self.directory / "..data")
