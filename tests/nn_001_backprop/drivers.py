"""Runs beside the learner's code: builds functions and graphs from data, and returns what came as data.

A program is a list of steps (operation, operands, arguments, options), one for each node that is made. An operand is
the number of a node (leaves come first), or a constant in a list of its own.
"""

import gc
import operator
import sys

import numpy as np

_OPERATORS = {
    "neg": operator.neg,
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
    "@": operator.matmul,
    "+=": operator.iadd,
    "*=": operator.imul,
}


def _built(leaves, program):
    """The leaves, and the node that each step makes."""
    nodes = list(leaves)
    for name, operands, arguments, options in program:
        given = [nodes[one] if isinstance(one, int) else one[0] for one in operands]
        if name in _OPERATORS:
            nodes.append(_OPERATORS[name](*given))
        else:
            nodes.append(getattr(given[0], name)(*arguments, **options))
    return nodes


def in_turn(module, name, cases):
    """What a function gives for each of these, seen once all calls are over."""
    return [getattr(module, name)(*one) for one in cases]


def _array(made):
    """A number of numpy's as an array without axes; all else as it is."""
    return np.asarray(made) if isinstance(made, np.generic) else made


# --- a function of an array -------------------------------------------------------------------------------------------


def numeric(module, x, cubes, pairs, options):
    """`numeric_gradient` of sum(cubes · x³) + x·pairs·x, how often f was called, and shapes that it was called with."""
    shapes = []

    def f(point):
        shapes.append(list(np.shape(point)))
        flat = np.reshape(point, -1)
        return float(np.sum(cubes * point**3) + flat @ pairs @ flat)

    grad = module.numeric_gradient(f, x, **options)
    strange = [shape for shape in shapes if shape != list(x.shape)]
    return {"grad": _array(grad), "calls": len(shapes), "strange": strange[:1]}


def numeric_alone(module, *asked):
    """The gradient alone, however often f was called."""
    return numeric(module, *asked)["grad"]


def numerics(module, cases):
    """The gradients of several such functions, seen once all calls are over."""
    found = [numeric(module, *one)["grad"] for one in cases]
    return [np.array(grad) for grad in found]


# --- dropout ----------------------------------------------------------------------------------------------------------


def dropped(module, x, p, seed, **options):
    """`dropout` with a generator of this seed; None for none."""
    return module.dropout(x, p, None if seed is None else np.random.default_rng(seed), **options)


def masks(module, shape, p, seed, calls):
    """The masks of so many calls with one generator, stacked."""
    rng, x = np.random.default_rng(seed), np.ones(shape)
    return np.stack([module.dropout(x, p, rng)[1] for _ in range(calls)])


def mask(module, x, p, rng):
    """The mask of one call."""
    return module.dropout(x, p, rng)[1].copy()


def idle(module, x, p, seed):
    """Whether a call in evaluation changes the state of its generator."""
    rng = np.random.default_rng(seed)
    start = rng.bit_generator.state
    module.dropout(x, p, rng, training=False)
    return bool(rng.bit_generator.state != start)


# --- Value ------------------------------------------------------------------------------------------------------------


def values(module, leaves, program, roots=(-1,), zeroed=False):
    """`data` of all nodes and, after `backward` of each root in turn, `grad` of all nodes.

    zeroed: whether the grads of the leaves are set to 0 in between, as a training loop does.
    """
    nodes = _built([module.Value(one) for one in leaves], program)
    grads = []
    for root in roots:
        nodes[root].backward()
        grads.append([float(node.grad) for node in nodes])
        for node in nodes[: len(leaves)] if zeroed else []:
            node.grad = 0.0
    return {"data": [float(node.data) for node in nodes], "grads": grads}


def untouched(module, leaves, program):
    """`data` and `grad` of the leaves and of all nodes before any backward, and whether each step made a new object."""
    nodes = _built([module.Value(one) for one in leaves], program)
    fresh = [all(made is not node for node in nodes[:i]) for i, made in enumerate(nodes)]
    kinds = [isinstance(node, module.Value) for node in nodes]
    return {
        "data": [n.data for n in nodes],
        "grads": [n.grad for n in nodes],
        "new": fresh,
        "kind": kinds,
    }


def given_grads(module, x):
    """The grads of x and of x·x after each backward of it: both set to 100 before, set once more, and left."""
    leaf, found = module.Value(x), []
    out = leaf * leaf
    for given in ((100.0, 100.0), (100.0, 100.0), None):
        if given:
            leaf.grad, out.grad = given
        out.backward()
        found.append((float(leaf.grad), float(out.grad)))
    return found


def descended(module, leaves, program, rate, steps):
    """The leaves after each step of gradient descent on the last node, in a new graph for each step."""
    held = [module.Value(one) for one in leaves]
    trace = []
    for _ in range(steps):
        _built(held, program)[-1].backward()
        for leaf in held:
            leaf.data -= rate * leaf.grad
            leaf.grad = 0.0
        trace.append([float(leaf.data) for leaf in held])
    return trace


def doubled(module, x, times, others):
    """x + x, and the sum with itself, so many times: what came, the grad of x, and how many lines backward ran.

    others: how many Values of another graph were made before.
    """
    held = module.Value(x)
    for _ in range(others):
        held = held + 1.0
    leaf = out = module.Value(x)
    for _ in range(times):
        out = out + out
    lines, before = 0, sys.gettrace()

    def traced(frame, event, argument):
        nonlocal lines
        lines += event == "line"
        return traced

    sys.settrace(traced)
    try:
        out.backward()
    finally:
        sys.settrace(before)
    return {"data": float(out.data), "grad": float(leaf.grad), "lines": lines}


def chained(module, x, length, kind):
    """A graph of that many steps: a chain, one whose every step takes the one before twice, or a sum of leaves."""
    first = out = module.Value(x)
    leaves = [first]
    for _ in range(length):
        if kind == "chain":
            out = out + 1.0
        elif kind == "ladder":
            out = out * 0.75 + out * 0.25
        else:
            leaves.append(module.Value(x))
            out = out + leaves[-1]
    out.backward()
    return {"data": float(out.data), "grads": [float(leaf.grad) for leaf in (leaves[0], leaves[-1])]}


# --- unbroadcast and Tensor -------------------------------------------------------------------------------------------


def unbroadcast(module, grad, shape):
    """`unbroadcast`."""
    return _array(module.unbroadcast(grad, tuple(shape)))


def tensors(module, leaves, program, upstream=None, roots=(-1,)):
    """`data` of all nodes and, after `backward` of each root in turn, `grad` of all nodes."""
    nodes = _built([module.Tensor(one) for one in leaves], program)
    grads = []
    for root in roots:
        nodes[root].backward() if upstream is None else nodes[root].backward(upstream)
        grads.append([np.array(node.grad) for node in nodes])
    return {"data": [np.array(node.data) for node in nodes], "grads": grads}


def fresh_tensors(module, leaves, program):
    """`data` and `grad` of all nodes before any backward, and whether each is a Tensor, and a new one."""
    nodes = _built([module.Tensor(one) for one in leaves], program)
    return {
        "data": [np.array(n.data) for n in nodes],
        "grads": [np.array(n.grad) for n in nodes],
        "kind": [isinstance(node, module.Tensor) for node in nodes],
        "new": [all(made is not node for node in nodes[:i]) for i, made in enumerate(nodes)],
    }


def shared_grads(module, leaves, program, upstream):
    """The grads of all nodes where, after backward, 1,000 was added in place to each in turn and taken off again.

    Row i has what the grads of the other nodes are, and upstream, while that of node i is larger.
    """
    nodes = _built([module.Tensor(one) for one in leaves], program)
    nodes[-1].backward(upstream)
    rows = []
    for node in nodes:
        kept, is_open = np.array(node.grad), node.grad.flags.writeable
        if is_open:
            node.grad += 1000
        rows.append([*(np.array(other.grad) for other in nodes if other is not node), upstream.copy()])
        if is_open:
            node.grad[...] = kept  # in place: a view of another grad stays one
    return rows


def shared_before_and_beside(module, leaves):
    """Grads to each of which 1,000 was added in place: before any backward, and of two roots after theirs."""
    a, b = (module.Tensor(one) for one in leaves)
    nodes = [a, b, a + b]
    for node in nodes:
        node.grad += 1000
    before = [np.array(node.grad) for node in nodes]
    roots = [a.sum(), b.sum()]
    for root in roots:
        root.backward()
    for root in roots:
        root.grad += 1000
    return {"before": before, "roots": [np.array(root.grad) for root in roots]}


def continued(module, x, grad):
    """The grad of x after backward of x·x; of x itself, once its grad is set to this one; and of x·x again."""
    leaf, found = module.Tensor(x), []
    out = leaf * leaf
    for root in (out, leaf, out):
        root.backward()
        found.append(np.array(leaf.grad))
        if len(found) == 1:
            leaf.grad = grad.copy()
    return found


def looked_up(module, table, indices, upstream, axis, *, meter):
    """A lookup along an axis and its backward pass, measured: what came, and the gradient of the table."""
    weights = module.Tensor(table)
    with meter:
        out = weights.take(indices, axis=axis)
        out.backward(upstream)
    return {"out": np.array(out.data), "grad": np.array(weights.grad)}


def stretched(module, x, length):
    """A chain of that many steps of a Tensor, and 60 doublings behind it: what came, and the grad of x."""
    leaf = out = module.Tensor(x)
    for _ in range(length):
        out = out + 1.0
    for _ in range(60):
        out = out + out
    total = out.sum()
    total.backward()
    return {"data": _array(total.data), "grad": np.array(leaf.grad)}


# --- jacobian ---------------------------------------------------------------------------------------------------------


def duals(module, numbers, tangents, program):
    """value and tangent of every node that Duals give."""
    leaves = [module.Dual(a, b) for a, b in zip(numbers, tangents, strict=True)]
    nodes = _built(leaves, program)
    return {"value": [float(node.value) for node in nodes], "tangent": [float(node.tangent) for node in nodes]}


_STEPS = {
    "+": lambda one: one + 0.5,
    "x + x": lambda one: one + one,
    "*": lambda one: one * 0.5,
    "**": lambda one: one**1.01,
    "exp and log": lambda one: one.exp().log(),
    "tanh": lambda one: one.tanh(),
    "relu": lambda one: one.relu(),
}


def left_duals(module, steps):
    """For each operation, how many Duals are in memory after a chain of so many, of which only the last is held."""
    found = {}
    for name, step in _STEPS.items():
        before, out = _count_duals(module), module.Dual(0.5, 1.0)
        for _ in range(steps):
            out = step(out)
        found[name] = _count_duals(module) - before
    return found


def _count_duals(module):
    gc.collect()
    return sum(issubclass(type(one), module.Dual) for one in gc.get_objects())


def derivatives(module, x, program, outputs, mode):
    """`jacobian` of the function that gives these nodes of a program, how often it was called, and with what.

    outputs: numbers of nodes, or constants in a list.
    """
    calls, kinds = [], set()

    def f(inputs):
        calls.append(len(inputs))
        if not isinstance(inputs, list):
            kinds.add(f"a {type(inputs).__name__}")
        for one in inputs:
            kinds.add(
                "Dual" if isinstance(one, module.Dual) else "Value" if isinstance(one, module.Value) else "others"
            )
        nodes = _built(inputs, program)
        return [nodes[one] if isinstance(one, int) else one[0] for one in outputs]

    made = module.jacobian(f, x, mode)
    return {"jacobian": made, "calls": len(calls), "kinds": sorted(kinds)}


def jacobian_alone(module, *asked):
    """The Jacobian alone, however often f was called."""
    return derivatives(module, *asked)["jacobian"]


def long_jacobian(module, n, m, mode):
    """The Jacobian of n numbers: their m running sums of tanh, the last entry taken again and again beyond n."""
    calls = []

    def f(inputs):
        calls.append(len(inputs))
        total, outputs = inputs[0] * 0.0, []
        for step in range(max(n, m)):
            total = total * 0.5 + inputs[min(step, n - 1)].tanh()
            outputs.append(total)
        return outputs[-m:]

    return {"jacobian": module.jacobian(f, [0.5] * n, mode), "calls": len(calls)}


def refused_mode(module, mode):
    """`jacobian` with a mode that there is not."""
    return module.jacobian(lambda x: [x[0]], [1.0], mode)


def refused_backward(module, data):
    """`backward` without a gradient."""
    module.Tensor(data).backward()
    return "nothing was raised"
