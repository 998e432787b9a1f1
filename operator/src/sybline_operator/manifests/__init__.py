"""The objects that a cluster is made of, as functions of what is wanted. Pure: nothing here talks to anybody."""
