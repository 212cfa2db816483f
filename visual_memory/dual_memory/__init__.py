"""Dual Memory Networks: a classifier beside dynamic and static memories."""
