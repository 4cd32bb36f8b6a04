"""The report page, the release gate and the tables both are made of."""
