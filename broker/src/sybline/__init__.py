"""Sybline: a replicated message broker. Kept empty of imports so that `sybline.v1` loads alone."""
