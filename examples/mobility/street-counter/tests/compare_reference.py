"""Compares street-counter on the street clip with OpenCV's background subtraction and a hand count.

    compare_reference.py CLIP        run by `make reference`, in a virtual environment

The protocol is described in the README. Prints the figures and fails when one is not met.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import cv2
import numpy as np
import wasmtime

import records

BUILD = pathlib.Path(os.environ["BUILD"])
HAND_COUNT = 21
WORK = (384, 288)  # the size that both look at
AREA_MIN = WORK[0] * WORK[1] // 2500  # the smallest patch that both report


def frames(clip):
    """The clip's frames as ffmpeg writes them as JPEG."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["ffmpeg", "-v", "error", "-i", clip, "-q:v", "3", f"{folder}/%05d.jpg"], check=True)
        return [path.read_bytes() for path in sorted(pathlib.Path(folder).glob("*.jpg"))]


def native(requests):
    done = subprocess.run([BUILD / "street-counter"], input=requests, capture_output=True, check=True)
    return done.stdout


def wasm(requests):
    """The same through Wasm; returns the answers and the seconds that they took."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "in").write_bytes(requests)
        engine = wasmtime.Engine()
        module = wasmtime.Module.from_file(engine, str(BUILD / "street-counter.wasm"))
        linker, store, config = wasmtime.Linker(engine), wasmtime.Store(engine), wasmtime.WasiConfig()
        linker.define_wasi()
        config.stdin_file, config.stdout_file = str(folder / "in"), str(folder / "out")
        store.set_wasi(config)
        start = linker.instantiate(store, module).exports(store)["_start"]
        began = time.monotonic()
        try:
            start(store)
        except wasmtime.ExitTrap as end:
            assert end.code == 0, end
        return (folder / "out").read_bytes(), time.monotonic() - began


def reference(clip):
    """Per frame, the boxes of what MOG2 takes for foreground: shadows dropped, cleaned, large enough."""
    video = cv2.VideoCapture(str(clip))
    model = cv2.createBackgroundSubtractorMOG2(history=500, varThreshold=16, detectShadows=True)
    close = cv2.getStructuringElement(cv2.MORPH_RECT, (3, 5))
    while True:
        more, frame = video.read()
        if not more:
            return
        scale = frame.shape[1] // WORK[0]
        mask = model.apply(cv2.resize(frame, WORK, interpolation=cv2.INTER_AREA))
        mask = cv2.medianBlur((mask > 200).astype(np.uint8), 3)
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, close)
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        yield [tuple(scale * int(v) for v in row[:4]) for row in stats[1:] if row[4] >= AREA_MIN]


def iou(a, b):
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if across <= 0 or down <= 0:
        return 0
    return across * down / (a[2] * a[3] + b[2] * b[3] - across * down)


def agreement(ours, theirs):
    """The share of `ours` that have one of `theirs` with IoU >= 0.5, and how many there are."""
    found = [any(iou(a, b) >= 0.5 for b in there) for here, there in zip(ours, theirs, strict=True) for a in here]
    return sum(found) / len(found), len(found)


def main():
    clip = sys.argv[1]
    pictures = frames(clip)
    requests = b"".join(records.jpeg(picture) for picture in pictures)
    answers, seconds = wasm(requests)
    same = answers == native(requests)
    said = [json.loads(body) for status, _, body in records.answers(answers) if status == 200]
    # Objects that have run together share one box: it is compared once.
    ours = [sorted({tuple(box[:4]) for box in answer["boxes"]}) for answer in said]
    theirs = list(reference(clip))
    precision, boxes = agreement(ours, theirs)
    recall, reference_boxes = agreement(theirs, ours)
    count = said[-1]["count"]
    facts = [
        ("frames answered", f"{len(said)} of {len(pictures)}", len(said) == len(pictures)),
        ("frames in the cell", said[-1]["frame"], said[-1]["frame"] == len(pictures)),
        ("Wasm and native answers are equal", same, same),
        ("milliseconds per frame in Wasm", f"{1000 * seconds / len(pictures):.1f} (goal < 15)",
         seconds / len(pictures) < 0.015),
        ("our boxes with a reference box", f"{precision:.1%} of {boxes} (goal >= 80 %)", precision >= 0.8),
        ("reference boxes with one of ours", f"{recall:.1%} of {reference_boxes} (no goal)", True),
        ("objects counted", f"{count}, by hand {HAND_COUNT} (goal: within 15 %)",
         abs(count - HAND_COUNT) <= 0.15 * HAND_COUNT),
    ]
    for name, value, met in facts:
        print(f"{'ok  ' if met else 'MISS'} {name}: {value}")
    return 0 if all(met for _, _, met in facts) else 1


if __name__ == "__main__":
    sys.exit(main())
