"""Trained models as folders that anybody can load, and separation with them.

``export`` writes a model: its description, weights and, where stock SpeechBrain lacks
the model, its code with ``custom_interface``. ``safe_yaml`` reads a description without
running anything it names. ``inference`` builds the model and separates batches, arrays
and files: ``streaming`` reads recordings of any length and rate as overlapping chunks,
``joining`` puts the separated chunks together, each speaker in one stream, by the
``levels`` that estimates have in the mixture and by ``voices``.
"""
