#!/usr/bin/env bash
# What rclone does with an S3 endpoint: rclone.sh <host:port>. Works in a folder of its own.
set -euo pipefail

endpoint=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# What is meant for other servers would confuse it.
unset AWS_CA_BUNDLE AWS_PROFILE http_proxy HTTP_PROXY
cd "$folder"

cat >config <<END
[s3]
type = s3
provider = Other
access_key_id = lab
secret_access_key = lab-secret
endpoint = http://$endpoint
region = us-east-1
chunk_size = 5M
upload_cutoff = 5M
END
r() { rclone --config config --retries 1 --low-level-retries 1 --quiet "$@"; }
# Whether what a command prints has a line with this pattern. (Read whole: a command that cannot print
# all of it fails.)
shows() {
    local printed
    printed=$("${@:2}")
    grep -q -- "$1" <<<"$printed"
}
fail() { echo "rclone: $*" >&2; exit 1; }

r mkdir s3:clone
shows '^clone/$' r lsf s3: || fail "the bucket is not listed"

mkdir -p tree/sub/deeper
head -c 17000000 /dev/urandom >tree/big
echo small >'tree/sub/with space+ü'
echo "<&>" >'tree/sub/deeper/q?x=1&y=#%20'
: >tree/empty
touch -d '2020-01-02 03:04:05.678' tree/empty
r copy tree s3:clone/tree
r check --download tree s3:clone/tree
r check tree s3:clone/tree
[ "$(r lsf --recursive --files-only s3:clone | wc -l)" = 4 ] || fail "not all was sent"
shows '2020-01-02 03:04:05.678' r lsl s3:clone/tree/empty || fail "the time is lost"
r copy s3:clone/tree back
diff -r tree back

r copyto s3:clone/tree/big s3:clone/copy
r cat s3:clone/copy | cmp - tree/big
r cat --offset 5 --count 10 s3:clone/copy | cmp - <(tail -c +6 tree/big | head -c 10)
r moveto s3:clone/copy s3:clone/moved/copy
shows '^copy$' r lsf s3:clone/moved || fail "it was not moved"
echo streamed | r rcat s3:clone/streamed
[ "$(r cat s3:clone/streamed)" = streamed ] || fail "what was streamed is not there"
touch -d '2021-01-02' tree/empty
r sync tree s3:clone/tree
r touch s3:clone/tree/empty --timestamp 2022-01-02T03:04:05
shows '"count":4' r size --json s3:clone/tree || fail "the count is wrong"
r delete s3:clone/tree/sub
r rmdirs s3:clone/tree/sub 2>/dev/null || true
[ "$(r lsf s3:clone/tree | sort | tr '\n' ' ')" = "big empty " ] || fail "the folder is still there"
link=$(r link s3:clone/streamed)
[ "${link#http}" != "$link" ] || fail "no URL"
r backend cleanup s3:clone
r purge s3:clone
shows '^clone/$' r lsf s3: && fail "the bucket is still listed"
echo "rclone: all is well"
