"""What all recipes share; it knows no corpus, no task and no model.

A recipe says in a ``Recipe`` (``recipe``) which keys its hparams files have and what it
measures. Its train.py then runs as an ``experiment``: ``training`` reads the command
line and trains, ``scoring`` turns scores into summaries and statistics. ``studies``
starts train.py many times and keeps what it reports, and ``reporting`` makes a page of
runs and studies. All of them use ``files`` and ``console``. No folder imports one that
comes later in this list: files, scoring, training, studies, reporting.
"""

__version__ = "0.7.0"
