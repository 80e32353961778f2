"""dl_004 · Optimizers: from a step against the gradient to Adam, Lion, Muon and Adafactor.

Notation
    p  a parameter      g  its gradient      t  how many steps with a gradient p has seen, from 1
    m, n  rows and columns of a matrix      λ  an eigenvalue      β  how much of an average is kept

Each optimizer is a class with a method `step`, on the base class `Optimizer` below, which is given. Rules for all:

* A step changes p in place: it stays the same object in the same memory. `p.grad` is only read: it may be overwritten
  after the step, so nothing that you keep may share its memory.
* What an optimizer remembers lies in `self.state[p]`, under names of your choice: tensors with the dtype of p, and
  numbers. `state_dict` saves that and nothing else. "State" in a docstring says how many tensors there may be; a few
  numbers beside them are free. Nothing else that a step makes stays alive after it.
* A parameter without gradient is left alone in that step: no decay, no state, and its t does not grow.
* `lr` and `weight_decay` of a group may be changed between steps, as schedules do; each step reads what is there.
* Parameters are float32 or float64, of any shape with at least one element (also 0-d), and gradients have the same
  shape and dtype. eps is above 0 unless a docstring says otherwise. Squares, roots, signs and quotients of tensors are
  taken element by element.

`torch.optim` is what you write: what each part may not call is named in its docstring.

Further reading: Polyak 1964, Duchi et al. 2011 (Adagrad), Kingma and Ba 2015 (Adam), Reddi et al. 2018 (AMSGrad),
Shazeer and Stern 2018 (Adafactor), Loshchilov and Hutter 2019 (AdamW), Chen et al. 2023 (Lion), Jordan et al. 2024.
"""

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor


class Optimizer:
    """Parameters in groups, the options of each group, and what is remembered for each parameter. Given.

    param_groups: list of dicts, {"params": list of tensors, "lr": float, ...}. state: dict, parameter -> dict, which is
    empty before the first step.
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        """params: tensors, or groups {"params": tensors, ...} whose own options replace the defaults."""
        groups = list(params)
        if not groups or not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        self.param_groups = [{**defaults, **group, "params": list(group["params"])} for group in groups]
        self.state: dict[Tensor, dict[str, Any]] = {p: {} for group in self.param_groups for p in group["params"]}

    def with_gradient(self) -> Iterator[tuple[Tensor, Tensor, dict[str, Any], dict[str, Any]]]:
        """(p, its gradient, its state, its group) for each parameter that has a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    yield p, p.grad, self.state[p], group

    def zero_grad(self) -> None:
        """Take the gradients away."""
        for p in self.state:
            p.grad = None

    def step(self) -> None:
        """Move every parameter that has a gradient."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """A copy of the options and of all state, by the order of the parameters."""
        groups = [{key: value for key, value in group.items() if key != "params"} for group in self.param_groups]
        return copy.deepcopy({"groups": groups, "state": list(self.state.values())})

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on where another optimizer, on parameters of the same shapes, was saved."""
        saved = copy.deepcopy(saved)
        for group, options in zip(self.param_groups, saved["groups"], strict=True):
            group.update(options)
        self.state = dict(zip(self.state, saved["state"], strict=True))


class SGD(Optimizer):
    """Gradient descent, with momentum.

        d   = g + weight_decay · p
        buf = d in the first step, then buf = momentum · buf + (1 - dampening) · d        only if momentum is not 0
        u   = d without momentum;  buf with momentum;  d + momentum · buf with Nesterov momentum
        p  <- p - lr · u

    The rate stands outside of the buffer: with gradient 1 twice, momentum 0.9 and rates 0.1 and 0.01, p falls by 0.1
    and then by 0.01 · 1.9 = 0.019. (Where the buffer holds lr · d, as in the papers, the second fall is 0.1.)
    The first d enters the buffer whole, whatever the dampening: with gradients 1 and 1, momentum 0.5 and dampening 0.5
    the buffer is 1, then 1.

    State: one tensor in the shape of p, none where momentum is 0.
    Forbidden: torch.optim.SGD, torch.optim.sgd.sgd, torch._fused_sgd_.

    Source: Polyak 1964 (momentum); Sutskever et al. 2013, section 2 (Nesterov's); torch.optim.SGD for the convention.

    >>> p = torch.tensor([1.0, 2.0], dtype=torch.float64)
    >>> optimizer = SGD([p], lr=0.1, momentum=0.9)
    >>> for _ in range(3):
    ...     p.grad = torch.tensor([1.0, 0.0], dtype=torch.float64)
    ...     optimizer.step()
    >>> [round(x, 6) for x in p.tolist()]  # 1 - 0.1 · (1 + 1.9 + 2.71)
    [0.439, 2.0]
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        options = {"lr": lr, "momentum": momentum, "dampening": dampening, "nesterov": nesterov}
        super().__init__(params, {**options, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        raise NotImplementedError  # TODO: your code


def momentum_tuning(eigenvalues: Sequence[float]) -> tuple[float, float, float]:
    """The rate and the momentum that minimise a quadratic fastest, and how fast: (lr, momentum, factor).

    The loss is ½·pᵀHp, H symmetric with the given eigenvalues, in any order. `SGD` with momentum (no dampening, no
    Nesterov, no decay) shrinks the error along the eigenvector of λ by r(λ) a step, in the long run: r is the larger
    |root| of x² - (1 + momentum - lr·λ)·x + momentum = 0. lr and momentum are those that make factor = max over λ of
    r(λ) as small as it can be; only the smallest and the largest eigenvalue matter.

    Eigenvalues 1 and 9 give (0.25, 0.25, 0.5): an error that halves in each step. Without momentum the best factor is
    (9 - 1)/(9 + 1) = 0.8, with rate 0.2. One eigenvalue alone: (1/λ, 0.0, 0.0), the bottom in one step.

    Three plain floats. Raises ValueError if there is no eigenvalue, or one that is not positive and finite.

    Source: Polyak 1964, "Some methods of speeding up the convergence of iteration methods"; Goh 2017, "Why momentum
    really works".

    >>> momentum_tuning([1.0, 4.0, 9.0])
    (0.25, 0.25, 0.5)
    """
    raise NotImplementedError  # TODO: your code


class Adagrad(Optimizer):
    """A rate for each entry, which falls with all the squares that the entry has seen.

        total <- total + g²                        from 0
        p     <- p - lr · g / (√total + eps)

    A rare feature keeps a large rate, a frequent one gets a small one; no rate ever grows again.

    State: one tensor in the shape of p. Forbidden: torch.optim.Adagrad, torch.optim.adagrad.adagrad,
    torch._fused_adagrad_.

    Source: Duchi, Hazan, Singer 2011, figure 1 (diagonal form); eps as in torch.optim.Adagrad.

    >>> p = torch.tensor([0.0, 0.0])
    >>> optimizer = Adagrad([p], lr=1.0)
    >>> for gradient in ([3.0, 0.0], [4.0, 0.5]):
    ...     p.grad = torch.tensor(gradient)
    ...     optimizer.step()
    >>> p  # -3/3 - 4/5, and -0.5/0.5
    tensor([-1.8000, -1.0000])
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-2, eps: float = 1e-10) -> None:
        super().__init__(params, {"lr": lr, "eps": eps})

    @torch.no_grad()
    def step(self) -> None:
        raise NotImplementedError  # TODO: your code


class RMSprop(Optimizer):
    """Adagrad that forgets: an average of squares in place of their sum.

        v <- alpha · v + (1 - alpha) · g²          from 0, not corrected for that
        p <- p - lr · g / (√v + eps)

    State: one tensor in the shape of p. Forbidden: torch.optim.RMSprop, torch.optim.rmsprop.rmsprop.

    Source: Tieleman and Hinton 2012, "Neural networks for machine learning", lecture 6.5; eps outside of the root, as
    in torch.optim.RMSprop (others put it inside).

    >>> p = torch.tensor([0.0])
    >>> optimizer = RMSprop([p], lr=1.0, alpha=0.75)
    >>> p.grad = torch.tensor([8.0])
    >>> optimizer.step()
    >>> p  # v is 16: the first step is 1/√(1 - alpha) = 2 times the rate
    tensor([-2.])
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8) -> None:
        super().__init__(params, {"lr": lr, "alpha": alpha, "eps": eps})

    @torch.no_grad()
    def step(self) -> None:
        raise NotImplementedError  # TODO: your code


class Adam(Optimizer):
    """An average of gradients over the root of an average of their squares, both corrected for their start at 0.

        m <- β1 · m + (1 - β1) · g                 m̂ = m / (1 - β1^t)
        v <- β2 · v + (1 - β2) · g²                v̂ = v / (1 - β2^t)
        p <- p - lr · m̂ / (√v̂ + eps)

    t counts the steps of *this* parameter. The size of the gradient cancels: the first step is lr · g / (|g| + eps).
    Averages of constant gradients are right from the first step on: with g = 2 always, a step is lr · 2 / (2 + eps).
    eps is outside of the root and added after the correction. There is no weight decay: see AdamW.

    State: two tensors in the shape of p. Forbidden: torch.optim.Adam, torch.optim.adam.adam, torch._fused_adam_,
    torch.optim.NAdam, torch.optim.RAdam, torch.optim.AdamW.

    Source: Kingma and Ba 2015, algorithm 1.

    >>> p = torch.tensor([1.0, 1.0, 1.0])
    >>> optimizer = Adam([p], lr=0.5)
    >>> p.grad = torch.tensor([1e-3, -1e5, 0.0])
    >>> optimizer.step()
    >>> p
    tensor([0.5000, 1.5000, 1.0000])
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        **defaults: Any,
    ) -> None:
        """defaults: options that a subclass adds."""
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, **defaults})

    @torch.no_grad()
    def step(self) -> None:
        raise NotImplementedError  # TODO: your code


class AdamW(Adam):
    """Adam with a weight decay that does not go through the averages.

        p <- (1 - lr · weight_decay) · p           then Adam's step, with the gradient alone

    The decay comes before the step. From p = 2 with gradient 1 always, lr 0.1 and weight_decay 0.5, three steps lead to
    1.43. With the decay added to the gradient (L2) they lead to 1.70, as without decay: Adam divides it away.

    State: two tensors in the shape of p. Forbidden: torch.optim.AdamW, torch.optim.Adam, torch.optim.adam.adam,
    torch.optim.adamw.adamw, torch._fused_adamw_, torch._fused_adam_.

    Source: Loshchilov and Hutter 2019, algorithm 2; decay times lr, as in torch.optim.AdamW.

    >>> p = torch.tensor([2.0])
    >>> optimizer = AdamW([p], lr=0.1, weight_decay=0.5)
    >>> for _ in range(3):
    ...     p.grad = torch.tensor([1.0])
    ...     optimizer.step()
    >>> p
    tensor([1.4295])
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay=weight_decay)

    @torch.no_grad()
    def step(self) -> None:
        raise NotImplementedError  # TODO: your code


class AMSGrad(Optimizer):
    """Adam whose second moment never falls.

        m, v as in Adam
        top <- max(top, v)                         from 0; entry by entry, *before* the correction
        p   <- p - lr · m̂ / (√(top / (1 - β2^t)) + eps)          m̂ = m / (1 - β1^t)

    Adam forgets a rare large gradient after about 1/(1 - β2) steps and can then walk the wrong way for ever. The
    maximum is over v as it is, as in torch; the paper corrects nothing. With gradients 4 and 0, betas (0, 0.5): v is 8,
    then 4; top is 8, then 8; corrected 8 / 0.5, then 8 / 0.75.

    State: three tensors in the shape of p. Forbidden: torch.optim.Adam, torch.optim.AdamW,
    torch.optim.adam.adam, torch.optim.adamw.adamw, torch._fused_adam_, torch._fused_adamw_.

    Source: Reddi, Kale, Kumar 2018, algorithm 2; torch.optim.Adam(amsgrad=True) for the correction.

    >>> p = torch.tensor([0.0])
    >>> optimizer = AMSGrad([p], lr=1.0, betas=(0.0, 0.5))
    >>> for gradient in (4.0, 2.0):
    ...     p.grad = torch.tensor([gradient])
    ...     optimizer.step()
    >>> p  # -4/√16 - 2/√(8/0.75): v is 8 and then 6
    tensor([-1.6124])
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self) -> None:
        raise NotImplementedError  # TODO: your code


class Lion(Optimizer):
    """The sign of a momentum, and half of Adam's memory.

        u <- sign(β1 · m + (1 - β1) · g)           m from 0; the sign of 0 is 0
        p <- (1 - lr · weight_decay) · p - lr · u
        m <- β2 · m + (1 - β2) · g                 after u, with the other β

    Every entry moves by lr, or not at all. With betas (0.5, 0.9) and gradients 1 and -0.1: u is 1, and then
    sign(0.5 · 0.1 - 0.5 · 0.1) = 0.

    State: one tensor in the shape of p.

    Source: Chen et al. 2023, "Symbolic discovery of optimization algorithms", algorithm 2.

    >>> p = torch.tensor([1.0, 1.0, 1.0])
    >>> optimizer = Lion([p], lr=0.25)
    >>> p.grad = torch.tensor([1e-6, -30.0, 0.0])
    >>> optimizer.step()
    >>> p
    tensor([0.7500, 1.2500, 1.0000])
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        raise NotImplementedError  # TODO: your code


def newton_schulz(g: Tensor, steps: int = 5) -> Tensor:
    """Bring all singular values of a matrix near 1, with matrix products alone.

        x <- g / max(‖g‖, 1e-7)                    ‖g‖ = √(sum of all squares), the Frobenius norm
        x <- 3.4445·x - 4.7750·x(xᵀx) + 2.0315·x(xᵀx)²          `steps` times

    g: (m, n), float32 or float64; the result is (m, n) in the same dtype. Each singular value s of x becomes
    3.4445·s - 4.7750·s³ + 2.0315·s⁵, its singular vectors stay. The polynomial is steep at 0 and does not end at 1:
    five steps bring what is above 0.01 after the division into [0.68, 1.14]. Zero in, zero out. steps=0: the division.

    Cost, with s = min(m, n) and l = max(m, n): at most 12·s²·l operations of matrix products a step (2 for each
    multiply-add), and no tensor that is larger than g. The work stays in torch; Python may read a few numbers. (x xᵀ)x
    and x(xᵀx) are one matrix: which one do you want if m is 1,000 times n?

    Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; Bernstein and Newhouse 2024.

    >>> newton_schulz(torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]), steps=1)  # 3.4445 - 4.775 + 2.0315
    tensor([[0.7010, 0.0000, 0.0000],
            [0.0000, 0.0000, 0.0000]])
    """
    raise NotImplementedError  # TODO: your code


class Muon(Optimizer):
    """Momentum whose update is made orthogonal: every direction of a matrix is walked at one speed.

        buf <- momentum · buf + (1 - momentum) · g                       from 0
        u   <- newton_schulz(momentum · buf + (1 - momentum) · g, 5)     with Nesterov; else newton_schulz(buf, 5)
        p   <- (1 - lr · weight_decay) · p - lr · √max(1, m/n) · u       p is (m, n)

    Computed in the dtype of p (torch's own goes through bfloat16 in `newton_schulz`).
    Only for matrices: embeddings, biases and gains belong to another optimizer.

    State: one tensor in the shape of p. Forbidden: torch.optim.Muon.

    Source: Jordan et al. 2024; torch.optim.Muon for momentum as an average and for √max(1, m/n).

    >>> p = torch.zeros(4, 1)
    >>> optimizer = Muon([p], lr=1.0, weight_decay=0.0)
    >>> p.grad = torch.tensor([[0.0], [3.0], [0.0], [-4.0]])
    >>> optimizer.step()
    >>> p.T  # √(4/1) · φ(φ(φ(φ(φ(1))))) · (0.6, -0.8), φ the polynomial of newton_schulz: φ(1) = 0.701
    tensor([[ 0.0000, -0.8357,  0.0000,  1.1143]])
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.95,
        nesterov: bool = True,
        weight_decay: float = 0.1,
    ) -> None:
        """Raises ValueError if a parameter does not have two axes."""
        options = {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
        super().__init__(params, options)
        raise NotImplementedError  # TODO: your code

    @torch.no_grad()
    def step(self) -> None:
        raise NotImplementedError  # TODO: your code


class Adafactor(Optimizer):
    """Adam's second moment from its row and column means: m + n numbers in place of m · n. No first moment.

        β     = 1 - t^beta2_decay                            0 in the first step, then nearer and nearer to 1
        row  <- β · row + (1 - β) · (mean of g² over the last axis)                 (..., m, 1), from 0
        col  <- β · col + (1 - β) · (mean of g² over the last but one)              (..., 1, n), from 0
        v     = row · col / max(mean of row over its m entries, ε1)                 (..., m, n)
        u     = g / max(√v, ε1)
        u     = u / max(1, rms(u) / d)
        p    <- (1 - lr · weight_decay) · p - min(lr, 1/√t) · max(ε2, rms(p)) · u

    rms(x) = √(mean of all x²), over all axes; rms(p) is that of p before the step and its decay. A parameter with fewer
    than two axes keeps v itself, v <- β · v + (1 - β) · g². (ε1, ε2) is `eps`; ε1 None: torch.finfo(p.dtype).eps. The
    update is relative: a parameter ten times as large moves ten times as far.

    With two axes v is exact where g² is an outer product: g = [[1, 2], [3, 6]] gives row (2.5, 22.5), col (5, 20),
    v = [[1, 4], [9, 36]].

    State: two tensors with the shapes of row and col, or one in the shape of p.
    Forbidden: torch.optim.Adafactor, torch.optim._adafactor.adafactor.

    Source: Shazeer and Stern 2018, algorithms 4 and 5; rate, ε1 and decay as in torch.optim.Adafactor, not as there.

    >>> p = torch.tensor([[3.0, 4.0], [0.0, 5.0]], dtype=torch.float64)  # rms √12.5
    >>> optimizer = Adafactor([p], lr=0.1)
    >>> p.grad = torch.tensor([[1.0, 2.0], [3.0, 6.0]], dtype=torch.float64)
    >>> optimizer.step()
    >>> p  # u is 1 everywhere: each entry falls by 0.1 · √12.5
    tensor([[ 2.6464,  3.6464],
            [-0.3536,  4.6464]], dtype=torch.float64)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d, "weight_decay": weight_decay}
        )

    @torch.no_grad()
    def step(self) -> None:
        raise NotImplementedError  # TODO: your code
