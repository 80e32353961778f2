"""nn_001 · Backpropagation: by hand, by an engine for numbers, by an engine for arrays, and forward instead.

Notation
    n  examples in a batch      i, h, o  inputs, hidden units and outputs of layers      d  entries of a vector
    dout  the gradient of the loss by an output      L  the loss      f, m  a function, and how many values it gives

Backpropagation is the chain rule from the end: a piece of a program is given ∂L/∂(its output), and returns ∂L/∂(each of
its inputs), without ever building its Jacobian. Where a value is used more than once, its gradients *add up*.

Rules for all functions: numpy alone. Arrays are float64 (integers where that is said), need not be contiguous, and are
left alone, as are the results of earlier calls; results are float64. A size may be 0 only where that is said.
Conventions: the derivative of relu at 0 is 0, that of leaky at 0 is its slope 0.01.

What you write is an autograd: in no part may an operation of torch's run, or a function of the package `autograd`.

Further reading: Rumelhart, Hinton, Williams 1986; Griewank and Walther 2008 (forward and reverse mode); Baydin et al.
2018 (a survey); Karpathy's micrograd; CS231n's notes on backpropagation.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def numeric_gradient(f: Callable[[np.ndarray], float], x: np.ndarray, h: float = 1e-5) -> np.ndarray:
    """The gradient of f at x from central differences: what you check every backward pass with.

        ∂f/∂x_k ≈ (f(x + h·e_k) - f(x - h·e_k)) / 2h          e_k: 1 at entry k, 0 elsewhere

    x: any shape, also () and also without elements; f takes an array of that shape, reads it only, and returns one
    number. Returns the shape of x (for () a number of numpy's does as well). Of x³ it gives 3x² + h² (12.25 at x = 2,
    h = 1/2), where one side alone would give 15.25. Cost: f is called at most twice for each entry of x.

    Forbidden: torch, autograd.

    >>> numeric_gradient(lambda x: x[0] ** 3 * x[1], np.array([2.0, 10.0]), h=0.5)
    array([122.5,   8. ])
    """
    ### BEGIN SOLUTION
    point, grad = np.array(x, dtype=np.float64), np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        here = point[place]
        point[place] = here + h
        above = f(point)
        point[place] = here - h
        below = f(point)
        point[place] = here
        grad[place] = (above - below) / (2 * h)
    return grad
    ### END SOLUTION


def activation_backward(kind: str, z: np.ndarray, dout: np.ndarray) -> np.ndarray:
    """The gradient by z of an activation, given the gradient of its output.

        kind       output                 gradient
        sigmoid    σ(z) = 1/(1 + e^-z)    dout · σ(1 - σ)
        tanh       tanh(z)                dout · (1 - tanh²)
        relu       max(z, 0)              dout where z > 0, else 0
        leaky      z or 0.01·z            dout where z > 0, else 0.01 · dout
        silu       z·σ(z)                 dout · σ(1 + z(1 - σ))
        softmax    p = e^z / Σ e^z        p · (dout - Σ p·dout)               sums over the last axis

    z, dout: (..., d), one shape; also without elements, but d > 0. |z| may be 1,000 and more: nothing overflows.
    softmax mixes the entries of a vector; its Jacobian diag(p) - p·pᵀ has d² entries and is never needed.

    Cost: a few arrays of the size of z, and a few passes over them: no (d, d) matrix, and none of its rows.
    Raises ValueError for another kind.

    Forbidden: torch, autograd.

    >>> activation_backward("leaky", np.array([-2.0, 0.0, 2.0]), np.array([100.0, 100.0, 5.0]))
    array([1., 1., 5.])
    >>> activation_backward("softmax", np.array([[0.0, 0.0]]), np.array([[1.0, 0.0]]))
    array([[ 0.25, -0.25]])
    """
    ### BEGIN SOLUTION
    if kind == "tanh":
        return dout * (1 - np.tanh(z) ** 2)
    if kind == "relu":
        return np.where(z > 0, dout, 0.0)
    if kind == "leaky":
        return np.where(z > 0, dout, 0.01 * dout)
    if kind == "softmax":
        p = np.exp(z - z.max(axis=-1, keepdims=True))
        p /= p.sum(axis=-1, keepdims=True)
        return p * (dout - (p * dout).sum(axis=-1, keepdims=True))
    small = np.exp(-np.abs(z))  # at most 1, whatever z is
    sigmoid = np.where(z >= 0, 1.0, small) / (1 + small)
    if kind == "sigmoid":
        return dout * sigmoid * (1 - sigmoid)
    if kind == "silu":
        return dout * sigmoid * (1 + z * (1 - sigmoid))
    raise ValueError(f"no activation is called {kind!r}")
    ### END SOLUTION


def linear_backward(x: np.ndarray, w: np.ndarray, dout: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The gradients (dx, dw, db) of y = x·w + b.

        dx = dout · wᵀ          dw = xᵀ · dout          db = Σ dout          sums over everything before the last axis

    x: (..., i) with any axes before the last, also none, also empty ones; w: (i, o); dout: (..., o). Returns the shapes
    of x, w and b: (o,).

    Forbidden: torch, autograd.

    >>> linear_backward(np.array([[2.0, 3.0]]), np.array([[4.0], [5.0]]), np.array([[10.0]]))
    (array([[40., 50.]]), array([[20.],
           [30.]]), array([10.]))
    """
    ### BEGIN SOLUTION
    rows, upstream = x.reshape(-1, w.shape[0]), dout.reshape(-1, w.shape[1])
    return dout @ w.T, rows.T @ upstream, upstream.sum(axis=0)
    ### END SOLUTION


def dropout(x: np.ndarray, p: float, rng: np.random.Generator, training: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Inverted dropout: returns (out, mask) with out = x · mask.

        training      each entry of mask by itself: 0 with probability p, else 1/(1 - p)
        evaluation    mask is 1 everywhere, and rng is not used (it may be None)

    x: one axis or more; mask has its shape. All random numbers come from rng, which is used up as you draw: neither
    copied nor seeded anew, and the global state of np.random is left alone. The mean of out is x, so evaluation needs
    no factor: with p = 3/4 what is kept is multiplied by 4.

    Raises ValueError unless 0 <= p < 1. Forbidden: torch, autograd.

    Source: Srivastava et al. 2014; scaled while training, as in CS231n and torch.

    >>> out, mask = dropout(np.full((2, 3), 5.0), 0.75, np.random.default_rng(0))
    >>> bool(np.all((mask == 0) | (mask == 4))), bool(np.all(out == 5 * mask))
    (True, True)
    """
    ### BEGIN SOLUTION
    if not 0 <= p < 1:
        raise ValueError(f"a probability of dropping lies in [0, 1): {p}")
    mask = (rng.random(x.shape) >= p) / (1 - p) if training else np.ones(x.shape)
    return x * mask, mask
    ### END SOLUTION


def dropout_backward(dout: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The gradient of dropout by x: through the mask of the forward pass, the same one.

    >>> dropout_backward(np.array([1.0, 2.0]), np.array([0.0, 4.0]))
    array([0., 8.])
    """
    ### BEGIN SOLUTION
    return dout * mask
    ### END SOLUTION


def mlp_gradients(params: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
    """The loss and all gradients of a network of two layers, in one pass forward and one back.

        a = x·w1 + b1          r = max(a, 0)          z = r·w2 + b2          loss = mean of -log softmax(z)[y]

    params: w1 (i, h), b1 (h,), w2 (h, o), b2 (o,). x: (n, i); y: (n,), integers in 0 ... o - 1; n > 0. Returns (a
    float, a dict of gradients with the names and shapes of params). The mean is over the n examples. Logits of
    thousands are no problem: exp is only taken of what is at most 0.

    The gradient by z needs no chain of log, sum and exp: it is (softmax(z) - onehot(y)) / n.

    Cost: that of a few passes forward, however many the parameters are. Forbidden: torch, autograd.

    >>> params = {"w1": np.eye(2), "b1": np.zeros(2), "w2": np.eye(2), "b2": np.array([0.0, np.log(3)])}
    >>> loss, grads = mlp_gradients(params, np.array([[-1.0, 0.0]]), np.array([1]))  # r = 0, p = 1/4, 3/4
    >>> round(loss, 4), grads["b2"], grads["w1"]
    (0.2877, array([ 0.25, -0.25]), array([[0., 0.],
           [0., 0.]]))
    """
    ### BEGIN SOLUTION
    n = len(x)
    a = x @ params["w1"] + params["b1"]
    r = np.maximum(a, 0)
    z = r @ params["w2"] + params["b2"]
    z = z - z.max(axis=1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    loss = -log_p[np.arange(n), y].mean()
    dz = np.exp(log_p)
    dz[np.arange(n), y] -= 1
    dr, dw2, db2 = linear_backward(r, params["w2"], dz / n)
    _, dw1, db1 = linear_backward(x, params["w1"], activation_backward("relu", a, dr))
    return float(loss), {"w1": dw1, "b1": db1, "w2": dw2, "b2": db2}
    ### END SOLUTION


class Arithmetic:
    """What follows from +, · and **, for numbers and arrays on either side. Given."""

    def __neg__(self) -> Any:
        return self * -1.0

    def __radd__(self, other: Any) -> Any:
        return self + other

    def __sub__(self, other: Any) -> Any:
        return self + -other

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __rmul__(self, other: Any) -> Any:
        return self * other

    def __truediv__(self, other: Any) -> Any:
        return self * other**-1.0

    def __rtruediv__(self, other: Any) -> Any:
        return self**-1.0 * other

    def __rpow__(self, other: Any) -> Any:
        return type(self)(other) ** self


class Value(Arithmetic):
    """A number that remembers what it was made of.

    `Value(3.0)` is a leaf. `+`, `*`, `**` with Values or numbers, `exp`, `log`, `tanh` and `relu` make new Values and
    change none; the rest follows from them. `data` is the number, a float, and `grad` a float, 0 at first. `parents` is
    for your use: say (a Value that this one was made of, the derivative by it) for each. So is what else you store.

    An exponent may be any number, and then the base may be 0 or below where Python allows it: x ** 0 has derivative 0
    everywhere. If the exponent is a Value, the base is above 0. log is of numbers above 0.

    Forbidden: torch, autograd.

    Source: Karpathy's micrograd, whose README has the example in the visible tests.

    >>> x, y, z = Value(-2.0), Value(5.0), Value(-4.0)
    >>> out = (x + y) * z
    >>> out.backward()
    >>> out.data, x.grad, y.grad, z.grad
    (-12.0, -4.0, -4.0, 3.0)
    """

    def __init__(self, data: float, parents: Sequence[tuple["Value", float]] = ()) -> None:
        self.data = float(data)
        self.grad = 0.0
        self.parents = parents

    def __add__(self, other: "Value | float") -> "Value":
        ### BEGIN SOLUTION
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data + other.data, [(self, 1.0), (other, 1.0)])
        ### END SOLUTION

    def __mul__(self, other: "Value | float") -> "Value":
        ### BEGIN SOLUTION
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data * other.data, [(self, other.data), (other, self.data)])
        ### END SOLUTION

    def __pow__(self, other: "Value | float") -> "Value":
        ### BEGIN SOLUTION
        exponent = other.data if isinstance(other, Value) else other
        data = self.data**exponent
        parents = [(self, exponent * self.data ** (exponent - 1) if exponent else 0.0)]
        if isinstance(other, Value):
            parents.append((other, data * math.log(self.data)))
        return Value(data, parents)
        ### END SOLUTION

    def exp(self) -> "Value":
        ### BEGIN SOLUTION
        data = math.exp(self.data)
        return Value(data, [(self, data)])
        ### END SOLUTION

    def log(self) -> "Value":
        """The natural logarithm."""
        ### BEGIN SOLUTION
        return Value(math.log(self.data), [(self, 1 / self.data)])
        ### END SOLUTION

    def tanh(self) -> "Value":
        ### BEGIN SOLUTION
        data = math.tanh(self.data)
        return Value(data, [(self, 1 - data**2)])
        ### END SOLUTION

    def relu(self) -> "Value":
        """max(self, 0)"""
        ### BEGIN SOLUTION
        return Value(max(self.data, 0.0), [(self, 1.0 if self.data > 0 else 0.0)])
        ### END SOLUTION

    def backward(self) -> None:
        """Put the derivative of this Value by each Value behind it into their `grad`.

        Leaves: it is *added* to what their grad was, so that a second call adds exactly the same once more. Values that
        an operation made: their grad is that of this call alone. Of the Value itself it is 1.

            x = 3:   y = x·x + x      dy/dx = 2x + 1 = 7      two paths through x·x, and one beside it

        Cost: each Value is visited once, however many paths lead to it (60 doublings make 2⁶⁰), and in time that grows
        as the graph does. A chain of 50,000 Values fits: no recursion, which Python ends after 1,000 calls.

        >>> x = Value(3.0)
        >>> y = x * x + x
        >>> y.backward()
        >>> y.backward()
        >>> x.grad
        14.0
        """
        ### BEGIN SOLUTION
        for node in (nodes := ordered(self)):
            if node.parents:
                node.grad = 0.0
        self.grad += 1.0
        for node in reversed(nodes):
            for parent, slope in node.parents:
                parent.grad += slope * node.grad
        ### END SOLUTION


def ordered(root: Any) -> list[Any]:
    """All that `root` was made of and root itself, each once: inputs before what was made of them. For your use.

    Each node has `parents`: pairs whose first entry is another node. `Value.backward` goes through this list from its
    end: then a node's grad is complete before it is handed on. No recursion: keep the path in a list of your own.

    >>> x = Value(3.0)
    >>> y = x * x
    >>> [node.data for node in ordered(y + x)]
    [3.0, 9.0, 12.0]
    """
    ### BEGIN SOLUTION
    found, seen, path = [], {id(root)}, [(root, iter(root.parents))]
    while path:
        node, waiting = path[-1]
        parent = next((one for one, _ in waiting if id(one) not in seen), None)
        if parent is None:
            path.pop()
            found.append(node)
        else:
            seen.add(id(parent))
            path.append((parent, iter(parent.parents)))
    return found
    ### END SOLUTION


def unbroadcast(grad: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The gradient of an array of that shape, given the gradient of what broadcasting made of it.

    Broadcasting uses an entry several times, so its gradients add up: over axes that were put in front, and over axes
    that were stretched from 1. shape broadcasts to grad's, also where a size is 0. Returns that shape; for () a number
    of numpy's does as well. Forbidden: torch, autograd.

    >>> unbroadcast(np.array([[1.0, 2.0], [3.0, 4.0]]), (2,)), unbroadcast(np.array([[1.0, 2.0], [3.0, 4.0]]), (2, 1))
    (array([4., 6.]), array([[3.],
           [7.]]))
    """
    ### BEGIN SOLUTION
    new = grad.ndim - len(shape)
    stretched = [new + axis for axis, size in enumerate(shape) if size == 1]
    return grad.sum(axis=(*range(new), *stretched)).reshape(shape)
    ### END SOLUTION


class Tensor(Arithmetic):
    """An array that remembers what it was made of: Value's engine, for numpy.

    `Tensor(data)` is a leaf; `data` is its array, and `grad` an array of the same shape, of zeros at first. Operations
    make new Tensors and change none. `+`, `*`, `**` are as numpy's, with broadcasting, and take Tensors, numbers and
    arrays on either side; exponents as for Value. `parents` is for your use: say (a Tensor, a function from the
    gradient of this Tensor to what that one gets). No two grads may share memory: then to add to one would change both.

    Forbidden: torch, autograd.

    >>> w, x = Tensor([[1.0], [2.0]]), Tensor([10.0, 20.0, 30.0])
    >>> (w * x).sum().backward()  # (2, 1) · (3,) is (2, 3)
    >>> w.grad.tolist(), x.grad.tolist()
    ([[60.0], [60.0]], [3.0, 3.0, 3.0])
    """

    __array_ufunc__ = None  # array + tensor leaves it to the Tensor

    def __init__(self, data: Any, parents: Sequence[tuple["Tensor", Callable[[np.ndarray], np.ndarray]]] = ()) -> None:
        self.data = np.asarray(data, dtype=np.float64)
        self.grad = np.zeros(self.data.shape)
        self.parents = parents

    def __add__(self, other: Any) -> "Tensor":
        ### BEGIN SOLUTION
        other = other if isinstance(other, Tensor) else Tensor(other)
        parents = [(one, lambda g, one=one: unbroadcast(g, one.data.shape)) for one in (self, other)]
        return Tensor(self.data + other.data, parents)
        ### END SOLUTION

    def __mul__(self, other: Any) -> "Tensor":
        ### BEGIN SOLUTION
        other = other if isinstance(other, Tensor) else Tensor(other)
        a, b = self.data, other.data
        parents = [(self, lambda g: unbroadcast(g * b, a.shape)), (other, lambda g: unbroadcast(g * a, b.shape))]
        return Tensor(a * b, parents)
        ### END SOLUTION

    def __pow__(self, other: Any) -> "Tensor":
        ### BEGIN SOLUTION
        a, b = self.data, other.data if isinstance(other, Tensor) else np.asarray(other, dtype=np.float64)
        out = a**b
        slope = b * a ** np.where(b == 0, 0.0, b - 1)  # of a ** 0 it is 0, also where a is 0
        parents = [(self, lambda g: unbroadcast(g * slope, a.shape))]
        if isinstance(other, Tensor):
            parents.append((other, lambda g: unbroadcast(g * out * np.log(a), b.shape)))
        return Tensor(out, parents)
        ### END SOLUTION

    def exp(self) -> "Tensor":
        ### BEGIN SOLUTION
        out = np.exp(self.data)
        return Tensor(out, [(self, lambda g: g * out)])
        ### END SOLUTION

    def log(self) -> "Tensor":
        ### BEGIN SOLUTION
        return Tensor(np.log(self.data), [(self, lambda g: g / self.data)])
        ### END SOLUTION

    def tanh(self) -> "Tensor":
        ### BEGIN SOLUTION
        out = np.tanh(self.data)
        return Tensor(out, [(self, lambda g: g * (1 - out**2))])
        ### END SOLUTION

    def relu(self) -> "Tensor":
        ### BEGIN SOLUTION
        return Tensor(np.maximum(self.data, 0), [(self, lambda g: g * (self.data > 0))])
        ### END SOLUTION

    def __matmul__(self, other: "Tensor") -> "Tensor":
        """The product of two matrices, (n, i) @ (i, o); or of stacks of as many, (..., n, i) @ (..., i, o)."""
        ### BEGIN SOLUTION
        a, b = self.data, other.data
        return Tensor(a @ b, [(self, lambda g: g @ b.swapaxes(-1, -2)), (other, lambda g: a.swapaxes(-1, -2) @ g)])
        ### END SOLUTION

    def sum(self, axis: int | None = None, keepdims: bool = False) -> "Tensor":
        """The sum over one axis, which may be negative, or over all: as numpy's."""
        ### BEGIN SOLUTION
        shape = self.data.sum(axis=axis, keepdims=True).shape
        total = self.data.sum(axis=axis, keepdims=keepdims)
        return Tensor(total, [(self, lambda g: np.broadcast_to(g.reshape(shape), self.data.shape))])
        ### END SOLUTION

    def reshape(self, *shape: int) -> "Tensor":
        """The same entries in another shape, of which one size may be -1: as numpy's."""
        ### BEGIN SOLUTION
        return Tensor(self.data.reshape(shape), [(self, lambda g: g.reshape(self.data.shape))])
        ### END SOLUTION

    def take(self, indices: np.ndarray, axis: int = 0) -> "Tensor":
        """The entries along an axis at these indices, integers of any shape: as numpy's. An embedding's lookup.

        -1 is the last. An index may come several times, and then its gradients add up. Cost: no one-hot matrix.
        """
        ### BEGIN SOLUTION
        before = (slice(None),) * (axis % self.data.ndim)

        def scattered(g: np.ndarray) -> np.ndarray:
            total = np.zeros(self.data.shape)
            np.add.at(total, (*before, indices), g)
            return total

        return Tensor(np.take(self.data, indices, axis=axis), [(self, scattered)])
        ### END SOLUTION

    def max(self, axis: int | None = None, keepdims: bool = False) -> "Tensor":
        """The largest entry along one axis, or of all: as numpy's.

        The gradient goes to the largest entry. Where k are equally large, to the first, or to each 1/k: both pass.
        """
        ### BEGIN SOLUTION
        highest = self.data.max(axis=axis, keepdims=True)
        share = self.data == highest
        share = share / share.sum(axis=axis, keepdims=True)
        return Tensor(self.data.max(axis=axis, keepdims=keepdims), [(self, lambda g: share * g.reshape(highest.shape))])
        ### END SOLUTION

    def backward(self, grad: np.ndarray | None = None) -> None:
        """As `Value.backward`; grad: ∂L/∂(this Tensor), in its shape; 1 if it is not given.

        Leaves add up over calls, all else has the gradient of the last call. Raises ValueError if grad is not given
        and the Tensor has more than one entry.

        >>> x = Tensor([1.0, 2.0])
        >>> (x * x).backward(np.array([1.0, 10.0]))
        >>> x.grad.tolist()
        [2.0, 40.0]
        """
        ### BEGIN SOLUTION
        if grad is None and self.data.size != 1:
            raise ValueError(f"a Tensor of shape {self.data.shape} has no gradient of its own: give one")
        nodes = ordered(self)
        for node in nodes:
            if node.parents:
                node.grad = np.zeros(node.data.shape)
        self.grad = self.grad + (1.0 if grad is None else grad)
        for node in reversed(nodes):
            for parent, pull in node.parents:
                parent.grad = parent.grad + pull(node.grad)
        ### END SOLUTION


class Dual(Arithmetic):
    """A number and how fast it changes: value + tangent·ε with ε² = 0. Its arithmetic is the chain rule, forward.

        (a + a'ε) + (b + b'ε) = (a + b) + (a' + b')ε          (a + a'ε) · (b + b'ε) = ab + (a'b + ab')ε
        f(a + a'ε)            = f(a) + f'(a)·a'ε

    `+`, `*`, `**` take Duals and numbers (whose tangent is 0), exponents as for Value. Nothing is recorded.

    Forbidden: torch, autograd.

    Source: Griewank and Walther 2008, chapter 3.

    >>> x = Dual(3.0, 1.0)
    >>> y = x * x + 1 / x
    >>> round(y.value, 4), round(y.tangent, 4)  # 6 - 1/9
    (9.3333, 5.8889)
    """

    def __init__(self, value: float, tangent: float = 0.0) -> None:
        self.value = float(value)
        self.tangent = float(tangent)

    def __add__(self, other: "Dual | float") -> "Dual":
        ### BEGIN SOLUTION
        other = other if isinstance(other, Dual) else Dual(other)
        return Dual(self.value + other.value, self.tangent + other.tangent)
        ### END SOLUTION

    def __mul__(self, other: "Dual | float") -> "Dual":
        ### BEGIN SOLUTION
        other = other if isinstance(other, Dual) else Dual(other)
        return Dual(self.value * other.value, self.tangent * other.value + self.value * other.tangent)
        ### END SOLUTION

    def __pow__(self, other: "Dual | float") -> "Dual":
        ### BEGIN SOLUTION
        exponent = other.value if isinstance(other, Dual) else other
        value = self.value**exponent
        tangent = exponent * self.value ** (exponent - 1) * self.tangent if exponent else 0.0
        if isinstance(other, Dual):
            tangent += value * math.log(self.value) * other.tangent
        return Dual(value, tangent)
        ### END SOLUTION

    def exp(self) -> "Dual":
        ### BEGIN SOLUTION
        value = math.exp(self.value)
        return Dual(value, value * self.tangent)
        ### END SOLUTION

    def log(self) -> "Dual":
        ### BEGIN SOLUTION
        return Dual(math.log(self.value), self.tangent / self.value)
        ### END SOLUTION

    def tanh(self) -> "Dual":
        ### BEGIN SOLUTION
        value = math.tanh(self.value)
        return Dual(value, (1 - value**2) * self.tangent)
        ### END SOLUTION

    def relu(self) -> "Dual":
        ### BEGIN SOLUTION
        return Dual(max(self.value, 0.0), self.tangent if self.value > 0 else 0.0)
        ### END SOLUTION


def jacobian(f: Callable[[list[Any]], list[Any]], x: Sequence[float], mode: str) -> np.ndarray:
    """All derivatives ∂f_j/∂x_k of a function of n numbers that gives m numbers: an array (m, n).

        "forward"    Duals: one pass of f for each *input*; a pass gives the column ∂f/∂x_k
        "reverse"    Values: one `backward` for each *output*; it gives the row ∂f_j/∂x

    f takes a list of n Duals, or of n Values, and gives a list of m. Some of these may be entries of its input, come
    twice, or be plain numbers, whose derivatives are 0. n, m > 0.

    Cost: f is called at most n times in forward mode, at most m times in reverse mode. So m = 1 and n = 20,000 (a loss)
    is one pass back, n = 1 and m = 20,000 one pass forward; the other way round either takes thousands of passes.

    Raises ValueError for another mode. Forbidden: torch, autograd.

    >>> jacobian(lambda x: [x[0] * x[1], x[0].exp()], [0.0, 3.0], "forward")
    array([[3., 0.],
           [1., 0.]])
    """
    ### BEGIN SOLUTION
    if mode == "forward":
        columns = []
        for k in range(len(x)):
            outputs = f([Dual(value, float(j == k)) for j, value in enumerate(x)])
            columns.append([out.tangent if isinstance(out, Dual) else 0.0 for out in outputs])
        return np.array(columns).T
    if mode == "reverse":
        inputs, rows = [Value(value) for value in x], []
        for out in f(inputs):
            for one in inputs:
                one.grad = 0.0
            if isinstance(out, Value):
                out.backward()
            rows.append([one.grad for one in inputs])
        return np.array(rows)
    raise ValueError(f"a mode is 'forward' or 'reverse', not {mode!r}")
    ### END SOLUTION
