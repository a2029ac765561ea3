#!/usr/bin/env bash
# What s3cmd does with an S3 endpoint: s3cmd.sh <host:port>. Works in a folder of its own.
set -euo pipefail

endpoint=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# What is meant for other servers would confuse it.
unset AWS_CA_BUNDLE AWS_PROFILE http_proxy HTTP_PROXY
cd "$folder"

cat >config <<END
[default]
access_key = lab
secret_key = lab-secret
host_base = $endpoint
host_bucket = $endpoint
use_https = False
multipart_chunk_size_mb = 5
check_ssl_certificate = False
max_retries = 1
END
s3() { s3cmd --config config --no-progress --quiet "$@"; }
# Whether what a command prints has a line with this pattern. (Read whole: a command that cannot print
# all of it fails.)
shows() {
    local printed
    printed=$("${@:2}")
    grep -q -- "$1" <<<"$printed"
}
fail() { echo "s3cmd: $*" >&2; exit 1; }

s3 mb s3://cmd
shows 's3://cmd$' s3cmd --config config ls || fail "the bucket is not listed"

mkdir -p tree/sub
head -c 12582912 /dev/urandom >tree/big
echo small >'tree/sub/with space+ü'
: >tree/empty
s3 put tree/big s3://cmd/big
s3 get s3://cmd/big big
cmp tree/big big

s3 sync tree/ s3://cmd/tree/
[ "$(s3cmd --config config ls --recursive s3://cmd/tree/ | wc -l)" = 3 ] || fail "not all was sent"
s3 sync s3://cmd/tree/ back/
diff -r tree back
# What is there already is not sent again: its ETag is its MD5.
shows '^upload' s3cmd --config config --no-progress sync tree/ s3://cmd/tree/ && fail "it was sent again"

s3 cp s3://cmd/tree/sub/with\ space+ü s3://cmd/copy
s3 mv s3://cmd/copy s3://cmd/moved
s3 get s3://cmd/moved moved
cmp 'tree/sub/with space+ü' moved
s3 get --continue s3://cmd/moved moved
s3 put --add-header=x-amz-meta-colour:blue tree/empty s3://cmd/empty
shows 'colour: blue' s3cmd --config config info s3://cmd/empty || fail "the metadata is lost"
shows 'd41d8cd98f00b204e9800998ecf8427e' s3cmd --config config info s3://cmd/empty || fail "no MD5"
shows '12582918 *3 objects' s3cmd --config config du s3://cmd/tree/ || fail "the sizes are wrong"
s3cmd --config config info s3://cmd >/dev/null
shows '^http' s3cmd --config config signurl s3://cmd/moved +60 || fail "no URL"
shows upload s3cmd --config config multipart s3://cmd && fail "an upload was left"
s3 get s3://cmd/absent absent 2>/dev/null && fail "what is absent was read"

s3 rm s3://cmd/moved
s3 del --recursive --force s3://cmd
s3 rb s3://cmd
shows 's3://cmd$' s3cmd --config config ls && fail "the bucket is still listed"
echo "s3cmd: all is well"
