"""Makes PolSESS corpora: sources -> layers -> mixtures on disk.

In the order in which data flows: a provider (`providers/`) finds recordings, `scan`
reads their headers, `splits` or `published` puts them into subsets, and `sources` is
the list of them; `plan` draws, by key, what each recording is made of; `render` turns a
plan into layers and their mix, with the plate of `reverb`; `build` does this for all
rows, keeps those done in a `journal`, and writes the official folders, their CSV files
(`metadata`) and a `card`. `audit` and `verify` look at corpora, whoever made them;
`pack` and `source_pack` keep audio in arrays. What a layer is called and where it is
kept stands in `layout`, formats and rates in `audio`, where CSVs are in `locate`, facts
about scenes and events in `tables`. `python -m corpus --help`.
"""
