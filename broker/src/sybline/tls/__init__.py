"""TLS of the three listeners: material from files, tried out before it is used, replaced while the member runs.

`files` reads, `certificates` understands, `material` builds contexts and rehearses a handshake, `store` keeps the last
good material of one usage, `peers` and `grpc_credentials` hand it to the listeners, `member_tls` puts it all
together. `issuing` makes a CA and certificates for local use. Certificates never stand for accounts.
"""
