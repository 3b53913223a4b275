"""The class by which a stock SpeechBrain loads an export that carries its own modules.

An export holds this file as custom.py, beside the folder extra_models.
"""

import sys
from pathlib import Path

from speechbrain.inference.separation import SepformerSeparation

# SpeechBrain may have linked this file alone into its savedir.
sys.path.append(str(Path(__file__).resolve().parent))


class CustomInterface(SepformerSeparation):
    """SpeechBrain's separation interface for a model that is one module.

    ``separate_batch`` and ``separate_file`` are those of SepformerSeparation.
    """

    MODULES_NEEDED = ["separator"]

    def separate_batch(self, mix):
        """Separates mixtures [batch, time] into estimates [batch, time, sources]."""
        return self.mods.separator(mix.to(self.device)).mT
