"""Checkpoints that a kill at any moment cannot spoil."""

import itertools
import json
import logging
import os
import shutil
import time
from hashlib import blake2b

from speechbrain.utils.checkpoints import Checkpointer, ckpt_recency
from speechbrain.utils.distributed import ddp_barrier, if_main_process
from speechbrain.utils.logger import get_logger

logger = get_logger(__name__)

CHECKSUMS = "checksums.json"
UNFINISHED = ".unfinished"  # a folder: a checkpoint in it has no name yet
DELETED = ".deleted-"


class SafeCheckpointer(Checkpointer):
    """SpeechBrain's Checkpointer with whole checkpoints only.

    A checkpoint is written into a folder of another name, with checksums, and renamed
    when it is complete; one that is deleted loses its name first. A checkpoint whose
    files do not match its checksums (truncated disk) is passed over with a warning, so
    that the one before it is used. Arguments are those of Checkpointer.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._known_intact, self._warned = set(), set()

    def save_checkpoint(
        self, meta=None, end_of_epoch=True, name=None, verbosity=logging.INFO
    ):
        """Saves a checkpoint; see Checkpointer.save_checkpoint.

        Raises
        ------
        OSError
            Naming the folder, if the checkpoint cannot be written (full disk).
        """
        if if_main_process():
            for leftover in self.checkpoints_dir.glob(f"{DELETED}*"):
                shutil.rmtree(leftover)
            shutil.rmtree(self.checkpoints_dir / UNFINISHED, ignore_errors=True)
        try:
            saved = self._save_unfinished(meta or {}, end_of_epoch, name)
            ddp_barrier()  # every process has written its part
            if if_main_process():
                saved = self._finish(saved)
                logger.log(verbosity, f"Saved a checkpoint in {saved.path}")
        except (OSError, RuntimeError) as error:
            # torch's own writer raises a RuntimeError that speaks of its stream.
            if not isinstance(error, OSError) and "iostream" not in str(error):
                raise
            raise OSError(
                f"{self.checkpoints_dir}: the checkpoint could not be written "
                f"({error}): is the disk full? Earlier ones are whole. Make room; the "
                "same command resumes"
            ) from error
        ddp_barrier()  # it has its name before anybody looks for it
        return saved

    def _save_unfinished(self, meta, end_of_epoch, name):
        """Writes a checkpoint where nobody looks for one, under the name to be."""
        folder = self.checkpoints_dir
        self.checkpoints_dir = folder / UNFINISHED
        try:
            if name is None:
                stamp = time.strftime("%Y-%m-%d+%H-%M-%S")
                names = (f"{stamp}+{number:02}" for number in itertools.count())
                name = next(n for n in names if not (folder / f"CKPT+{n}").exists())
            return super().save_checkpoint(meta, end_of_epoch, name, logging.DEBUG)
        finally:
            self.checkpoints_dir = folder

    def _finish(self, saved):
        """Seals a written checkpoint and gives it its name."""
        final = self.checkpoints_dir / saved.path.name
        _seal(saved.path)
        os.replace(saved.path, final)
        self._known_intact.add(final)
        files = {key: final / path.name for key, path in saved.paramfiles.items()}
        return saved._replace(path=final, paramfiles=files)

    def delete_checkpoints(
        self,
        *,
        num_to_keep=1,
        min_keys=(),
        max_keys=(),
        importance_keys=(ckpt_recency,),
        ckpt_predicate=None,
        verbosity=logging.INFO,
    ):
        """Deletes the least important; see Checkpointer.delete_checkpoints.

        That one deletes file by file under the checkpoint's name: a kill meanwhile
        would leave a checkpoint that is reported as damaged ever after.
        """
        orders = [{"min_key": key} for key in min_keys]
        orders += [{"max_key": key} for key in max_keys]
        orders += [{"importance_key": key} for key in importance_keys]
        found = [
            self.find_checkpoints(ckpt_predicate=ckpt_predicate, **order)
            for order in orders
        ]
        kept = {ckpt.path for order in found for ckpt in order[:num_to_keep]}
        ddp_barrier()  # nobody looks for checkpoints while they are deleted
        if if_main_process():
            for path in {ckpt.path for order in found for ckpt in order} - kept:
                nameless = path.with_name(DELETED + path.name)
                os.replace(path, nameless)
                shutil.rmtree(nameless)
                logger.log(verbosity, f"Deleted the checkpoint {path}")
        ddp_barrier()

    def _list_checkpoint_dirs(self):
        """Lists intact checkpoints; SpeechBrain has no public place to pass over one,
        and reads the files of each that it lists.
        """
        found = super()._list_checkpoint_dirs()
        intact = [path for path in found if self._intact(path)]
        if found and not intact:
            raise RuntimeError(
                f"{self.checkpoints_dir}: all {len(found)} checkpoints are damaged. "
                "Remove the folder to start the run from the beginning"
            )
        return intact

    def _intact(self, path):
        if path in self._known_intact:
            return True
        if _matches_seal(path):
            self._known_intact.add(path)
            return True
        if path not in self._warned:
            self._warned.add(path)
            logger.warning(
                f"{path}: this checkpoint is damaged (its files do not match its "
                "checksums) and is passed over for the one before it. Remove the "
                "folder when you no longer need it"
            )
        return False


def _digest(path):
    return blake2b(path.read_bytes(), digest_size=16).hexdigest()


def _seal(folder):
    """Writes the checksums of a folder's files, and all of it through to the disk."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    sums = {path.name: _digest(path) for path in files}
    (folder / CHECKSUMS).write_text(json.dumps(sums, indent=1), encoding="utf-8")
    for path in [*files, folder / CHECKSUMS]:
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def _matches_seal(folder):
    try:
        sums = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
        files = {path.name for path in folder.iterdir()} - {CHECKSUMS}
        return files == set(sums) and all(
            _digest(folder / name) == sums[name] for name in files
        )
    except (FileNotFoundError, TypeError, ValueError):
        return False
