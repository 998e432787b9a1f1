"""Generated protobuf code of the wire contracts; `make proto` writes it, nobody edits it."""
