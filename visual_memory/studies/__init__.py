"""A question from plain settings to a report: what the experiments run.

A notebook can call all of it: settings in, studies, sections and values out.
"""
