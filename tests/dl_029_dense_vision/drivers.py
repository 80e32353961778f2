"""Runs beside the learner's code: makes networks from data, and returns data."""

import torch
from torch.nn import functional as F


def losses(module, raw, anchors, stride, boxes, labels, more):
    """The losses of yolo_loss in the order of their names, as tensors: their gradients can be asked for."""
    told = module.yolo_loss(raw, anchors, stride, boxes, labels, **more)
    return [told[name] for name in ("box", "object", "background", "classes", "total")]


def names_of_losses(module, raw, anchors, stride, boxes, labels):
    """What yolo_loss calls its losses."""
    return sorted(module.yolo_loss(raw, anchors, stride, boxes, labels))


def unet_shapes(module, channels, classes, width, depth):
    """The shape of each parameter of a new UNet, by name."""
    model = module.UNet(channels, classes, width=width, depth=depth)
    return {name: list(value.shape) for name, value in model.state_dict().items()}


def unet_count(module):
    """How many parameters the U-Net of 2015 has; none of them gets memory."""
    with torch.device("meta"):
        return sum(p.numel() for p in module.UNet(1, 2).parameters())


def unet(module, x, state, classes, width, depth, training=True):
    """A UNet with these parameters, of x."""
    model = module.UNet(x.shape[1], classes, width=width, depth=depth).to(x.dtype)
    model.load_state_dict(state)
    return model.train(training)(x)


def unet_gradients(module, x, state, classes, width, depth, g):
    """The gradient of each parameter of a UNet, by name, None where there is none."""
    model = module.UNet(x.shape[1], classes, width=width, depth=depth).to(x.dtype)
    model.load_state_dict(state)
    (model(x) * g).sum().backward()
    return {name: value.grad for name, value in model.named_parameters()}


def two_branches(module, x, point, first, second, pooled, project, rates):
    """An atrous_pyramid of two branches, each an argument, so that gradients reach them."""
    return module.atrous_pyramid(x, point, [first, second], rates, pooled, project)


def convnext(module, x, *values, training=True):
    """A ConvNeXtBlock whose parameters are these tensors, so that gradients reach them."""
    model = module.ConvNeXtBlock(x.shape[1]).to(x.dtype).train(training)
    names = [name for name, _ in model.named_parameters()]
    return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (x,))


def gap(module, kind, x, weight, positions, shift, stride):
    """equivariance_gap of a model made of these weights; and how often it ran, and whether anything was recorded."""
    seen = []

    def model(x):
        seen.append((torch.is_grad_enabled(), list(x.shape)))
        if kind == "patches":
            return (F.conv2d(x, weight, stride=weight.shape[-1]) + positions).tanh()
        sides = [weight.shape[-1] // 2] * 4
        return F.conv2d(F.pad(x, sides, mode="circular" if kind == "circular" else "constant"), weight).tanh()

    weight.requires_grad_()
    told = (
        module.equivariance_gap(model, x, shift) if stride is None else module.equivariance_gap(model, x, shift, stride)
    )
    weight.requires_grad_(False)
    return {"gap": told, "recorded": any(recorded for recorded, _ in seen), "shapes": [shape for _, shape in seen]}


def gap_alone(module, kind, x, weight, positions, shift, stride):
    """equivariance_gap alone of such a model."""
    return gap(module, kind, x, weight, positions, shift, stride)["gap"]


def unets_in_turn(module, xs, state, classes, width, depth):
    """What one UNet makes of several images, one after the other: in training, in eval, and under no_grad."""
    model = module.UNet(xs[0].shape[1], classes, width=width, depth=depth).to(xs[0].dtype)
    model.load_state_dict(state)
    told = {"in training": [model(x).detach() for x in xs]}
    model.eval()
    told["in eval"] = [model(x).detach() for x in xs]
    with torch.no_grad():
        told["in eval, under no_grad"] = [model(x) for x in xs]
    return told


def blocks_in_turn(module, xs, values):
    """What one ConvNeXtBlock makes of several maps, one after the other, under no_grad."""
    model = module.ConvNeXtBlock(xs[0].shape[1]).to(xs[0].dtype)
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), values, strict=True):
            parameter.copy_(value)
        return [model(x) for x in xs]
