"""Selective scan in plain PyTorch, on every device, in chunks of items and of time.

All work is time-major, [time, items, states, channels], so that one step of the
recurrence is one multiply-add over contiguous memory and sums over states or channels
are products of matrices. Forward keeps the states at the chunks' starts only; backward
computes each chunk's states again.
"""

import math

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import softplus

# Elements of a time step and of a chunk. On CPUs a step is long enough to be shared by
# threads, and the three work buffers of a chunk stay in an L3 cache (12 MiB); on other
# devices they are as large as 0.4 GiB, since there every operation costs a launch.
CPU_STEP, CPU_CHUNK = 2**16, 2**20
OTHER_STEP, OTHER_CHUNK = 2**22, 2**25


def unavailable(device):
    """Returns None: every device can be served."""
    return None


def scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus):
    """Returns the selective scan, [batch, channels, length]."""
    return _Scan.apply(u, delta, A, B, C, D, z, delta_bias, delta_softplus)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u, delta, A, B, C, D, z, delta_bias, delta_softplus):
        chunks = _Chunks(u, delta, A, B, C, delta_bias, delta_softplus)
        starts = chunks.new_starts()
        output = _channel_last(u)
        for items in chunks.items:
            state = torch.zeros_like(starts[0, items])
            for index, times in enumerate(chunks.times):
                starts[index, items] = state
                chunk = chunks.compute(times, items, starts[index, items])
                state = chunk.states[-1]  # until the next chunk takes the buffers
                y = chunk.output(D)
                if z is not None:
                    gate = chunks.take(z, times, items)
                    y *= gate * gate.sigmoid()
                _time_major(output)[times, items] = y
        ctx.save_for_backward(u, delta, A, B, C, D, z, delta_bias, starts)
        ctx.delta_softplus = delta_softplus
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx, d_output):
        with torch.autocast(d_output.device.type, enabled=False):
            return *_gradients(d_output, *ctx.saved_tensors, ctx.delta_softplus), None


def _gradients(d_output, u, delta, A, B, C, D, z, delta_bias, starts, delta_softplus):
    """Returns the gradients of u, delta, A, B, C, D, z and delta_bias."""
    chunks = _Chunks(u, delta, A, B, C, delta_bias, delta_softplus)
    d_u, d_delta, d_B, d_C = (_channel_last(x) for x in (u, delta, B, C))
    d_z = None if z is None else _channel_last(z)
    d_A = torch.zeros_like(A)
    d_D = None if D is None else torch.zeros_like(D)
    d_bias = None if delta_bias is None else torch.zeros_like(delta_bias)
    for items in chunks.items:
        d_state = torch.zeros_like(starts[0, items])
        for index, times in reversed(list(enumerate(chunks.times))):
            start = starts[index, items]
            chunk = chunks.compute(times, items, start)
            d_y = chunks.take(d_output, times, items)
            if z is not None:
                gate = chunks.take(z, times, items)
                open_ = gate.sigmoid()
                slope = open_ * (1 + gate * (1 - open_))
                _time_major(d_z)[times, items] = d_y * chunk.output(D) * slope
                d_y = d_y * (gate * open_)
            chunk_d_u, d_step, chunk_d_B, chunk_d_C = chunk.backward(
                d_y, start, d_state, d_A
            )
            if D is not None:
                chunk_d_u += D * d_y
                d_D += (chunk.u * d_y).sum((0, 1))
            if delta_softplus:
                d_step *= chunk.raw_step.sigmoid()
            if delta_bias is not None:
                d_bias += d_step.sum((0, 1))
            _time_major(d_u)[times, items] = chunk_d_u
            _time_major(d_delta)[times, items] = d_step
            _time_major(d_B)[times, items] = chunk_d_B
            _time_major(d_C)[times, items] = chunk_d_C
    return d_u, d_delta, d_A, d_B, d_C, d_D, d_z, d_bias


def _time_major(x):
    """Returns the view [time, batch, features] of a tensor [batch, features, time]."""
    return x.permute(2, 0, 1)


def _channel_last(x):
    """Returns an empty tensor of x's shape whose features lie side by side."""
    batch, features, length = x.shape
    return x.new_empty(batch, length, features).transpose(1, 2)


class _Chunks:
    """The scan's arguments cut into chunks, whose states share work buffers."""

    def __init__(self, u, delta, A, B, C, delta_bias, delta_softplus):
        self.u, self.delta, self.B, self.C = u, delta, B, C
        self.A = A.T.contiguous()
        self.delta_bias = delta_bias
        self.delta_softplus = delta_softplus
        batch, channels, length = u.shape
        on_cpu = u.device.type == "cpu"
        step, chunk = (CPU_STEP, CPU_CHUNK) if on_cpu else (OTHER_STEP, OTHER_CHUNK)
        items = min(batch, max(1, step // A.numel()))
        times = min(length, max(1, chunk // (items * A.numel())))
        self.items = [slice(i, i + items) for i in range(0, batch, items)]
        self.times = [slice(t, t + times) for t in range(0, length, times)]
        self.buffers = A.new_empty(3, times * items * A.numel())

    def new_starts(self):
        """Returns an empty tensor for the states before each chunk of time."""
        return self.A.new_empty(len(self.times), len(self.u), *self.A.shape)

    def take(self, x, times, items):
        """Returns a chunk of a tensor [batch, features, time], time-major.

        It may be a view of the tensor, so it is not to be written to.
        """
        return _time_major(x)[times, items].to(self.A.dtype).contiguous()

    def compute(self, times, items, start):
        """Returns the chunk whose states follow the state ``start``."""
        raw_step = self.take(self.delta, times, items)
        if self.delta_bias is not None:
            raw_step = raw_step + self.delta_bias
        return _Chunk(
            *(self.take(x, times, items) for x in (self.u, self.B, self.C)),
            raw_step,
            softplus(raw_step) if self.delta_softplus else raw_step,
            self.A,
            start,
            self.buffers,
        )


class _Chunk:
    """States of some items at some times; inputs are [time, items, features]."""

    def __init__(self, u, B, C, raw_step, step, A, start, buffers):
        self.u, self.B, self.C, self.A = u, B, C, A
        self.raw_step, self.step = raw_step, step
        self.scaled = step * u
        shape = (*u.shape[:2], *A.shape)
        self.decay, self.states, self.product = (
            buffer[: math.prod(shape)].view(shape) for buffer in buffers
        )
        # exp2 is three times as fast as exp on CPUs
        torch.mul(step[:, :, None], A * math.log2(math.e), out=self.decay).exp2_()
        torch.mul(B[..., None], self.scaled[:, :, None], out=self.states)
        for state, decay in zip(self.states, self.decay, strict=True):
            start = state.addcmul_(decay, start)

    def output(self, D):
        """Returns <C, state> + D u, [time, items, channels]."""
        y = _over_states(self.C, self.states)
        return y if D is None else y.addcmul_(D, self.u)

    def backward(self, d_y, start, d_state, d_A):
        """Returns the gradients of u, step size, B and C.

        ``d_state`` is the gradient of the state that the chunk hands on, and becomes
        that of its start; the gradient of A is added to ``d_A``.
        """
        d_C = _over_channels(d_y, self.states)
        torch.mul(self.decay[1:], self.states[:-1], out=self.product[1:])
        torch.mul(self.decay[0], start, out=self.product[0])

        d_states = torch.mul(self.C[..., None], d_y[:, :, None], out=self.states)
        gradients = d_states.unbind()
        decays = self.decay.unbind()
        gradients[-1].add_(d_state)
        for t in reversed(range(1, len(gradients))):
            gradients[t - 1].addcmul_(decays[t], gradients[t])
        torch.mul(decays[0], gradients[0], out=d_state)

        d_B = _over_channels(self.scaled, d_states)
        d_scaled = _over_states(self.B, d_states)
        d_exponent = self.product.mul_(d_states)
        d_rate = torch.zeros_like(start)
        for gradient, step in zip(d_exponent, self.step, strict=True):
            d_rate.addcmul_(gradient, step[:, None])
        d_A += d_rate.sum(0).T
        d_step = d_exponent.mul_(self.A).sum(2).addcmul_(self.u, d_scaled)
        return d_scaled.mul_(self.step), d_step, d_B, d_C


def _over_states(rows, states):
    """Returns the sum of rows [.., states] times states [.., states, channels]."""
    return (rows.flatten(0, 1)[:, None] @ states.flatten(0, 1)).view(
        *rows.shape[:2], -1
    )


def _over_channels(rows, states):
    """Returns the sum of rows [.., channels] times states [.., states, channels]."""
    return (rows.flatten(0, 1)[:, None] @ states.flatten(0, 1).mT).view(
        *rows.shape[:2], -1
    )
