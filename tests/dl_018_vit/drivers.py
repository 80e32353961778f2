"""What runs beside the learner's code. A driver gets the learner's module, then data, and returns data."""

import torch


def _loaded(made, weights):
    """A module with the weights of the check, in their dtype. What it keeps beyond them is its own affair."""
    made = made.to(next(iter(weights.values())).dtype)
    made.load_state_dict(weights, strict=False)
    return made


def there_and_back(module, images, patch):
    """patchify, then unpatchify."""
    return module.unpatchify(module.patchify(images, patch), patch, tuple(images.shape[2:]))


def windows_there_and_back(module, x, window):
    """window_partition, then window_merge."""
    return module.window_merge(module.window_partition(x, window), window, tuple(x.shape[1:3]))


def _measured(layer, x, training, passes, meter, **options):
    """What a layer gives, detached. passes: 0 with gradients off, 1 forward with gradients on, 2 backward too."""
    layer.train(training)
    x = x.clone().requires_grad_(passes == 2)  # in a first layer, that is passes = 1, the input needs none
    with meter, torch.set_grad_enabled(passes > 0):
        y = layer(x, **options)
        if passes == 2:
            y.sum().backward()
    return y.detach()


def embed(module, weights, images):
    """PatchEmbedding of its weights' sizes."""
    d, c, p, _ = weights["weight"].shape
    return _loaded(module.PatchEmbedding(c, p, d), weights)(images)


def in_turn(module, kind, sizes, weights, method="__call__", *, turns):
    """What one module of that class gives in each turn, read when all is done."""
    made = getattr(module, kind)
    model = _loaded(made(**sizes) if isinstance(sizes, dict) else made(*sizes), weights)
    return [getattr(model, method)(*inputs) for inputs in turns]


def embed_cost(module, weights, images, training, passes, *, meter):
    """The same in training or evaluation, in a number of passes (see _measured)."""
    d, c, p, _ = weights["weight"].shape
    return _measured(_loaded(module.PatchEmbedding(c, p, d), weights), images, training, passes, meter)


def embed_gradients(module, images, weight, bias, training):
    """PatchEmbedding with weights from outside, so that they may get gradients."""
    d, c, p, _ = weight.shape
    layer = module.PatchEmbedding(c, p, d).to(weight.dtype).train(training)
    return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (images,))


def block(module, weights, heads, x):
    """One encoder block: its tokens and its attention weights."""
    return _loaded(module.EncoderBlock(x.shape[-1], heads), weights)(x)


def block_gradients(module, x, *weights, heads, names, training):
    """One encoder block with weights from outside; its tokens and its maps, flat, side by side."""
    made = module.EncoderBlock(x.shape[-1], heads).to(x.dtype).train(training)
    tokens, maps = torch.func.functional_call(made, dict(zip(names, weights, strict=True)), (x,))
    return torch.cat([tokens.flatten(1), maps.flatten(1)], 1)


def features(module, config, weights, *batches):
    """VisionTransformer.features of each batch of images, by one model."""
    model = _loaded(module.VisionTransformer(**config), weights)
    return [model.features(images) for images in batches]


def classify(module, config, weights, images):
    """VisionTransformer.forward in training mode, then in eval mode."""
    model = _loaded(module.VisionTransformer(**config), weights)
    return [model.train(training)(images) for training in (True, False)]


def classify_gradients(module, images, *weights, config, names, training):
    """Logits (of two heads in training: side by side) with weights from outside, so that they may get gradients."""
    model = module.VisionTransformer(**config).to(images.dtype).train(training)
    out = torch.func.functional_call(model, dict(zip(names, weights, strict=True)), (images,))
    return torch.cat(out, -1) if isinstance(out, tuple) else out


def _window_attention(module, sizes, weights):
    return _loaded(module.WindowAttention(*sizes), weights)


def window_attention(module, sizes, weights, x, shifts):
    """WindowAttention of sizes (dim, heads, window), once for each shift; None: left to its default."""
    layer = _window_attention(module, sizes, weights)
    return [layer(x) if shift is None else layer(x, shift) for shift in shifts]


def window_attention_cost(module, sizes, weights, x, shift, training, passes, *, meter):
    """WindowAttention in training or evaluation, in a number of passes."""
    return _measured(_window_attention(module, sizes, weights), x, training, passes, meter, shift=shift)


def window_attention_gradients(module, x, *weights, sizes, names, shift, training):
    """WindowAttention with weights from outside, so that they may get gradients."""
    layer = module.WindowAttention(*sizes).to(x.dtype).train(training)
    return torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (x, shift))


def distillation(module, given, kind, options):
    return module.distillation_loss(*given, kind, **options)


def refused(module, name, calls, options=()):
    """For each tuple of arguments, the name of the exception that it raises ("" if none)."""
    said = []
    for args in calls:
        try:
            getattr(module, name)(*args, **dict(options))
            said.append("")
        except NotImplementedError:
            raise
        except Exception as error:
            said.append("ValueError" if isinstance(error, ValueError) else type(error).__name__)
    return said


def refused_by_module(module, name, sizes, calls):
    """The same for a module that is made of `sizes`; each call begins with the name of its method."""
    made = getattr(module, name)(*sizes)
    said = []
    for method, *args in calls:
        try:
            getattr(made, method)(*args)
            said.append("")
        except NotImplementedError:
            raise
        except Exception as error:
            said.append("ValueError" if isinstance(error, ValueError) else type(error).__name__)
    return said
