"""The Kubernetes operator of Sybline: turns a SyblineCluster into a cluster of members, and keeps it one."""
