#!/usr/bin/env bash
# Hadoop's own programs use the store through S3A: the file system shell, and a MapReduce job whose
# output is committed by finishing uploads. Java 17 is needed; Hadoop's jars come with two packages of
# PyPI (470 MB), which are kept in the target folder.
set -euo pipefail
cd "$(dirname "$0")"
cloudskin=${CLOUDSKIN:-cloudskin}
target=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/cloudskin/target}
jars=$target/hadoop/jars
work=$(mktemp -d)
out=${1:-$work/hadoop.json}
mkdir -p "$(dirname "$out")"
export XDG_STATE_HOME=$work/state XDG_CONFIG_HOME=$work/config CLOUDSKIN_GEDS=$work/store/default.sock
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; wait; rm -rf "$work"' EXIT

fail() { echo "examples/hadoop: $*" >&2; exit 1; }
command -v javac >/dev/null || fail "Java is missing: apt-get install openjdk-17-jdk-headless"

# hadoop-aws and the client of one release, 3.3.1; the packages are fetched, never installed.
if [ ! -e "$jars/complete" ]; then
    rm -rf "$jars"
    mkdir -p "$jars"
    python3 -m pip download -q --disable-pip-version-check --no-deps --no-binary :all: -d "$work" \
        pyspark==3.2.4 sagemaker-pyspark==1.4.5
    for package in "$work"/*.tar.gz; do
        tar -xzf "$package" -C "$jars" --transform 's|.*/||' --wildcards \
            '*/hadoop-client-*.jar' '*/hadoop-aws-*.jar' '*/aws-java-sdk-bundle-*.jar' '*/commons-*.jar' \
            '*/htrace-*.jar' '*/slf4j-*.jar' '*/log4j-*.jar' '*/jcl-*.jar' 2>/dev/null || true
        rm "$package"
    done
    ls "$jars"/hadoop-aws-*.jar "$jars"/hadoop-client-api-*.jar >/dev/null || fail "the packages have no Hadoop"
    touch "$jars/complete"
fi

"$cloudskin" serve s3 --listen 127.0.0.1:0 --memory 256Mi --data-dir "$work/store" 2>"$work/log" &
server=$!
for _ in $(seq 100); do
    url=$(sed -n 's/^S3: \(http[^,]*\),.*/\1/p' "$work/log")
    [ -z "$url" ] || break
    kill -0 "$server" 2>/dev/null || fail "$(cat "$work/log")"
    sleep 0.1
done
[ -n "$url" ] || fail "$(cat "$work/log")"
secret=$(sed -n 's/^secret = "\(.*\)"/\1/p' "$work/store/s3-keys.toml")

mkdir "$work/conf"
property() { echo "<property><name>$1</name><value>$2</value></property>"; }
{
    echo "<configuration>"
    property fs.s3a.endpoint "$url"
    property fs.s3a.endpoint.region us-east-1
    property fs.s3a.path.style.access true
    property fs.s3a.connection.ssl.enabled false
    property fs.s3a.access.key default
    property fs.s3a.secret.key "$secret"
    property fs.s3a.multipart.size 5M
    property fs.s3a.committer.name magic
    property mapreduce.outputcommitter.factory.scheme.s3a org.apache.hadoop.fs.s3a.commit.S3ACommitterFactory
    property hadoop.tmp.dir "$work/tmp"
    echo "</configuration>"
} >"$work/conf/core-site.xml"
cat >"$work/conf/log4j.properties" <<'PROPERTIES'
log4j.rootLogger=ERROR, err
log4j.appender.err=org.apache.log4j.ConsoleAppender
log4j.appender.err.target=System.err
log4j.appender.err.layout=org.apache.log4j.PatternLayout
log4j.appender.err.layout.ConversionPattern=%p %c: %m%n
PROPERTIES

java() {
    command java --add-opens java.base/java.lang=ALL-UNNAMED \
        --add-exports java.security.jgss/sun.security.krb5=ALL-UNNAMED \
        -cp "$work/conf:$work/classes:$jars/*" "$@"
}
fs() { java org.apache.hadoop.fs.FsShell "$@"; }
same() { [ "$2" = "$3" ] || fail "$1: wanted \`$2\`, found \`$3\`"; echo "  $1"; }
names() { sed -n 's|.* s3a://lab/||p' | sort | tr '\n' ' '; }

echo "the shell of Hadoop, on s3a://lab:"
"$cloudskin" geds mb geds://lab
head -c 20000000 /dev/urandom >"$work/large"
for n in 1 2 3; do printf 'edge cloud %s\nedge\n' "$n" >"$work/words-$n"; done
fs -mkdir -p s3a://lab/in/empty s3a://lab/words
fs -put "$work/large" s3a://lab/in/large
fs -put "$work"/words-* s3a://lab/words
same "-mkdir -p, -put, -ls -R" "in/empty in/large " "$(fs -ls -R s3a://lab/in | names)"
fs -mv s3a://lab/in s3a://lab/moved
same "-mv of a folder" "moved/empty moved/large " "$(fs -ls -R s3a://lab/moved | names)"
same "-cat of 20 MB that came in parts" "$(sha256sum <"$work/large")" "$(fs -cat s3a://lab/moved/large | sha256sum)"
same "the same from GEDS" "$(sha256sum <"$work/large")" "$("$cloudskin" geds cat geds://lab/moved/large | sha256sum)"
fs -cp s3a://lab/moved/large s3a://lab/copy
fs -rm -r -skipTrash s3a://lab/moved >/dev/null
same "-cp, -rm -r" "copy words " "$(fs -ls s3a://lab/ | names)"

echo "a MapReduce job, from s3a://lab/words to s3a://lab/counts:"
mkdir "$work/classes"
javac -cp "$jars/*" -d "$work/classes" WordCount.java
java WordCount s3a://lab/words s3a://lab/counts
counts=$(fs -cat 's3a://lab/counts/part-r-*' | sort | tr '\t\n' ': ')
same "its counts" "1:1 2:1 3:1 cloud:3 edge:6 " "$counts"
committer=$("$cloudskin" geds cat geds://lab/counts/_SUCCESS | sed -n 's/.*"committer" : "\([a-z]*\)".*/\1/p')
same "committed by finishing uploads" magic "$committer"
same "nothing is left of it" "" "$("$cloudskin" geds ls geds://lab/counts/__magic/ | sed 1d)"
version=$(basename "$jars"/hadoop-aws-*.jar .jar)
echo "{\"demo\": \"hadoop\", \"client\": \"$version\", \"committer\": \"$committer\", \"counts\": \"${counts% }\"}" >"$out"
