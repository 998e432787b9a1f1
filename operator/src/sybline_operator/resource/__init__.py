"""The resource as the administrator writes it: what is valid, and why not. Pure."""
