"""Selective scan by the CUDA kernels of mamba-ssm, where that is installed."""

from mamba_ssm.ops.selective_scan_interface import selective_scan_fn


def unavailable(device):
    """Returns why tensors on a device cannot be scanned, None if they can."""
    if device.type != "cuda":
        return f"its kernels need a CUDA device, not {device.type}"
    return None


def scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus):
    """Returns the selective scan, [batch, channels, length]."""
    return selective_scan_fn(u, delta, A, B, C, D, z, delta_bias, delta_softplus)
