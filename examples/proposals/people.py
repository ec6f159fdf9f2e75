"""Tracks of people for STVG_PROPOSALS, on a CPU and without downloaded weights: OpenCV's detector, trackers' ByteTrack.

    pip install "opencv-python<5" trackers
    python people.py OUT.json VIDEO ...

OpenCV's detector of 2005 (HOG and a linear SVM; Dalal and Triggs) finds upright people. The script shows how to write
the file from a detector and a tracker. For real work, use a current detector and tracker.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import supervision as sv
from trackers import ByteTrackTracker


def tracks_of(video: Path) -> dict[str, object]:
    """The tracks of one video, with each number's boxes by frame."""
    detector = cv2.HOGDescriptor()
    detector.setSVMDetector(cv2.HOGDescriptor_getDefaultPeopleDetector())
    capture = cv2.VideoCapture(str(video))
    tracker = ByteTrackTracker(
        frame_rate=capture.get(cv2.CAP_PROP_FPS) or 25.0, track_activation_threshold=0.5, high_conf_det_threshold=0.4
    )
    boxes: dict[str, dict[str, list[float]]] = defaultdict(dict)
    size_wh, frame = (0, 0), 0
    while True:
        read, picture = capture.read()
        if not read:
            break
        size_wh = picture.shape[1], picture.shape[0]
        found, scores = detector.detectMultiScale(picture, winStride=(8, 8), padding=(8, 8), scale=1.05)
        xywh = np.array(found, dtype=np.float32).reshape(-1, 4)
        detections = sv.Detections(
            xyxy=np.hstack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]]),
            confidence=np.array(scores, dtype=np.float32).reshape(-1),
            class_id=np.zeros(len(xywh), dtype=int),
        )
        tracked = tracker.update(detections)
        for number, box in zip(tracked.tracker_id, tracked.xyxy, strict=True):
            if number >= 0:  # not yet a track
                boxes[str(int(number))][str(frame)] = [round(float(c), 1) for c in box]
        frame += 1
    capture.release()
    if frame == 0:
        raise SystemExit(f"{video} has no frame that OpenCV can read")
    return {"size_wh": size_wh, "tracks": boxes}


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    out, *videos = map(Path, sys.argv[1:])
    out.write_text(json.dumps({video.as_posix(): tracks_of(video) for video in videos}))
