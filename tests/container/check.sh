#!/bin/sh
# Builds the container image and tries it out as an operator would: two minutes.
#
#   sh tests/container/check.sh              build the image, then check it
#   sh tests/container/check.sh IMAGE        check an image that is there already
#
# Needs: Docker, or Podman with Buildah, that can run Linux containers; some 2 GB of disk;
# for the build, a package index and the base image. No account, no network while it checks:
# the emulator plays Adobe Target. It is no part of the test suite.
#
#   ENGINE=podman    which engine; default: docker where there is one, else podman
#   NETWORK=host     the network that all containers use; default: the emulator's own, shared
#
# Leaves the image; removes its containers, volumes and files.
# shellcheck disable=SC2016,SC2086  # flags are lists of words; quoted scripts are for the container
set -u

ENGINE=${ENGINE:-$(command -v docker >/dev/null 2>&1 && echo docker || echo podman)}
command -v "$ENGINE" >/dev/null 2>&1 || { echo "$ENGINE was not found: this needs Docker or Podman" >&2; exit 2; }
cd "$(dirname "$0")/../.." || exit 2

if [ $# -gt 0 ]; then
    IMAGE=$1
else
    IMAGE=uploader
    "$ENGINE" build --tag "$IMAGE" . || exit 2
fi

name=uploader-check-$$
emulator=$name-emulator
state=$name-state
folder=$(mktemp -d)
failed=0
port=18080

clean_up() {
    "$ENGINE" rm -f -v "$name" >/dev/null 2>&1  # before the emulator, whose network it uses
    "$ENGINE" rm -f -v "$emulator" >/dev/null 2>&1
    "$ENGINE" volume rm "$state" "$state-2" >/dev/null 2>&1
    rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# is WHAT EXPECTED FOUND
is() {
    if [ "$2" = "$3" ]; then
        echo "ok      $1"
    else
        echo "FAILED  $1: expected $2, found $3"
        failed=$((failed + 1))
        sed 's/^/        | /' "$folder/out" "$folder/err" 2>/dev/null | tail -20
    fi
}

# has WHAT TEXT FILE
has() {
    is "$1" yes "$(grep -q -- "$2" "$folder/$3" && echo yes || echo no)"
}

# As locked up as can be: nothing but the volumes can be written, no capability is left.
LOCKED="--no-healthcheck --read-only --cap-drop=all --security-opt=no-new-privileges"
case $("$ENGINE" --version) in *podman*) LOCKED="$LOCKED --read-only-tmpfs=false" ;; esac

# with FLAGS -- ARGUMENTS: the image, locked up, for the emulator's account; sets code, out, err.
with() {
    flags=
    while [ "$1" != -- ]; do flags="$flags $1"; shift; done
    shift
    "$ENGINE" run --rm $LOCKED $ACCOUNT $flags "$IMAGE" "$@" >"$folder/out" 2>"$folder/err"
    code=$?
}

# How many single calls the emulator has got.
calls() {
    "$ENGINE" exec "$emulator" python -c "
import json, urllib.request
print(json.load(urllib.request.urlopen('http://127.0.0.1:$port/_emulator/stats'))['calls']['single'])"
}

play() {
    "$ENGINE" rm -f -v "$emulator" >/dev/null 2>&1
    "$ENGINE" run --detach --name "$emulator" $LOCKED ${NETWORK:+--network=$NETWORK} \
        --volume "$folder/exports:/exports:ro" "$IMAGE" emulate --port $port "$@" >/dev/null
    tries=0
    until calls >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt 60 ] || { echo "the emulator doesn't start" >&2; exit 2; }
        sleep 0.5
    done
}

mkdir "$folder/exports"
{ echo id,tier; i=0; while [ $i -lt 200 ]; do i=$((i + 1)); echo $i,gold; done; } >"$folder/exports/crm.csv"
{ cat "$folder/exports/crm.csv"; echo ,silver; } >"$folder/exports/flawed.csv"
echo '{"single": {"latency_seconds": 1.0}}' >"$folder/exports/slow.json"
echo check-token >"$folder/exports/token"
chmod -R a+rX "$folder"

ACCOUNT="--network=${NETWORK:-container:$emulator}
    --env=UPLOADER_CLIENT_CODE=demo --env=UPLOADER_EDGE_URL=http://127.0.0.1:$port
    --env=UPLOADER_ID_COLUMN=id --volume=$folder/exports:/exports:ro"
STORED=--volume=$state:/var/lib/uploader
TOKEN=--volume=$folder/exports/token:/run/secrets/uploader_token:ro

play
echo "--- the image"
with -- --version;                        is "--version ends with 0" 0 $code
with -- ;                                 has "without arguments it shows its help" "^Usage: uploader" out
with -- nonsense;                         is "an unknown command ends with 2" 2 $code
with --entrypoint=id -- -u;               is "the user is 10001" 10001 "$(cat "$folder/out")"
with --entrypoint=sh -- -c 'for tool in pip gcc cc make uv; do command -v $tool; done; exit 0'
is "no installer and no compiler" "" "$(cat "$folder/out")"
with --entrypoint=sh -- -c 'find /opt /usr /etc -writable ! -type l ! -path "/etc/mtab" | head'
is "the program can't change itself" "" "$(cat "$folder/out")"
echo "        $("$ENGINE" image inspect --format '{{.Size}}' "$IMAGE") bytes"

echo "--- the demo, without any network"
"$ENGINE" run --rm $LOCKED --network=none "$IMAGE" demo >"$folder/out" 2>"$folder/err"
case $(cat "$folder/err") in
    *"the demo needs its data"*) echo "left out: the image was built without the demo's data" ;;
    *) has "both routes deliver" "Run .* exit 0. Everything was delivered" out
       is "two runs" 2 "$(grep -c 'exit 0. Everything was delivered' "$folder/out")" ;;
esac

echo "--- runs and exit codes; only the state volume can be written to"
with $STORED -- run crm.csv --json
is "a run ends with 0" 0 $code
has "all is delivered" '"delivered": 200' out
has "the new store is mentioned" state_store_is_new err
with $STORED -- run crm.csv --json
is "a second start ends with 0" 0 $code
has "and only reports again" '"reported_again": true' out
has "the store is known" '"new_state": false' out
is "nothing was sent twice" 200 "$(calls)"
with $STORED -- run flawed.csv;           is "a dead letter makes it 3" 3 $code
with $STORED -- run missing.csv;          is "a missing export makes it 2" 2 $code
with $STORED --env=UPLOADER_EDGE_URL=http://127.0.0.1:9 --env=UPLOADER_OUTAGE_AFTER=2s -- run crm.csv
is "an edge that is down makes it 4" 4 $code
has "and says so" "edge_down" out
with -- run crm.csv --json
has "a forgotten volume is noticed" state_store_is_new err
has "in the report too" '"new_state": true' out
with $STORED -- status --json --log-level error; is "the health command ends with 0" 0 $code
with --tmpfs=/var/lib/uploader:ro -- status --json; is "and not with 0 when the store can't be used" no "$([ $code = 0 ] && echo yes || echo no)"

echo "--- a token from a secrets file"
play --token check-token
with -- run crm.csv;                      is "without it, 4" 4 $code
has "and says why" credentials err
with $TOKEN -- run crm.csv;               is "with it, 0" 0 $code

echo "--- SIGTERM"
play --faults slow.json
"$ENGINE" run --detach --name "$name" $LOCKED $ACCOUNT $STORED "$IMAGE" run crm.csv --again --workers 8 >/dev/null
tries=0
until [ "$(calls)" -gt 0 ] || [ $tries -ge 60 ]; do tries=$((tries + 1)); sleep 0.5; done
"$ENGINE" stop --time 20 "$name" >/dev/null
"$ENGINE" logs "$name" >"$folder/out" 2>"$folder/err"
is "a run that is stopped ends with 4" 4 "$("$ENGINE" inspect --format '{{.State.ExitCode}}' "$name")"
has "and says what stopped it" "Stopped by signal" out
"$ENGINE" rm -v "$name" >/dev/null
with $STORED -- run crm.csv --again --json
is "the next start finishes it" 0 $code
has "as the same run" '"starts": 2' out
has "with everything delivered" '"delivered": 200' out
is "without sending anything twice" 200 "$(calls)"

"$ENGINE" run --detach --name "$name" $LOCKED $ACCOUNT --volume="$state-2:/var/lib/uploader" "$IMAGE" run crm.csv --workers 2 >/dev/null
"$ENGINE" stop --time 20 "$name" >/dev/null
"$ENGINE" logs "$name" >"$folder/out" 2>"$folder/err"
is "stopped while it is still starting, it ends with 4 too" 4 "$("$ENGINE" inspect --format '{{.State.ExitCode}}' "$name")"

echo
if [ $failed -gt 0 ]; then echo "$failed checks failed"; exit 1; fi
echo "all is well"
