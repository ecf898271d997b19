#!/bin/sh
# A fleet by HTTP: plan it, submit it, follow it to its end, list what came of it. Needs curl and nothing else.
# NODEWRIGHT_URL and NODEWRIGHT_API_KEY say where the service is. Give a name for the fleet.
set -eu
name=${1:-http-example}
document='{"name": "'$name'", "count": 2, "type": "g6-nanode-1", "region": "us-east", "image": "linode/debian12"}'

call() { # METHOD PATH [more options of curl]
    method=$1 path=$2
    shift 2
    curl --silent --show-error --fail-with-body --request "$method" --header "Authorization: Bearer $NODEWRIGHT_API_KEY" \
        "$@" "$NODEWRIGHT_URL$path"
    echo
}

echo "What it would cost, and whether it would be taken:"
call POST /v1/plan --json "$document"

echo "Submit it. With the same Idempotency-Key it is the same fleet, however often it is sent:"
for _ in 1 2; do
    call POST /v1/fleets --json "$document" --header "Idempotency-Key: $name"
done

echo "What happens to it, as it happens, until it has ended:"
call GET "/v1/fleets/$name/events" --no-buffer

echo "What came of it:"
call GET "/v1/jobs?fleet=$name&fields=label,state,linode_id,ipv4"
