"""Chapters 1-5: from Caffe's layers to Keras', and the proof that nothing changed.

The package is a function too: `alexnet_lib.port(prototxt, caffemodel)` is `network.port`.
"""

import sys
import types


class _Package(types.ModuleType):
    def __call__(self, *args, **kwargs):
        from alexnet_lib.port.network import port

        return port(*args, **kwargs)


sys.modules[__name__].__class__ = _Package
