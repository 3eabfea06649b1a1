"""`nas bench`: how fast we are, measured in one run. Each bench is a function of named numbers that returns rows."""

from nas.bench.search import search

BENCHES = {"search": search}
