"""Datasets rewritten as other trainers' files."""
