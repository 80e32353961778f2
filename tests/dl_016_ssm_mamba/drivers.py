"""What runs beside the learner's code. A driver gets the learner's module, then data, and returns data."""

import torch
from torch import nn


def _bare(out):
    """The same values without their graph."""
    return [x.detach() for x in out] if isinstance(out, tuple | list) else out.detach()


def measured(module, name, args, options, mode, *, meter):
    """One call, measured alone: "as given", under "no_grad", or with "gradients" asked for."""
    if mode == "gradients":
        args = [x.requires_grad_() if isinstance(x, torch.Tensor) else x for x in args]
    with torch.set_grad_enabled(mode != "no_grad"), meter:
        out = getattr(module, name)(*args, **options)
    return _bare(out)


def discretized(module, a, b, dt, method):
    """Both results, as a list."""
    a_bar, b_bar = module.discretize(a, b, dt, method)
    return [a_bar, b_bar]


def recurrence(module, a, b, c, x, state, chunks):
    """ssm_recurrence over x cut into chunks: the outputs side by side, and the last state. state None: left out."""
    ys = []
    for piece in x.split(chunks, 1):
        if state is None:
            y, state = module.ssm_recurrence(a, b, c, piece)
        else:
            y, state = module.ssm_recurrence(a, b, c, piece, state)
        ys.append(y)
    return torch.cat(ys, 1), state


def kernel_of_parts(module, a, a_i, b, b_i, c, c_i, length):
    """ssm_kernel of complex numbers, given as real and imaginary parts that may want gradients."""
    return module.ssm_kernel(torch.complex(a, a_i), torch.complex(b, b_i), torch.complex(c, c_i), length)


def scan(module, name, x, dt, A, B, C, D, state, chunks, chunk):
    """selective_scan or chunked_scan over tokens cut into calls. D, state, chunk None: left out."""
    more = {} if chunk is None else {"chunk": chunk}
    ys = []
    for pieces in zip(*(each.split(chunks, 1) for each in (x, dt, B, C)), strict=True):
        x_now, dt_now, B_now, C_now = pieces
        given = dict(more) if D is None else {**more, "D": D}
        if state is not None:
            given["state"] = state
        y, state = getattr(module, name)(x_now, dt_now, A, B_now, C_now, **given)
        ys.append(y)
    return torch.cat(ys, 1), state


def dt_bias(module, d, low, high, seed, other):
    """Twice with generators of one seed, torch's own seeded by `other` and by other + 1. Bounds None: left out."""
    drawn = []
    for i in range(2):
        torch.default_generator.manual_seed(other + i)
        generator = torch.Generator().manual_seed(seed)
        bounds = () if low is None else (low, high)
        drawn.append(module.initial_dt_bias(d, *bounds, generator=generator))
    return drawn


def dt_bias_of_torch(module, d, seed):
    """Twice after the same torch.manual_seed, without a generator."""
    drawn = []
    for _ in range(2):
        torch.default_generator.manual_seed(seed)
        drawn.append(module.initial_dt_bias(d))
    return drawn


def new_block(module, dim, d_state, seed, other):
    """The names and shapes of a new block, what was not drawn, and dt_proj.bias drawn twice from one seed."""
    biases = []
    for i in range(2):
        torch.default_generator.manual_seed(other + i)
        block = module.MambaBlock(dim, d_state, generator=torch.Generator().manual_seed(seed))
        biases.append(block.dt_proj.bias.detach().clone())
    shapes = {name: list(weight.shape) for name, weight in block.state_dict().items()}
    trained = sorted(name for name, weight in block.named_parameters() if weight.requires_grad)
    return {"shapes": shapes, "trained": trained, "A_log": block.A_log, "D": block.D, "biases": biases}


def drawn_block(module, dim, d_state, generator):
    """What a new block draws from its generator."""
    return {"dt_proj.bias": module.MambaBlock(dim, d_state, generator=generator).dt_proj.bias}


def _block(module, sizes, weights):
    block = module.MambaBlock(*sizes).to(weights["D"].dtype)
    block.load_state_dict(weights)
    return block


def block_select(module, sizes, weights, u):
    return list(_block(module, sizes, weights).select(u))


def block_calls(module, sizes, weights, x, calls):
    """x: (b, l, dim), read by calls in order: a number of tokens for `forward`, "step" for one token.

    Returns the outputs side by side, the last state, and whether a state that was given is still what it was.
    """
    block = _block(module, sizes, weights)
    ys, state, kept, at = [], None, True, 0
    for call in calls:
        before = None if state is None else [each.clone() for each in state]
        given = state
        if call == "step":
            y, state = block.step(x[:, at], block.empty_state(len(x)) if state is None else state)
            y = y[:, None]
        elif state is None:
            y, state = block(x[:, at : at + call])
        else:
            y, state = block(x[:, at : at + call], state)
        at += y.shape[1]
        ys.append(y)
        if before is not None:
            kept = kept and all(torch.equal(old, now) for old, now in zip(before, given, strict=True))
    return torch.cat(ys, 1), list(state), kept


def block_from_state(module, sizes, weights, x, conv, ssm, how):
    """One call of "forward" or "step" from a state that a check made up."""
    block = _block(module, sizes, weights)
    if how == "step":
        y, state = block.step(x[:, 0], (conv, ssm))
        return y[:, None], list(state)
    y, state = block(x, (conv, ssm))
    return y, list(state)


class _Stepper(nn.Module):
    """A block whose forward is `step`, for functional_call."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, x, state):
        y, state = self.block.step(x.squeeze(1), state)
        return y[:, None], state


def block_gradients(
    module, x, in_proj, conv1d, conv_bias, x_proj, dt_proj, dt_bias, A_log, D, out_proj, sizes, calls, training
):
    """forward on pieces of x, "step" on one token, with weights from outside, so that they may get gradients."""
    weights = {
        "in_proj.weight": in_proj,
        "conv1d.weight": conv1d,
        "conv1d.bias": conv_bias,
        "x_proj.weight": x_proj,
        "dt_proj.weight": dt_proj,
        "dt_proj.bias": dt_bias,
        "A_log": A_log,
        "D": D,
        "out_proj.weight": out_proj,
    }
    block, state, ys = module.MambaBlock(*sizes).train(training), None, []
    inner = {f"block.{name}": value for name, value in weights.items()}
    for call, piece in zip(calls, x.split([1 if call == "step" else call for call in calls], 1), strict=True):
        if call == "step":
            y, state = torch.func.functional_call(_Stepper(block), inner, (piece, state))
        else:
            y, state = torch.func.functional_call(block, weights, (piece,) if state is None else (piece, state))
        ys.append(y)
    return torch.cat(ys, 1)


def _in_mode(block, x, mode):
    """The block in training or in eval, and x that asks for a gradient or not; mode as in `measured`."""
    return block.train(mode == "gradients"), x.requires_grad_() if mode == "gradients" else x


def block_forward_cost(module, x, sizes, weights, mode, *, meter):
    block, x = _in_mode(_block(module, sizes, weights), x, mode)
    with torch.set_grad_enabled(mode != "no_grad"), meter:
        return block(x)[0]


def block_step_cost(module, x, sizes, weights, mode, *, meter):
    """A prompt of all tokens but the last, then a step; the step is measured."""
    block, x = _in_mode(_block(module, sizes, weights), x, mode)
    with torch.set_grad_enabled(mode != "no_grad"):
        _, state = block(x[:, :-1])
        with meter:
            y, state = block.step(x[:, -1], state)
    return y, list(state)


def block_state_cost(module, sizes, weights, x, mode, *, meter):
    """Read a prompt, or take one token where x has no axis for them: what stays alive once the graph has gone."""
    block, x = _in_mode(_block(module, sizes, weights), x, mode)
    with torch.set_grad_enabled(mode != "no_grad"), meter:
        y, state = block(x) if x.dim() == 3 else block.step(x, block.empty_state(len(x)))
    y, state = y.detach(), _bare(state)
    meter.kept(y, state)
    return y, state


def block_empty(module, sizes, batch):
    return list(module.MambaBlock(*sizes).empty_state(batch))


def ssd(module, x, dt, A, B, C, state, chunks, chunk):
    """ssd over tokens cut into calls. state, chunk None: left out."""
    more = {} if chunk is None else {"chunk": chunk}
    ys = []
    for x_now, dt_now, B_now, C_now in zip(*(each.split(chunks, 1) for each in (x, dt, B, C)), strict=True):
        if state is None:
            y, state = module.ssd(x_now, dt_now, A, B_now, C_now, **more)
        else:
            y, state = module.ssd(x_now, dt_now, A, B_now, C_now, state, **more)
        ys.append(y)
    return torch.cat(ys, 1), state


def ssd_with_gradients(module, x, dt, A, B, C, state, chunk):
    return module.ssd(x, dt, A, B, C, state, chunk=chunk)


def scan_with_gradients(module, x, dt, A, B, C, D, state, name, chunk):
    """y and the last state of selective_scan, or of chunked_scan in chunks."""
    if name == "selective_scan":
        return module.selective_scan(x, dt, A, B, C, D, state)
    return module.chunked_scan(x, dt, A, B, C, D, state, chunk=chunk)
