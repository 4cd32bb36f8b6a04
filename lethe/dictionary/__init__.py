"""Stand-ins for the anchors: ordinary names of the same type."""
