"""Makes PolSESS corpora: sources -> layers -> mixtures on disk.

In the order in which data flows: a provider (`embedded`, `folder`) makes a source
list (`sources`); `plan` draws, by key, what each recording is made of; `render` turns
a plan into layers and their mix, with the plate of `reverb`; `build` does this for all
rows and writes the official folders and CSV files. `python -m corpus --help`.
"""
