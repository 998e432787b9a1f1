"""Certificates of a cluster: where they come from, and how they are replaced without a restart."""
