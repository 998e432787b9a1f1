"""Settings of one member: from file, environment and command line, validated as a whole before anything starts.

`settings` says what can be set, `sources` collects it as text under the names it was written with, `original_names`
knows the variables of earlier versions, `rules` compares settings with each other, `loading` puts these together. What
may change while a member runs is followed by `live`.
"""

from sybline.config.loading import Loaded, check_tree, load_settings
from sybline.config.problems import ConfigError
from sybline.config.settings import KEYS, Settings

__all__ = ["KEYS", "ConfigError", "Loaded", "Settings", "check_tree", "load_settings"]
