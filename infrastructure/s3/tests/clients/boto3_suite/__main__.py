"""What boto3 does with an S3 endpoint: python boto3_suite <endpoint's URL> [<name of a test> …].

Each function of the modules beside that begins with `test_` gets a client and a bucket of its own.
"""

import sys
import time
import traceback

import buckets
import checksums
import lists
import objects
import uploads
import urls
from support import client


def tests():
    """All tests by name."""
    for module in [buckets, objects, lists, uploads, checksums, urls]:
        for name, test in vars(module).items():
            if name.startswith("test_"):
                yield name, test


def main():
    asked, failed = sys.argv[2:], []
    for number, (name, test) in enumerate(tests()):
        if asked and name not in asked:
            continue
        s3, bucket = client(), f"bucket-{number}"
        s3.create_bucket(Bucket=bucket)
        started = time.time()
        try:
            test(s3, bucket)
            print(f"ok      {name} {time.time() - started:.2f} s", flush=True)
        except Exception:
            failed.append(name)
            print(f"FAILED  {name}\n{traceback.format_exc()}", flush=True)
    if failed:
        sys.exit(f"{len(failed)} tests failed: {' '.join(failed)}")


main()
