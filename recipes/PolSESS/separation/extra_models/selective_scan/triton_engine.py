"""The selective scan on CUDA, as Triton kernels (Mamba, arXiv 2312.00752, section 3).

A program takes one sequence of the batch and one block of channels. It keeps their
states, a tile [channels, N] in float32, in registers and walks over the steps of time.
The forward pass writes the states before every chunk of steps only; the backward pass
takes the chunks in reverse and computes the states of one chunk at a time again, into
memory that serves all chunks and is small enough to stay in the cache.

Sums over channels and over the batch are written as partial sums and added afterwards,
never with atomics, so that gradients are the same bits in every run.
"""

from __future__ import annotations

import torch

try:
    import triton
    from triton import language as tl

    jit = triton.jit
except ImportError:  # only Linux has it
    triton = None

    def jit(kernel):
        """Leaves kernels as they are where nothing can compile them."""
        return kernel


CHANNELS, STEPS = 32, 16  # of a program and of a chunk
OLDEST_CAPABILITY = (7, 0)  # of the GPUs that Triton compiles for


def unavailable(device):
    """Returns why the engine cannot run on a device, in one sentence, or None.

    Arguments
    ---------
    device : torch.device
        Where the tensors are. The CPU will do under Triton's interpreter
        (TRITON_INTERPRET=1 in the environment when this module is imported).
    """
    if triton is None:
        return "Triton is not installed"
    if not isinstance(_forward, triton.JITFunction):  # interpreted
        return None
    if device.type != "cuda":
        return f"Triton needs CUDA tensors, not {device.type} ones"
    if torch.cuda.get_device_capability(device) < OLDEST_CAPABILITY:
        return "Triton needs a GPU of compute capability 7.0 or later"
    try:
        triton.runtime.driver.active.get_current_target()
    except Exception as error:  # its launcher is built by a C compiler on first use
        return f"Triton cannot start: {error}"
    return None


def scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus):
    """Runs the selective scan; see ``selective_scan`` for its meaning.

    Arguments
    ---------
    u, delta : torch.Tensor
        Inputs and step sizes, [batch, channels, length], float32, bfloat16 or float16,
        of any strides.
    A : torch.Tensor
        [channels, N], negative.
    B, C : torch.Tensor
        [batch, N, length]
    D : torch.Tensor or None
        [channels]
    z : torch.Tensor or None
        Gate, [batch, channels, length].
    delta_bias : torch.Tensor or None
        [channels]
    delta_softplus : bool
        Whether step sizes are softplus(delta + delta_bias).

    Returns
    -------
    torch.Tensor
        [batch, channels, length], of u's dtype.

    Raises
    ------
    TypeError
        If u or A is float64, which would be computed in float32.
    """
    if torch.float64 in (u.dtype, A.dtype):
        raise TypeError(
            "the triton engine computes in float32, but u or A is float64: "
            "convert them, or ask for engine 'torch'"
        )
    return _Scan.apply(u, delta, A, B, C, D, z, delta_bias, delta_softplus)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u, delta, A, B, C, D, z, delta_bias, softplus):
        batch, channels, length = u.shape
        y = torch.empty_like(u)
        chunks = -(-length // STEPS)
        starts = A.new_empty(batch, chunks, channels, A.shape[1], dtype=torch.float32)
        inputs = (u, delta, A, B, C, D, z, delta_bias)
        operands = (*map(_strided, (*inputs, y)), starts)
        _launch(_forward, u, A, operands, softplus)
        ctx.save_for_backward(*inputs, starts)
        ctx.softplus = softplus
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy):
        *inputs, starts = ctx.saved_tensors
        u, delta, A, B, C, D, z, delta_bias = inputs
        batch, channels, length = u.shape
        du, ddelta = torch.empty_like(u), torch.empty_like(delta)
        dz = None if z is None else torch.empty_like(z)
        dA = starts.new_empty(batch, *A.shape)
        dB, dC = starts.new_empty(2, batch, _blocks(channels), length, A.shape[1])
        dD, dbias = starts.new_empty(2, batch, channels)
        states = starts.new_empty(batch, STEPS, *A.shape)
        operands = (*map(_strided, (*inputs, dy, du, ddelta, dz)), starts, states)
        operands += (dA, dB, dC, dD, dbias)
        _launch(_backward, u, A, operands, ctx.softplus)
        return (
            du,
            ddelta,
            dA.sum(0).to(A.dtype),
            dB.sum(1).mT.to(B.dtype),
            dC.sum(1).mT.to(C.dtype),
            None if D is None else dD.sum(0).to(D.dtype),
            dz,
            None if delta_bias is None else dbias.sum(0).to(delta_bias.dtype),
            None,
        )


def _blocks(channels):
    """Returns the number of blocks of channels."""
    return -(-channels // CHANNELS)


def _strided(tensor):
    """Returns a tensor and its strides, as the kernels take it; None for None."""
    return None if tensor is None else (tensor, *tensor.stride())


def _launch(kernel, u, A, operands, softplus):
    """Runs a kernel, a program for every item and block of channels."""
    batch, channels, length = u.shape
    states = A.shape[1]
    padded = triton.next_power_of_2(states)
    warps = 1 if padded <= 16 else min(padded // 8, 16)  # registers without spills
    with torch.cuda.device_of(u):
        kernel[batch, _blocks(channels)](
            *(*operands, channels, length),
            *(states, padded, softplus, CHANNELS, STEPS),
            num_warps=warps,
        )


@jit
def _load(x, batch, rows, t, mask):
    """Returns step t of rows of a sequence as float32, zeros beyond the mask."""
    pointers = x[0] + batch * x[1] + rows * x[2] + t * x[3]
    return tl.load(pointers, mask, 0.0).to(tl.float32)


@jit
def _store(x, batch, rows, t, mask, values):
    pointers = x[0] + batch * x[1] + rows * x[2] + t * x[3]
    tl.store(pointers, values.to(x[0].dtype.element_ty), mask)


@jit
def _load_vector(x, d, mask):
    """Returns D or the bias as float32, zeros in the place of None."""
    if x is None:
        return tl.zeros(d.shape, tl.float32)
    else:  # not to be compiled for None
        return tl.load(x[0] + d * x[1], mask, 0.0).to(tl.float32)


@jit
def _softplus(x):
    """Is max(x, 0) + log(1 + e), e = exp(-|x|), by the series of 2 artanh(e / (2 + e)).

    Exact to rounding where log(1 + e) of the hardware has lost the small e.
    """
    e = tl.exp(-tl.abs(x))
    s = e / (2 + e)
    square = s * s
    series = 1 / 11 + square / 13
    series = 1 / 9 + square * series
    series = 1 / 7 + square * series
    series = 1 / 5 + square * series
    series = 1 / 3 + square * series
    return tl.maximum(x, 0.0) + 2 * s * (1 + square * series)


@jit
def _load_step(u, delta, bias, B, batch, d, n, t, mask, mask_n, SOFTPLUS: tl.constexpr):
    """Returns u_t, Delta_t and B_t; zeros beyond the end, where the state stays."""
    step_size = _load(delta, batch, d, t, mask) + bias
    if SOFTPLUS:
        step_size = _softplus(step_size)
    step_size = tl.where(mask, step_size, 0.0)
    return _load(u, batch, d, t, mask), step_size, _load(B, batch, n, t, mask_n)


@jit
def _next_state(h, u, dt, A, B):
    """Returns h_t = exp(Delta_t A) h_{t-1} + Delta_t u_t B_t."""
    return tl.exp(dt[:, None] * A) * h + (dt * u)[:, None] * B[None, :]


@jit
def _forward(
    u,
    delta,
    A,
    B,
    C,
    D,
    z,
    bias,
    y,
    starts,
    channels,
    length,
    N: tl.constexpr,
    PADDED_N: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    CHANNELS: tl.constexpr,
    STEPS: tl.constexpr,
):
    """Writes the outputs y and the states before the chunks, `starts`.

    Operands are tuples of a pointer and its strides, but for the contiguous `starts`,
    [batch, chunks, channels, N].
    """
    batch = tl.program_id(0).to(tl.int64)
    d = tl.program_id(1).to(tl.int64) * CHANNELS + tl.arange(0, CHANNELS)
    n = tl.arange(0, PADDED_N)
    in_d, in_n = d < channels, n < N
    in_state = in_d[:, None] & in_n[None, :]
    A_tile = tl.load(A[0] + d[:, None] * A[1] + n[None, :] * A[2], in_state, 0.0)
    D_vector = _load_vector(D, d, in_d)
    bias_vector = _load_vector(bias, d, in_d)
    starts += batch * tl.cdiv(length, STEPS) * channels * N
    place = d[:, None] * N + n[None, :]
    h = tl.zeros([CHANNELS, PADDED_N], tl.float32)
    start = 0
    while start < length:
        tl.store(starts + place, h, in_state)
        for k in range(STEPS):
            t = start.to(tl.int64) + k
            mask = in_d & (t < length)
            mask_n = in_n & (t < length)
            u_t, dt, B_t = _load_step(
                u, delta, bias_vector, B, batch, d, n, t, mask, mask_n, SOFTPLUS
            )
            h = _next_state(h, u_t, dt, A_tile, B_t)
            C_t = _load(C, batch, n, t, mask_n)
            y_t = tl.sum(h * C_t[None, :], 1) + D_vector * u_t
            if z is not None:
                z_t = _load(z, batch, d, t, mask)
                y_t *= z_t * tl.sigmoid(z_t)
            _store(y, batch, d, t, mask, y_t)
        starts += channels * N
        start += STEPS


@jit
def _backward(
    u,
    delta,
    A,
    B,
    C,
    D,
    z,
    bias,
    dy,
    du,
    ddelta,
    dz,
    starts,
    states,
    dA,
    dB,
    dC,
    dD,
    dbias,
    channels,
    length,
    N: tl.constexpr,
    PADDED_N: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    CHANNELS: tl.constexpr,
    STEPS: tl.constexpr,
):
    """Writes the gradients; those of A, B, C, D and bias as partial sums.

    The gradient by the state is g_t = C_t dy_t + a_{t+1} g_{t+1}, a = exp(Delta A).
    Contiguous: `starts` as in the forward pass; `states`, the memory of one chunk,
    [batch, STEPS, channels, N]; dA, [batch, channels, N]; dB and dC, [batch, blocks,
    length, N]; dD and dbias, [batch, channels].
    """
    batch = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1).to(tl.int64)
    d = block * CHANNELS + tl.arange(0, CHANNELS)
    n = tl.arange(0, PADDED_N)
    in_d, in_n = d < channels, n < N
    in_state = in_d[:, None] & in_n[None, :]
    A_tile = tl.load(A[0] + d[:, None] * A[1] + n[None, :] * A[2], in_state, 0.0)
    D_vector = _load_vector(D, d, in_d)
    bias_vector = _load_vector(bias, d, in_d)
    chunks = tl.cdiv(length, STEPS)
    starts += (batch + 1) * chunks * channels * N
    states += batch * STEPS * channels * N
    place = d[:, None] * N + n[None, :]
    partial = (batch * tl.num_programs(1) + block) * length * N + n
    adjoint = tl.zeros([CHANNELS, PADDED_N], tl.float32)  # a_{t+1} g_{t+1}
    A_sum = tl.zeros([CHANNELS, PADDED_N], tl.float32)
    D_sum = tl.zeros([CHANNELS], tl.float32)
    bias_sum = tl.zeros([CHANNELS], tl.float32)
    start = (chunks - 1) * STEPS
    while start >= 0:
        starts -= channels * N
        h = tl.load(starts + place, in_state, 0.0)
        for k in range(STEPS):
            tl.store(states + k * channels * N + place, h, in_state)
            t = start.to(tl.int64) + k
            mask = in_d & (t < length)
            mask_n = in_n & (t < length)
            u_t, dt, B_t = _load_step(
                u, delta, bias_vector, B, batch, d, n, t, mask, mask_n, SOFTPLUS
            )
            h = _next_state(h, u_t, dt, A_tile, B_t)
        tl.debug_barrier()  # the states are there
        for back in range(STEPS):
            k = STEPS - 1 - back
            t = start.to(tl.int64) + k
            mask = in_d & (t < length)
            mask_n = in_n & (t < length)
            u_t, dt, B_t = _load_step(
                u, delta, bias_vector, B, batch, d, n, t, mask, mask_n, SOFTPLUS
            )
            C_t = _load(C, batch, n, t, mask_n)
            dy_t = _load(dy, batch, d, t, mask)
            before = tl.load(states + k * channels * N + place, in_state, 0.0)
            a = tl.exp(dt[:, None] * A_tile)
            retained = a * before
            dtu = dt * u_t
            h = retained + dtu[:, None] * B_t[None, :]
            if z is not None:
                z_t = _load(z, batch, d, t, mask)
                gate = tl.sigmoid(z_t)
                y_t = tl.sum(h * C_t[None, :], 1) + D_vector * u_t
                dz_t = dy_t * y_t * gate * (1 + z_t * (1 - gate))
                _store(dz, batch, d, t, mask, dz_t)
                dy_t *= z_t * gate
            tl.store(dC + partial + t * N, tl.sum(h * dy_t[:, None], 0), mask_n)
            g = dy_t[:, None] * C_t[None, :] + adjoint
            tl.store(dB + partial + t * N, tl.sum(g * dtu[:, None], 0), mask_n)
            adjoint = a * g
            dproduct = tl.sum(g * B_t[None, :], 1)  # by Delta_t u_t
            dexponent = g * retained  # by Delta_t A
            A_sum += dexponent * dt[:, None]
            ddt = tl.sum(dexponent * A_tile, 1) + dproduct * u_t
            if SOFTPLUS:
                x = _load(delta, batch, d, t, mask) + bias_vector
                ddt *= tl.sigmoid(x)
            _store(ddelta, batch, d, t, mask, ddt)
            _store(du, batch, d, t, mask, dproduct * dt + D_vector * dy_t)
            D_sum += dy_t * u_t
            bias_sum += ddt
        start -= STEPS
        tl.debug_barrier()  # the states have been read
    tl.store(dA + batch * channels * N + place, A_sum, in_state)
    tl.store(dD + batch * channels + d, D_sum, in_d)
    tl.store(dbias + batch * channels + d, bias_sum, in_d)
