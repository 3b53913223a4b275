"""What a forward pass keeps for the backward pass."""

import torch


def saved_sizes(model, x):
    """Returns the bytes of each memory block that ``model(x)`` keeps for gradients."""
    sizes = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(x)
    assert output.requires_grad
    return sizes.values()
