"""What `transformer_full.py` makes, as pictures: run beside it, from inputs of their own. `grader picture 10` prints
them.
"""

import torch

_DEPTHS = [1, 2, 4, 8, 16, 32]


def _stack(kind, depth, generator):
    """Blocks of one kind with Xavier's initial weights."""
    torch.manual_seed(0)
    blocks = [kind(32, 4).double() for _ in range(depth)]
    for block in blocks:
        for parameter in block.parameters():
            if parameter.dim() == 2:
                torch.nn.init.xavier_normal_(parameter, generator=generator)
    return blocks


def activations(module):
    """What a feed-forward network of width 1, whose weights are 1, makes of a number."""
    x = torch.linspace(-3, 2, 61)[:, None]
    series = {}
    for kind in ("relu", "gelu", "gelu_tanh", "swiglu"):
        network = module.FeedForward(1, 1, kind)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
            series[kind] = network(x).flatten()
    return {"x": x.flatten(), "series": series}


def stream_by_depth(module):
    """The root mean square of the residual stream behind each block."""
    series = {}
    for name, kind in (("pre-norm", module.PreNormBlock), ("post-norm", module.PostNormBlock)):
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(2, 8, 32, generator=generator, dtype=torch.float64)
        sizes = [x.square().mean().sqrt()]
        with torch.no_grad():
            for block in _stack(kind, 16, generator):
                x = block(x)
                sizes.append(x.square().mean().sqrt())
        series[name] = torch.stack(sizes)
    return {"x": list(range(17)), "series": series}


def influence_of_tokens(module):
    """How far the logits at a position move when another token stands at a place, on average over what it is."""
    model = module.DecoderLM(11, 8, 16, 2, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5.0)  # initial weights are so small that tokens hardly speak to each other
    tokens = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])
    changed = tokens.repeat(8, 1)
    changed[range(8), range(8)] = (tokens[0] + 3) % 11
    with torch.no_grad():
        moved = (model(changed) - model(tokens)).norm(dim=-1)
    return moved.T


def gradient_by_depth(module):
    """The gradient's norm in the last block of a stack, at the start of training, by how many blocks there are."""
    series = {}
    for name, kind in (("pre-norm", module.PreNormBlock), ("post-norm", module.PostNormBlock)):
        series[name] = []
        for depth in _DEPTHS:
            generator = torch.Generator().manual_seed(0)
            x, upstream = torch.randn(2, 2, 8, 32, generator=generator, dtype=torch.float64)
            blocks = _stack(kind, depth, generator)
            end = torch.nn.LayerNorm(
                32
            ).double()  # a model of pre-norm blocks ends with one; behind post-norm it changes little
            series[name].append(module.gradient_norm_by_depth([*blocks, end], x, upstream)[-2])
    return {"x": _DEPTHS, "series": series}
