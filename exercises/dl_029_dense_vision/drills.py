"""Questions on detection, segmentation and their networks whose numbers change: `grader drill --topic vision.yolo`."""

from math import exp

from grader.drills import Choice, Number, Order, Predict, question


@question(topic="vision.yolo", level=1, source="Redmon 2018, YOLOv3, section 2.1", readme="dl_029/1")
def centre_of_a_box(draw):
    t, j, s = draw(-1.5, -1.0, -0.5, 0.5, 1.0, 1.5), draw.between(2, 12), draw(8, 16, 32)
    return Number(
        ask=f"YOLOv3 at stride {s}: in column {j}, counted from 0, the network gives t_x = {t:g}. Where, in pixels, "
        "is the box's centre?",
        given=dict(t=t, j=j, s=s),
        answer=(1 / (1 + exp(-t)) + j) * s,
        unit="pixels",
        within=0.002,
        traps={"no sigmoid": (t + j) * s, "middle of the cell": (j + 0.5) * s, "in the cell": s / (1 + exp(-t))},
        hints=("The sigmoid is the place in the cell, in units of the stride.", "(1 / (1 + e^(-t)) + j) · s"),
        why="The sigmoid keeps the centre in its cell, so each object has one cell that answers for it. Exactly on "
        "an edge it would need an infinite logit.",
    )


@centre_of_a_box.second
def _(t, j, s):
    import numpy as np

    left, right = j * s, (j + 1) * s
    return float(left + (right - left) * (1 + np.tanh(t / 2)) / 2)


@question(topic="vision.yolo", level=1, source="Redmon 2018, section 2.1; YOLOv5", readme="dl_029/1")
def width_of_a_box(draw):
    t, anchor, version = draw(-1.0, 0.5, 1.0, 1.5, 2.0), draw(10, 16, 33, 62, 116), draw("YOLOv3", "YOLOv5")
    third, fifth = anchor * exp(t), anchor * (2 / (1 + exp(-t))) ** 2
    return Number(
        ask=f"{version}: the anchor is {anchor} pixels wide and t_w = {t:g}. How wide is the box?",
        given=dict(t=t, anchor=anchor, version=version),
        answer=third if version == "YOLOv3" else fifth,
        unit="pixels",
        traps={
            "the other version": fifth if version == "YOLOv3" else third,
            "added": anchor + t,
            "a plain sigmoid": anchor / (1 + exp(-t)),
        },
        hints=(
            "The size is the anchor times a positive factor.",
            "v3: anchor · e^t; v5: anchor · (2 / (1 + e^(-t)))^2",
        ),
        why="Sizes stay positive in both. The exponential can explode; the squared sigmoid ends at four anchors.",
    )


@width_of_a_box.second
def _(t, anchor, version):
    import numpy as np

    factor = np.exp(t) if version == "YOLOv3" else (1 + np.tanh(t / 2)) ** 2
    return float(anchor * factor)


@question(topic="vision.yolo", level=2, source="Rezatofighi 2019, GIoU, section 3", readme="dl_029/2")
def giou_of_boxes_apart(draw):
    w, h, u, v = (draw.between(2, 8) for _ in range(4))
    gap, down = draw.between(1, 6), draw.between(0, 5)
    hull = (w + gap + u) * max(h, down + v)
    return Number(
        ask=f"Box A has its upper left corner at (0, 0), width {w} and height {h}. Box B has it at ({w + gap}, "
        f"{down}), width {u} and height {v}. What is their GIoU?",
        given=dict(w=w, h=h, u=u, v=v, gap=gap, down=down),
        answer=(w * h + u * v) / ((w + gap + u) * max(h, down + v)) - 1,
        traps={
            "IoU": 0.0,
            "the loss": 2 - (w * h + u * v) / hull,
            "the sign": 1 - (w * h + u * v) / hull,
        },
        hints=("IoU is 0; the empty share of the smallest box around both is taken away.", "(w·h + u·v) / hull - 1"),
        why="Where boxes do not touch, IoU has no gradient. The empty share does, so boxes apart attract each "
        "other, at first by growing.",
    )


@giou_of_boxes_apart.second
def _(w, h, u, v, gap, down):
    import numpy as np

    hull = np.zeros((max(h, down + v), w + gap + u))
    hull[:h, :w] = 1
    hull[down : down + v, w + gap :] = 1
    return -float((hull == 0).mean())


@question(topic="vision.yolo", level=2, source="Zheng 2020, DIoU, section 3", readme="dl_029/2")
def diou_of_a_box_inside(draw):
    W, H = draw(6, 8, 10, 12), draw(6, 8, 10, 12)
    w, h = draw(2, 4), draw(2, 4)
    x, y = draw.between(0, W - w), draw.between(0, H - h)
    dx, dy = x + w / 2 - W / 2, y + h / 2 - H / 2
    return Number(
        ask=f"A box of {w} x {h} lies inside one of {W} x {H}, its upper left corner ({x}, {y}) from the other's. "
        "What is the DIoU loss?",
        given=dict(W=W, H=H, w=w, h=h, x=x, y=y),
        answer=1 - w * h / (W * H) + ((x + w / 2 - W / 2) ** 2 + (y + h / 2 - H / 2) ** 2) / (W**2 + H**2),
        within=0.005,
        traps={
            "that of IoU, and GIoU": 1 - w * h / (W * H),
            "distance not squared": 1 - w * h / (W * H) + (dx**2 + dy**2) ** 0.5 / (W**2 + H**2) ** 0.5,
            "the sign of the distance": 1 - w * h / (W * H) - (dx**2 + dy**2) / (W**2 + H**2),
        },
        hints=(
            "1 less IoU, and the squared distance of the centres over the squared diagonal around both.",
            "1 - w·h/(W·H) + ((x + w/2 - W/2)^2 + (y + h/2 - H/2)^2) / (W^2 + H^2)",
        ),
        why="Inside, the smallest box around both has no empty share that moves, so GIoU does not pull. The "
        "distance of centres does.",
    )


@diou_of_a_box_inside.second
def _(W, H, w, h, x, y):
    import numpy as np

    grid = np.zeros((H, W), bool)
    grid[y : y + h, x : x + w] = True
    centre = np.argwhere(grid).mean(0) - np.argwhere(np.ones((H, W))).mean(0)
    return float((~grid).mean() + centre @ centre / np.hypot(W, H) ** 2)


@question(topic="vision.yolo", level=2, source="Rezatofighi 2019; Zheng 2020", readme="dl_029/2")
def measures_that_move(draw):
    case, side = draw("apart", "inside", "over the edge"), draw(20, 24, 30)
    how = {
        "apart": "lies to the right of it without touching, and moves further right",
        "inside": "lies inside it, left of the middle, and moves left, still inside",
        "over the edge": "lies half over its right edge, and moves right, still touching",
    }
    texts = {"apart": "GIoU and DIoU", "inside": "DIoU alone", "over the edge": "all three"}
    return Choice(
        ask=f"A box of 4 x 4 and a large box of {side} x {side}: the small one {how[case]}. Which of IoU, GIoU and "
        "DIoU change?",
        given=dict(case=case, side=side),
        answer=texts[case],
        traps={
            f"if it {how[other].split(' and')[0].removesuffix(',')}": text
            for other, text in texts.items()
            if other != case
        },
        hints=(
            "Follow the overlap, the box around both, and the distance of the centres.",
            "IoU; IoU - empty share; IoU - distance^2 / diagonal^2",
        ),
        why="IoU sees overlap alone, GIoU also emptiness around, DIoU also centres. A loss that does not change has no "
        "gradient there.",
    )


@measures_that_move.second
def _(case, side):
    import numpy as np

    def measures(x):  # left edge of the small box; the large one begins at 0, both are centred in height
        both = max(0.0, min(side, x + 4) - max(0, x)) * 4
        union, width = side * side + 16 - both, max(side, x + 4) - min(0, x)
        hull = width * side
        diou = both / union - (x + 2 - side / 2) ** 2 / (width**2 + side**2)
        return both / union, both / union - (hull - union) / hull, diou

    start, way = {"apart": (side + 5, 1), "inside": (4, -1), "over the edge": (side - 2, 1)}[case]
    moved = ~np.isclose(measures(start), measures(start + way))
    return {(False, True, True): "GIoU and DIoU", (False, False, True): "DIoU alone", (True, True, True): "all three"}[
        tuple(moved.tolist())
    ]


@question(topic="vision.yolo", level=2, source="Redmon 2018, section 2.1; darknet", readme="dl_029/3")
def labels_of_predictions(draw):
    ious = [draw(0.1, 0.3, 0.45, 0.55, 0.6, 0.7, 0.8) for _ in range(5)]
    own = draw.between(0, 4)
    right = [1 if i == own else -1 if iou > 0.5 else 0 for i, iou in enumerate(ious)]
    return Predict(
        ask=f"Prediction {own}, counted from 0, answers for the true box. For the objectness loss 1 is object, 0 "
        "background, -1 ignored. What is printed?",
        code=f"""
ious = {ious}
print([1 if i == {own} else -1 if iou > 0.5 else 0
       for i, iou in enumerate(ious)])
""",
        answer=str(right),
        traps={
            "nothing ignored": str([int(i == own) for i in range(5)]),
            "all good ones are objects": str([int(iou > 0.5 or i == own) for i, iou in enumerate(ious)]),
            "poor ones ignored": str([1 if i == own else 0 if iou > 0.5 else -1 for i, iou in enumerate(ious)]),
        },
        hints=(
            "One is responsible, whatever its overlap. Others that overlap well are not wrong.",
            "own: 1; IoU > 0.5: -1; else 0",
        ),
        why="Taken as background, those that are nearly right would be pushed to zero with nearly the same features "
        "as the one that is pushed to one.",
    )


@question(topic="vision.yolo", level=1, source="Redmon 2018, section 2.3", readme="dl_029/4")
def predictions_of_an_image(draw):
    side, a = 32 * draw.between(8, 24), draw(2, 3, 4)
    return Number(
        ask=f"An image of {side} x {side}, strides 8, 16 and 32, {a} anchors in each cell of each. How many boxes "
        "are predicted?",
        given=dict(side=side, a=a),
        answer=a * ((side // 8) ** 2 + (side // 16) ** 2 + (side // 32) ** 2),
        unit="boxes",
        traps={
            "anchors forgotten": (side // 8) ** 2 + (side // 16) ** 2 + (side // 32) ** 2,
            "the finest alone": a * (side // 8) ** 2,
            "the coarsest alone": a * (side // 32) ** 2,
        },
        hints=("Cells of three maps, a boxes for each.", "a · ((side/8)^2 + (side/16)^2 + (side/32)^2)"),
        why="Nearly all of them are background, for an image has a few objects. So each kind of loss needs a mean "
        "of its own, or weights.",
    )


@predictions_of_an_image.second
def _(side, a):
    return sum(a for stride in (8, 16, 32) for _y in range(0, side, stride) for _x in range(0, side, stride))


@question(topic="vision.yolo", level=2, source="Lin 2017, RetinaNet, section 3; YOLOv1", readme="dl_029/4")
def weight_of_the_objects(draw):
    n, p, w = draw(845, 1000, 5000, 10647), draw.between(2, 12), draw(0.01, 0.05, 0.1, 0.5)
    return Number(
        ask=f"Of {n} predictions {p} are objects, all have the same objectness loss. Background is weighted with "
        f"{w:g}, objects with 1. What share of the sum comes from the objects?",
        given=dict(n=n, p=p, w=w),
        answer=100 * p / (p + w * (n - p)),
        unit="%",
        traps={
            "no weights": 100 * p / n,
            "each kind a mean of its own": 50.0,
            "weight on the objects": 100 * w * p / (w * p + n - p),
        },
        hints=("Objects count 1 each, the others w each.", "100 · p / (p + w · (n - p))"),
        why="Under one mean the quickest way down is to say that nothing is anywhere. A mean for each kind, focal "
        "loss or sampling are other ways out.",
    )


@weight_of_the_objects.second
def _(n, p, w):
    import numpy as np

    weights = np.where(np.arange(n) < p, 1.0, w)
    return float(100 * weights[:p].sum() / weights.sum())


@question(topic="vision.yolo", level=1, source="Redmon 2018, section 2.2", readme="dl_029/5")
def classes_that_overlap(draw):
    law, k = draw("a softmax over the classes", "a sigmoid for each class"), draw(2, 3, 4)
    soft = law.startswith("a soft")
    texts = f"1/{k} for each of them", "nearly 1 for each of them", "nearly 1 for one of them, 0 for the others"
    return Choice(
        ask=f"{k} labels of a box hold at once, as woman and person do. With {law} and cross-entropy, what is the "
        "best that the network can say?",
        given=dict(law=law, k=k),
        answer=texts[0] if soft else texts[1],
        traps={"of the other law": texts[1] if soft else texts[0], "one label is picked": texts[2]},
        hints=("Do the classes have to add up to 1?", "softmax: Σ p = 1; sigmoid: each by itself"),
        why="A softmax says that exactly one is right. With a yes or no each, no class for background is needed, since "
        "objectness is a logit of its own.",
    )


@classes_that_overlap.second
def _(law, k):
    import numpy as np

    z = np.zeros(k + 2)
    z[0] = 0.5  # an uneven start
    target = np.arange(k + 2) < k
    for _step in range(3000):
        if "softmax" in law:
            p = np.exp(z) / np.exp(z).sum()
            z -= p - target / k
        else:
            p = 1 / (1 + np.exp(-z))
            z -= p - target
    if np.allclose(p[:k], 1 / k, atol=0.01):
        return f"1/{k} for each of them"
    return "nearly 1 for each of them" if p[:k].min() > 0.99 else "nearly 1 for one of them, 0 for the others"


@question(topic="vision.detection_measures", level=2, source="Everingham 2010, VOC, section 4.2", readme="dl_029/6")
def average_precision_of_a_list(draw):
    places = sorted(draw.sample(range(1, 9), 3))
    n = draw(4, 5, 6)
    precision = [(i + 1) / place for i, place in enumerate(places)]
    best = [max(precision[i:]) for i in range(3)]
    return Number(
        ask=f"{n} true boxes; of the detections by falling score those at places {places[0]}, {places[1]} and "
        f"{places[2]} are hits. What is the average precision, as the whole area under precision made monotone?",
        given=dict(places=places, n=n),
        answer=sum(max((j + 1) / places[j] for j in range(i, 3)) for i in range(3)) / n,
        traps={
            "missed ones forgotten": sum(best) / 3,
            "precision at the end": 3 / places[2],
            "not over the true boxes": sum(best) / places[2],
        },
        hints=(
            "At each hit: the best precision from there on. Missed boxes give 0.",
            "Σ over hits of max precision / n",
        ),
        why="Recall that is never reached has precision zero. COCO takes the mean at a hundred and one recalls, VOC "
        "2007 at eleven.",
    )


@average_precision_of_a_list.second
def _(places, n):
    import numpy as np

    hits = np.isin(np.arange(1, places[-1] + 1), places).cumsum()
    recall, precision = hits / n, hits / np.arange(1, places[-1] + 1)
    grid = (np.arange(n * 100) + 0.5) / (n * 100)
    return float(np.mean([precision[recall >= r].max(initial=0.0) for r in grid]))


@question(topic="vision.detection_measures", level=2, source="Lin 2014, COCO; pycocotools", readme="dl_029/6")
def hits_of_a_match(draw):
    left = {"a": [draw(0.2, 0.3, 0.4), draw(0.55, 0.7, 0.9)], "b": [draw(0.5, 0.55, 0.6), draw(0.7, 0.8, 0.9)]}
    left["c"] = [draw(0.1, 0.35, 0.65, 0.85)]
    best = draw.shuffled(["a", "a", "b", "b", "c"])
    ious = [left[box].pop(0) for box in best]
    taken, hits = set(), []
    for box, iou in zip(best, ious, strict=True):
        hit = iou >= 0.5 and box not in taken
        taken |= {box} if hit else set()
        hits.append(int(hit))
    return Predict(
        ask="Detections of one image by falling score, each with the true box that it overlaps and their IoU. Which "
        "are hits at 0.5?",
        code=f"""
taken, hits = set(), []
for box, iou in zip("{"".join(best)}", {ious}):
    hit = iou >= 0.5 and box not in taken
    if hit:
        taken.add(box)
    hits.append(int(hit))
print(hits)
""",
        answer=str(hits),
        traps={
            "second hits count": str([int(iou >= 0.5) for iou in ious]),
            "a miss takes the box": str(
                [int(iou >= 0.5 and box not in best[:i]) for i, (box, iou) in enumerate(zip(best, ious, strict=True))]
            ),
            "the best overlap wins": str(
                [
                    int(iou >= 0.5 and iou == max(o for b, o in zip(best, ious, strict=True) if b == box))
                    for box, iou in zip(best, ious, strict=True)
                ]
            ),
        },
        hints=("A true box can be found once. By which order is it given away?", "IoU >= 0.5 and not taken, by score"),
        why="The surest detection takes the box, even if a later one fits better. Every further one is a false "
        "positive.",
    )


@question(topic="vision.detection_measures", level=2, source="Everingham 2010, section 4.2", readme="dl_029/7")
def detections_that_are_added(draw):
    case, k = draw("low, one hit", "low, no hit", "high, no hit"), draw(20, 50, 200)
    how = {
        "low, one hit": f"{k} detections below all others, one of them a hit on a box not found before",
        "low, no hit": f"{k} detections below all others, all wrong",
        "high, no hit": f"{k} detections above all others, all wrong",
    }
    texts = {"low, one hit": "it rises", "low, no hit": "it stays", "high, no hit": "it falls"}
    return Choice(
        ask=f"A detector has found some boxes and missed others. One adds {how[case]}. What becomes of its average "
        "precision?",
        given=dict(case=case, k=k),
        answer=texts[case],
        traps={
            f"for {how[other].removeprefix(str(k) + ' detections ').split(',')[0]}, {other.split(', ')[1]}": text
            for other, text in texts.items()
            if other != case
        },
        hints=(
            "Which precisions does a detection change: those before it or those after?",
            "Σ over hits of precision / n",
        ),
        why="What comes last changes no precision before it, and a hit adds recall. So it is measured with a "
        "threshold near zero, and says little about any one threshold.",
    )


@detections_that_are_added.second
def _(case, k):
    import numpy as np

    def ap(hits, truths=6):
        found = np.cumsum(hits)
        precision = np.maximum.accumulate((found / np.arange(1, len(hits) + 1))[::-1])[::-1]
        return float((precision * np.array(hits)).sum() / truths)

    old, new = [1, 0, 1, 1, 0], [0] * k
    if "one hit" in case:
        new[k // 2] = 1
    change = ap(new + old if "high" in case else old + new) - ap(old)
    return "it stays" if change == 0 else "it rises" if change > 0 else "it falls"


@question(topic="vision.segmentation_models", level=2, source="Ronneberger 2015, U-Net, figure 1", readme="dl_029/8")
def side_behind_a_unet(draw):
    bottom, depth = draw.between(12, 40), draw(3, 4)
    n = bottom
    for _level in range(depth):
        n = 2 * n + 4
    return Number(
        ask=f"A U-Net with {depth} poolings, everywhere two 3x3 convolutions without padding, and 2x2 "
        f"up-convolutions. The input has side {n}. What is the side of the output?",
        given=dict(n=n, depth=depth),
        answer=n - (12 * 2**depth - 8),
        unit="",
        traps={
            "as with padding": n,
            "way down alone": n - 4 * (2**depth - 1),
            "bottom forgotten": n - 8 * (2**depth - 1),
        },
        hints=("Each level loses 4; down: halve, up: double.", "n - (12 · 2^depth - 8)"),
        why="Without padding every output sees real pixels alone. The kept maps are larger than those from below, "
        "so their middle is cut out.",
    )


@side_behind_a_unet.second
def _(n, depth):
    for _level in range(depth):
        n = (n - 2 - 2) // 2
    n -= 4
    for _level in range(depth):
        n = n * 2 - 2 - 2
    return n


@question(topic="vision.segmentation_models", level=1, source="Ronneberger 2015; He 2016", readme="dl_029/8")
def channels_behind_a_skip(draw):
    c, h, way = draw(64, 96, 128, 256), draw(28, 56, 64), draw("U-Net", "ResNet")
    right, other = (f"{2 * c} x {h} x {h}", f"{c} x {h} x {h}")[:: 1 if way == "U-Net" else -1]
    return Choice(
        ask=f"Two maps of {c} channels and {h} x {h} pixels meet at a skip, as in a {way}. What shape goes into the "
        "next convolution?",
        given=dict(c=c, h=h, way=way),
        answer=right,
        traps={"of the other network": other, "side by side in width": f"{c} x {h} x {2 * h}"},
        hints=("Is one added to the other, or put beside it?", "concat: 2·c channels; sum: c channels"),
        why="A sum lets gradients pass within one resolution. Beside each other the maps stay apart: what from "
        "below, where from the skip, and the convolution decides.",
    )


@channels_behind_a_skip.second
def _(c, h, way):
    import numpy as np

    a = np.broadcast_to(np.int8(0), (c, h, h))
    shape = np.concatenate([a, a]).shape if way == "U-Net" else (a + a).shape
    return " x ".join(map(str, shape))


@question(topic="vision.segmentation_models", level=2, source="Ronneberger 2015, section 2", readme="dl_029/8")
def middle_that_is_cut(draw):
    small = draw.between(4, 7)
    large = small + draw(2, 4, 6)
    first = draw.between(10, 60)
    row = list(range(first, first + large))
    edge = (large - small) // 2
    return Predict(
        ask=f"A row of a kept map has to fit {small} pixels from below. What is printed?",
        code=f"""
row = list(range({first}, {first + large}))
cut = (len(row) - {small}) // 2
print(row[cut:cut + {small}])
""",
        answer=str(row[edge : edge + small]),
        traps={
            "cut at the end": str(row[:small]),
            "cut at the front": str(row[-small:]),
            "every second one": str(row[::2][:small]),
        },
        hints=("As much is lost on the left as on the right.", "from (large - small)/2 on"),
        why="Convolutions without padding lose as much on each side, so the middle of the kept map is the same "
        "place of the image.",
    )


@question(topic="vision.segmentation_models", level=2, source="Chen 2017, DeepLabv3, section 3.3", readme="dl_029/9")
def taps_on_the_map(draw):
    h, r = draw(32, 40, 65), draw(3, 6, 12, 18, 24)
    return Number(
        ask=f"A 3x3 kernel at rate {r} on a map of {h} x {h} with zero padding. What share of its taps falls on the "
        "map, over all places?",
        given=dict(h=h, r=r),
        answer=100 * ((3 * h - 2 * r) / (3 * h)) ** 2,
        unit="%",
        traps={
            "one axis": 100 * (3 * h - 2 * r) / (3 * h),
            "plain kernel": 100 * ((3 * h - 2) / (3 * h)) ** 2,
            "middle taps alone": 100 / 9,
        },
        hints=(
            "Along one axis: the middle tap always, each outer one in h - r of h places.",
            "100 · ((3·h - 2·r) / (3·h))^2",
        ),
        why="As the rate comes near the size of the map, the kernel becomes a 1x1 convolution. So the mean of the "
        "map is added for what is global.",
    )


@taps_on_the_map.second
def _(h, r):
    import numpy as np

    place = np.arange(h)[:, None] + np.array([-r, 0, r])
    axis = ((place >= 0) & (place < h)).astype(float)
    return float(100 * np.einsum("ia,jb->", axis, axis) / (9 * h * h))


@question(topic="vision.segmentation_models", level=2, source="Wang 2018, Understanding convolution", readme="dl_029/9")
def pixels_of_stacked_rates(draw):
    rates = [draw.between(1, 4), draw.between(1, 5)]
    seen = sorted({a * rates[0] + b * rates[1] for a in (-1, 0, 1) for b in (-1, 0, 1)})
    reach = sum(rates)
    full = list(range(-reach, reach + 1))
    other = {"no gaps": full} if seen != full else {"a lattice": seen[::2]}
    return Predict(
        ask="Two convolutions of three taps at these rates, one behind the other. At which distances does an output "
        "see the input?",
        code=f"""
seen = {{0}}
for rate in {rates}:
    seen = {{at + tap * rate for at in seen for tap in (-1, 0, 1)}}
print(sorted(seen))
""",
        answer=str(seen),
        traps={
            **{name: str(places) for name, places in other.items()},
            "the outermost alone": str([-reach, 0, reach]),
            "distances added once": str(sorted({0, *rates})),
        },
        hints=("Add the taps' distances of both, in all ways.", "±rate, ±rate', and their sums"),
        why="Rates with a common factor see a lattice only, the gridding artefact. Rates without one fill the gaps.",
    )


@question(topic="vision.variants", level=2, source="Liu 2022, ConvNeXt, section 2", readme="dl_029/10")
def parameters_of_a_convnext_block(draw):
    C = draw(96, 128, 192, 256, 384, 512, 768, 1024)
    return Number(
        ask=f"A ConvNeXt block of {C} channels: 7x7 depthwise convolution, LayerNorm, product to {4 * C}, GELU, "
        "product back, layer scale; biases everywhere. How many parameters?",
        given=dict(C=C),
        answer=8 * C * C + 58 * C,
        unit="parameters",
        traps={
            "7x7 over all channels": 57 * C * C + 9 * C,
            "products alone": 8 * C * C,
            "biases forgotten": 8 * C * C + 52 * C,
        },
        hints=(
            "Depthwise 49 + 1 a channel, norm 2, products 8·C² and 5 biases a channel, scale 1.",
            "8 · C^2 + 58 · C",
        ),
        why="Mixing places costs nearly nothing if each channel does it for itself. The products are the MLP of a "
        "transformer.",
    )


@parameters_of_a_convnext_block.second
def _(C):
    from math import prod

    shapes = [(C, 1, 7, 7), (C,), (C,), (C,), (4 * C, C), (4 * C,), (C, 4 * C), (C,), (C,)]
    return sum(map(prod, shapes))


@question(topic="vision.variants", level=2, source="Liu 2022, ConvNeXt, section 2", readme="dl_029/10")
def steps_of_a_convnext_block(draw):
    C = draw(96, 128, 192, 256, 384, 512, 768)
    steps = [
        "7x7 depthwise convolution",
        "LayerNorm over channels",
        f"product from {C} to {4 * C}",
        "GELU",
        f"product from {4 * C} to {C}",
        "layer scale, and the input is added",
    ]
    return Order(
        ask="A ConvNeXt block. In which order?",
        given=dict(C=C),
        answer=steps,
        traps={
            "pre-norm, as in a transformer": [steps[1], steps[0], *steps[2:]],
            "depthwise in the middle, as in MobileNet": [steps[1], steps[2], steps[0], steps[3], steps[4], steps[5]],
        },
        hints=("Places are mixed first, and only then comes the one norm.", "depthwise, norm, wide, GELU, narrow, add"),
        why="Large kernels are cheap while the block is narrow, so they moved to its front. One norm and one "
        "nonlinearity are left, as in a transformer.",
    )


@steps_of_a_convnext_block.second
def _(C):
    reads = {
        f"product from {4 * C} to {C}": ("active", "narrow"),
        "LayerNorm over channels": ("mixed", "normed"),
        "layer scale, and the input is added": ("narrow", "output"),
        "7x7 depthwise convolution": ("input", "mixed"),
        "GELU": ("wide", "active"),
        f"product from {C} to {4 * C}": ("normed", "wide"),
    }
    order, have = [], "input"
    while have != "output":
        order.append(next(step for step, (need, _) in reads.items() if need == have))
        have = reads[order[-1]][1]
    return order


@question(topic="vision.variants", level=1, source="Tu 2022, MaxViT, section 3.1", readme="dl_029/11")
def pairs_of_two_windows(draw):
    g = draw(6, 7, 8)
    m = g * draw(2, 3, 4, 6, 8, 12, 16, 20)
    return Number(
        ask=f"A map of {m} x {m}. MaxViT attends within blocks and then within grids of {g} x {g} places. How many "
        "times fewer pairs of query and key are these than in full attention?",
        given=dict(m=m, g=g),
        answer=m * m / (2 * g * g),
        unit="x",
        traps={"one of the two": m * m / (g * g), "sides": m / (2 * g), "one axis": m / (g * g)},
        hints=("Each place pays for g² others twice, instead of for all m².", "m · m / (2 · g · g)"),
        why="Linear in the number of places, and in two steps everything reaches everything: across its block, then "
        "across the grid.",
    )


@pairs_of_two_windows.second
def _(m, g):
    blocks = (m // g) ** 2
    local = sum((g * g) ** 2 for _kind in ("block", "grid") for _window in range(blocks))
    return (m * m) ** 2 / local


@question(topic="vision.variants", level=2, source="Tu 2022, MaxViT, section 3.1", readme="dl_029/11")
def places_of_a_grid(draw):
    g, parts, kind = draw(2, 3, 4), draw(3, 4, 5), draw("grid", "block")
    n = g * parts
    i = draw.between(0, n - 1)
    grid, block = [j for j in range(n) if j % parts == i % parts], [j for j in range(n) if j // g == i // g]
    condition = f"j % {parts} == {i} % {parts}" if kind == "grid" else f"j // {g} == {i} // {g}"
    return Predict(
        ask=f"One axis of {n} places, {kind}s of {g}. With which places does place {i} attend?",
        code=f"print([j for j in range({n}) if {condition}])",
        answer=str(grid if kind == "grid" else block),
        traps={
            "block and grid swapped": str(block if kind == "grid" else grid),
            "the other factor": str([j for j in range(n) if j % g == i % g]),
            "a window around it": str([j for j in range(n) if abs(j - i) <= g // 2]),
        },
        hints=("A block is neighbours, a grid is spread evenly over the axis.", "j // g, or j mod (n / g)"),
        why="Both are one reshape with the two factors of the axis swapped. Swin shifts its windows instead, and "
        "reaches further with depth alone.",
    )


@question(
    topic="vision.inductive_bias", level=1, source="Dosovitskiy 2021, section 3.1; Battaglia 2018", readme="dl_029/12"
)
def weights_that_are_saved(draw):
    c, n, k = draw(3, 16, 64), draw(14, 28, 32, 56), draw(3, 5, 7)
    return Number(
        ask=f"A layer between maps of {c} channels and {n} x {n} pixels. How many times the weights of a "
        f"convolution of {k} x {k} does a dense layer have? No biases.",
        given=dict(c=c, n=n, k=k),
        answer=n**4 / k**2,
        unit="x",
        traps={
            "shared, but not local": n**2 / k**2,
            "local, but not shared": float(n**2),
            "channels counted": c * n**4 / k**2,
        },
        hints=(
            "Dense: each value meets each. Convolution: k² neighbours, for all places alike.",
            "(c·n·n)^2 / (c·c·k·k)",
        ),
        why="Locality and sharing are what a CNN knows before it sees data. A ViT has to learn them, so it needs "
        "more data, or augmentation.",
    )


@weights_that_are_saved.second
def _(c, n, k):
    import numpy as np

    kernel = np.broadcast_to(np.int8(0), (c, c, k, k))
    values = c * n * n
    return values * values / kernel.size


@question(topic="vision.inductive_bias", level=2, source="Zhang 2019, Making CNNs shift-invariant", readme="dl_029/12")
def shifts_that_are_followed(draw):
    s = draw(2, 4)
    layer = draw(
        "a convolution with circular padding, stride 1", f"a convolution with circular padding, stride {s}",
        f"a ViT without positions, patches of {s} pixels", f"a ViT with learned positions, patches of {s} pixels",
        "a convolution with zero padding, stride 1",
    )  # fmt: skip
    every, some, none = "all shifts", f"shifts by multiples of {s} alone", "none"
    right = none if "learned" in layer or "zero" in layer else every if "stride 1" in layer else some
    names = {"all places taken as alike": every, "a grid of samples assumed": some, "places told apart": none}
    return Choice(
        ask=f"A row of pixels is shifted, what leaves on one side comes in on the other. Which shifts, up to {s}, "
        f"does this follow exactly: {layer}?",
        given=dict(s=s, layer=layer),
        answer=right,
        traps={name: one for name, one in names.items() if one != right},
        hints=(
            "Does anything tell one place from another: a border, a grid of samples, a table?",
            "f(shift(x)) = shift(f(x))",
        ),
        why="Sampling follows its own steps alone, borders and learned positions tell places apart. A CNN comes "
        "nearer, a ViT learns it from data.",
    )


@shifts_that_are_followed.second
def _(s, layer):
    import numpy as np

    rng = np.random.default_rng(0)
    x, w, table = rng.normal(size=16), rng.normal(size=3), rng.normal(size=(16 // s, s))

    def run(row):  # the output, one number for each step or patch
        if "ViT" in layer:
            patches = row.reshape(-1, s) + (table if "learned" in layer else 0)
            weights = np.exp(patches @ patches.T)
            return (weights / weights.sum(1, keepdims=True) @ patches) @ np.arange(1, s + 1)
        padded = np.pad(row, 1, mode="constant" if "zero" in layer else "wrap")
        out = sum(w[i] * padded[i : i + 16] for i in range(3))
        return out[::s] if f"stride {s}" in layer else out

    step = 1 if "stride 1" in layer else s
    followed = {
        by: any(np.allclose(run(np.roll(x, by)), np.roll(run(x), k)) for k in range(16 // step))
        for by in range(1, s + 1)
    }
    if all(followed.values()):
        return "all shifts"
    return f"shifts by multiples of {s} alone" if followed[s] else "none"


@question(topic="vision.inductive_bias", level=2, source="Zhang 2019, section 3", readme="dl_029/12")
def samples_of_a_shift(draw):
    x, by = [draw.between(0, 9) for _ in range(8)], draw(1, 2, 3)
    moved = x[-by:] + x[:-by]
    right = f"{x[::2]} {moved[::2]}"
    return Predict(
        ask=f"A row is shifted by {by} round its end, then every second pixel is taken. What is printed?",
        code=f"""
x = {x}
moved = x[-{by}:] + x[:-{by}]
print(x[::2], moved[::2])
""",
        answer=right,
        traps={
            "output shifted as much": f"{x[::2]} {x[::2][-by:] + x[::2][:-by]}",
            "nothing changes": f"{x[::2]} {x[::2]}",
            "the other way": f"{x[::2]} {(x[by:] + x[:by])[::2]}",
        },
        hints=("Which pixels stand at even places afterwards?", "moved[0], moved[2], moved[4], moved[6]"),
        why="A shift by the stride moves the output by one. Any other shows other pixels altogether, unless they were "
        "smoothed before.",
    )
