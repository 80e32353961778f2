"""Runs beside the learner's code: BatchNorm over several batches, and its parts by name; returns data."""


def batch(module, x, weight, bias, *, running, **options):
    """`batch_norm`, where x, weight and bias may need gradients and the running statistics do not."""
    return module.batch_norm(x, weight, bias, *running, **options)


def batches(module, xs, weight, bias, running, **options):
    """Training over several batches, each with the statistics that the last one returned; what each gave."""
    told = []
    for x in xs:
        out, *running = module.batch_norm(x, weight, bias, *running, **options)
        told.append([out, *running])
    return told


def running_graphs(module, x, weight, bias, running):
    """Whether the running statistics of a training step need gradients, where x, weight and bias do."""
    given = [t.clone().requires_grad_() for t in (x, weight, bias)]
    out, mean, var = module.batch_norm(*given, *running)
    return {"out": out, "graphs": [bool(mean.requires_grad), bool(var.requires_grad)]}


def through_rms(module, x, w_in, b_in, weight, bias, w_out, b_out, *, others):
    """What the layers that layer_to_rms gives make of x, where it is called for other layers before and after."""
    module.layer_to_rms(*others[0])
    w_in, b_in, weight, w_out, b_out = module.layer_to_rms(w_in, b_in, weight, bias, w_out, b_out)
    module.layer_to_rms(*others[1])
    h = x @ w_in.T + b_in
    return h * h.square().mean(-1, keepdim=True).rsqrt() * weight @ w_out.T + b_out
