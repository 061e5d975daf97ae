"""Bring layers of older generations, and fields with two spellings, into today's form.

This is what Caffe's util/upgrade_proto.cpp does (BVLC/caffe).
"""

from alexnet_lib.caffe.schema import SUPPORTED, LayerParameter, file_of, refuse, type_of

__all__ = ["resolve_spellings", "todays_type", "upgrade"]

# Forks' faster kernels for what Convolution computes too.
SAME_AS = {"DepthwiseConvolution": "Convolution", "ConvolutionDepthwise": "Convolution"}
# Types of V0 and V1 that have another name today, and today's names with unusual capitals.
OLD_TYPES = {
    "CONV": "Convolution", "POOL": "Pooling", "IMAGES": "ImageData",
    "SOFTMAX_LOSS": "SoftmaxWithLoss", "ARGMAX": "ArgMax", "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
}  # fmt: skip
BY_CAPITALS = {name.upper(): name for name in SUPPORTED}
V0_FIELDS = {"biasterm": "bias_term", "kernelsize": "kernel_size"}


def todays_type(layer):
    """Return today's name of the type of a layer of any generation."""
    kind = type_of(layer)
    if isinstance(layer, LayerParameter):
        return SAME_AS.get(kind, kind)
    kind = kind.upper()
    known = OLD_TYPES.get(kind) or BY_CAPITALS.get(kind.replace("_", ""))
    return known or kind.title().replace("_", "")


def upgrade(net):
    """Return a description's layers as LayerParameters of today, inputs first."""
    if net.layer and net.layers:
        refuse(net.layers[0], "expected `layer` or `layers` in one file, found both")
    layers, padding, file = [], {}, file_of(net)
    legacy = len(net.input_dim) == 4 * len(net.input) and not net.input_shape
    for index, name in enumerate(net.input):
        source = f"{file}: input {index + 1}".removeprefix(": ")
        layer = LayerParameter(name=name, type="Input", top=[name], source=source)
        if legacy:
            layer.input_param.shape.add(dim=net.input_dim[4 * index : 4 * index + 4])
        elif len(net.input_shape) == len(net.input) and not net.input_dim:
            layer.input_param.shape.add().CopyFrom(net.input_shape[index])
        elif net.input_dim or net.input_shape:
            refuse(layer, "expected four input_dim, or an input_shape, for each `input`")
        layers.append(layer)
    for old in net.layers:
        layers += _upgrade_v0(old, padding) if old.HasField("layer") else [_upgrade_v1(old)]
    for old in net.layer:
        layers.append(LayerParameter())
        layers[-1].CopyFrom(old)
        layers[-1].type = todays_type(old)
    return layers


def _upgrade_v1(old):
    same = set(LayerParameter.DESCRIPTOR.fields_by_name) - {"type", "param"}
    fields = {field.name: value for field, value in old.ListFields() if field.name in same}
    shared = [{"name": name} for name in old.param]
    return LayerParameter(type=todays_type(old), param=shared, **fields)


def _upgrade_v0(old, padding):
    """Upgrade a layer of the first generation; a padding layer goes into those that read it."""
    layer = LayerParameter(
        name=old.layer.name, type=todays_type(old), bottom=old.bottom, top=old.top,
        source=old.source,
    )  # fmt: skip
    if layer.type == "Padding" and layer.bottom:
        padding.update(dict.fromkeys(layer.top, (layer.bottom[0], old.layer.pad)))
        return []
    values = {V0_FIELDS.get(field.name, field.name): v for field, v in old.layer.ListFields()}
    for index, bottom in enumerate(layer.bottom):
        if bottom in padding:
            if layer.type not in ("Convolution", "Pooling"):
                refuse(layer, "expected a convolution or a pooling behind a padding layer")
            layer.bottom[index], values["pad"] = padding[bottom]
    if SUPPORTED.get(layer.type):
        parameters = getattr(layer, SUPPORTED[layer.type])
        for field in parameters.DESCRIPTOR.fields:
            if field.name in values and not field.message_type:
                if field.is_repeated:
                    getattr(parameters, field.name).append(values[field.name])
                else:
                    setattr(parameters, field.name, values[field.name])
    return [layer]


def resolve_spellings(layer):
    """Bring what has two spellings into one, in place; refuse both at once, as Caffe does."""
    if not SUPPORTED[layer.type]:
        return
    parameters = getattr(layer, SUPPORTED[layer.type])
    given = {field.name: value for field, value in parameters.ListFields()}
    for old in {"concat_dim", "slice_dim"} & set(given):
        if "axis" in given:
            refuse(layer, f"expected axis or {old}, found both")
        parameters.axis = given[old]
        parameters.ClearField(old)
    if "round_mode" in given:
        up = parameters.round_mode == 0
        if given.get("ceil_mode", up) != up:
            refuse(
                layer,
                "expected round_mode and ceil_mode to agree; a .caffemodel cannot say which of "
                "the two its field 13 is, so give the prototxt too",
            )
        parameters.ClearField("round_mode")
        parameters.ceil_mode = up
    for name in ("kernel_size", "stride", "pad", "dilation"):
        sides = [f"{name.removesuffix('_size')}_{side}" for side in "hw"]
        if name in given and any(side in given for side in sides):
            refuse(layer, f"expected {name} or {' and '.join(sides)}, found both")
        if name != "pad" and sum(side in given for side in sides) == 1:
            refuse(layer, f"expected {' and '.join(sides)}, found one of them")
        if not isinstance(given.get(name, 0), int) and len(given[name]) > 2:
            refuse(layer, f"{name}: expected one or two values, found {len(given[name])}")
