"""Benchmarks: each measures beside something to compare with, in one run, since machines differ."""
