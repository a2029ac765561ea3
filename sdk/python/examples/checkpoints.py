"""Threads that read models and write checkpoints, as training on several accelerators does.

    CLOUDSKIN_GEDS=/path/to/socket python checkpoints.py --threads 16 --size 256MiB

The store is used as smart_open uses any; it is the one that CLOUDSKIN_GEDS names. With AWS_ENDPOINT_URL,
AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY the bucket is kept in an object store. Prints a line for each
number of threads.
"""

import argparse
import os
import re
import threading
import time

import geds_smart_open
from geds_smart_open import open

from cloudskin import geds

UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def size_of(text):
    match = re.fullmatch(r"(\d+)(|KiB|MiB|GiB)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text} is no size: write 1048576, 256MiB or 8GiB")
    return int(match[1]) * UNITS[match[2]]


def prepare(bucket, threads, size):
    """Makes the bucket, and in it a model for each thread."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
        geds_smart_open.register_object_store(bucket, endpoint, key, secret)
    else:
        geds.open().create_bucket(bucket, exist_ok=True)
    model = os.urandom(size)
    for thread in range(threads):
        with open(f"geds://{bucket}/model_{thread}.bin", "wb") as file:
            file.write(model)


def together(work, threads):
    """Runs `work` on so many threads, and gives what each returned."""
    results = [None] * threads

    def one(thread):
        results[thread] = work(thread)

    running = [threading.Thread(target=one, args=(thread,)) for thread in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return results


def train(bucket, threads):
    """Every thread reads its model and writes it as a checkpoint; gives bytes read and written."""

    def read(thread):
        with open(f"geds://{bucket}/model_{thread}.bin", "rb") as file:
            return file.read()

    def write(thread):
        with open(f"geds://{bucket}/checkpoint/checkpoint_{thread}.bin", "wb") as file:
            return file.write(models[thread])

    models = together(read, threads)
    return sum(map(len, models)), sum(together(write, threads))


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--bucket", default="geds-test")
    arguments.add_argument("--threads", type=int, default=16, help="at most so many threads")
    arguments.add_argument("--size", type=size_of, default=size_of("256MiB"), help="of each model")
    given = arguments.parse_args()

    prepare(given.bucket, given.threads, given.size)
    print("threads,seconds,read_bytes,written_bytes,relocated_seconds")
    threads = 1
    while threads <= given.threads:
        start = time.perf_counter()
        read, written = train(given.bucket, threads)
        trained = time.perf_counter()
        geds_smart_open.relocate()
        relocated = time.perf_counter()
        print(f"{threads},{trained - start:.4f},{read},{written},{relocated - trained:.4f}")
        threads *= 2


if __name__ == "__main__":
    main()
