"""The Kubernetes operator of Sybline. Its modules come with the operator milestone; nothing runs from here yet."""
