"""The messages of Caffe's network descriptions, as classes that protobuf makes at run time.

The table holds the part of BVLC/caffe, src/caffe/proto/caffe.proto, that describes networks for
inference, and the fields that well-known forks add: `permute_param` and `norm_param` of SSD
(weiliu89/caffe) and `ceil_mode` of pooling. What data, losses and other types that are not built
have of their own is left out. A line is a message: its fields with number, type (`*` for repeated
ones) and default, and its enums in braces. No generated module is involved, so any
protobuf from 5.28 on will do, and nothing registers in protobuf's global pool.
"""

import re

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from alexnet_lib.errors import InputError

__all__ = [
    "SUPPORTED",
    "DescriptionError",
    "LayerParameter",
    "NetParameter",
    "file_of",
    "message",
    "refuse",
    "type_of",
]

#: The parameters of each supported type of layer; "" where a type has none that matters.
SUPPORTED = {
    "Input": "input_param", "Convolution": "convolution_param",
    "Deconvolution": "convolution_param", "Pooling": "pooling_param", "ReLU": "relu_param",
    "PReLU": "prelu_param", "LRN": "lrn_param", "InnerProduct": "inner_product_param",
    "BatchNorm": "batch_norm_param", "Scale": "scale_param", "Bias": "bias_param",
    "Eltwise": "eltwise_param", "Concat": "concat_param", "Slice": "slice_param", "Split": "",
    "Softmax": "softmax_param", "Dropout": "", "Sigmoid": "", "TanH": "", "AbsVal": "",
    "Power": "power_param", "Exp": "exp_param", "Log": "log_param", "Flatten": "flatten_param",
    "Reshape": "reshape_param", "Permute": "permute_param", "Crop": "crop_param",
    "Normalize": "norm_param", "ELU": "elu_param", "BNLL": "", "MVN": "mvn_param",
}  # fmt: skip

ENGINE = "Engine{DEFAULT 0 CAFFE 1 CUDNN 2}"
FILLERS = "weight_filler {} FillerParameter, bias_filler {} FillerParameter"

# Layers' parameters: field, number in LayerParameter, number in V1LayerParameter, message.
LAYER_FIELDS = """
concat_param 104 9 ConcatParameter              convolution_param 106 10 ConvolutionParameter
dropout_param 108 12 DropoutParameter           dummy_data_param 109 26 DummyDataParameter
eltwise_param 110 24 EltwiseParameter           exp_param 111 41 ExpParameter
inner_product_param 117 17 InnerProductParameter  lrn_param 118 18 LRNParameter
memory_data_param 119 22 MemoryDataParameter    mvn_param 120 34 MVNParameter
pooling_param 121 19 PoolingParameter           power_param 122 21 PowerParameter
relu_param 123 30 ReLUParameter                 sigmoid_param 124 38 SigmoidParameter
softmax_param 125 39 SoftmaxParameter           slice_param 126 31 SliceParameter
tanh_param 127 37 TanHParameter                 prelu_param 131 0 PReLUParameter
reshape_param 133 0 ReshapeParameter            log_param 134 0 LogParameter
flatten_param 135 0 FlattenParameter            batch_norm_param 139 0 BatchNormParameter
elu_param 140 0 ELUParameter                    bias_param 141 0 BiasParameter
scale_param 142 0 ScaleParameter                input_param 143 0 InputParameter
crop_param 144 0 CropParameter                  permute_param 202 0 PermuteParameter
norm_param 206 0 NormalizeParameter
"""
PARAMETERS = re.findall(r"(\w+) (\d+) (\d+) (\w+)", LAYER_FIELDS)

# `round_mode` is BVLC's field 13; forks gave the same number to `ceil_mode`, which means its
# opposite. Text knows fields by name, so ceil_mode may have another number here. Two fields are
# this library's own, and refused in files: `source`, where a layer comes from ("net.prototxt: line
# 7"), and a normal form's `output`, the tops that it is asked for.
MESSAGES = f"""
BlobShape: dim 1 int64*
BlobProto: shape 7 BlobShape, data 5 float*, diff 6 float*, double_data 8 double*, \
double_diff 9 double*, num 1 int32 0, channels 2 int32 0, height 3 int32 0, width 4 int32 0, \
raw_data_type 10 int32, raw_data 12 bytes
FillerParameter: type 1 string constant, value 2 float 0, min 3 float 0, max 4 float 1, \
mean 5 float 0, std 6 float 1, sparse 7 int32 -1, variance_norm 8 VarianceNorm FAN_IN, \
VarianceNorm{{FAN_IN 0 FAN_OUT 1 AVERAGE 2}}
NetParameter: name 1 string, input 3 string*, input_shape 8 BlobShape*, input_dim 4 int32*, \
force_backward 5 bool false, state 6 NetState, debug_info 7 bool false, \
layer 100 LayerParameter*, layers 2 V1LayerParameter*, output 1001 string*
NetState: phase 1 Phase TEST, level 2 int32 0, stage 3 string*
NetStateRule: phase 1 Phase, min_level 2 int32, max_level 3 int32, stage 4 string*, \
not_stage 5 string*
ParamSpec: name 1 string, share_mode 2 DimCheckMode, lr_mult 3 float 1.0, \
decay_mult 4 float 1.0, DimCheckMode{{STRICT 0 PERMISSIVE 1}}
LayerParameter: name 1 string, type 2 string, bottom 3 string*, top 4 string*, phase 10 Phase, \
loss_weight 5 float*, param 6 ParamSpec*, blobs 7 BlobProto*, propagate_down 11 bool*, \
include 8 NetStateRule*, exclude 9 NetStateRule*, source 1000 string, \
{", ".join(f"{field} {number} {message}" for field, number, _, message in PARAMETERS)}
V1LayerParameter: bottom 2 string*, top 3 string*, name 4 string, include 32 NetStateRule*, \
exclude 33 NetStateRule*, type 5 LayerType, blobs 6 BlobProto*, param 1001 string*, \
blob_share_mode 1002 DimCheckMode*, blobs_lr 7 float*, weight_decay 8 float*, \
loss_weight 35 float*, layer 1 V0LayerParameter, source 1000 string, \
{", ".join(f"{field} {v1} {message}" for field, _, v1, message in PARAMETERS if v1 != "0")}, \
DimCheckMode{{STRICT 0 PERMISSIVE 1}}, \
LayerType{{NONE 0 ACCURACY 1 BNLL 2 CONCAT 3 CONVOLUTION 4 DATA 5 DROPOUT 6 EUCLIDEAN_LOSS 7 \
FLATTEN 8 HDF5_DATA 9 HDF5_OUTPUT 10 IM2COL 11 IMAGE_DATA 12 INFOGAIN_LOSS 13 INNER_PRODUCT 14 \
LRN 15 MULTINOMIAL_LOGISTIC_LOSS 16 POOLING 17 RELU 18 SIGMOID 19 SOFTMAX 20 SOFTMAX_LOSS 21 \
SPLIT 22 TANH 23 WINDOW_DATA 24 ELTWISE 25 POWER 26 SIGMOID_CROSS_ENTROPY_LOSS 27 HINGE_LOSS 28 \
MEMORY_DATA 29 ARGMAX 30 THRESHOLD 31 DUMMY_DATA 32 SLICE 33 MVN 34 ABSVAL 35 SILENCE 36 \
CONTRASTIVE_LOSS 37 EXP 38 DECONVOLUTION 39}}
V0LayerParameter: name 1 string, type 2 string, num_output 3 uint32, biasterm 4 bool true, \
{FILLERS.format(5, 6)}, pad 7 uint32 0, kernelsize 8 uint32, group 9 uint32 1, \
stride 10 uint32 1, pool 11 PoolMethod MAX, dropout_ratio 12 float 0.5, local_size 13 uint32 5, \
alpha 14 float 1, beta 15 float 0.75, k 22 float 1, source 16 string, scale 17 float 1, \
meanfile 18 string, batchsize 19 uint32, cropsize 20 uint32 0, mirror 21 bool false, \
blobs 50 BlobProto*, blobs_lr 51 float*, weight_decay 52 float*, rand_skip 53 uint32 0, \
det_fg_threshold 54 float 0.5, det_bg_threshold 55 float 0.5, det_fg_fraction 56 float 0.25, \
det_context_pad 58 uint32 0, det_crop_mode 59 string warp, new_num 60 int32 0, \
new_channels 61 int32 0, new_height 62 int32 0, new_width 63 int32 0, \
shuffle_images 64 bool false, concat_dim 65 uint32 1, \
PoolMethod{{MAX 0 AVE 1 STOCHASTIC 2}}
BatchNormParameter: use_global_stats 1 bool, moving_average_fraction 2 float 0.999, \
eps 3 float 1e-5
BiasParameter: axis 1 int32 1, num_axes 2 int32 1, filler 3 FillerParameter
ConcatParameter: axis 2 int32 1, concat_dim 1 uint32 1
ConvolutionParameter: num_output 1 uint32, bias_term 2 bool true, pad 3 uint32*, \
kernel_size 4 uint32*, stride 6 uint32*, dilation 18 uint32*, pad_h 9 uint32 0, pad_w 10 uint32 0, \
kernel_h 11 uint32, kernel_w 12 uint32, stride_h 13 uint32, stride_w 14 uint32, \
group 5 uint32 1, {FILLERS.format(7, 8)}, engine 15 Engine DEFAULT, axis 16 int32 1, \
force_nd_im2col 17 bool false, {ENGINE}
CropParameter: axis 1 int32 2, offset 2 uint32*
DropoutParameter: dropout_ratio 1 float 0.5
DummyDataParameter: data_filler 1 FillerParameter*, shape 6 BlobShape*, num 2 uint32*, \
channels 3 uint32*, height 4 uint32*, width 5 uint32*
ELUParameter: alpha 1 float 1
EltwiseParameter: operation 1 EltwiseOp SUM, coeff 2 float*, stable_prod_grad 3 bool true, \
EltwiseOp{{PROD 0 SUM 1 MAX 2}}
ExpParameter: base 1 float -1.0, scale 2 float 1.0, shift 3 float 0.0
FlattenParameter: axis 1 int32 1, end_axis 2 int32 -1
InnerProductParameter: num_output 1 uint32, bias_term 2 bool true, {FILLERS.format(3, 4)}, \
axis 5 int32 1, transpose 6 bool false
InputParameter: shape 1 BlobShape*
LogParameter: base 1 float -1.0, scale 2 float 1.0, shift 3 float 0.0
LRNParameter: local_size 1 uint32 5, alpha 2 float 1, beta 3 float 0.75, \
norm_region 4 NormRegion ACROSS_CHANNELS, k 5 float 1, engine 6 Engine DEFAULT, \
NormRegion{{ACROSS_CHANNELS 0 WITHIN_CHANNEL 1}}, {ENGINE}
MemoryDataParameter: batch_size 1 uint32, channels 2 uint32, height 3 uint32, width 4 uint32
MVNParameter: normalize_variance 1 bool true, across_channels 2 bool false, eps 3 float 1e-9
NormalizeParameter: across_spatial 1 bool true, scale_filler 2 FillerParameter, \
channel_shared 3 bool true, eps 4 float 1e-10
PermuteParameter: order 1 uint32*
PoolingParameter: pool 1 PoolMethod MAX, pad 4 uint32 0, pad_h 9 uint32 0, pad_w 10 uint32 0, \
kernel_size 2 uint32, kernel_h 5 uint32, kernel_w 6 uint32, stride 3 uint32 1, stride_h 7 uint32, \
stride_w 8 uint32, engine 11 Engine DEFAULT, global_pooling 12 bool false, \
round_mode 13 RoundMode CEIL, ceil_mode 1013 bool true, PoolMethod{{MAX 0 AVE 1 STOCHASTIC 2}}, \
RoundMode{{CEIL 0 FLOOR 1}}, {ENGINE}
PowerParameter: power 1 float 1.0, scale 2 float 1.0, shift 3 float 0.0
PReLUParameter: filler 1 FillerParameter, channel_shared 2 bool false
ReLUParameter: negative_slope 1 float 0, engine 2 Engine DEFAULT, {ENGINE}
ReshapeParameter: shape 1 BlobShape, axis 2 int32 0, num_axes 3 int32 -1
ScaleParameter: axis 1 int32 1, num_axes 2 int32 1, filler 3 FillerParameter, \
bias_term 4 bool false, bias_filler 5 FillerParameter
SigmoidParameter: engine 1 Engine DEFAULT, {ENGINE}
SliceParameter: axis 3 int32 1, slice_point 2 uint32*, slice_dim 1 uint32 1
SoftmaxParameter: engine 1 Engine DEFAULT, axis 2 int32 1, {ENGINE}
TanHParameter: engine 1 Engine DEFAULT, {ENGINE}
"""


def _enum(owner, name, values):
    """Add an enum to a file's or a message's description."""
    enum = owner.enum_type.add(name=name)
    pairs = values.split()
    for value, number in zip(pairs[::2], pairs[1::2], strict=True):
        enum.value.add(name=value, number=int(number))


def _pool():
    """Return a pool of descriptors that holds the table and nothing else."""
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    _enum(file, "Phase", "TRAIN 0 TEST 1")
    lines = MESSAGES.strip().splitlines()
    names = {line.partition(":")[0] for line in lines}
    kinds = descriptor_pb2.FieldDescriptorProto.Type
    for line in lines:
        name, _, fields = line.partition(": ")
        message = file.message_type.add(name=name)
        enums = dict(re.findall(r"(\w+)\{(.*?)\}", fields))
        for enum, values in enums.items():
            _enum(message, enum, values)
        for field, number, kind, repeated, default in re.findall(
            r"(\w+) (\d+) (\w+)(\*?) ?([^,{]*)(?:,|$)", re.sub(r"\w+\{.*?\}", "", fields)
        ):
            added = message.field.add(name=field, number=int(number), label=3 if repeated else 1)
            if kind in names:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".caffe.{kind}"
            elif kind in enums or kind == "Phase":
                scope = f"{name}." if kind in enums else ""
                added.type, added.type_name = kinds.TYPE_ENUM, f".caffe.{scope}{kind}"
            else:
                added.type = kinds.Value(f"TYPE_{kind.upper()}")
            if default:
                added.default_value = default
            if repeated and kind in ("int64", "float", "double") and name.startswith("Blob"):
                added.options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


POOL = _pool()


def message(name):
    """Return the class of one of the table's messages, such as "NetParameter"."""
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"caffe.{name}"))


#: A network's description; a normal form lists the tops that it is asked for in `output`.
NetParameter = message("NetParameter")
#: One layer of today's generation; `source` says where it stands in its file.
LayerParameter = message("LayerParameter")


class DescriptionError(InputError):
    """A network's description cannot be ported; the message says where, why and what to do."""


def type_of(layer):
    """Return the type of a layer of any generation, in its generation's spelling."""
    if isinstance(layer.type, str):
        return layer.type
    if layer.HasField("layer"):
        return layer.layer.type
    return layer.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number[layer.type].name


def refuse(layer, problem):
    """Raise a `DescriptionError` about one layer of a description.

    Args:
        layer: a message of a layer, of any generation.
        problem: what was expected, what came, what to do.
    """
    where = f"{layer.source}, " if layer.source else ""
    raise DescriptionError(f"{where}layer {layer.name[:80]!r} ({type_of(layer)[:80]}): {problem}")


def file_of(net):
    """Return the name of the file that a description comes from."""
    return next((layer.source.rpartition(": ")[0] for layer in (*net.layer, *net.layers)), "")
