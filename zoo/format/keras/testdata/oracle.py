"""Keras itself, on NumPy, as the oracle of the tests.

oracle.py make FOLDER [CASE...]   writes models into FOLDER/models, and prints for each how many maps no fold can take away
oracle.py keras1 FOLDER           writes models as Keras 1 did into FOLDER/models, and into FOLDER/twins what they are in Keras 3
oracle.py twins FOLDER NAME...    runs FOLDER/twins/NAME.keras and FOLDER/onnx/NAME.h5.onnx and FOLDER/onnx/NAME.h5.folded.onnx
oracle.py yolo FOLDER CFG EPSILON   writes into FOLDER/models what a Darknet detector, CFG and its weights, is in Keras
oracle.py compare FOLDER NAME...  runs FOLDER/models/NAME, FOLDER/folded/NAME and FOLDER/onnx/NAME.onnx on the same inputs,
                                  and prints how far the answers are apart
"""

import io
import json
import os
import shutil
import sys
import zipfile
import zlib

os.environ["KERAS_BACKEND"] = "numpy"
os.environ["ABSL_MIN_LOG_LEVEL"] = os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["JAX_PLATFORMS"] = "cpu"

import keras
import numpy as np
from keras import layers as L

keras.config.enable_unsafe_deserialization()


@keras.saving.register_keras_serializable("oracle")
class Twice(L.Layer):
    """A layer of one's own, with a weight."""

    def build(self, shape):
        self.factor = self.add_weight(shape=(shape[-1],), initializer="ones", name="factor")

    def call(self, x):
        return 2 * x * self.factor


CASES = {}


def case(left=0, h5=True, archive=True):
    def add(build):
        CASES[build.__name__] = (build, left, h5, archive)
        return build

    return add


def image(*shape):
    return keras.Input(shape or (9, 11, 3))


def head(x, n=4):
    return L.Dense(n, activation="softmax")(L.GlobalAveragePooling2D()(x))


@case()
def sequential():
    return keras.Sequential([
        keras.Input((12, 10, 3)),
        L.Conv2D(8, 3, use_bias=False), L.BatchNormalization(), L.ReLU(),
        L.Conv2D(6, 3, strides=2, padding="same"), L.BatchNormalization(epsilon=1e-5), L.Activation("relu"),
        L.GlobalAveragePooling2D(), L.Dense(7, use_bias=False), L.BatchNormalization(), L.Dense(3), L.BatchNormalization(), L.Softmax(),
    ])


@case()
def conv1d():
    x = i = keras.Input((17, 5))
    x = L.BatchNormalization()(L.Conv1D(6, 3, padding="causal", dilation_rate=2)(x))
    x = L.LeakyReLU(negative_slope=0.1)(x)
    x = L.BatchNormalization()(L.Conv1D(4, 4, strides=3, padding="same", use_bias=False)(x))
    x = L.MaxPooling1D(2)(x)
    return keras.Model(i, L.GlobalMaxPooling1D()(x))


@case()
def conv3d():
    x = i = keras.Input((5, 6, 7, 2))
    x = L.BatchNormalization()(L.Conv3D(4, (2, 3, 3), padding="same", strides=(1, 2, 2))(x))
    x = L.BatchNormalization()(L.Conv3DTranspose(3, 3, strides=2, padding="same", use_bias=False)(x))
    x = L.AveragePooling3D(2, padding="same")(x)
    return keras.Model(i, L.GlobalAveragePooling3D()(x))


@case()
def transposed():
    x = i = keras.Input((5, 6, 3))
    for k, s, p, o in [(3, 2, "same", None), (4, 2, "same", None), (2, 3, "valid", None), (3, 1, "same", None), (3, 2, "same", 1),
                       (3, 2, "valid", 1), (1, 2, "same", None), (5, 2, "same", 0), (4, 3, "valid", 2)]:
        y = L.Conv2DTranspose(3, k, strides=s, padding=p, output_padding=o, use_bias=k % 2 == 0)(x)
        x = L.Activation("relu")(L.BatchNormalization()(y))
        x = L.Cropping2D(((0, max(0, x.shape[1] - 7)), (max(0, x.shape[2] - 8), 0)))(x)
    return keras.Model(i, x)


@case()
def transposed1d():
    x = i = keras.Input((5, 4))
    x = L.BatchNormalization()(L.Conv1DTranspose(3, 3, strides=2, padding="same", dilation_rate=1)(x))
    return keras.Model(i, L.BatchNormalization()(L.Conv1DTranspose(2, 3, dilation_rate=2)(x)))


@case()
def depthwise():
    x = i = image()
    x = L.ReLU(max_value=6.0)(L.BatchNormalization()(L.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False)(x)))
    x = L.ReLU(6.0)(L.BatchNormalization()(L.DepthwiseConv2D((2, 3), strides=2, padding="same", depth_multiplier=3)(x)))
    return keras.Model(i, L.DepthwiseConv2D(1)(x))


@case()
def depthwise1d():
    x = i = keras.Input((13, 4))
    return keras.Model(i, L.BatchNormalization()(L.DepthwiseConv1D(3, depth_multiplier=2, padding="same")(x)))


@case()
def separable():
    x = i = image()
    x = L.BatchNormalization()(L.SeparableConv2D(5, 3, padding="same", use_bias=False)(x))
    x = L.Activation("elu")(x)
    x = L.BatchNormalization()(L.SeparableConv2D(4, (3, 2), strides=(2, 2), depth_multiplier=2, activation="linear")(x))
    x = L.BatchNormalization()(x)
    x = L.SeparableConv2D(3, 3, use_bias=False)(x)
    return keras.Model(i, x)


@case()
def separable1d():
    x = i = keras.Input((13, 4))
    return keras.Model(i, L.BatchNormalization()(L.SeparableConv1D(6, 3, depth_multiplier=2)(x)))


@case()
def grouped():
    x = i = image(9, 11, 4)
    x = L.BatchNormalization()(L.Conv2D(6, 3, groups=2)(x))
    x = L.Activation("tanh")(x)
    x = L.Conv2D(6, 1, groups=3)(L.BatchNormalization()(x))
    return keras.Model(i, x)


@case()
def dense_of_ranks():
    x = i = keras.Input((4, 3, 5))
    x = L.BatchNormalization()(L.Dense(6, use_bias=False)(x))
    x = L.Reshape((12, 6))(x)
    x = L.BatchNormalization()(L.Dense(4, activation=None)(x))
    x = L.Dense(3, activation="softmax")(x)
    x = L.Flatten()(x)
    x = L.BatchNormalization()(L.Dense(5)(x))
    return keras.Model(i, x)


@case()
def flags():
    x = i = image()
    x = L.BatchNormalization(scale=False)(L.Conv2D(4, 3)(x))
    x = L.BatchNormalization(center=False, epsilon=0.01)(L.Conv2D(5, 2, use_bias=False)(L.ReLU()(x)))
    x = L.BatchNormalization(scale=False, center=False)(L.Conv2D(4, 2, use_bias=False)(L.ReLU()(x)))
    return keras.Model(i, x)


@case()
def channels_first():
    x = i = keras.Input((3, 9, 11))
    x = L.BatchNormalization(axis=1)(L.Conv2D(4, 3, padding="same", strides=2, data_format="channels_first")(x))
    x = L.PReLU(shared_axes=[2, 3])(x)
    x = L.MaxPooling2D(2, data_format="channels_first")(x)
    x = L.BatchNormalization(axis=1)(L.DepthwiseConv2D(2, data_format="channels_first")(x))
    x = L.UpSampling2D(2, data_format="channels_first")(x)
    x = L.ZeroPadding2D(((1, 0), (2, 1)), data_format="channels_first")(x)
    x = L.BatchNormalization(axis=1)(L.Conv2DTranspose(4, 3, data_format="channels_first")(x))
    x = L.Flatten(data_format="channels_first")(x)
    return keras.Model(i, L.BatchNormalization()(L.Dense(3)(x)))


@case(left=1)
def of_the_width():
    x = i = keras.Input((6, 6, 6))
    x = L.BatchNormalization(axis=2)(L.Conv2D(6, 3, padding="same")(x))
    return keras.Model(i, L.Conv2D(3, 1)(x))


@case(left=1)
def fused_activations():
    x = i = image()
    x = L.BatchNormalization()(L.Conv2D(4, 3, activation="relu")(x))  # stays: the next convolution pads
    x = L.BatchNormalization()(L.Conv2D(4, 3, padding="same", activation="sigmoid")(x))
    x = L.Conv2D(4, 3, padding="valid", activation="tanh")(x)
    return keras.Model(i, L.BatchNormalization()(L.Conv2D(4, 1, activation="linear")(x)))


@case(left=1)
def forward():
    x = i = image(8, 8, 3)
    x = L.Conv2D(4, 2, strides=2, padding="same")(L.BatchNormalization()(x))  # nothing to pad
    x = L.DepthwiseConv2D(2, depth_multiplier=2)(L.BatchNormalization()(L.Activation("sigmoid")(x)))
    x = L.BatchNormalization()(L.Activation("tanh")(x))  # stays: what it adds would have to come between the two kernels
    x = L.SeparableConv2D(4, 1)(x)
    x = L.BatchNormalization()(L.Flatten()(L.Activation("tanh")(x)))
    return keras.Model(i, L.Dense(5, use_bias=False)(x))


@case()
def flattened_input():
    x = i = image(3, 4, 5)
    return keras.Model(i, L.Dense(4)(L.Flatten()(L.BatchNormalization()(x))))


@case()
def residual():
    x = i = image()
    x = L.ReLU()(L.BatchNormalization()(L.Conv2D(4, 3, padding="same")(x)))
    y = L.BatchNormalization()(L.Conv2D(4, 3, padding="same", use_bias=False)(x))
    y = L.Dropout(0.3)(y)
    x = L.Add()([x, y])
    y = L.BatchNormalization()(L.Conv2D(4, 1)(x))
    z = L.BatchNormalization()(L.Conv2D(4, 1)(x))
    x = L.Average()([y, z, x])
    x = L.Maximum()([x, L.Subtract()([y, z])])
    return keras.Model(i, head(L.Minimum()([x, z])))


@case()
def concatenated():
    x = i = image()
    y = L.Concatenate()([L.Conv2D(3, 3, padding="same")(x), L.Conv2D(2, 1)(x), L.Conv2D(2, 5, padding="same")(x)])
    y = L.BatchNormalization()(y)
    z = L.Concatenate(axis=1)([L.Conv2D(7, 1)(y), L.Conv2D(7, 1)(y)])
    return keras.Model(i, L.BatchNormalization()(z))


@case()
def pooled():
    x = i = image(10, 9, 3)
    x = L.BatchNormalization(gamma_initializer="ones")(L.MaxPooling2D(2, padding="same")(L.Conv2D(4, 3, padding="same")(x)))
    x = L.BatchNormalization()(L.AveragePooling2D(3, strides=1, padding="same")(L.Conv2D(4, 1)(x)))
    x = L.BatchNormalization()(L.GlobalAveragePooling2D(keepdims=True)(L.Conv2D(4, 1)(x)))
    return keras.Model(i, x)


@case()
def reshaped():
    x = i = keras.Input((24,))
    x = L.Reshape((4, 3, 2))(x)
    x = L.BatchNormalization()(L.Conv2D(4, 1)(L.ZeroPadding2D(1)(x)))
    x = L.Permute((2, 1, 3))(x)
    x = L.BatchNormalization()(L.Conv2D(3, 2)(L.Cropping2D(((1, 0), (0, 1)))(x)))
    x = L.UpSampling2D((2, 3))(x)
    x = L.UpSampling2D(2, interpolation="bilinear")(L.BatchNormalization()(L.Conv2D(2, 1)(x)))
    return keras.Model(i, L.Flatten()(x))


@case()
def repeated():
    x = i = keras.Input((6,))
    x = L.RepeatVector(3)(L.Dense(4)(x))
    x = L.BatchNormalization()(L.Conv1D(3, 2)(x))
    x = L.UpSampling1D(2)(L.ZeroPadding1D((1, 2))(x))
    return keras.Model(i, L.Cropping1D(1)(x))


@case(left=1)
def preprocessed():
    x = i = image()
    x = L.Rescaling(1 / 127.5, offset=-1)(x)
    x = L.Conv2D(4, 3)(x)
    n = L.Normalization(mean=[0.1, -0.2, 0.3, 0.5], variance=[1.0, 0.5, 2.0, 3.0])
    x = L.Conv2D(4, 3, padding="same")(n(L.Activation("tanh")(x)))  # stays: it pads
    return keras.Model(i, L.GaussianNoise(0.1)(x))


@case()
def adapted():
    x = i = keras.Input((5,))
    n, m = L.Normalization(), L.Normalization(invert=True)
    n.adapt(np.random.default_rng(3).normal(1, 2, (50, 5)).astype("float32"))
    m.adapt(np.random.default_rng(4).normal(1, 2, (50, 4)).astype("float32"))
    return keras.Model(i, m(L.Dense(4)(n(x))))


@case(left=2)
def shared_layers():
    i, j = image(9, 9, 3), image(9, 9, 3)
    conv = L.Conv2D(4, 3, name="both")
    x = L.BatchNormalization()(conv(i))  # another reads the kernel, but the next convolution takes it
    y = L.BatchNormalization()(conv(j))  # stays
    norm = L.BatchNormalization(name="twice")
    x, y = norm(L.Conv2D(4, 1)(x)), norm(L.Activation("relu")(y))  # the first is folded, the second stays
    return keras.Model([i, j], L.Add()([x, L.Activation("tanh")(y)]))


@case()
def nested():
    a = image(9, 11, 3)
    b = L.BatchNormalization(name="ends")(L.Conv2D(4, 3, name="begins")(a))
    first = keras.Model(a, b, name="first")
    second = keras.Sequential([L.Conv2D(5, 1), L.BatchNormalization(), L.ReLU(), L.Conv2D(4, 1)], name="second")
    c = image(7, 9, 4)
    third = keras.Model(c, L.BatchNormalization()(second(L.BatchNormalization()(L.Activation("tanh")(c)))), name="third")
    x = i = image(9, 11, 3)
    x = L.BatchNormalization()(third(first(x)))
    return keras.Model(i, x)


@case()
def siamese():
    a = image(9, 9, 3)
    x = L.ReLU()(L.BatchNormalization()(L.Conv2D(4, 3, use_bias=False)(a)))
    x = L.BatchNormalization()(L.SeparableConv2D(4, 3)(x))
    tower = keras.Model(a, L.Dense(5)(L.BatchNormalization()(L.Flatten()(x))), name="tower")
    i, j = image(9, 9, 3), image(9, 9, 3)
    return keras.Model([i, j], L.Dense(2)(L.Subtract()([tower(i), tower(j)])))


@case()
def siamese_layers():  # the same, without a model
    i, j = image(9, 9, 3), image(9, 9, 3)
    conv, norm, relu, dense = L.Conv2D(4, 3), L.BatchNormalization(), L.ReLU(), L.Dense(3)
    x, y = (dense(L.Flatten()(relu(norm(conv(k))))) for k in (i, j))
    return keras.Model([i, j], L.Concatenate()([x, y]))


@case(left=2)
def siamese_in_part():  # one branch needs what the other does not
    i, j = image(9, 9, 3), image(9, 9, 3)
    conv, norm = L.Conv2D(4, 3), L.BatchNormalization(name="norm")
    x, y = norm(conv(i)), norm(L.Activation("tanh")(conv(j)))
    return keras.Model([i, j], L.Activation("tanh")(L.Add()([x, y])))


@case()
def nested_twice():
    a = keras.Input((5,))
    inner = keras.Model(a, L.BatchNormalization()(L.Dense(5)(a)), name="inner")
    x = i = keras.Input((5,))
    x = L.BatchNormalization()(L.Dense(5)(inner(inner(x))))
    return keras.Model(i, x)


@case()
def frozen():
    inner = keras.Sequential([keras.Input((9, 9, 3)), L.Conv2D(4, 3, trainable=False), L.BatchNormalization(), L.Conv2D(3, 2), L.BatchNormalization(trainable=False), L.ReLU()], name="inner")
    x = i = image(9, 9, 3)
    x = L.BatchNormalization(trainable=False)(L.Conv2D(4, 1)(inner(x)))
    return keras.Model(i, x)


@case()
def inputs_and_outputs():
    a, b = keras.Input((7, 7, 3), name="a"), keras.Input((4,), name="b")
    x = L.BatchNormalization(name="one")(L.Conv2D(4, 3, name="conv")(a))
    y = L.BatchNormalization(name="two")(L.Dense(4)(b))
    z = L.Multiply()([x, y])
    return keras.Model({"b": b, "a": a}, {"z": L.GlobalMaxPooling2D()(z), "y": L.Activation("relu")(y), "x": x})


@case()
def outputs_twice():
    x = i = keras.Input((7, 7, 3))
    y = L.BatchNormalization(name="made")(L.Conv2D(4, 3)(x))
    z = L.Dropout(0.2, name="dropped")(y)
    return keras.Model(i, [y, L.Activation("relu")(z), z, y])


@case()
def in_another_order():
    x = i = image()
    a = L.BatchNormalization()(L.Activation("relu")(L.BatchNormalization()(L.Conv2D(4, 1, name="deep")(x))))
    a = L.BatchNormalization()(L.BatchNormalization()(L.Conv2D(4, 1)(a)))
    b = L.Conv2D(4, 1)(L.Conv2D(4, 1)(L.Conv2D(4, 1, use_bias=False)(x)))
    c = L.BatchNormalization()(L.Conv2D(4, 1, use_bias=False)(L.Activation("tanh")(L.Conv2D(3, 1)(x))))
    return keras.Model(i, head(L.Concatenate()([c, a, b])))


@case()
def embedded():
    x = i = keras.Input((6,), dtype="int32")
    x = L.BatchNormalization(center=False)(L.Embedding(20, 5)(x))
    x = L.BatchNormalization()(L.Conv1D(4, 2)(x))
    return keras.Model(i, L.GlobalAveragePooling1D()(x))


@case(left=1, h5=False)  # Keras writes a file then that it cannot read
def masked():
    x = i = keras.Input((6,), dtype="int32")
    x = L.Embedding(20, 5, mask_zero=True)(x)
    x = L.BatchNormalization()(L.Dense(4)(x))
    x = L.BatchNormalization()(L.GlobalAveragePooling1D()(x))
    return keras.Model(i, L.Dense(3)(L.Activation("relu")(x)))


@case(left=1)
def recurrent():
    x = i = keras.Input((6, 4))
    x = L.BatchNormalization()(L.Dense(5)(x))
    x = L.LSTM(4, return_sequences=True)(x)
    x = L.Bidirectional(L.GRU(3))(x)
    x = L.BatchNormalization()(x)  # stays: a ReLU follows
    x = L.BatchNormalization()(L.Dense(4)(L.Activation("relu")(x)))
    return keras.Model(i, x)


@case(left=2)
def maps_before_a_border():  # as EfficientNet's preprocessing: one layer can do what two did, and both are merged into it
    x = i = image()
    x = L.Rescaling(1 / 255.0, offset=0.5)(x)
    x = L.Normalization(mean=[0.1, 0.2, 0.3], variance=[0.25, 0.5, 1.5])(x)
    x = L.Conv2D(4, 3)(L.ZeroPadding2D(1)(x))
    return keras.Model(i, L.BatchNormalization()(x))


@case()
def timed():
    T = L.TimeDistributed
    x = i = keras.Input((4, 9, 11, 3))
    x = L.ReLU()(T(L.BatchNormalization())(T(L.Conv2D(4, 3, use_bias=False))(x)))
    x = T(L.ReLU())(L.BatchNormalization()(T(L.Conv2D(5, 3, padding="same"))(T(L.MaxPooling2D(2))(x))))
    x = T(L.GlobalAveragePooling2D())(T(L.BatchNormalization(axis=3))(T(L.DepthwiseConv2D(2, use_bias=False))(x)))
    x = L.BatchNormalization()(T(L.Dense(6, activation="relu"))(x))
    x = T(L.Dense(3))(T(L.Dropout(0.5))(x))
    return keras.Model(i, x)


@case()
def timed_of_free_steps():
    T = L.TimeDistributed
    x = i = keras.Input((None, 5))
    x = T(L.BatchNormalization())(T(L.Dense(6))(x))
    return keras.Model(i, L.GlobalMaxPooling1D()(L.BatchNormalization()(T(L.Dense(3, use_bias=False))(L.ReLU()(x)))))


@case()
def opaque():
    x = i = image()
    x = L.BatchNormalization()(L.Conv2D(4, 3)(x))
    x = Twice()(x)
    x = L.BatchNormalization()(L.Conv2D(4, 3)(x))
    x = L.TimeDistributed(L.Dense(3))(x)
    x = L.Lambda(lambda t: t * 2 + 1)(x)
    return keras.Model(i, L.BatchNormalization()(L.Conv2D(4, 3)(x)))


@case(h5=False)
def operators():
    x = i = image()
    x = L.BatchNormalization()(L.Conv2D(4, 3)(x) * 2.0 + 1.0)
    x = L.ReLU()(1.0 - x)
    x = L.Conv2D(4, 3, use_bias=False)(x) / np.array([1.0, -2.0, 3.0, 4.0], "float32")
    x = keras.ops.relu(-x)
    y = L.BatchNormalization()(L.Conv2D(4, 3, padding="same")(x)) + x
    y = keras.ops.subtract(L.Conv2D(3, 1)(y), np.array([[[0.5, 0.25, -1.0]]], "float32")) * 0.5
    return keras.Model(i, L.Dense(3)(L.Flatten()(y)) * 3 - 1)


@case(h5=False)
def items():
    x = i = image(9, 8, 3)
    x = L.BatchNormalization()(L.Conv2D(4, 3)(x)[:, 1:-1, ::2])
    y = L.Conv2D(3, 1)(L.BatchNormalization()(x[..., 1:3]))
    return keras.Model(i, [y, L.Dense(2)(x[:, 0, -1]), x[:, :, None, ..., 0], x[..., :] + 0.0])


@case(h5=False)
def hard_sigmoid_of_operators():  # as MobileNetV3 has it
    x = i = image(9, 11, 6)
    x = L.BatchNormalization()(L.Conv2D(6, 3)(x))
    y = L.GlobalAveragePooling2D(keepdims=True)(x)
    y = L.Conv2D(4, 1, activation="relu")(y)
    y = L.ReLU(6.0)(L.Conv2D(6, 1)(y) + 3.0) * (1.0 / 6.0)
    return keras.Model(i, L.Conv2D(3, 1)(L.Multiply()([x, y])))


@case(h5=False, left=4)
def operators_that_are_no_maps_of_channels():
    x = i = image(6, 6, 6)
    x = L.Conv2D(6, 1)(x) * np.arange(1, 7, dtype="float32")[:, None, None]  # of the height
    x = L.Conv2D(6, 1)(x) * np.arange(36, dtype="float32").reshape(6, 6)
    x = L.Conv2D(6, 1)(x)
    return keras.Model(i, 2.0 / (keras.ops.square(x) + 1.0))


@case(h5=False, left=1)
def many_operations():
    o = keras.ops
    x = i = image(8, 8, 4)
    x = L.BatchNormalization()(L.Conv2D(4, 3)(x))
    y = o.mean(x, axis=[1, 2], keepdims=True)
    x = o.multiply(x, o.sigmoid(y)) + o.max(x, axis=-1, keepdims=True)
    x = o.concatenate([o.relu6(x), o.silu(x), o.hard_silu(x), o.leaky_relu(x, 0.3)], axis=-1)
    x = L.Conv2D(6, 3)(o.maximum(x, -0.5))
    y = o.reshape(o.transpose(x, (0, 3, 1, 2)), (-1, 6, 16))
    y = o.softmax(o.abs(y) * 0.5, axis=1)
    z = o.expand_dims(o.mean(x, axis=(1, 2)), 1)
    z = o.squeeze(o.expand_dims(z, -1), -1)
    z = o.clip(o.elu(z) ** 2, 0.1, 3.0)
    z = o.sqrt(o.exp(z)) * o.square(z) + o.gelu(z, approximate=False)
    return keras.Model(i, [o.cast(o.hard_sigmoid(o.tanh(y)), "float32"), o.log(z), o.min(o.reciprocal(z), axis=1)])


@case(h5=False)
def applications():
    from keras.src.applications.convnext import LayerScale
    from keras.src.applications.inception_resnet_v2 import CustomScaleLayer
    x = i = image()
    y = L.BatchNormalization()(CustomScaleLayer(0.25)([L.Conv2D(8, 3)(x), L.Conv2D(8, 3, use_bias=False)(x)]))
    z = LayerScale(0.5, 8)(L.Dense(8)(L.LayerNormalization()(y)))
    return keras.Model(i, L.Dense(3)(L.Add()([y, z])))


@case(h5=False)
def operations():
    x = i = image()
    x = L.BatchNormalization()(L.Conv2D(4, 3)(x))
    x = keras.ops.relu(x) + 1.0
    x = keras.ops.concatenate([x, x], axis=-1)
    return keras.Model(i, L.BatchNormalization()(L.Conv2D(4, 3)(x)))


@case()
def activations():
    x = i = image()
    outputs = []
    for name in ["relu", "sigmoid", "tanh", "softplus", "softsign", "exponential", "elu", "selu", "relu6", "leaky_relu", "softmax",
                 "log_softmax", "hard_sigmoid", "silu", "hard_silu", "mish", "gelu", "linear", "celu", "hard_tanh"]:
        y = L.BatchNormalization()(L.Conv2D(3, 2)(x))
        outputs.append(L.Conv2D(2, 1, activation=name)(L.Activation(name)(y)))
    for layer in [L.ReLU(max_value=2.0), L.ReLU(negative_slope=0.2), L.ReLU(threshold=0.5), L.ReLU(max_value=2.0, negative_slope=0.1, threshold=0.1),
                  L.LeakyReLU(), L.ELU(alpha=0.7), L.PReLU(alpha_initializer="normal"), L.PReLU(alpha_initializer="normal", shared_axes=[1, 2]), L.Softmax(axis=1)]:
        outputs.append(layer(L.BatchNormalization()(L.Conv2D(3, 2)(x))))
    return keras.Model(i, outputs)


@case()
def normalised():
    x = i = keras.Input((6, 5))
    x = L.Dense(4)(L.LayerNormalization()(x))
    x = L.Dense(6)(L.LayerNormalization(scale=False, epsilon=1e-5)(x))
    x = L.Conv1D(4, 2)(L.GroupNormalization(groups=3)(x))
    x = L.Conv1D(3, 1, use_bias=False)(L.GroupNormalization(groups=2, center=False)(x))
    return keras.Model(i, x)


@case(left=2)
def gains():
    x = i = keras.Input((6, 5))
    x = L.BatchNormalization()(L.LayerNormalization(scale=False, center=False)(x))  # the first gains gamma and beta
    x = L.BatchNormalization(scale=False, center=False)(L.Dense(4, activation="relu")(x))
    x = L.BatchNormalization()(x)  # both become one, which gains gamma and beta
    return keras.Model(i, L.Activation("tanh")(x))


@case(h5=False)  # Keras forgets the axes there
def normalised_over_two_axes():
    x = i = keras.Input((6, 5))
    return keras.Model(i, L.BatchNormalization()(L.Conv1D(4, 2)(L.LayerNormalization(axis=[1, 2])(x))))


@case(left=1)
def squeezed():
    x = i = image()
    x = L.ReLU()(L.BatchNormalization()(L.Conv2D(4, 3)(x)))
    s = L.BatchNormalization()(L.Dense(2)(L.GlobalAveragePooling2D()(x)))
    s = L.Dense(4, activation="sigmoid")(L.ReLU()(s))
    x = L.Multiply()([x, L.Reshape((1, 1, 4))(s)])
    x = L.Multiply()([x, s])
    return keras.Model(i, L.ReLU()(L.BatchNormalization()(L.Dot((1, 1))([L.Flatten()(x), L.Flatten()(x)]))))


@case()
def free_extents():
    x = i = keras.Input((None, None, 3))
    x = L.BatchNormalization()(L.Conv2D(4, 3, strides=2, padding="same")(x))
    x = L.MaxPooling2D(3, strides=2, padding="same")(x)
    x = L.BatchNormalization()(L.Conv2DTranspose(4, 3, strides=2, padding="same")(x))
    x = L.BatchNormalization()(L.Dense(5)(x))
    return keras.Model(i, x)


@case()
def trained():
    m = keras.Sequential([keras.Input((7, 7, 3)), L.Conv2D(4, 3), L.BatchNormalization(), L.Dropout(0.5, seed=3), L.Flatten(), L.Dense(2)])
    m.compile(optimizer="adam", loss="mse")
    m.optimizer.build(m.trainable_variables)
    return m


@case(archive=False)
def long_names():
    x = i = keras.Input((3,))
    for k in range(120):
        x = L.BatchNormalization(name="norm_%03d_%s" % (k, "n" * 600))(L.Dense(3, name="dense_%03d_%s" % (k, "d" * 600))(x))
    return keras.Model(i, x)


@case()
def halves():
    x = i = keras.Input((7, 7, 3), dtype="float16")
    x = L.BatchNormalization(dtype="float16")(L.Conv2D(4, 3, dtype="float16")(x))
    return keras.Model(i, x)


@case()
def stored_otherwise():  # see STORED
    x = i = keras.Input((9, 11, 3))
    x = L.Conv2D(3, 1)(L.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0])(x))
    x = L.ReLU()(L.BatchNormalization()(L.Conv2D(5, 3, use_bias=False)(x)))
    x = L.ReLU()(L.BatchNormalization()(L.DepthwiseConv2D(3)(x)))
    x = L.ReLU()(L.BatchNormalization()(L.SeparableConv2D(4, 3)(x)))
    x = L.Dense(4)(L.BatchNormalization()(L.Flatten()(x)))
    return keras.Model(i, x)


@case()
def doubles():
    x = i = keras.Input((7, 7, 3), dtype="float64")
    x = L.BatchNormalization(dtype="float64")(L.Conv2D(4, 3, use_bias=False, dtype="float64")(x))
    return keras.Model(i, x)


def randomise(model, seed):
    """Gives all weights values that are neither 0 nor 1."""
    rng = np.random.default_rng(seed)
    for v in model.weights:
        name, shape = v.path.split("/")[-1], v.shape
        if "seed" in name or not str(v.dtype).startswith("float") or name in ("mean", "variance"):
            continue
        if name in ("moving_variance",):
            value = rng.uniform(0.3, 2, shape)
        elif name == "gamma":
            value = rng.uniform(0.5, 1.5, shape)
            if not any(isinstance(l, (L.MaxPooling2D, L.ReLU)) for l in model.layers):
                value *= rng.choice([-1, 1], shape)
        elif len(shape) > 1:
            value = rng.normal(0, 1, shape) / np.sqrt(np.prod(shape[:-1]))
        else:
            value = rng.normal(0, 0.5, shape)
        v.assign(value.astype(str(v.dtype)))


def make(folder, names):
    models = os.path.join(folder, "models")
    os.makedirs(models, exist_ok=True)
    keras.initializers.get("ones")
    for name, (build, left, h5, archive) in CASES.items():
        if names and name not in names:
            continue
        keras.utils.clear_session()
        model = build()
        randomise(model, zlib.crc32(name.encode()))
        path = os.path.join(models, name)
        for ext, wanted in ((".h5", h5), (".keras", archive)):
            if wanted:
                model.save(os.path.join(models, name + ext))
                print(json.dumps({"Name": name + ext, "Left": left}), flush=True)
                for dtype in STORED if name == "stored_otherwise" else ():
                    other = f"stored_as_{dtype.replace('>', 'big_')}{ext}"
                    store(os.path.join(models, name + ext), os.path.join(models, other), dtype)
                    print(json.dumps({"Name": other, "Left": left}), flush=True)
        for ext in pairs(model, path, h5, archive) if name in PAIRS else ():
            print(json.dumps({"Name": name + ext, "Left": left}), flush=True)


PAIRS = "sequential", "nested", "shared_layers", "siamese", "channels_first", "operators"


def pairs(model, path, h5, archive):
    """A model as a configuration and weights: as Keras 3 saves those, and as Keras 1 and 2 did. The names of the pairs."""
    import h5py

    if archive:
        with open(path + ".json", "w") as f:
            f.write(model.to_json(indent=1) + "\n")
        model.save_weights(path + ".weights.h5")
        yield ".json"
        shutil.copy(path + ".json", path + "_sharded.json")
        sizes = [v.value.nbytes for v in model.variables]
        model.save_weights(path + "_sharded.weights.json", max_shard_size=max(*sizes, sum(sizes) / 4) / 1024**3)
        assert len([f for f in os.listdir(os.path.dirname(path)) if f.startswith(os.path.basename(path) + "_sharded_0")]) > 1
        yield "_sharded.json"
    if h5:
        with h5py.File(path + ".h5") as f, h5py.File(path + "_old.h5", "w") as g:
            config = json.loads(f.attrs["model_config"])
            weights = f["model_weights"]
            for key, value in weights.attrs.items():
                g.attrs[key] = value
            for key in weights:
                weights.copy(key, g)
        with open(path + "_old.json", "w") as f:
            json.dump(config | {"keras_version": keras.__version__, "backend": "tensorflow"}, f)
        yield "_old.json"


def load(path):
    if not path.endswith(".json"):
        return keras.models.load_model(path, compile=False, safe_mode=False)
    with open(path) as f:
        config = json.load(f)
    if "module" in config:
        model = keras.models.model_from_json(json.dumps(config))
    else:  # of a Keras before 3
        from keras.src.legacy.saving.saving_utils import model_from_config
        model = model_from_config(config)
    stem = path.removesuffix(".json")
    model.load_weights(next(stem + end for end in (".weights.h5", ".weights.json", ".h5") if os.path.exists(stem + end)))
    return model


STORED = ">f4", "f8", ">f8", "f2", ">f2"


def store(path, other, dtype):
    """A copy of a model file whose float32 data sets are of another type."""
    import h5py

    def convert(file):
        with h5py.File(file, "r+") as f:
            sets = []
            f.visititems(lambda name, o: sets.append(name) if isinstance(o, h5py.Dataset) and o.dtype == "float32" else None)
            for name in sets:
                data, attrs = f[name][...], dict(f[name].attrs)
                del f[name]
                f.create_dataset(name, data=data.astype(dtype)).attrs.update(attrs)
        return len(sets)

    if path.endswith(".h5"):
        shutil.copy(path, other)
        assert convert(other) > 8
        return
    with zipfile.ZipFile(path) as z, zipfile.ZipFile(other, "w") as out:
        for member in z.infolist():
            data = z.read(member)
            if member.filename == "model.weights.h5":
                weights = io.BytesIO(data)
                assert convert(weights) > 8
                data = weights.getvalue()
            out.writestr(member.filename, data)


def values(model, rng):
    """Random inputs, in the order in which Keras flattens them."""
    out = []
    for t in model.inputs:
        shape = [2] + [d or 13 for d in t.shape[1:]]
        out.append(rng.integers(0, 5, shape).astype(t.dtype) if "int" in str(t.dtype) else rng.normal(0, 1, shape).astype(str(t.dtype)))
    return out


def run(model, tensors, x):
    """What some tensors of a model are for inputs."""
    inner = keras.Model(model.inputs, tensors)
    y = inner(x)
    return [np.asarray(v) for v in keras.tree.flatten(y)]


def apart(a, b):
    a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
    if a.shape != b.shape:
        return 1e9
    return float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-9))


def names_of(model):
    """How a model's inputs and outputs are called: after the layers that make them."""
    return [t._keras_history.operation.name for t in model.inputs + model.outputs]


def compare(folder, names):
    import onnxruntime as ort

    for name in names:
        keras.utils.clear_session()
        try:
            before = load(os.path.join(folder, "models", name))
        except ValueError as e:  # Keras 3 counts the calls of models in models otherwise than the Keras 2 that wrote the file
            if "failed to be resolved" not in str(e):
                raise
            print(json.dumps({"Name": name, "Unloadable": True}), flush=True)
            continue
        after = load(os.path.join(folder, "folded", name))
        x = values(before, np.random.default_rng(7))
        answers = run(before, before.outputs, x)
        result = {"Name": name, "Folded": max(apart(p, q) for p, q in zip(answers, run(after, after.outputs, x))),
                  "Named": names_of(before) == names_of(after),
                  "Before": len(before.layers), "After": len(after.layers), "Read": 0.0, "Outputs": 0}
        if name.startswith("stored_as_"):
            result["Types"] = sorted(types(os.path.join(folder, "folded", name)))
        path = os.path.join(folder, "onnx", name + ".onnx")
        try:
            session = ort.InferenceSession(path, providers=["CPUExecutionProvider"]) if os.path.exists(path) else None
        except ort.capi.onnxruntime_pybind11_state.NotImplemented:  # convolutions of float16 and float64
            session = None
        if session:
            result["Runs"] = True
            got = session.run(None, {i.name: v for i, v in zip(session.get_inputs(), x)})
            for k, (output, y) in enumerate(zip(session.get_outputs(), got)):
                layer, _, form = output.name.partition("/")
                if form in ("", "first") and any(l.name == layer and len(l._inbound_nodes) == 1 for l in before.layers):
                    want = run(before, [before.get_layer(layer).output], x)[0]
                    if form:
                        want = np.moveaxis(want, -1, 1)
                elif len(got) == len(answers):
                    want = answers[k]
                else:
                    continue
                result["Read"] = max(result["Read"], apart(want, y))
                result["Outputs"] += 1
        print(json.dumps(result), flush=True)


def types(path):
    """The types of a model file's data sets of floats."""
    import h5py

    found = set()
    file = path if path.endswith(".h5") else io.BytesIO(zipfile.ZipFile(path).read("model.weights.h5"))
    with h5py.File(file, "r") as f:
        f.visititems(lambda name, o: found.add(o.dtype.str) if isinstance(o, h5py.Dataset) and o.dtype.kind == "f" else None)
    return found


def old(layer, first):
    """A layer's class and settings as Keras 1.2's get_config gives them."""
    c = {"name": layer.name, "trainable": True}
    if first is not None:
        c["batch_input_shape"], c["input_dtype"] = first, "float32"
    kind = type(layer).__name__
    order = "th" if getattr(layer, "data_format", "") == "channels_first" else "tf"
    if isinstance(layer, (L.Conv2D, L.SeparableConv2D)):
        kind = {"Conv2D": "Convolution2D", "SeparableConv2D": "SeparableConvolution2D"}[kind]
        c.update(nb_filter=layer.filters, nb_row=layer.kernel_size[0], nb_col=layer.kernel_size[1], init="glorot_uniform",
                 activation=layer.activation.__name__, border_mode=layer.padding, subsample=list(layer.strides), dim_ordering=order,
                 W_regularizer=None, b_regularizer=None, activity_regularizer=None, W_constraint=None, b_constraint=None, bias=layer.use_bias)
        if layer.dilation_rate != (1, 1):
            kind, c["atrous_rate"] = "AtrousConvolution2D", list(layer.dilation_rate)
    elif kind == "Conv1D":
        kind = "Convolution1D"
        c.update(nb_filter=layer.filters, filter_length=layer.kernel_size[0], init="glorot_uniform", activation=layer.activation.__name__,
                 border_mode=layer.padding, subsample_length=layer.strides[0], bias=layer.use_bias, input_dim=None, input_length=None)
    elif kind == "Dense":
        c.update(output_dim=layer.units, init="glorot_uniform", activation=layer.activation.__name__, bias=layer.use_bias, input_dim=None)
    elif kind == "BatchNormalization":
        c.update(epsilon=layer.epsilon, mode=0, axis=layer.axis, momentum=0.99, gamma_regularizer=None, beta_regularizer=None)
    elif kind in ("MaxPooling2D", "AveragePooling2D"):
        c.update(pool_size=list(layer.pool_size), strides=list(layer.strides), border_mode=layer.padding, dim_ordering=order)
    elif kind == "MaxPooling1D":
        c.update(pool_length=layer.pool_size[0], stride=layer.strides[0], border_mode=layer.padding)
    elif kind == "ZeroPadding2D":
        c.update(padding=[layer.padding[0][0], layer.padding[1][0]], dim_ordering=order)
    elif kind == "UpSampling2D":
        c.update(size=list(layer.size), dim_ordering=order)
    elif kind in ("Add", "Concatenate"):
        c.update(mode={"Add": "sum", "Concatenate": "concat"}[kind], mode_type="raw", concat_axis=getattr(layer, "axis", -1), dot_axes=-1,
                 output_shape=None, output_shape_type="raw", output_mask=None, output_mask_type="raw", arguments={})
        kind = "Merge"
    elif kind == "Activation":
        c.update(activation=layer.activation.__name__)
    elif kind == "LeakyReLU":
        c.update(alpha=layer.negative_slope)
    elif kind == "Dropout":
        c.update(p=layer.rate)
    elif kind == "GlobalAveragePooling2D":
        c.update(dim_ordering=order)
    elif kind == "InputLayer":
        c = {"batch_input_shape": list(layer.batch_shape), "input_dtype": "float32", "sparse": False, "name": layer.name}
    return {"class_name": kind, "config": c}


def old_weights(layer):
    """A layer's weights as Keras 1 with TensorFlow kept them."""
    values = [np.asarray(w) for w in layer.get_weights()]
    names = {4: ["gamma", "beta", "running_mean", "running_std"]}.get(len(values), ["W", "b"])
    if isinstance(layer, L.SeparableConv2D):
        names = ["depthwise_kernel", "pointwise_kernel", "b"]
    elif isinstance(layer, L.Conv1D):
        values[0] = values[0][:, None]
    elif isinstance(layer, L.Conv2D) and layer.data_format == "channels_first":
        values[0] = values[0].transpose(3, 2, 0, 1)
    return [("%s_%s" % (layer.name, n) + (":0" if k % 2 else ""), v) for k, (n, v) in enumerate(zip(names, values))]


def old_models():
    x = i = image(12, 11, 3)
    x = L.Activation("relu")(L.BatchNormalization()(L.Conv2D(4, (3, 2), strides=2, padding="same", use_bias=False)(x)))
    y = L.LeakyReLU(negative_slope=0.3)(L.BatchNormalization()(L.Conv2D(4, 3, padding="same", dilation_rate=2)(x)))
    x = L.Add()([L.MaxPooling2D(2, strides=1, padding="same")(x), y])
    x = L.Concatenate()([x, L.BatchNormalization()(L.SeparableConv2D(3, 3, padding="same")(x))])
    x = L.Dropout(0.4)(L.UpSampling2D(2)(L.ZeroPadding2D((1, 2))(x)))
    x = L.GlobalAveragePooling2D()(L.Conv2D(4, 1)(L.BatchNormalization()(L.Activation("tanh")(x))))
    x = L.Dense(3, activation="softmax")(L.BatchNormalization()(L.Dense(5)(x)))
    yield "functional", keras.Model(i, x), i
    yield "channels_first", keras.Sequential([
        keras.Input((3, 9, 11)), L.Conv2D(4, 3, data_format="channels_first"), L.BatchNormalization(axis=1),
        L.Activation("relu"), L.AveragePooling2D(2, data_format="channels_first"), L.Flatten(), L.Dense(4, use_bias=False), L.BatchNormalization()]), None
    yield "first_is_normalised", keras.Sequential([
        keras.Input((13, 4)), L.BatchNormalization(), L.Conv1D(4, 3), L.MaxPooling1D(2), L.Conv1D(3, 2, strides=2, use_bias=False), L.BatchNormalization(), L.Activation("sigmoid")]), None


def keras1(folder):
    import h5py

    for sub in ("models", "twins"):
        os.makedirs(os.path.join(folder, sub), exist_ok=True)
    for name, model, functional in old_models():
        randomise(model, 5)
        model.save(os.path.join(folder, "twins", name + ".keras"))
        layers = model.layers
        if functional is None:
            config = [old(layer, [None] + list(model.input_shape[1:]) if k == 0 else None) for k, layer in enumerate(layers)]
            config = {"class_name": "Sequential", "config": config}
        else:
            listed = []
            for layer in layers:
                node = [[t._keras_history.operation.name, 0, 0] for t in layer._inbound_nodes[0].input_tensors]
                listed.append(dict(old(layer, None), name=layer.name, inbound_nodes=[node] if node else []))
            config = {"class_name": "Model", "config": {"name": "model_1", "layers": listed, "input_layers": [[layers[0].name, 0, 0]],
                                                        "output_layers": [[layers[-1].name, 0, 0]]}}
        with h5py.File(os.path.join(folder, "models", name + ".h5"), "w") as f:
            f.attrs["keras_version"] = b"1.2.2"
            f.attrs["model_config"] = json.dumps(config).encode()
            group = f.create_group("model_weights")
            group.attrs["layer_names"] = [layer.name.encode() for layer in layers]
            for layer in layers:
                own = group.create_group(layer.name)
                weights = old_weights(layer)
                own.attrs["weight_names"] = [n.encode() for n, _ in weights]
                for n, v in weights:
                    own.create_dataset(n, data=v)
        print(json.dumps({"Name": name}), flush=True)


def lambda_model():
    x = i = image(10, 9, 3)
    x = L.BatchNormalization()(L.Conv2D(4, 3)(x) * 2.0 + 1.0)
    x = L.ReLU()(1.0 - x)
    x = L.Conv2D(4, 3, use_bias=False)(x) / np.array([1.0, -2.0, 3.0, 4.0], "float32")
    x = keras.ops.relu(-x)[:, 1:, :-1]
    y = L.BatchNormalization()(L.Conv2D(4, 3, padding="same")(x)) + x
    y = keras.ops.subtract(L.Conv2D(3, 1)(y), np.array([[[0.5, 0.25, -1.0]]], "float32")) * 0.5
    return keras.Model(i, (L.Dense(4)(L.Flatten()(y)) * 3 - 1) * keras.ops.sigmoid(L.Dense(4)(y[:, 0, -1])))


FUNCTIONS = {"Add": "__operators__.add", "Subtract": "math.subtract", "Multiply": "math.multiply", "TrueDivide": "math.truediv",
             "Negative": "math.negative", "Relu": "nn.relu", "Sigmoid": "math.sigmoid", "GetItem": "__operators__.getitem"}


def lambdas(folder):
    """A model whose operators are layers TFOpLambda and SlicingOpLambda, as Keras 2 writes them, and its twin in Keras 3."""
    import h5py

    for sub in ("models", "twins"):
        os.makedirs(os.path.join(folder, sub), exist_ok=True)
    model = lambda_model()
    randomise(model, 5)
    model.save(os.path.join(folder, "twins", "lambdas.keras"))

    def said(v):
        if hasattr(v, "_keras_history"):
            h = v._keras_history
            return [h.operation.name, h.node_index, h.tensor_index]
        if isinstance(v, slice):
            return {"start": v.start, "stop": v.stop, "step": v.step}
        if isinstance(v, (list, tuple)):
            return [said(x) for x in v]
        return v.tolist() if isinstance(v, np.ndarray) else v

    listed = []
    for op in model.operations:
        kind = type(op).__name__
        if isinstance(op, L.Layer):
            tree = {"class_name": kind, "config": op.get_config()}
            node = [said(t) + [{}] for t in op._inbound_nodes[0].input_tensors]
        else:
            tree = {"class_name": "SlicingOpLambda" if kind == "GetItem" else "TFOpLambda",
                    "config": {"name": op.name, "trainable": True, "dtype": "float32", "function": FUNCTIONS[kind]}}
            first, *rest = op._inbound_nodes[0].arguments.args
            more = {} if kind == "GetItem" else {"name": None}
            if rest:
                more["slice_spec" if kind == "GetItem" else "y"] = said(rest[0])
            node = said(first) + [more] if hasattr(first, "_keras_history") else ["_CONSTANT_VALUE", -1, said(first), more]
        listed.append(dict(tree, name=op.name, inbound_nodes=[node] if node else []))
    config = {"class_name": "Functional", "config": {"name": "model", "trainable": True, "layers": listed,
              "input_layers": [said(model.inputs[0])], "output_layers": [said(model.outputs[0])]}}
    with h5py.File(os.path.join(folder, "models", "lambdas.h5"), "w") as f:
        f.attrs["keras_version"], f.attrs["backend"] = b"2.15.0", b"tensorflow"
        f.attrs["model_config"] = json.dumps(config).encode()
        group = f.create_group("model_weights")
        group.attrs["layer_names"] = [op.name.encode() for op in model.operations]
        for op in model.operations:
            own = group.create_group(op.name)
            weights = op.weights if isinstance(op, L.Layer) else []
            own.attrs["weight_names"] = [(op.name + "/" + w.name + ":0").encode() for w in weights]
            for w in weights:
                own.create_dataset(op.name + "/" + w.name + ":0", data=np.array(w))
    print(json.dumps({"Name": "lambdas"}), flush=True)


def twins(folder, names):
    import onnxruntime as ort

    for name in names:
        model = keras.models.load_model(os.path.join(folder, "twins", name + ".keras"), compile=False)
        x = values(model, np.random.default_rng(7))
        want = run(model, model.outputs, x)[0]
        off = []
        for path in (name + ".h5.onnx", name + ".h5.folded.onnx"):
            session = ort.InferenceSession(os.path.join(folder, "onnx", path), providers=["CPUExecutionProvider"])
            off.append(apart(want, session.run(None, {session.get_inputs()[0].name: x[0]})[0]))
        print(json.dumps({"Name": name, "Read": off[0], "Folded": off[1]}), flush=True)


def yolo(folder, cfg, epsilon):
    """A Darknet detector in Keras, as YAD2K makes it: kernels are transposed to (height, width, in, out). The inputs of the
    yolo layers are the outputs."""
    sections = []
    for line in open(cfg):
        line = line.split("#")[0].strip()
        if line.startswith("["):
            sections.append((line[1:-1], {}))
        elif line:
            key, value = line.split("=")
            sections[-1][1][key.strip()] = value.strip()
    data = open(cfg[: -len("cfg")] + "weights", "rb").read()
    major, minor = np.frombuffer(data, "<i4", 2)
    at = 20 if major * 10 + minor >= 2 else 16

    def read(*shape):
        nonlocal at
        n = int(np.prod(shape))
        at += 4 * n
        return np.frombuffer(data, "<f4", n, at - 4 * n).reshape(shape)

    net = sections[0][1]
    x = i = keras.Input((int(net["height"]), int(net["width"]), int(net["channels"])), name="image")
    made, outputs = [], []
    for kind, o in sections[1:]:
        if kind == "convolutional":
            n, k, norm = int(o["filters"]), int(o["size"]), o.get("batch_normalize") == "1"
            conv = L.Conv2D(n, k, strides=int(o["stride"]), padding="same", use_bias=not norm)
            y = conv(x)
            bias = read(n)
            if norm:
                layer = L.BatchNormalization(epsilon=epsilon)
                y = layer(y)
                gamma, mean, variance = read(n), read(n), read(n)
                layer.set_weights([gamma, bias, mean, variance])
            kernel = read(n, x.shape[-1], k, k).transpose(2, 3, 1, 0)
            conv.set_weights([kernel] if norm else [kernel, bias])
            x = L.LeakyReLU(negative_slope=0.1)(y) if o["activation"] == "leaky" else y
        elif kind == "maxpool":
            x = L.MaxPooling2D(int(o["size"]), strides=int(o["stride"]), padding="same")(x)
        elif kind == "upsample":
            x = L.UpSampling2D(int(o["stride"]))(x)
        elif kind == "route":
            parts = [made[int(k)] for k in o["layers"].split(",")]
            x = parts[0] if len(parts) == 1 else L.Concatenate()(parts)
        elif kind == "yolo":
            outputs.append(x)
        made.append(x)
    assert at == len(data), (at, len(data))
    model = keras.Model(i, outputs)
    os.makedirs(os.path.join(folder, "models"), exist_ok=True)
    for ext in (".h5", ".keras"):
        model.save(os.path.join(folder, "models", "yolo" + ext))
        print(json.dumps({"Name": "yolo" + ext}), flush=True)


if __name__ == "__main__":
    command, folder, names = sys.argv[1], sys.argv[2], sys.argv[3:]
    if command == "make":
        make(folder, names)
    elif command == "keras1":
        keras1(folder)
    elif command == "lambdas":
        lambdas(folder)
    elif command == "twins":
        twins(folder, names)
    elif command == "yolo":
        yolo(folder, names[0], float(names[1]))
    else:
        compare(folder, names)
