"""Networks that Hypothesis draws: any supported types, shapes and options, in any order.

Each layer is chosen to fit the shapes so far, which the NumPy reference computes on the way.
"""

import numpy as np
from google.protobuf import text_format
from hypothesis import strategies as st

from alexnet_lib.caffe.description import normalize
from alexnet_lib.caffe.schema import LayerParameter, NetParameter
from alexnet_lib.port import reference
from alexnet_lib.port.prove import noise

INPLACE = {"ReLU", "PReLU", "Dropout", "Sigmoid", "TanH", "AbsVal", "BatchNorm", "Scale", "ELU"}


def network(text):
    """Parse and normalize a description."""
    return normalize(text_format.Parse(text, NetParameter()))


@st.composite
def networks(draw, most=7):
    """Draw a description, as text, and blobs for its layers.

    Returns:
        A pair of the prototxt and a dict from layer name to float32 blobs.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = [draw(st.integers(1, 2)), draw(st.integers(1, 6))]
    shape += [draw(st.integers(3, 11)), draw(st.integers(3, 11))]
    values = {"data": rng.standard_normal(shape)}
    lines = [f'input: "data" input_shape {{ {" ".join(f"dim: {n}" for n in shape)} }}']
    blobs = {}
    for index in range(draw(st.integers(1, most))):
        bottom = draw(st.sampled_from(sorted(values)))
        kind, settings, extra = draw(layers(values, bottom))
        name = f"{kind.lower()}{index}"
        tops = [name]
        if kind in ("Slice", "Split"):
            tops = [f"{name}/{part}" for part in range(settings.pop("tops", 2))]
        if kind in INPLACE and bottom != "data" and draw(st.booleans()):
            tops = [bottom]
        bottoms = [bottom, *extra]
        text = f'name: "{name}" type: "{kind}" ' + settings.get("text", "")
        text += "".join(f' bottom: "{b}"' for b in bottoms) + "".join(f' top: "{t}"' for t in tops)
        layer = text_format.Parse(text, LayerParameter())
        given = [values[b] for b in bottoms]
        own = [
            noise(layer, i, blob, rng).astype(np.float32)
            for i, blob in enumerate(settings.get("blobs", []))
        ]
        if own:
            blobs[name] = own
        values |= zip(tops, reference.forward(layer, given, own), strict=True)
        lines.append(f"layer {{ {text} }}")
    return "\n".join(lines), blobs


@st.composite
def layers(draw, values, bottom):
    """Draw a layer that takes `bottom`: its type, its parameters and blobs, and other bottoms."""
    x = values[bottom]
    kinds = ["ReLU", "PReLU", "Dropout", "Sigmoid", "TanH", "AbsVal", "ELU", "BNLL", "BatchNorm"]
    kinds += ["Scale", "Bias", "Eltwise", "Concat", "Split", "Softmax", "Flatten", "Reshape"]
    kinds += ["Power", "InnerProduct", "InnerProduct", "Crop"]
    if max(x.shape[1:]) > 1:
        kinds.append("Slice")
    if x.ndim == 4:
        kinds += ["Convolution", "Pooling"] * 4 + [
            "Deconvolution",
            "LRN",
            "Permute",
            "Normalize",
        ] * 2
    if bottom == "data":
        kinds.append("MVN")
    if np.abs(x).max() <= 2:
        kinds.append("Exp")
        if x.min() >= 0:
            kinds.append("Log")
    kind = draw(st.sampled_from(kinds))
    if kind in OPTIONS:
        parameter, fields, blobs = OPTIONS[kind](draw, x.shape)
        return kind, {"text": _given(parameter, **fields), "blobs": blobs}, []
    return DRAWN[kind](draw, values, bottom) if kind in DRAWN else (kind, {}, [])


def _given(name, **fields):
    return (
        f"{name} {{ "
        + " ".join(
            f"{key}: {str(v).lower() if isinstance(v, bool) else v}"
            for key, value in fields.items()
            for v in (value if isinstance(value, list | tuple) else [value])
        )
        + " }"
    )


def _pick(draw, low, high):
    return draw(st.integers(low, high))


def _windows(draw, size, most_kernel, dilated=False):
    """Draw kernel, stride, pad (and dilation) of a window that fits, equal sides or not."""
    sides = []
    square = draw(st.booleans())
    for n in [min(size)] if square else size:
        dilation = _pick(draw, 1, 2) if dilated else 1
        kernel = _pick(draw, 1, most_kernel)
        pad = _pick(draw, 0, 3)
        while dilation * (kernel - 1) + 1 > n + 2 * pad:
            kernel -= 1
        sides.append(
            (kernel, _pick(draw, 1, 3), min(pad, kernel - 1) if not dilated else pad, dilation)
        )
    if square:
        kernel, stride, pad, dilation = sides[0]
        fields = {"kernel_size": kernel, "stride": stride, "pad": pad}
        return fields | ({"dilation": dilation} if dilated else {}), [sides[0]] * 2
    fields = {}
    for (kernel, stride, pad, _), side in zip(sides, "hw", strict=True):
        fields |= {f"kernel_{side}": kernel, f"stride_{side}": stride, f"pad_{side}": pad}
    return fields | ({"dilation": [s[3] for s in sides]} if dilated else {}), sides


def _convolution(draw, values, bottom):
    channels, *size = values[bottom].shape[1:]
    fields, sides = _windows(draw, size, 5, dilated=True)
    group = draw(st.sampled_from([g for g in (1, 1, 2, 3, channels) if channels % g == 0]))
    outputs = group * _pick(draw, 1, 3)
    bias = draw(st.booleans())
    fields |= {"num_output": outputs, "group": group, "bias_term": bias}
    kernel = [side[0] for side in sides]
    blobs = [(outputs, channels // group, *kernel)] + [(outputs,)] * bias
    return "Convolution", {"text": _given("convolution_param", **fields), "blobs": blobs}, []


def _deconvolution(draw, values, bottom):
    channels, *size = values[bottom].shape[1:]
    fields, sides = _windows(draw, size, 4, dilated=True)
    for (kernel, stride, pad, dilation), n in zip(sides, size, strict=True):
        if 2 * pad >= stride * (n - 1) + dilation * (kernel - 1) + 1 or pad > dilation * (
            kernel - 1
        ):
            fields = {k: 0 if k.startswith("pad") else v for k, v in fields.items()}
    group = draw(st.sampled_from([g for g in (1, 2, channels) if channels % g == 0]))
    outputs = group * _pick(draw, 1, 2)
    bias = draw(st.booleans())
    fields |= {"num_output": outputs, "group": group, "bias_term": bias}
    blobs = [(channels, outputs // group, *[side[0] for side in sides])] + [(outputs,)] * bias
    return "Deconvolution", {"text": _given("convolution_param", **fields), "blobs": blobs}, []


def _pooling(draw, values, bottom):
    size = values[bottom].shape[2:]
    mode = draw(st.sampled_from(["MAX", "AVE"]))
    if _pick(draw, 0, 5) == 0:
        return "Pooling", {"text": _given("pooling_param", pool=mode, global_pooling=True)}, []
    fields, sides = _windows(draw, size, 4)
    if any(stride > kernel for kernel, stride, _, _ in sides):  # windows outside of the image
        fields = {k: 1 if k.startswith("stride") else v for k, v in fields.items()}
    if _pick(draw, 0, 3) == 0:
        fields["ceil_mode"] = False
    return "Pooling", {"text": _given("pooling_param", pool=mode, **fields)}, []


def _lrn(draw, values, bottom):
    region = draw(st.sampled_from(["ACROSS_CHANNELS", "WITHIN_CHANNEL"]))
    fields = {
        "local_size": draw(st.sampled_from([1, 3, 5])),
        "alpha": draw(st.sampled_from([1, 0.5])),
    }
    fields |= {"beta": draw(st.sampled_from([0.75, 0.5])), "norm_region": region}
    if region[0] == "A":
        fields["k"] = draw(st.sampled_from([1, 2]))
    return "LRN", {"text": _given("lrn_param", **fields)}, []


def _innerproduct(draw, values, bottom):
    shape = values[bottom].shape
    axis = _pick(draw, 1, len(shape) - 1)
    # Of few outputs, all may be sums that cancel to almost 0, where float32 has no digits left.
    outputs, transpose, bias = _pick(draw, 4, 8), draw(st.booleans()), draw(st.booleans())
    text = _given(
        "inner_product_param", num_output=outputs, axis=axis, transpose=transpose, bias_term=bias
    )
    kernel = (outputs, int(np.prod(shape[axis:])))
    blobs = [kernel[::-1] if transpose else kernel] + [(outputs,)] * bias
    return "InnerProduct", {"text": text, "blobs": blobs}, []


def _scale(draw, values, bottom):
    shape = values[bottom].shape
    others = [o for o in sorted(values) if values[o].shape == shape[: values[o].ndim]]
    if draw(st.booleans()):
        return "Scale", {"text": _given("scale_param", axis=0)}, [draw(st.sampled_from(others))]
    axis = _pick(draw, 1, len(shape) - 1)
    count = draw(st.sampled_from([-1, 0, *range(1, len(shape) - axis + 1)]))
    bias = draw(st.booleans())
    own = () if count == 0 else shape[axis:] if count == -1 else shape[axis : axis + count]
    text = _given("scale_param", axis=axis, num_axes=count, bias_term=bias)
    return "Scale", {"text": text, "blobs": [own] * (1 + bias)}, []


def _eltwise(draw, values, bottom):
    shape = values[bottom].shape
    same = [o for o in sorted(values) if values[o].shape == shape]
    others = draw(st.lists(st.sampled_from(same), min_size=1, max_size=2))
    operation = draw(st.sampled_from(["SUM", "PROD", "MAX"]))
    fields = {"operation": operation}
    if operation == "SUM" and draw(st.booleans()):
        fields["coeff"] = [draw(st.sampled_from([1, 0.5, 2])) for _ in range(1 + len(others))]
    return "Eltwise", {"text": _given("eltwise_param", **fields)}, others


def _concat(draw, values, bottom):
    shape = values[bottom].shape
    axis = _pick(draw, 1, len(shape) - 1)

    def fits(other):
        return len(other) == len(shape) and all(
            a == b for i, (a, b) in enumerate(zip(shape, other, strict=True)) if i != axis
        )

    others = [o for o in sorted(values) if fits(values[o].shape)]
    extra = draw(st.lists(st.sampled_from(others), min_size=1, max_size=2))
    return "Concat", {"text": _given("concat_param", axis=axis)}, extra


def _slice(draw, values, bottom):
    shape = values[bottom].shape
    axis = draw(st.sampled_from([a for a in range(1, len(shape)) if shape[a] > 1]))
    points = draw(
        st.lists(st.integers(1, shape[axis] - 1), min_size=1, max_size=2, unique=True).map(sorted)
    )
    fields = {"axis": axis}
    if shape[axis] % (len(points) + 1) or draw(st.booleans()):
        fields["slice_point"] = points
    return "Slice", {"text": _given("slice_param", **fields), "tops": len(points) + 1}, []


def _flatten(draw, values, bottom):
    first = _pick(draw, 1, values[bottom].ndim - 1)
    last = _pick(draw, first, values[bottom].ndim - 1)
    return "Flatten", {"text": _given("flatten_param", axis=first, end_axis=last)}, []


def _reshape(draw, values, bottom):
    shape = values[bottom].shape
    start = _pick(draw, 0, 1)
    rest = int(np.prod(shape[1:]))
    divisors = [n for n in range(1, rest + 1) if rest % n == 0]
    first = draw(st.sampled_from(divisors))
    second = draw(st.sampled_from([n for n in divisors if rest // first % n == 0]))
    dims = draw(st.sampled_from([[-1], [first, -1], [first, second, -1]]))
    head = [] if start else [draw(st.sampled_from([0, shape[0]]))]
    inside = " ".join(f"dim: {n}" for n in head + dims)
    return "Reshape", {"text": f"reshape_param {{ axis: {start} shape {{ {inside} }} }}"}, []


def _crop(draw, values, bottom):
    shape = values[bottom].shape
    axis = _pick(draw, 1, len(shape) - 1)

    def fits(other):
        return len(other) == len(shape) and all(
            a >= b for a, b in zip(shape[axis:], other[axis:], strict=True)
        )

    other = draw(st.sampled_from([o for o in sorted(values) if fits(values[o].shape)]))
    offsets = [
        _pick(draw, 0, a - b) for a, b in zip(shape[axis:], values[other].shape[axis:], strict=True)
    ]
    return "Crop", {"text": _given("crop_param", axis=axis, offset=offsets)}, [other]


def _power(draw, values, bottom):
    power = draw(st.sampled_from([1, 2, 3] if values[bottom].min() < 0 else [1, 2, 0.5]))
    shift = draw(st.sampled_from([0, 0.5])) if power != 0.5 else 0.5
    scale = draw(st.sampled_from([1, 0.3]))
    return "Power", {"text": _given("power_param", power=power, scale=scale, shift=shift)}, []


def _one_of(draw, *values):
    return draw(st.sampled_from(values))


def _shared(draw, shape, parameter, **fields):
    shared = draw(st.booleans())
    return parameter, {"channel_shared": shared, **fields}, [(1 if shared else shape[1],)]


def _bias(draw, shape):
    axis = _pick(draw, 1, len(shape) - 1)
    return "bias_param", {"axis": axis}, [shape[axis : axis + 1]]


# From a type to its parameters' name, their drawn values and the shapes of its blobs.
OPTIONS = {
    "ReLU": lambda draw, _: ("relu_param", {"negative_slope": _one_of(draw, 0, 0.1)}, []),
    "BatchNorm": lambda draw, shape: (
        "batch_norm_param", {"eps": _one_of(draw, 1e-5, 0.1)}, [shape[1:2], shape[1:2], (1,)]),
    "Softmax": lambda draw, shape: ("softmax_param", {"axis": _pick(draw, 1, len(shape) - 1)}, []),
    "Permute": lambda draw, _: (
        "permute_param", {"order": [0, *draw(st.permutations([1, 2, 3]))]}, []),
    "Exp": lambda draw, _: (
        "exp_param", {"base": _one_of(draw, -1, 2), "scale": 0.5, "shift": 0.25}, []),
    "Log": lambda draw, _: (
        "log_param", {"base": _one_of(draw, -1, 10), "scale": 0.5, "shift": 1}, []),
    "MVN": lambda draw, _: (
        "mvn_param",
        {"normalize_variance": _one_of(draw, False, True),
         "across_channels": _one_of(draw, False, True), "eps": 0.01},
        []),
    "PReLU": lambda draw, shape: _shared(draw, shape, "prelu_param"),
    "Normalize": lambda draw, shape: _shared(
        draw, shape, "norm_param", across_spatial=_one_of(draw, False, True)),
    "Bias": _bias,
}  # fmt: skip
DRAWN = {
    "Convolution": _convolution,
    "Deconvolution": _deconvolution,
    "Pooling": _pooling,
    "LRN": _lrn,
    "InnerProduct": _innerproduct,
    "Scale": _scale,
    "Eltwise": _eltwise,
    "Concat": _concat,
    "Slice": _slice,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Crop": _crop,
    "Power": _power,
}
