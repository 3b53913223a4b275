"""From a corpus to batches: which mixtures a model sees, and its targets.

In the order in which data flows: `preparation` checks the hparams, finds the corpus or
makes one, prepares it and returns the datasets; `curriculum` says which variants an
epoch trains on, `variants` which layers these and a task's targets are made of;
`dataset` draws an epoch's rows and variants and turns them into batches, read from
wavs or packs or, by `dynamic`, mixed on the fly.
"""
