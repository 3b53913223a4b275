"""The dual-path RNN block of SpeechBrain with a dropout that acts."""

import torch
from speechbrain.lobes.models.dual_path import SBRNNBlock


class DropoutRNNBlock(SBRNNBlock):
    """SBRNNBlock whose output is dropped out while training.

    ``torch.nn.LSTM`` applies its own dropout only between stacked layers, so in a
    dual-path block, which has one layer, that argument does nothing. Parameters and
    evaluation are those of SBRNNBlock, which exports therefore name instead.

    Arguments
    ---------
    input_size : int
        Number of features of the input.
    hidden_channels : int
        Number of hidden units per direction.
    dropout : float
        Probability of an output being zeroed, in [0, 1).
    """

    def __init__(self, input_size, hidden_channels, dropout=0.0):
        super().__init__(input_size, hidden_channels, num_layers=1, dropout=0.0)
        self.dropout = torch.nn.Dropout(dropout)

    def forward(self, x):
        """Maps [batch, time, input_size] to [batch, time, 2 * hidden_channels]."""
        return self.dropout(super().forward(x))
