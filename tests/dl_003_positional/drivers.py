"""What runs beside the learner's code. A driver gets the learner's module, then data, and returns data."""

import torch


def _table(module, weight):
    """The learner's LearnedPositions with this weight, copied into its own parameter."""
    layer = module.LearnedPositions(*weight.shape).to(weight.dtype)
    layer.load_state_dict({"weight": weight.detach()})
    return layer


def learned_shapes(module, length, dim):
    """Name and shape of each entry of the state dict, and which of them are trained."""
    layer = module.LearnedPositions(length, dim)
    shapes = {name: list(value.shape) for name, value in layer.state_dict().items()}
    return shapes, [name for name, value in layer.named_parameters() if value.requires_grad]


def learned(module, x, weight, positions, training=True):
    """x with learned positions. The weight is an argument, so that a gradient can be asked for."""
    layer = _table(module, weight).train(training)
    return torch.func.functional_call(layer, {"weight": weight}, (x, positions))


def learned_one_by_one(module, weight, rows):
    """One layer, called with each (x, positions) in turn."""
    layer = _table(module, weight)
    with torch.no_grad():
        return [layer(*row) for row in rows]


def moved(module, ks, positions, dim, base):
    """shift_matrix for each k, and what it makes of the learner's own table at each position."""
    matrices = [module.shift_matrix(k, dim, base) for k in ks]
    table = module.sinusoidal(positions, dim, base)
    return matrices, [table @ matrix.T for matrix in matrices]


def scores(module, q, k, placed, base, layout, rotary_dim):
    """The scores of q at m and k at n, for each (m, n) of `placed`: tensors of positions."""
    told = []
    for m, n in placed:
        left = module.apply_rope(q, m, base, layout, rotary_dim)
        told.append(left @ module.apply_rope(k, n, base, layout, rotary_dim).mT)
    return told
