"""Chooses the scenes that no model may train on: a development split, and 120 images without a face as an open test.

    python benchmarks/hold_back.py DATA OUT.json

A group of near-duplicates (64-bit difference hash, Hamming distance at most 4) is never divided. A group with an image
of an open test (frames/test, scenes/wider_val) is not used for training. Prints the number of images of each list.
"""

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

import cv2

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from app.training.data.images import ImageCache
from app.training.data.near_duplicates import difference_hash, near_duplicate_groups
from app.training.detector.scene_reader import read_scenes
from app.training.detector.scenes import split_scenes

DEVELOPMENT = {"wider": 200, "mafa": 150, "wear_web": 30, "office": 30, "no_face": 60}
EMPTY_TEST = 120


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    files = {}  # image path -> (annotation file, source)
    for name in ("scenes/train", "scenes/wider_val", "frames/train", "frames/test"):
        path = args.data / f"{name}.json"
        for image in json.loads(path.read_text("utf-8"))["images"]:
            files[path.parent / image["file_name"]] = (name, image.get("source", ""))
    hashes = [difference_hash(cv2.imread(str(path))) for path in files]
    groups: dict[int, list[Path]] = defaultdict(list)
    for group, path in zip(near_duplicate_groups(hashes), files, strict=True):
        groups[group].append(path)
    lists: dict[str, list[str]] = defaultdict(list)
    _, development = split_scenes(read_scenes(args.data / "frames" / "train.json"), ImageCache())
    lists["development"] = [scene.path.name for scene in development]
    wanted = {**DEVELOPMENT, "no_face": DEVELOPMENT["no_face"] + EMPTY_TEST}
    taken = dict.fromkeys(wanted, 0)
    for rank, (_, paths) in enumerate(sorted(groups.items())):
        sides = {files[path][0] for path in paths}
        trained = [path for path in paths if files[path][0] in ("scenes/train", "frames/train")]
        if sides & {"frames/test", "scenes/wider_val"}:
            lists["like_a_test"] += [path.name for path in trained]
            continue
        source = files[paths[0]][1]
        every = 3 if source == "no_face" else 9  # spread over the data set: neighbours are similar
        if sides != {"scenes/train"} or source not in wanted or rank % every or taken[source] >= wanted[source]:
            continue
        spare = EMPTY_TEST - len(lists["empty_test"])
        into = "empty_test" if source == "no_face" and taken[source] % 3 and len(paths) <= spare else "development"
        taken[source] += len(paths)
        lists[into] += [path.name for path in paths]
    args.out.write_text(json.dumps({name: sorted(names) for name, names in lists.items()}, indent=0) + "\n", "utf-8")
    for name, names in lists.items():
        print(f"{name}: {len(names)} images")
    return 0


if __name__ == "__main__":
    sys.exit(main())
