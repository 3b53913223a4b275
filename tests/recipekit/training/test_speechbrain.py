"""What the library overrides of SpeechBrain's private methods is still there."""

import inspect

import pytest
import speechbrain as sb
from speechbrain.utils.checkpoints import Checkpointer

from recipekit.training.brain import RecipeBrain
from recipekit.training.checkpoints import SafeCheckpointer

OVERRIDDEN = [
    (
        sb.Brain,
        "_should_save_intra_epoch_ckpt",
        ["self", "last_ckpt_time", "steps_since_ckpt"],
        "_fit_train",
    ),
    (Checkpointer, "_list_checkpoint_dirs", ["self"], "list_checkpoints"),
]


@pytest.mark.parametrize("owner, name, parameters, caller", OVERRIDDEN)
def test_is_called_as_it_was(owner, name, parameters, caller):
    """Renamed, with other arguments or called no more, it would be without effect."""
    assert list(inspect.signature(getattr(owner, name)).parameters) == parameters
    assert f"self.{name}(" in inspect.getsource(getattr(owner, caller))


def test_there_are_no_others():
    ours = {name for _, name, *_ in OVERRIDDEN}
    found = set()
    for ours_class in (RecipeBrain, SafeCheckpointer):
        for parent in ours_class.__mro__:
            if not parent.__module__.startswith("recipekit"):
                continue
            stock = [c for c in parent.__mro__ if "speechbrain" in c.__module__]
            found |= {
                name
                for name in vars(parent)
                if name.startswith("_")
                and not name.startswith("__")
                and any(hasattr(c, name) for c in stock)
            }
    assert found == ours
