"""Networks of all supported types, drawn at random, equal their oracles at every layer."""

import warnings

import keras
from drawn_networks import network, networks
from hypothesis import Phase, assume, given, settings

from alexnet_lib.port import reference
from alexnet_lib.port.network import build
from alexnet_lib.port.prove import LIMIT, compare, keras_tops, random_inputs, worst_error

# 20 by default, as each takes half a second; 2,000 with --hypothesis-profile=many.
PROFILE = settings.default.max_examples
EXAMPLES = 20 if PROFILE <= 50 else 2 * PROFILE


# To look for a smaller example takes longer than to read one.
@settings(max_examples=EXAMPLES, phases=(Phase.generate,))
@given(networks())
def test_drawn_networks_equal_numpy_and_opencv_at_every_layer(drawn):
    text, blobs = drawn
    net = network(text)
    assume(list(net.output) != ["data"])  # nothing but Split
    inputs = random_inputs(net)
    keras.backend.clear_session()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # blobs of layers whose tops nobody wants
        model = build(net, blobs)
    actual = keras_tops(model, net, inputs)
    wide = {name: x.astype("float64") for name, x in inputs.items()}
    expected = reference.run(net, blobs, wide)
    for layer in net.layer:
        if layer.type != "Input":
            tops = [top for top in layer.top if top in actual]
            # A layer that serves only with its shape, to a Crop, is not in the model.
            assert not tops or worst_error(actual, expected, tops) <= LIMIT, layer.name
    table = compare(model, net, blobs, inputs)
    assert (table.error <= LIMIT).all(), table.to_string()
