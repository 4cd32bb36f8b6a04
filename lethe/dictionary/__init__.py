"""The dictionary: generic translations of the anchors, ordinary names of the same type."""
