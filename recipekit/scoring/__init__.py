"""Scores of tests: what they are called, how sure they are, how they are shown.

How scores flow: a recipe names its metrics and conditions as ``measures``; its test
gives a row of scores for each recording; ``summary`` makes means with intervals from
them, by the ``statistics`` that searches and reports use as well, writes both and
prints the table.
"""
