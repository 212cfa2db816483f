"""Dual Memory Networks: a text head beside dynamic and static memories."""
