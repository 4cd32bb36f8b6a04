"""The local web app `lethe app`: models asked side by side, heat maps, runs, stand-ins and attacks by hand.

A page on 127.0.0.1 for whoever has the token. Nothing that is typed there is written down or leaves the machine; only
data/overrides.csv is changed, and only by saving it.
"""
