"""Thin command lines, one a rule: parse, load, one call, save."""
