"""Questions on convolutions whose numbers change: `grader drill --topic cnn.convolution`."""

from grader.drills import Blank, Bug, Choice, Number, Order, Predict, question


@question(topic="cnn.convolution", level=1, source="Dumoulin 2016, section 2", readme="nn_002/1", seed="000/1")
def size_of_the_output(draw):
    n, k, s, P, d = draw(32, 56, 112, 224), draw(3, 5, 7), draw(1, 2, 3), draw(2, 3, 4, 6), draw(2, 3)
    return Number(
        ask=f"A side of {n}, kernel {k}, stride {s}, padding {P} on both sides, dilation {d}. How long is the output?",
        given=dict(n=n, k=k, s=s, P=P, d=d),
        answer=(n + 2 * P - d * (k - 1) - 1) // s + 1,
        traps={
            "dilation forgotten": (n + 2 * P - k) // s + 1,
            "padding on one side": (n + P - d * (k - 1) - 1) // s + 1,
            "the last place forgotten": (n + 2 * P - d * (k - 1) - 1) // s,
        },
        hints=("How many places has a window of d · (k - 1) + 1?", "⌊(n + 2 · P - d · (k - 1) - 1) / s⌋ + 1"),
        why="A stride that does not fit leaves pixels at the end unread. Odd kernels keep the size with half a window "
        "of padding.",
    )


@size_of_the_output.second
def _(n, k, s, P, d):
    return len(range(0, n + 2 * P - d * (k - 1), s))


@question(topic="cnn.convolution", level=1, source="LeCun 1998, section 2", readme=("nn_002/6", "nn_002/11"))
def parameters_of_a_convolution(draw):
    k, i, o, n = draw(3, 5, 7), draw(64, 96, 128), draw(128, 256), draw(14, 28, 56)
    return Number(
        ask=f"A convolution, {i} channels in, {o} out, kernel {k} × {k}, with bias, on {n} × {n} pixels. How many "
        f"parameters?",
        given=dict(k=k, i=i, o=o),
        answer=k * k * i * o + o,
        unit="parameters",
        traps={
            "channels in forgotten": k * k * o + o,
            "no bias": k * k * i * o,
            "a bias a pixel": k * k * i * o + o * n * n,
            "full connections": n * n * i * o,
        },
        hints=("One kernel for each pair of channels; a bias for each output.", "k · k · i · o + o"),
        why="The same weights serve every place, so the image's size does not enter. What is assumed is that a "
        "pattern means "
        "the same wherever it is.",
    )


@parameters_of_a_convolution.second
def _(k, i, o):
    import numpy as np

    return np.broadcast_to(0, (o, i, k, k)).size + np.broadcast_to(0, o).size


@question(topic="cnn.convolution", level=2, source="Chellapilla 2006", readme="nn_002/3")
def numbers_of_im2col(draw):
    B, c, n, k = draw(8, 16, 32), draw(32, 64, 128), draw(14, 28, 56), draw(3, 5)
    return Number(
        ask=f"im2col of {B} images of {c} channels and {n} × {n} pixels, kernel {k} × {k}, stride 1, padded to keep "
        f"the size. How "
        "many numbers does the matrix have?",
        given=dict(B=B, c=c, n=n, k=k),
        answer=B * n * n * c * k * k,
        unit="numbers",
        traps={
            "the input itself": B * n * n * c,
            "no overlap": B * c * (n // k) ** 2 * k * k,
            "one image": n * n * c * k * k,
        },
        hints=("A row for each output place; how long is it?", "B · n · n · c · k · k"),
        why="Every pixel is copied once for each place of the kernel. That buys one large matrix product.",
    )


@numbers_of_im2col.second
def _(B, c, n, k):
    import numpy as np

    padded = np.broadcast_to(np.int8(0), (B, c, n + k - 1, n + k - 1))
    return np.lib.stride_tricks.sliding_window_view(padded, (k, k), (2, 3)).size


@question(topic="cnn.convolution", level=2, source="Dumoulin 2016, section 4", readme=("nn_002/4", "nn_002/7"))
def back_and_forth(draw):
    n, k = draw(4, 5, 6, 7), draw(2, 3, 4)
    counts = [sum(start <= place < start + k for start in range(n - k + 1)) for place in range(n)]
    return Predict(
        ask="col2im of im2col in one dimension: windows are cut out, then added back. What is printed?",
        code=f"""
import numpy as np
x, back = np.arange(1, {n + 1}), np.zeros({n}, int)
for start in range({n - k + 1}):
    back[start:start + {k}] += x[start:start + {k}]
print((back // x).tolist())
""",
        answer=str(counts),
        traps={
            "an inverse": str([1] * n),
            "the same everywhere": str([k] * n),
            "edges forgotten": str([min(k, place + 1) for place in range(n)]),
        },
        hints=("In how many windows does each place lie?", "windows that hold the place"),
        why="col2im is the transpose, not the inverse: it adds up. That is what the gradient needs, since a pixel "
        "that was "
        "read several times gets several shares.",
    )


@question(topic="cnn.convolution", level=1, source="Goodfellow 2016, section 9.1", readme="nn_002/5")
def convolution_or_correlation(draw):
    x, w = draw.sample(range(1, 7), 4), draw.sample(range(-3, 5), 2)
    correlation = [x[i] * w[0] + x[i + 1] * w[1] for i in range(3)]
    flipped = [x[i] * w[1] + x[i + 1] * w[0] for i in range(3)]
    name = draw("conv1d of torch", "convolve of numpy")
    return Predict(
        ask=f"{name}, kept where the kernel fits, written out. What is printed?",
        code=f"""
x, w = {x}, {w}
{"w = w[::-1]" if name.startswith("convolve") else "w = w[:]"}
print([sum(x[i + j] * w[j] for j in range(2)) for i in range(3)])
""",
        answer=str(flipped if name.startswith("convolve") else correlation),
        traps={
            "the kernel turned round": str(correlation if name.startswith("convolve") else flipped),
            "padded": str([x[0] * w[1], *correlation]),
        },
        hints=("Mathematics turns the kernel round, networks do not.", "Σ x[i + j] w[j]"),
        why="Networks correlate and call it convolution. Learned weights do not mind; ported ones do.",
    )


@question(topic="cnn.receptive_field", level=1, source="Araujo 2019", readme="nn_002/2", seed="000/2")
def field_of_three_layers(draw):
    k, s = [draw(3, 5, 7) for _ in range(3)], [draw(1, 2) for _ in range(3)]
    return Number(
        ask=f"Three convolutions with kernels {k[0]}, {k[1]}, {k[2]} and strides {s[0]}, {s[1]}, {s[2]}. How many "
        f"pixels along a side "
        "does one output see?",
        given=dict(k=k, s=s),
        answer=1 + (k[0] - 1) + (k[1] - 1) * s[0] + (k[2] - 1) * s[0] * s[1],
        unit="pixels",
        traps={
            "strides forgotten": 1 + sum(one - 1 for one in k),
            "its own stride counted": 1 + s[0] * (k[0] - 1 + s[1] * (k[1] - 1 + s[2] * (k[2] - 1))),
            "kernels multiplied": k[0] * k[1] * k[2],
        },
        hints=("Each layer adds its kernel less one, times the strides before it.", "1 + Σ (k - 1) · strides before"),
        why="The last layer's stride moves the window and does not widen it. Three layers of 3 × 3 see seven pixels.",
    )


@field_of_three_layers.second
def _(k, s):
    seen = {0}
    for kernel, stride in zip(reversed(k), reversed(s), strict=True):
        seen = {place * stride + offset for place in seen for offset in range(kernel)}
    return max(seen) - min(seen) + 1


@question(topic="cnn.receptive_field", level=2, source="Araujo 2019", readme="nn_002/2")
def widest_field(draw):
    k = draw(3, 5)
    layers = {
        f"two layers of {k} × {k}": 1 + 2 * (k - 1),
        f"two layers of {k} × {k}, the first with stride 2": 1 + (k - 1) + 2 * (k - 1),
        f"three layers of {k} × {k}": 1 + 3 * (k - 1) + 0,
        f"one layer of {k} × {k}, dilation 4": 1 + 4 * (k - 1),
        f"one layer of {k} × {k}": k,
        f"two layers of {k} × {k}, both with dilation 3": 1 + 6 * (k - 1),
    }
    layers.pop(draw(f"three layers of {k} × {k}", f"two layers of {k} × {k}, the first with stride 2"))
    shown = draw.sample(list(layers), 3)
    order = sorted(shown, key=lambda name: layers[name])
    return Order(
        ask="Which sees least of the image? Smallest receptive field first.",
        given=dict(shown=shown, k=k),
        answer=order,
        traps={"largest first": order[::-1], "the first two swapped": [order[1], order[0], order[2]]},
        hints=(
            "Add for each layer kernel less one, times dilation, times the strides before.",
            "1 + Σ d · (k - 1) · strides",
        ),
        why="Depth adds, strides and dilation multiply. A dilated kernel sees far and leaves gaps.",
    )


@widest_field.second
def _(shown, k):
    def field(name):
        dilation = 4 if "dilation 4" in name else 3 if "dilation 3" in name else 1
        count = {"o": 1, "t": 2}[name[0]] + name.startswith("three")
        seen = {0}
        for layer in reversed(range(count)):
            stride = 2 if "stride 2" in name and layer == 0 else 1
            seen = {place * stride + dilation * offset for place in seen for offset in range(k)}
        return max(seen) - min(seen) + 1

    return sorted(shown, key=field)


@question(topic="cnn.pooling", level=1, source="Scherer 2010", readme="nn_002/8")
def gradient_of_max_pooling(draw):
    x = draw.sample(range(1, 20), 6)
    s = draw(1, 2)
    starts = range(0, 5, s)
    grad = [0] * 6
    for start in starts:
        best = max(range(start, min(start + 2, 6)), key=lambda place: x[place])
        grad[best] += 1
    even = [sum(start <= place < start + 2 for start in starts) / 2 for place in range(6)]
    return Predict(
        ask=f"Max pooling with windows of two and stride {s}; each output gets a gradient of 1. What is printed?",
        code=f"""
import numpy as np
x, grad = np.array({x}), np.zeros(6, int)
for start in range(0, 5, {s}):
    grad[start + x[start:start + 2].argmax()] += 1
print(grad.tolist())
""",
        answer=str(grad),
        traps={
            "shared evenly, as a mean": str(even),
            "all pixels": str([1] * 6),
            "overlap forgotten": str([min(one, 1) for one in grad]),
        },
        hints=("Who was the largest in each window gets its gradient.", "how often each place won"),
        why="The winner takes all. Where windows overlap, one pixel may win several times; of equal ones the first "
        "wins.",
    )


@question(topic="cnn.pooling", level=2, source="torch, AvgPool2d", readme="nn_002/8")
def average_at_the_edge(draw):
    a, b = draw.sample(range(2, 20), 2)
    count = draw("count_include_pad=True", "count_include_pad=False")
    by = {"count_include_pad=True": (a + b) / 3, "count_include_pad=False": (a + b) / 2}
    return Number(
        ask=f"Average pooling in one dimension, window 3, padding 1 with zeros, {count}. The first two pixels are {a} "
        f"and {b}. What "
        "is the first output?",
        given=dict(a=a, b=b, count=count),
        answer=by[count],
        within=0.001,
        traps={
            "the padding's other count": by[
                "count_include_pad=False" if count.endswith("True") else "count_include_pad=True"
            ],
            "a sum": float(a + b),
            "the maximum": float(max(a, b)),
        },
        hints=("The padded zero adds nothing: does it count?", "(a + b) / 3, or / 2"),
        why="Counted, padding darkens the edges. For max pooling it has to be minus infinity: a zero would win over "
        "negative "
        "values.",
    )


@average_at_the_edge.second
def _(a, b, count):
    import numpy as np

    window = np.array([0.0 if count.endswith("True") else np.nan, a, b])
    return float(np.nanmean(window))


@question(topic="cnn.separable", level=1, source="Howard 2017, section 3.1", readme="nn_002/10")
def share_of_a_separable(draw):
    k, i, o = draw(3, 5, 7), draw(64, 128), draw(32, 64, 128, 256)
    return Number(
        ask=f"A {k} × {k} convolution from {i} to {o} channels is split into a depthwise and a 1 × 1 convolution. "
        f"Which share of the "
        "multiplications is left?",
        given=dict(k=k, i=i, o=o),
        answer=100 / o + 100 / (k * k),
        unit="%",
        traps={
            "the depthwise part alone": 100 / o,
            "the 1 × 1 part alone": 100 / (k * k),
            "both multiplied": 100 / (o * k * k),
        },
        hints=("Add both costs and divide by k · k · i · o.", "100 · (1 / o + 1 / (k · k))"),
        why="It is far less work, but the depthwise part does little for each number it reads, so time falls less.",
    )


@share_of_a_separable.second
def _(k, i, o):
    pixel = {"depthwise": k * k * i, "pointwise": i * o, "plain": k * k * i * o}
    return 100 * (pixel["depthwise"] + pixel["pointwise"]) / pixel["plain"]


@question(topic="cnn.separable", level=2, source="torch, Conv2d", readme="nn_002/10")
def weights_with_groups(draw):
    c, g, k = draw(32, 64, 96, 128), draw(1, 4, 8, 32), draw(3, 5)
    right = {1: "of all channels", c: "of its own channel"}.get(g, f"of {c // g} channels")
    options = ["of all channels", "of its own channel", f"of {g} channels", f"of {c // 2} channels"]
    wrong = [one for one in options if one not in (right, "of 1 channels")][:3]
    return Choice(
        ask=f"A convolution of {c} channels to {c}, kernel {k} × {k}, groups={g}. Of which channels does one output "
        "see?",
        given=dict(c=c, g=g, k=k),
        answer=right,
        traps=dict(zip(("groups left out", "taken as depthwise", "groups for their size"), wrong, strict=False)),
        hints=("The channels are dealt out to the groups.", "c / g channels"),
        why="As many groups as channels is depthwise: no channel meets another, which is what the 1 × 1 layer is for.",
    )


@weights_with_groups.second
def _(c, g, k):
    import numpy as np

    seen = np.zeros((g, c // g, k, k)).shape[1]
    return "of all channels" if seen == c else "of its own channel" if seen == 1 else f"of {seen} channels"


@question(topic="cnn.transposed", level=1, source="Dumoulin 2016, section 4", readme="nn_002/9")
def size_after_transposed(draw):
    n, k, s, P = draw(7, 8, 14, 28), draw(4, 5, 6), draw(2, 3), draw(1, 2)
    return Number(
        ask=f"A transposed convolution of a side of {n}: kernel {k}, stride {s}, padding {P}, no output padding. How "
        f"long is the "
        "output?",
        given=dict(n=n, k=k, s=s, P=P),
        answer=(n - 1) * s - 2 * P + k,
        traps={
            "stride times side": n * s,
            "padding added": (n - 1) * s + 2 * P + k,
            "as a convolution": (n + 2 * P - k) // s + 1,
        },
        hints=("Which side would a convolution shrink to n, with nothing left over?", "(n - 1) · s - 2 · P + k"),
        why="It is the transpose of a convolution's matrix, not its inverse. Several sides shrink to the same one: "
        "output "
        "padding says which.",
    )


@size_after_transposed.second
def _(n, k, s, P):
    return next(m for m in range(1, 400) if (m + 2 * P - k) % s == 0 and (m + 2 * P - k) // s + 1 == n)


@question(topic="cnn.transposed", level=2, source="Odena 2016", readme="nn_002/9")
def checkerboard(draw):
    k, s = draw((3, 2), (4, 2), (6, 3), (5, 2), (6, 2), (4, 3), (5, 3))
    counts = [sum((place - start * s) in range(k) for start in range(40)) for place in range(40, 40 + 2 * s)]
    even = len(set(counts)) == 1
    return Choice(
        ask=f"A transposed convolution, kernel {k}, stride {s}, all weights 1, on an image of ones. What does the "
        f"middle of the output "
        "look like along a line?",
        given=dict(k=k, s=s),
        answer="the same everywhere" if even else "a pattern that repeats",
        traps={
            "divisible or not": "a pattern that repeats" if even else "the same everywhere",
            "zeros between": "zeros between single pixels",
        },
        hints=("How many windows cover each place? Does the stride divide the kernel?", "k mod s"),
        why="Where the stride does not divide the kernel, places get unlike numbers of terms: checkerboards. Resizing "
        "and then "
        "convolving has none.",
    )


@checkerboard.second
def _(k, s):
    import numpy as np

    out = np.zeros(60 * s + k)
    for start in range(60):
        out[start * s : start * s + k] += 1
    middle = out[20 * s : 40 * s]
    return (
        "the same everywhere"
        if np.ptp(middle) == 0
        else "a pattern that repeats"
        if middle.min()
        else "zeros between single pixels"
    )


@question(topic="cnn.fully_convolutional", level=1, source="Long 2014, section 3.1", readme="nn_002/12")
def map_of_scores(draw):
    n, add, c = draw(7, 6, 5), draw.between(2, 12), draw(10, 100, 1000)
    return Number(
        ask=f"A classifier's last layer over a {n} × {n} map becomes a convolution with a kernel of {n} × {n}. A "
        f"larger image gives a "
        f"map of {n + add} × {n + add}. How many vectors of {c} scores come out?",
        given=dict(n=n, add=add),
        answer=(add + 1) * (add + 1),
        unit="vectors",
        traps={"one, as before": 1, "one a place": (n + add) ** 2, "the first forgotten": add * add},
        hints=("At how many places does the kernel fit?", "(add + 1) · (add + 1)"),
        why="The same weights slide on: the network is run at many windows at once, and shares nearly all of the work.",
    )


@map_of_scores.second
def _(n, add):
    side = n + add
    return sum(1 for top in range(side) for left in range(side) if max(top, left) + n <= side)


@question(topic="cnn.fully_convolutional", level=2, source="Long 2014, section 3.1", readme="nn_002/12")
def order_of_flattening(draw):
    c, n = draw(2, 3, 4), draw(2, 3)
    wrong, mended = draw(
        ("kernel = w.reshape(5, n, n, c).transpose(0, 3, 1, 2)", "kernel = w.reshape(5, c, n, n)"),
        ("conv = np.einsum('ochw,chw->c', kernel, x)", "conv = np.einsum('ochw,chw->o', kernel, x)"),
        ("full = w @ x.swapaxes(0, 2).ravel()", "full = w @ x.ravel()"),
    )
    code = f"""
import numpy as np
c, n = {c}, {n}
draw = np.random.default_rng({10 * c + n})
w, x = draw.normal(size=(5, c * n * n)), draw.normal(size=(c, n, n))
full = w @ x.ravel()
kernel = w.reshape(5, c, n, n)
conv = np.einsum('ochw,chw->o', kernel, x)
print(conv.shape == full.shape and np.allclose(conv, full))
"""
    return Bug(
        ask="A linear layer on a flattened map (channels first) as a convolution whose kernel covers the map: True "
        "should be printed. "
        "Which line is wrong?",
        code=code.replace(mended, wrong),
        answer=wrong,
        mended=mended,
        prints="True",
        traps={
            "weights of the right shape": "w, x = draw.normal(size=(5, c * n * n)), draw.normal(size=(c, n, n))",
            "the sizes": f"c, n = {c}, {n}",
        },
        hints=(
            "Row by row the weight has the order in which the map was flattened.",
            "channel, row, column; sum over all three",
        ),
        why="A reshape keeps the order: channels, rows, columns. Another layout gives the same shapes and other "
        "numbers.",
    )


@question(topic="cnn.convolution", level=1, source="Lin 2013, section 3", readme="nn_002/12")
def one_by_one(draw):
    w, x = draw("w", "width"), draw("h", "height")
    i, o = draw("i", "c"), draw("o", "f")
    return Blank(
        ask="A 1 × 1 convolution as a matrix product at each pixel: how many multiplications for an image?",
        code=f"def work({i}, {o}, {w}, {x}):   # channels in and out, width, height\n    return ____",
        given={i: draw.between(3, 9), o: draw.between(10, 20), w: draw.between(21, 30), x: draw.between(31, 40)},
        answer=f"{i} * {o} * {w} * {x}",
        traps={
            "one matrix": f"{i} * {o}",
            "channels added": f"({i} + {o}) * {w} * {x}",
            "the inputs alone": f"{i} * {w} * {x}",
        },
        hints=("A matrix of o rows and i columns, at every pixel.", "channels in · channels out · pixels"),
        why="It mixes channels and sees one pixel: a linear layer that is shared by all places.",
    )


@one_by_one.second
def _(**given):
    i, o, w, x = given.values()
    return sum(i for _pixel in range(w * x) for _row in range(o))
