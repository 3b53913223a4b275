"""What everything rests on: draws by key, files that are whole, processes that end.

``keyed`` draws by key instead of in sequence, and digests values. ``atomic`` writes
files that appear when they are complete, ``arrays`` large ones that are read by memory
map. ``locks`` lets one process at a time into a folder, ``workers`` starts processes
that die with theirs. ``csvs`` and ``tagged_yaml`` read files that people make: they say
what is wrong and where, and run nothing.
"""
