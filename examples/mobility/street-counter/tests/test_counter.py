"""What street-counter must do, checked on native builds: run by `make check`."""

import json
import os
import pathlib
import struct
import subprocess
import unittest

import records

HERE = pathlib.Path(__file__).parent
BUILD = pathlib.Path(os.environ["BUILD"])
PICTURES = sorted((HERE / "pictures").glob("*.pgm"))


def run(*requests, program="street-counter-sanitized"):
    """All answers to `requests` by one cell."""
    done = subprocess.run([BUILD / program], input=b"".join(requests), capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    return records.answers(done.stdout)


def picture(name):
    return (HERE / "pictures" / name).read_bytes()


def frame(shade=0, width=64, height=48):
    """A raw frame with a bright block."""
    rows = bytearray(bytes([100]) * width * height)
    for y in range(10, 30):
        rows[y * width + 20 : y * width + 30] = bytes([100 + shade]) * 10
    return records.luminance(bytes(rows), width, height)


class Counting(unittest.TestCase):
    def test_generated_streets_are_counted_exactly(self):
        for seed, size in [(1, "384 288"), (2, "384 288"), (3, "384 288"), (4, "384 288"),
                           (5, "384 288"), (6, "768 576"), (7, "640 360"), (8, "384 288")]:
            with self.subTest(seed=seed, size=size):
                made = subprocess.run([BUILD / "generate", str(seed), *size.split()],
                                      capture_output=True, check=True)
                answers = run(made.stdout, program="street-counter")
                last = json.loads(answers[-1][2])
                self.assertEqual({status for status, _, _ in answers}, {200})
                self.assertEqual(last["frame"], len(answers))
                self.assertEqual(last["count"], int(made.stderr))

    def test_the_same_frames_give_the_same_bytes(self):
        frames = [frame(shade) for shade in range(0, 100, 5)]
        self.assertEqual(run(*frames), run(*frames, program="street-counter"))

    def test_an_empty_street_counts_nothing(self):
        last = json.loads(run(*[frame()] * 40)[-1][2])
        self.assertEqual(last, {"frame": 40, "count": 0, "boxes": []})


class Frames(unittest.TestCase):
    def test_luminance_is_that_of_another_decoder(self):
        """The graymaps beside the pictures were decoded by libjpeg."""
        for graymap in PICTURES:
            with self.subTest(picture=graymap.name):
                header, body = graymap.read_bytes().split(b"\n255\n", 1)
                dump = subprocess.run([BUILD / "decode_jpeg", graymap.with_suffix(".jpg")],
                                      capture_output=True, check=True).stdout
                ours_header, ours = dump.split(b"\n255\n", 1)
                self.assertEqual(ours_header, header)
                self.assertLessEqual(max(abs(a - b) for a, b in zip(ours, body, strict=True)), 2)

    def test_jpeg_graymap_and_raw_frames_are_taken(self):
        graymap = picture("grey.pgm")
        header, body = graymap.split(b"\n255\n", 1)
        width, height = map(int, header.split()[1:])
        answers = run(records.jpeg(picture("grey.jpg")),
                      records.request(headers=[("content-type", "image/x-portable-graymap")], body=graymap),
                      records.luminance(body, width, height))
        self.assertEqual([json.loads(body)["frame"] for _, _, body in answers], [1, 2, 3])

    def test_malformed_frames_are_refused_and_change_nothing(self):
        whole = picture("420.jpg")
        kinds = {"raw": "application/x-luminance", "pgm": "image/x-portable-graymap"}
        cases = [
            (400, "empty", records.jpeg(b"")),
            (400, "not a JPEG", records.jpeg(b"hello, street")),
            (400, "ends early", records.jpeg(whole[: len(whole) // 2])),
            (400, "ends early", records.jpeg(whole[:20])),
            (400, "progressive", records.jpeg(picture("progressive.jpg"))),
            (400, "x-width", records.request(headers=[("content-type", kinds["raw"])], body=b"x" * 4096)),
            (400, "bytes", records.luminance(b"x" * 100, 64, 64)),
            (400, "4096", records.luminance(b"x" * 16, 4, 4)),
            (400, "4096", records.luminance(b"x" * 16, 4096, 4096)),
            (400, "P5", records.request(headers=[("content-type", kinds["pgm"])], body=b"P6 64 64 255\n")),
            (400, "255", records.request(headers=[("content-type", kinds["pgm"])], body=b"P5 64 #")),
            (400, "bytes", records.request(headers=[("content-type", kinds["pgm"])], body=b"P5 64 64 255\nx")),
            (415, "image/jpeg", records.request(headers=[("content-type", "image/png")], body=b"x")),
            (409, "size", frame(width=96)),
            (404, "only /", records.request(path="/admin")),
            (405, "POST", records.request(method="PUT")),
        ]
        answers = run(frame(), *[request for _, _, request in cases], frame())
        for (status, word, _), answer in zip(cases, answers[1:-1], strict=True):
            self.assertEqual(answer[0], status, answer)
            self.assertIn(word, answer[2].decode())
        self.assertEqual(json.loads(answers[-1][2])["frame"], 2)

    def test_damaged_jpegs_never_stop_the_cell(self):
        done = subprocess.run([BUILD / "fuzz_jpeg", "3000", "7", *sorted((HERE / "pictures").glob("*.jpg"))],
                              capture_output=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr.decode())


class Protocol(unittest.TestCase):
    def test_the_documented_example_is_a_request(self):
        wire = bytes.fromhex("24000000 01 04504f5354 05002f3f6b3d31 0100 0c00636f6e74656e742d74797065 0300612f62 6869")
        self.assertEqual(wire, records.request(path="/?k=1", headers=[("content-type", "a/b")], body=b"hi"))
        self.assertEqual(run(wire)[0][0], 400)

    def test_totals_are_json_or_a_page(self):
        page = records.request(method="GET", headers=[("accept", "text/html,*/*")])
        answers = run(frame(), records.request(method="GET"), page)
        self.assertEqual(json.loads(answers[1][2])["frame"], 1)
        self.assertEqual(answers[2][1], "text/html; charset=utf-8")
        self.assertIn(b"<b>1</b> frames", answers[2][2])

    def test_delete_starts_over(self):
        answers = run(frame(), records.request(method="DELETE"), frame(width=96))
        self.assertEqual([json.loads(body)["frame"] for _, _, body in answers], [1, 0, 1])

    def test_what_is_no_request_is_answered_and_passed_over(self):
        def record(body):
            return struct.pack("<I", len(body)) + body

        other_version = record(b"\x02\x03GET\x01\x00/\x00\x00")
        broken = [record(b""), record(b"\x01"), record(b"\x01\xffGET"), other_version,
                  record(b"\x01\x03GET\x01\x00/\xff\xff"), record(b"\x01\x03GET\x01\x00/\x01\x00\x05\x00a")]
        too_large = struct.pack("<I", 20 << 20) + bytes(20 << 20)
        answers = run(*broken, too_large, frame())
        self.assertEqual([status for status, _, _ in answers], [400] * len(broken) + [413, 200])

    def test_input_in_single_bytes_is_the_same_input(self):
        with subprocess.Popen([BUILD / "street-counter"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cell:
            for byte in frame() + records.request(method="GET"):
                cell.stdin.write(bytes([byte]))
                cell.stdin.flush()
            out, _ = cell.communicate()
        self.assertEqual([status for status, _, _ in records.answers(out)], [200, 200])

    def test_an_answer_comes_before_the_next_request(self):
        with subprocess.Popen([BUILD / "street-counter"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cell:
            cell.stdin.write(frame())
            cell.stdin.flush()
            size = struct.unpack("<I", cell.stdout.read(4))[0]
            self.assertIn(b'"frame":1', cell.stdout.read(size))
            cell.stdin.close()
            self.assertEqual(cell.wait(), 0)

    def test_input_that_breaks_off_is_an_error(self):
        for part in (frame()[:2], frame()[:200]):
            self.assertEqual(subprocess.run([BUILD / "street-counter"], input=part).returncode, 1)


if __name__ == "__main__":
    unittest.main()
