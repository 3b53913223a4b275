"""The rows of a subset that are made, kept on disk while a corpus is being made."""

import json
from contextlib import ExitStack, contextmanager

import numpy as np

PATTERN = "rows*.journal"


class Journal:
    """Rows that are done: files with one JSON line a row, which only grow.

    All journals of the folder count; new rows go to one. In memory is a row's place
    only, so memory hardly grows with the number of rows.

    Arguments
    ---------
    folder : Path
        The subset's. The journal is rows.journal, or rows-2-of-4.journal of a shard.
    count : int
        Rows of the subset.
    shard : tuple of int, optional
        (i, n), counted from 1: every n-th row from the i-th on is to be made.
    """

    def __init__(self, folder, count, shard=None):
        i, n = shard or (1, 1)
        self.rows = range(i - 1, count, n)
        self.path = folder / PATTERN.replace("*", f"-{i}-of-{n}" if shard else "")
        self.path.touch()
        self.files = sorted(folder.glob(PATTERN))
        self.place = np.full((count, 2), -1)  # file and offset of each row
        for number, path in enumerate(self.files):
            intact = self._index(number, path)
            if path == self.path:
                self.number, self.intact = number, intact

    def _index(self, number, path):
        """Notes where each row of a file is; returns the bytes of its whole lines."""
        offset = 0
        with open(path, "rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    self.place[json.loads(line)[0]] = number, offset
                    offset += len(line)
        return offset

    def missing(self):
        """Returns the numbers of the rows that are still to be made."""
        return [row for row in self.rows if self.place[row, 0] < 0]

    @contextmanager
    def writing(self):
        """Gives the function that keeps a row: of its number and JSON values."""
        with open(self.path, "r+b", buffering=0) as file:
            file.truncate(self.intact)  # drops a torn last line
            file.seek(self.intact)

            def keep(row, *record):
                self.place[row] = self.number, file.tell()
                line = json.dumps([row, *record], ensure_ascii=False)
                file.write(f"{line}\n".encode())

            yield keep

    def __iter__(self):
        """Yields what is kept of each row that is done, in order."""
        with ExitStack() as stack:
            files = [stack.enter_context(open(path, "rb")) for path in self.files]
            for number, offset in self.place[self.place[:, 0] >= 0]:
                files[number].seek(offset)
                yield json.loads(files[number].readline())[1:]


def remove_journals(folder):
    """Removes the journals of a subset that is written."""
    for path in folder.glob(PATTERN):
        path.unlink()
