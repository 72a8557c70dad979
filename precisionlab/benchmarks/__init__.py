"""Benchmarks: measure → JSON → table and picture. No figure is reported where results disagree."""
