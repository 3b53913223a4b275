"""Sections that only the reports of this recipe have.

``report.py`` adds them to those of the library: ``failures`` breaks the improvement
down by what a recording is made of, ``listening`` separates test mixtures once more and
puts them on the page, ``logged`` compares the baselines of the logged study. ``curves``
draws the learning curves of several runs into one picture.
"""
